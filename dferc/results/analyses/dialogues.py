"""Where in conversations models are right: by dialogue length, by position, at emotion shifts against inertia.

S seeds, T utterances.
"""

from collections.abc import Mapping

import numpy as np

from dferc.results.analyses.numbers import scores_where
from dferc.results.analyses.saved import Saved

GROUPS = 4
"""At most, of lengths and of positions; each of about as many labelled utterances."""

FIRST, INERTIA, SHIFT, NAMELESS = "first", "inertia", "shift", "no speaker"

HOW = (
    "Accuracy and weighted F1 (weighted by the classes of the group's own utterances) of the labelled utterances. "
    "Length: utterances of the dialogue. Position: 1 is the dialogue's first. Unlabelled utterances count for both; "
    "utterances that the corpus lacks do not. Groups hold about as many utterances each. "
    f"{SHIFT}: the label differs from the last one of the same speaker in the dialogue; {INERTIA}: it is the same; "
    f"{FIRST}: the speaker had no label there yet."
)


def analyse_dialogues(runs: Mapping[str, Saved]) -> dict:
    """The `dialogues` of the file, of every run."""
    by = {"by_length": group_by_length, "by_position": group_by_position, "by_shift": group_by_shift}
    found = {key: {name: _scores(run, group(run)) for name, run in runs.items()} for key, group in by.items()}
    statements = []
    first, run = next(iter(runs.items()))
    nameless = int((run.labelled & (run.speaker_T == "")).sum())
    if nameless:
        statements.append(
            f"{nameless} labelled utterance(s) have no speaker: neither shift nor inertia, a group of their own"
        )
    for key, name in (("by_length", "length"), ("by_position", "position")):
        if len(found[key][first]) == 1:
            statements.append(f"all utterances fall into one group by {name}: they differ too little")
    return {"how": HOW, "statements": statements, **found}


def _scores(run: Saved, group_T: np.ndarray) -> list[dict]:
    """A line per group, in the order of `names_of`."""
    lines = []
    for name in names_of(group_T[run.labelled]):
        here_T = (group_T == name) & run.labelled
        scores = scores_where(run.actual_T, run.predicted_ST, here_T)
        lines.append({"name": name, "dialogues": len(set(run.dialogue_T[here_T])), **scores})
    return lines


def names_of(group_T: np.ndarray) -> list[str]:
    """The groups that occur: ranges by where they begin, the others as the paper would list them."""
    order = [FIRST, INERTIA, SHIFT, NAMELESS]
    return sorted(set(group_T), key=lambda name: order.index(name) if name in order else int(name.split("–")[0]))


def group_by_length(run: Saved) -> np.ndarray:
    """[T] names of ranges, such as `1–7`."""
    return ranges(run.length, run.labelled)


def group_by_position(run: Saved) -> np.ndarray:
    """[T] names of ranges, such as `1–3`."""
    return ranges(run.place, run.labelled)


def ranges(values_T: np.ndarray, labelled_T: np.ndarray) -> np.ndarray:
    """[T] the range that a whole number falls into: at most `GROUPS`, cut where each holds about as many labelled ones.

    Equal numbers are never parted, so groups are fewer and less even where numbers are few.
    """
    counted = np.sort(values_T[labelled_T])
    quarters = np.arange(1, GROUPS) / GROUPS
    uppers = np.unique([*(counted[np.ceil(len(counted) * share).astype(int) - 1] for share in quarters), counted[-1]])
    group_T = np.searchsorted(uppers, values_T).clip(max=len(uppers) - 1)  # beyond the last: unlabelled ones only
    names = []
    for at, upper in enumerate(uppers):
        lower = counted[0] if at == 0 else uppers[at - 1] + 1
        names.append(str(upper) if lower == upper else f"{lower}–{upper}")
    return np.array(names, dtype=object)[group_T]


def group_by_shift(run: Saved) -> np.ndarray:
    """[T] shift, inertia, first or no speaker; unlabelled utterances are passed over, and get `first`."""
    group_T = np.full(len(run.actual_T), FIRST, dtype=object)
    last: dict[tuple[int, str], int] = {}
    for at, (dialogue, speaker, label) in enumerate(zip(run.dialogue_T, run.speaker_T, run.actual_T, strict=True)):
        if label < 0:
            continue
        if not speaker:
            group_T[at] = NAMELESS
            continue
        before = last.get((dialogue, speaker))
        if before is not None:
            group_T[at] = INERTIA if before == label else SHIFT
        last[dialogue, speaker] = label
    return group_T
