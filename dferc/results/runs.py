"""Finished runs, verified and read into arrays: metrics.json and evaluate/ of runs/<corpus>/<variant>.

S seeds, T utterances of a split in the corpus' order, C classes, M modalities of the run.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from dferc.core.errors import InputError
from dferc.core.metrics import Scores
from dferc.results.statistics import Counts, count, score_seeds
from dferc.store.vocabulary import MODALITIES

COLUMNS = ("seed", "utterance_id", "dialogue_id", "speaker", "split", "emotion", "predicted")

ROUNDING = 2e-6
"""Largest rounding error of scores in metrics.json, which have six decimals."""


ROW_COLUMNS = ("utterance_id_T", "dialogue_id_T", "speaker_T", "actual_T")
SEED_COLUMNS = ("predicted_ST", "probability_STC", "contribution_STM", "context_weight_ST", "agreement_ST")


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """Predictions of one variant for one split, from `read_run`: every utterance, dialogues contiguous."""

    folder: Path
    split: str
    card: Mapping
    """Protocol card: evaluate/protocol.json."""
    classes: tuple[str, ...]
    modalities: tuple[str, ...]
    """Modalities with contributions; none for a baseline."""
    seeds: tuple[int, ...]
    utterance_id_T: np.ndarray
    dialogue_id_T: np.ndarray
    speaker_T: np.ndarray
    actual_T: np.ndarray
    """Class ids; -1 = unlabelled."""
    predicted_ST: np.ndarray
    probability_STC: np.ndarray
    contribution_STM: np.ndarray
    """0 = the utterance lacks the modality."""
    context_weight_ST: np.ndarray
    """NaN where the run has none (a baseline)."""
    agreement_ST: np.ndarray

    @cached_property
    def labelled(self) -> "FinishedRun":
        """The labelled utterances alone, ordered by id: runs of one protocol may order their dialogues differently."""
        rows = np.flatnonzero(self.is_labelled)
        rows = rows[np.argsort(self.utterance_id_T[rows])]
        kept = {name: getattr(self, name)[rows] for name in ROW_COLUMNS}
        return replace(self, **kept, **{name: getattr(self, name)[:, rows] for name in SEED_COLUMNS})

    def only(self, seeds: tuple[int, ...]) -> "FinishedRun":
        """Return the run with these of its seeds."""
        index = [self.seeds.index(seed) for seed in seeds]
        return replace(self, seeds=seeds, **{name: getattr(self, name)[index] for name in SEED_COLUMNS})

    @property
    def is_labelled(self) -> np.ndarray:
        """Mask, [T]."""
        return self.actual_T >= 0

    @property
    def dialogue(self) -> np.ndarray:
        """Number of the dialogue from 0, in the order of dialogue ids, [T]."""
        return np.unique(self.dialogue_id_T, return_inverse=True)[1]

    @property
    def length(self) -> np.ndarray:
        """Number of utterances in the dialogue, [T]."""
        return np.bincount(self.dialogue)[self.dialogue]

    @property
    def place(self) -> np.ndarray:
        """Place in the dialogue from 1, [T]; unlabelled utterances count."""
        _, first, dialogue = np.unique(self.dialogue_id_T, return_index=True, return_inverse=True)
        return np.arange(len(dialogue)) - first[dialogue] + 1

    @cached_property
    def counts(self) -> Counts:
        """Counts of the labelled utterances, by dialogue."""
        run = self.labelled
        return count(run.actual_T, run.predicted_ST, run.dialogue, len(run.classes))

    @cached_property
    def scores(self) -> Scores:
        """Scores per seed."""
        return score_seeds(self.counts)

    @property
    def dialogues(self) -> int:
        """Number of dialogues with a labelled utterance."""
        return len(self.counts.actual_DC)

    @property
    def support(self) -> np.ndarray:
        """Labelled utterances of each class, [C]."""
        return self.counts.actual_DC.sum(axis=0)

    @property
    def together(self) -> np.ndarray:
        """Class that the seeds choose together, by the highest mean probability, [T]."""
        return self.probability_STC.mean(axis=0).argmax(axis=1)


def choose_split(folder: Path) -> str:
    """Return the split to compare a run on by default: test, or validation where no test utterance has a label.

    Raises:
        InputError: its protocol card is damaged.
    """
    path = folder / "evaluate/protocol.json"
    if not path.exists():
        return "test"  # reading the run reports what is missing
    return "test" if _read_json(path, folder, ("splits",))["splits"]["test"]["labelled"] else "validation"


def read_run(folder: Path, split: str = "test") -> FinishedRun:
    """Read a run that `dferc train`, `evaluate` or `baselines` finished.

    Raises:
        InputError: a file is missing, damaged or from another evaluation than the others, or the split has no label.
    """
    metrics = _read_json(folder / "metrics.json", folder, ("card", "seeds"))
    card = _read_json(folder / "evaluate/protocol.json", folder, ("card", "protocol", "classes", "splits"))
    path = folder / "evaluate/predictions.csv"
    if metrics["card"] != card["card"]:
        raise InputError(
            f"{folder}: metrics.json is of protocol card {metrics['card']}, evaluate/protocol.json of {card['card']}. "
            f"{_mend(folder)}"
        )
    labelled = card["splits"][split]["labelled"]
    if not labelled:
        raise InputError(f"{folder}: the {split} split has no labelled utterance, so there is nothing to compare.")
    modalities, by_seed = _read_predictions(path, split, card["classes"], folder)
    counts = {seed: sum(row["actual_T"] >= 0 for row in rows.values()) for seed, rows in by_seed.items()}
    if set(counts.values()) != {labelled} or len(counts) != metrics["seeds"]:
        raise InputError(
            f"{path}: expected {metrics['seeds']} seed(s) of {labelled} labelled {split} utterances each, found "
            f"{', '.join(f'seed {seed} with {number}' for seed, number in counts.items()) or 'none'}. {_mend(folder)}"
        )
    run = _arrange(by_seed, path, folder=folder, split=split, card=card, modalities=modalities)
    kept, computed = metrics[split]["weighted_f1"], run.scores.weighted_f1.mean()
    if abs(kept - computed) > ROUNDING:
        raise InputError(
            f"{folder}: metrics.json has weighted F1 {kept} on {split}, its predictions give {computed:.6f}: they are "
            f"of two evaluations. {_mend(folder)}"
        )
    return run


def _mend(folder: Path) -> str:
    return f"Score it again: `dferc evaluate` or `dferc baselines` for {folder.name}."


def _read_json(path: Path, folder: Path, keys: tuple[str, ...]) -> dict:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        within = sorted(str(metrics.parent) for metrics in folder.glob("**/metrics.json"))
        hint = f"Runs below it: {', '.join(within)}." if within else _mend(folder)
        raise InputError(f"{path} is missing: {folder} is no finished run. {hint}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no readable JSON ({error}). {_mend(folder)}") from error
    missing = [key for key in keys if not isinstance(values, dict) or key not in values]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}: it is of another version or tool. {_mend(folder)}")
    return values


def _read_predictions(
    path: Path, split: str, classes: list[str], folder: Path
) -> tuple[tuple[str, ...], dict[int, dict[str, dict]]]:
    """Return the modalities with contributions, and seed -> utterance id -> row for a split, in the file's order."""
    if not path.exists():
        raise InputError(f"{path} is missing: {folder} is half-written. {_mend(folder)}")
    number = {emotion: index for index, emotion in enumerate(classes)}
    by_seed: dict[int, dict[str, dict]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            header = reader.fieldnames or ()
            modalities = tuple(name for name in MODALITIES if f"contribution_{name}" in header)
            floats = {"context_weight_ST": "context_weight", "agreement_ST": "agreement"}
            vectors = {
                "probability_STC": [f"p_{name}" for name in classes],
                "contribution_STM": [f"contribution_{name}" for name in modalities],
            }
            missing = {*COLUMNS, *floats.values(), *sum(vectors.values(), [])} - set(header)
            if missing:
                raise InputError(f"no column {', '.join(sorted(missing))}")
            for cells in reader:
                if cells["split"] != split:
                    continue
                row: dict = {f"{name}_T": cells[name] for name in ("utterance_id", "dialogue_id", "speaker")}
                row["actual_T"] = number[cells["emotion"]] if cells["emotion"] else -1
                row["predicted_ST"] = number[cells["predicted"]]
                row |= {name: float(cells[column]) for name, column in floats.items()}
                row |= {name: [float(cells[column]) for column in columns] for name, columns in vectors.items()}
                if by_seed.setdefault(int(cells["seed"]), {}).setdefault(cells["utterance_id"], row) is not row:
                    raise InputError(f"{cells['utterance_id']} is there twice for seed {cells['seed']}")
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            fault = str(error) if isinstance(error, InputError) else f"no row of predictions ({error!r})"
            raise InputError(f"{path}, line {reader.line_num}: {fault}. {_mend(folder)}") from error
    return modalities, dict(sorted(by_seed.items()))


def _arrange(by_seed: Mapping[int, Mapping[str, Mapping]], path: Path, **about) -> FinishedRun:
    first, *others = by_seed.values()
    if any(rows.keys() != first.keys() for rows in others):
        raise InputError(f"{path}: its seeds have different utterances. {_mend(about['folder'])}")

    texts = {name: np.array([row[name] for row in first.values()], dtype=object) for name in ROW_COLUMNS}
    arrays = {
        name: np.array([[rows[utterance][name] for utterance in first] for rows in by_seed.values()])
        for name in SEED_COLUMNS
    }
    texts["actual_T"] = texts["actual_T"].astype(int)
    run = FinishedRun(**about, classes=tuple(about["card"]["classes"]), seeds=tuple(by_seed), **texts, **arrays)
    changes = (run.dialogue_id_T[1:] != run.dialogue_id_T[:-1]).sum()
    if changes + 1 != len(set(run.dialogue_id_T)):
        raise InputError(f"{path}: the utterances of a dialogue are not contiguous. {_mend(run.folder)}")
    return run
