"""Scores by dialogue length, by position in the dialogue, and at emotion shifts against inertia.

S seeds, T utterances.
"""

from collections.abc import Mapping

import numpy as np

from dferc.results.analyses.numbers import scores_where
from dferc.results.runs import FinishedRun

GROUPS = 4  # most groups of lengths and of positions; each has about as many labelled utterances

FIRST, INERTIA, SHIFT, NAMELESS = "first", "inertia", "shift", "no speaker"

HOW = (
    "Accuracy and weighted F1 (weighted by the classes of the group's own utterances) of the labelled utterances. "
    "Length: utterances of the dialogue. Position: 1 is the dialogue's first. Unlabelled utterances count for both; "
    "utterances that the corpus lacks do not. Groups hold about as many utterances each. "
    f"{SHIFT}: the label differs from the last one of the same speaker in the dialogue; {INERTIA}: it is the same; "
    f"{FIRST}: the speaker had no label there yet."
)


def analyse_dialogues(runs: Mapping[str, FinishedRun]) -> dict:
    """Return the file's `dialogues`, of every run."""
    groupings = {
        "by_length": lambda run: ranges(run.length, run.is_labelled),
        "by_position": lambda run: ranges(run.place, run.is_labelled),
        "by_shift": emotion_shifts,
    }
    scores = {key: {name: _scores(run, group(run)) for name, run in runs.items()} for key, group in groupings.items()}
    statements = []
    name, run = next(iter(runs.items()))
    if nameless := int((run.is_labelled & (run.speaker_T == "")).sum()):
        group = "neither shift nor inertia, a group of their own"
        statements.append(f"{nameless} labelled utterance(s) have no speaker: {group}")
    for quantity in ("length", "position"):
        if len(scores[f"by_{quantity}"][name]) == 1:
            statements.append(f"all utterances fall into one group by {quantity}: they differ too little")
    return {"how": HOW, "statements": statements, **scores}


def _scores(run: FinishedRun, group_T: np.ndarray) -> list[dict]:
    """Return a line per group: ranges by where they begin, kinds of shift in the paper's order."""
    order = [FIRST, INERTIA, SHIFT, NAMELESS]
    names = set(group_T[run.is_labelled])
    lines = []
    for name in sorted(names, key=lambda name: order.index(name) if name in order else int(name.split("–")[0])):
        inside_T = (group_T == name) & run.is_labelled
        line = {"name": name, "dialogues": len(set(run.dialogue_id_T[inside_T]))}
        lines.append(line | scores_where(run.actual_T, run.predicted_ST, inside_T))
    return lines


def ranges(values_T: np.ndarray, labelled_T: np.ndarray) -> np.ndarray:
    """Return for each whole number the name of its range, such as `4–7`, [T].

    There are at most `GROUPS` ranges, with about as many labelled utterances each. Equal numbers are never parted, so
    ranges are fewer and less even where numbers are few.
    """
    counted = np.sort(values_T[labelled_T])
    quarters = np.arange(1, GROUPS) / GROUPS
    uppers = np.unique([*(counted[np.ceil(len(counted) * share).astype(int) - 1] for share in quarters), counted[-1]])
    group_T = np.searchsorted(uppers, values_T).clip(max=len(uppers) - 1)  # only unlabelled ones lie beyond the last
    lowers = [counted[0], *(uppers[:-1] + 1)]
    names = [str(upper) if lower == upper else f"{lower}–{upper}" for lower, upper in zip(lowers, uppers, strict=True)]
    return np.array(names, dtype=object)[group_T]


def emotion_shifts(run: FinishedRun) -> np.ndarray:
    """Return shift, inertia, first or no speaker for each utterance, [T]; unlabelled ones get `first`."""
    before_T, label_T = emotion_before(run), run.actual_T
    kind_T = np.where(before_T == label_T, INERTIA, SHIFT).astype(object)
    kind_T[(before_T < 0) | (label_T < 0)] = FIRST
    kind_T[(run.speaker_T == "") & (label_T >= 0)] = NAMELESS
    return kind_T


def emotion_before(run: FinishedRun) -> np.ndarray:
    """Return the label of the same speaker's last labelled utterance in the dialogue, [T]; -1 where there is none."""
    before_T, last = np.full(len(run.actual_T), -1), {}
    for row, (dialogue, speaker, label) in enumerate(zip(run.dialogue_id_T, run.speaker_T, run.actual_T, strict=True)):
        if speaker:
            before_T[row] = last.get((dialogue, speaker), -1)
            if label >= 0:
                last[dialogue, speaker] = label
    return before_T
