"""Finished runs, verified and read into arrays: metrics.json and evaluate/ of runs/<corpus>/<variant>.

S seeds, T utterances of a split in the corpus' order, N labelled utterances by id, C classes, M modalities of the run.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from dferc.core.errors import InputError
from dferc.results.statistics import Counts, Scores, count, score_seeds
from dferc.store.vocabulary import MODALITIES

COLUMNS = ("seed", "utterance_id", "dialogue_id", "speaker", "split", "emotion", "predicted")

ROUNDING = 2e-6
"""Largest rounding error of scores in metrics.json, which have six decimals."""


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """Predictions of one variant for one split, from `read_run`.

    Arrays over T have every utterance, dialogues contiguous. Those over N are views of the labelled ones, in the order
    of their ids: runs of one protocol may have their dialogues in different orders.
    """

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

    @property
    def labelled_T(self) -> np.ndarray:
        """Mask of the labelled utterances."""
        return self.actual_T >= 0

    @cached_property
    def dialogue_T(self) -> np.ndarray:
        """Numbers of the dialogues from 0, rising."""
        return np.cumsum(np.r_[False, self.dialogue_id_T[1:] != self.dialogue_id_T[:-1]])

    @property
    def length_T(self) -> np.ndarray:
        """Number of utterances in the dialogue."""
        return np.bincount(self.dialogue_T)[self.dialogue_T]

    @property
    def place_T(self) -> np.ndarray:
        """Place in the dialogue from 1; unlabelled utterances count."""
        starts = np.flatnonzero(np.r_[True, np.diff(self.dialogue_T) > 0])
        return np.arange(len(self.dialogue_T)) - starts[self.dialogue_T] + 1

    @cached_property
    def rows_N(self) -> np.ndarray:
        """Rows of T that are labelled, in the order of utterance ids."""
        labelled = np.flatnonzero(self.labelled_T)
        return labelled[np.argsort(self.utterance_id_T[labelled])]

    @property
    def actual_N(self) -> np.ndarray:
        """Class ids."""
        return self.actual_T[self.rows_N]

    @property
    def predicted_SN(self) -> np.ndarray:
        """Predicted class ids."""
        return self.predicted_ST[:, self.rows_N]

    @cached_property
    def dialogue_N(self) -> np.ndarray:
        """Numbers of the dialogues from 0, in the order of dialogue ids."""
        return np.unique(self.dialogue_id_T[self.rows_N], return_inverse=True)[1]

    @cached_property
    def counts(self) -> Counts:
        """Counts by dialogue."""
        return count(self.actual_N, self.predicted_SN, self.dialogue_N, len(self.classes))

    @cached_property
    def scores(self) -> Scores:
        """Scores per seed."""
        return score_seeds(self.counts)

    @property
    def dialogues(self) -> int:
        """Number of dialogues with a labelled utterance."""
        return int(self.dialogue_N.max()) + 1

    @property
    def support_C(self) -> np.ndarray:
        """Labelled utterances of each class."""
        return self.counts.actual_DC.sum(axis=0)

    @property
    def together_N(self) -> np.ndarray:
        """Class that the seeds choose together, by the highest mean probability."""
        return self.probability_STC[:, self.rows_N].mean(axis=0).argmax(axis=1)

    def only(self, seeds: tuple[int, ...]) -> "FinishedRun":
        """Return the run with these of its seeds."""
        index = [self.seeds.index(seed) for seed in seeds]
        names = ("predicted_ST", "probability_STC", "contribution_STM", "context_weight_ST", "agreement_ST")
        return replace(self, seeds=seeds, **{name: getattr(self, name)[index] for name in names})


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
    counts = {seed: sum(row["actual"] >= 0 for row in rows.values()) for seed, rows in by_seed.items()}
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
            floats = {
                "probability": [f"p_{name}" for name in classes],
                "contribution": [f"contribution_{name}" for name in modalities],
                "weights": ["context_weight", "agreement"],
            }
            missing = {*COLUMNS, *sum(floats.values(), [])} - set(header)
            if missing:
                raise InputError(f"no column {', '.join(sorted(missing))}")
            for cells in reader:
                if cells["split"] != split:
                    continue
                row = {name: [float(cells[column]) for column in columns] for name, columns in floats.items()}
                row |= {"dialogue": cells["dialogue_id"], "speaker": cells["speaker"]}
                row["actual"] = number[cells["emotion"]] if cells["emotion"] else -1
                row["predicted"] = number[cells["predicted"]]
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

    def of_utterances(name: str) -> list:
        return [row[name] for row in first.values()]

    def of_seeds(name: str) -> np.ndarray:
        return np.array([[rows[utterance][name] for utterance in first] for rows in by_seed.values()])

    weights_ST2 = of_seeds("weights")
    run = FinishedRun(
        **about,
        classes=tuple(about["card"]["classes"]),
        seeds=tuple(by_seed),
        utterance_id_T=np.array(list(first), dtype=object),
        dialogue_id_T=np.array(of_utterances("dialogue"), dtype=object),
        speaker_T=np.array(of_utterances("speaker"), dtype=object),
        actual_T=np.array(of_utterances("actual")),
        predicted_ST=of_seeds("predicted"),
        probability_STC=of_seeds("probability"),
        contribution_STM=of_seeds("contribution"),
        context_weight_ST=weights_ST2[..., 0],
        agreement_ST=weights_ST2[..., 1],
    )
    if run.dialogue_T[-1] + 1 != len(set(run.dialogue_id_T)):
        raise InputError(f"{path}: the utterances of a dialogue are not contiguous. {_mend(run.folder)}")
    return run
