"""Everything that a run saved of one split: also its unlabelled utterances, dialogues in order, what the model weighed.

S seeds, T utterances of the split, C classes, M modalities of the run.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dferc.core.errors import InputError
from dferc.results.runs import Run
from dferc.store.vocabulary import MODALITIES

COLUMNS = ("seed", "utterance_id", "dialogue_id", "speaker", "split", "context_weight", "agreement")


@dataclass(frozen=True, kw_only=True)
class Saved:
    """One run on one split; dialogues contiguous, utterances in the corpus' order."""

    classes: tuple[str, ...]
    modalities: tuple[str, ...]
    """Those it kept contributions of; none for a baseline."""
    seeds: tuple[int, ...]
    utterance_id_T: np.ndarray
    dialogue_T: np.ndarray
    """Numbers from 0, rising."""
    speaker_T: np.ndarray
    actual_T: np.ndarray
    """-1 = unlabelled."""
    predicted_ST: np.ndarray
    probability_STC: np.ndarray
    contribution_STM: np.ndarray
    """0 = this utterance lacks this modality."""
    context_weight_ST: np.ndarray
    """NaN where the run has none (a baseline)."""
    agreement_ST: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """Bool."""
        return self.actual_T >= 0

    @property
    def place(self) -> np.ndarray:
        """1 = the first utterance of its dialogue that the corpus has; unlabelled ones count."""
        starts = np.flatnonzero(np.r_[True, self.dialogue_T[1:] != self.dialogue_T[:-1]])
        return np.arange(len(self.dialogue_T)) - starts[self.dialogue_T] + 1

    @property
    def length(self) -> np.ndarray:
        """Utterances of its dialogue."""
        return np.bincount(self.dialogue_T)[self.dialogue_T]


def read_saved(run: Run) -> Saved:
    """Read the whole predictions of a run whose labelled ones `dferc.results.runs.read_run` has verified.

    Raises:
        InputError: columns are missing, a value is no number, or the seeds have different utterances.
    """
    path = run.folder / "evaluate/predictions.csv"
    try:
        return _arrange(run, *_read_rows(path, run.split))
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        said = error if isinstance(error, InputError) else f"no table of predictions ({error!r})"
        raise InputError(f"{path}: {said}. Score it again: `dferc evaluate` or `dferc baselines`.") from error


def _read_rows(path: Path, split: str) -> tuple[dict[int, list[dict]], tuple[str, ...]]:
    """The rows of a split by seed, and the modalities that have contributions."""
    by_seed: dict[int, list[dict]] = defaultdict(list)
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = sorted(set(COLUMNS) - set(reader.fieldnames or ()))
        if missing:
            raise InputError(f"no column {', '.join(missing)}")
        modalities = tuple(name for name in MODALITIES if f"contribution_{name}" in reader.fieldnames)
        for row in reader:
            if row["split"] == split:
                by_seed[int(row["seed"])].append(row)
    return by_seed, modalities


def _arrange(run: Run, rows_of: dict[int, list[dict]], modalities: tuple[str, ...]) -> Saved:
    by_seed = [rows_of[seed] for seed in run.seeds]
    ids, *others = ([row["utterance_id"] for row in rows] for rows in by_seed)
    if any(each != ids for each in others):
        raise InputError("its seeds have different utterances")
    first = by_seed[0]
    number = {emotion: at for at, emotion in enumerate(run.classes)}
    dialogues = {name: at for at, name in enumerate(dict.fromkeys(row["dialogue_id"] for row in first))}
    dialogue_T = np.array([dialogues[row["dialogue_id"]] for row in first])
    if (np.diff(dialogue_T) < 0).any():
        raise InputError("the utterances of a dialogue are not contiguous")

    def values(*names: str) -> np.ndarray:
        return np.array([[[float(row[name]) for name in names] for row in rows] for rows in by_seed])

    return Saved(
        classes=run.classes,
        modalities=modalities,
        seeds=run.seeds,
        utterance_id_T=np.array(ids, dtype=object),
        dialogue_T=dialogue_T,
        speaker_T=np.array([row["speaker"] for row in first], dtype=object),
        actual_T=np.array([number[row["emotion"]] if row["emotion"] else -1 for row in first]),
        predicted_ST=np.array([[number[row["predicted"]] for row in rows] for rows in by_seed]),
        probability_STC=values(*(f"p_{each}" for each in run.classes)),
        contribution_STM=values(*(f"contribution_{each}" for each in modalities)),
        context_weight_ST=values("context_weight")[..., 0],
        agreement_ST=values("agreement")[..., 0],
    )


def ask_each(
    runs: Mapping[str, Saved], why_not: Callable[[Saved], str | None], answer: Callable[[Saved], dict]
) -> tuple[dict[str, dict], list[str]]:
    """The answer of every run that has one, by name, and a statement for each of the others.

    Args:
        runs: by name.
        why_not: the reason why a run says nothing; None where it does.
        answer: what a run says.
    """
    reasons = {name: why_not(run) for name, run in runs.items()}
    found = {name: answer(runs[name]) for name, reason in reasons.items() if reason is None}
    return found, [f"{name}: {reason}" for name, reason in reasons.items() if reason is not None]
