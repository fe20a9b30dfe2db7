"""Finished runs, verified and read into arrays: metrics.json and evaluate/ of the folders in runs/<corpus>.

S seeds, T utterances of a split in the corpus' order, C classes, M modalities of the run.
"""

import csv
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from dferc.core.errors import InputError, brief, did_you_mean
from dferc.core.files import MODALITY_NAME, SELECTION, digest, regular_file
from dferc.core.metrics import Scores
from dferc.core.records import Count, Score, StoredRecord, Text, read_record
from dferc.model.variants import VARIANTS, get_variant
from dferc.results.statistics import Counts, count, score_seeds
from dferc.settings.sections import complete_settings
from dferc.store.card import simulated_modalities, simulations
from dferc.store.records import BundleScores, ProtocolRecord, RunCalibration, TrainedRun
from dferc.store.vocabulary import in_order

_CONTRIBUTION = re.compile(f"^contribution_({MODALITY_NAME.strip('^$')})$")

_ERRORS = ("ece", "ece_calibrated", "votes_loss", "votes_loss_calibrated")
CALIBRATION_ERRORS = tuple(f"{name}{spread}" for name in _ERRORS for spread in ("", "_std"))

ROUNDING = 2e-6  # largest rounding error of scores in metrics.json, which have six decimals


class SplitScores(BundleScores):
    """Scores of a split in metrics.json."""

    weighted_f1_std: Score | None = None  # of one seed there is none


class RunMetrics(RunCalibration):
    """Schema of metrics.json; a split without labels has no scores, and neither has a run that is absent."""

    protocol: str
    seeds: Count
    absent: Text | None = None
    validation: SplitScores | None = None
    test: SplitScores | None = None


ROW_COLUMNS = ("utterance_id_T", "dialogue_id_T", "speaker_T", "actual_T")
SEED_COLUMNS = ("predicted_ST", "probability_STC", "contribution_STM", "context_weight_ST", "agreement_ST")


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """Predictions of one variant for one split, from `read_run`: every utterance, dialogues contiguous."""

    folder: Path
    split: str
    card: Mapping  # protocol card: evaluate/protocol.json
    classes: tuple[str, ...]
    modalities: tuple[str, ...]  # modalities with contributions; none for a baseline
    seeds: tuple[int, ...]
    utterance_id_T: np.ndarray
    dialogue_id_T: np.ndarray
    speaker_T: np.ndarray
    actual_T: np.ndarray  # class ids; -1 = unlabelled
    predicted_ST: np.ndarray
    probability_STC: np.ndarray
    contribution_STM: np.ndarray  # 0 = the utterance lacks the modality
    context_weight_ST: np.ndarray  # NaN where the run has none (a baseline)
    agreement_ST: np.ndarray
    calibration_errors: Mapping[str, float] = field(default_factory=dict)
    """Of metrics.json: ece, ece_calibrated and their _std, those that it has."""

    @cached_property
    def record(self) -> Mapping:
        """Record of the first scored seed that is still there: others may lie beside it; {} for a baseline."""
        paths = (self.folder / f"train/seed-{seed}/settings.json" for seed in self.seeds)
        path = next(filter(Path.exists, paths), None)
        return read_record(path, TrainedRun, f"Train {self.folder.name} again.") if path else {}

    @property
    def trained_features(self) -> dict[str, dict]:
        """Identity of each modality's features that the run was trained on; a baseline has them on its card."""
        return self.record.get("features") or dict(self.card.get("features", {}))

    @property
    def trained_settings(self) -> dict[str, object]:
        """The `train` settings but for those that the variant has of its own; {} without a record."""
        if not self.record:  # a trained baseline has those that it read on its card
            return dict(self.card.get("settings", {}))
        own = get_variant(self.record["variant"]).own_settings(self.record["corpus"])
        settings = complete_settings(self.record["settings"])
        return {name: value for name, value in settings.items() if own.get(name) != value}

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
    """Return the split to compare a run on by default: test, or validation where no test utterance has a label."""
    path = folder / "evaluate/protocol.json"
    if not path.exists() or _read_json(path, folder, ProtocolRecord)["splits"]["test"]["labelled"]:
        return "test"  # of a card that is missing, too: reading the run reports that
    return "validation"


def read_run(folder: Path, split: str = "test") -> FinishedRun:
    """Read a run that `dferc train`, `evaluate` or `baselines` finished.

    Raises:
        InputError: a file is missing, damaged, changed or from another evaluation than the others, a seed was trained
            again since, or the split has no label.
    """
    metrics = _read_json(folder / "metrics.json", folder, RunMetrics)
    if absent := metrics.get("absent"):
        raise InputError(f"{folder} is absent, so there is nothing to compare: {absent}.")
    card = _read_json(folder / "evaluate/protocol.json", folder, ProtocolRecord)
    path = folder / "evaluate/predictions.csv"
    if metrics["card"] != card["card"]:
        cards = f"metrics.json is of protocol card {metrics['card']}, evaluate/protocol.json of {card['card']}"
        raise _fault(folder, f"{folder}: {cards}")
    drawn = {"selection": "was trained on it (refit)", "validation_split": "drew one for each seed"}
    if split == "validation" and (why := next((drawn[name] for name in drawn if card.get(name)), "")):
        raise InputError(f"{folder} has no validation split to compare: it {why}. Compare it on test (--split test).")
    labelled = card["splits"][split]["labelled"]
    if not labelled:
        raise InputError(f"{folder}: the {split} split has no labelled utterance, so there is nothing to compare.")
    modalities, by_seed = _read_predictions(path, split, card["classes"], folder)
    counts = {seed: sum(row["actual_T"] >= 0 for row in rows.values()) for seed, rows in by_seed.items()}
    if set(counts.values()) != {labelled} or len(counts) != metrics["seeds"]:
        expected = f"{metrics['seeds']} seed(s) of {labelled} labelled {split} utterances each"
        found = ", ".join(f"seed {seed} with {number}" for seed, number in counts.items()) or "none"
        raise _fault(folder, f"{path}: expected {expected}, found {found}")
    first, *others = by_seed.values()
    if any(rows.keys() != first.keys() for rows in others):
        raise _fault(folder, f"{path}: its seeds have different utterances")
    columns = {name: np.array([row[name] for row in first.values()], dtype=object) for name in ROW_COLUMNS}
    columns["actual_T"] = columns["actual_T"].astype(int)
    for name in SEED_COLUMNS:
        columns[name] = np.array([[rows[utterance][name] for utterance in first] for rows in by_seed.values()])
    errors = {name: value for name, value in (metrics.get(split) or {}).items() if name in CALIBRATION_ERRORS}
    about = {"folder": folder, "split": split, "card": card, "classes": tuple(card["classes"])}
    run = FinishedRun(**about, modalities=modalities, seeds=tuple(by_seed), calibration_errors=errors, **columns)
    changes = (run.dialogue_id_T[1:] != run.dialogue_id_T[:-1]).sum()
    if changes + 1 != len(set(run.dialogue_id_T)):
        raise _fault(folder, f"{path}: the utterances of a dialogue are not contiguous")
    if metrics.get(split) is None:
        raise _fault(folder, f"{folder / 'metrics.json'} has no scores of the {split} split")
    kept, computed = metrics[split]["weighted_f1"], run.scores.weighted_f1.mean()
    if abs(kept - computed) > ROUNDING:
        scores = f"metrics.json has weighted F1 {kept} on {split}, its predictions give {computed:.6f}"
        raise _fault(folder, f"{folder}: {scores}: they are of two evaluations")
    # Older files have no digest. What only it notices: swapped rows, rounded probabilities, an edited card.
    if metrics.get("files", found := digest(folder / "evaluate")) != found:
        raise _fault(folder, f"{path} or protocol.json beside it is not as it was written with metrics.json")
    _verify_trained(folder, metrics)
    return run


def _verify_trained(folder: Path, metrics: Mapping) -> None:
    """Refuse the scores of a seed that was trained again since."""
    for seed, temperature in (metrics.get("temperatures") or {}).items():
        path = folder / f"train/seed-{seed}/settings.json"
        found = read_record(path, TrainedRun, _again(folder)).get("calibration") if path.exists() else None
        if found and found["temperature"] != temperature:
            raise _fault(folder, f"{path}: seed {seed} was trained again after it was scored")


def _fault(folder: Path, fault: str) -> InputError:
    """Return the error of a run that has to be scored again."""
    return InputError(f"{fault}. {_again(folder)}")


def _again(folder: Path) -> str:
    return f"Score it again: `dferc evaluate` or `dferc baselines` for {folder.name}."


def _read_json(path: Path, folder: Path, schema: type[StoredRecord]) -> dict:
    if not path.exists():
        fault = f"{path} is missing: {folder} is no finished run"
        if below := sorted(str(metrics.parent) for metrics in folder.glob("**/metrics.json")):
            raise InputError(f"{fault}. Runs below it: {', '.join(below)}.")
        raise InputError(f"{fault}. {_again(folder)} If its training was interrupted, the same command goes on.")
    return read_record(path, schema, _again(folder))


def _read_predictions(
    path: Path, split: str, classes: list[str], folder: Path
) -> tuple[tuple[str, ...], dict[int, dict[str, dict]]]:
    """Return the modalities with contributions, and seed -> utterance id -> row for a split, in the file's order."""
    if not path.exists():
        raise _fault(folder, f"{path} is missing: {folder} is half-written")
    number = {emotion: index for index, emotion in enumerate(classes)}
    by_seed: dict[int, dict[str, dict]] = {}
    with open(regular_file(path), newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            header = reader.fieldnames or ()
            modalities = in_order(name for column in header for name in _CONTRIBUTION.findall(column))
            texts = {f"{name}_T": name for name in ("utterance_id", "dialogue_id", "speaker")}
            floats = {"context_weight_ST": "context_weight", "agreement_ST": "agreement"}
            vectors = {
                "probability_STC": [f"p_{name}" for name in classes],
                "contribution_STM": [f"contribution_{name}" for name in modalities],
            }
            needed = {"seed", "split", "emotion", "predicted", *texts.values(), *floats.values()}
            if missing := needed.union(*vectors.values()) - set(header):
                raise InputError(f"no column {', '.join(sorted(missing))}")
            if len(set(header)) < len(header):
                raise InputError("two columns have the same name")
            for cells in reader:
                if None in cells:
                    raise InputError("more cells than columns")
                if cells["split"] != split:
                    continue
                row: dict = {name: cells[column] for name, column in texts.items()}
                row["actual_T"] = number[cells["emotion"]] if cells["emotion"] else -1
                row["predicted_ST"] = number[cells["predicted"]]
                row |= {name: float(cells[column]) for name, column in floats.items()}
                row |= {name: [_share(cells[column]) for column in columns] for name, columns in vectors.items()}
                if by_seed.setdefault(int(cells["seed"]), {}).setdefault(cells["utterance_id"], row) is not row:
                    raise InputError(f"{cells['utterance_id']} is there twice for seed {cells['seed']}")
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            fault = str(error) if isinstance(error, InputError) else f"no row of predictions ({brief(error)})"
            raise _fault(folder, f"{path}, line {reader.line_num}: {fault}") from error
    return modalities, dict(sorted(by_seed.items()))


def _share(cell: str) -> float:
    """Return a probability or a contribution; of a contribution, 0 stands for an absent modality."""
    share = float(cell)
    if not 0 <= share <= 1 + ROUNDING:
        raise InputError(f"{brief(cell)} is no share between 0 and 1")
    return share


def read_runs(
    folder: Path, split: str | None, reference: str, only: Collection[str] | None = None
) -> tuple[dict[str, FinishedRun], list[str]]:
    """Read every finished run in runs/<corpus>: variants in the paper's order, then baselines and trials by name.

    Classes are numbered as in the reference, which chooses the split where none is given; where it is absent, the
    first run that is there takes its place. Beside the runs by name, there is a sentence for each that is left out
    because it is absent or not finished.

    Raises:
        InputError: the reference is not there or not finished, or two runs follow different protocols.
    """
    names = [name for name in _run_names(folder) if only is None or name in only]
    if reference not in names:
        if not names:
            raise InputError(f"{folder} has no run yet. `dferc ablate --corpus {folder.name}` makes some.")
        choice = f"{did_you_mean(reference, names)} Choose one of: {', '.join(names)}."
        raise InputError(f"{folder} has no run {reference!r}.{choice}")
    absent = {name: reason for name, reason in absent_runs(folder).items() if name in names}
    runs, notes = {}, [f"{name} is absent: {reason}" for name, reason in absent.items()]
    names = [name for name in names if name not in absent]
    if reference in absent:
        if not names:
            raise InputError(f"{folder}: all runs are absent. {'. '.join(notes)}.")
        notes.append(f"{reference} is absent, so the others are compared with {names[0]}")
        reference = names[0]
    first = read_run(folder / reference, split or choose_split(folder / reference))
    for name in names:
        try:
            run = first if name == reference else read_run(folder / name, first.split)
        except InputError as error:
            notes.append(f"{name} is left out: {error}")
        else:
            runs[name] = align(run, first)
    return runs, notes


def read_metrics(folder: Path) -> tuple[dict[str, dict], list[str]]:
    """Return the metrics.json of every run in runs/<corpus>, in the paper's order, and a sentence for each unusable.

    Beside them is `features`, the identities of those that the run was trained on, where they are known.
    """
    metrics, notes = {}, []
    for name in _run_names(folder):
        fault = "is left out"
        try:
            metrics[name] = _read_json(folder / name / "metrics.json", folder / name, RunMetrics)
            fault = "was trained on features that are not known"
            metrics[name]["features"] = _features_of(folder / name, metrics[name])
            fault = "may have the scores of an earlier training"  # or the record of a seed is damaged
            _verify_trained(folder / name, metrics[name])
        except InputError as error:
            notes.append(f"{name} {fault}: {error}")
    return metrics, notes


def _features_of(folder: Path, metrics: Mapping) -> dict:
    """Return the identities of the features that a run was trained on, by its metrics.json; {} where none are kept."""
    scored = (folder / f"train/seed-{seed}/settings.json" for seed in metrics.get("temperatures") or ())
    path = next(filter(Path.exists, (*scored, folder / "evaluate/protocol.json")), None)  # a baseline's card has them
    return read_record(path, StoredRecord, _again(folder)).get("features", {}) if path else {}


def absent_runs(folder: Path) -> dict[str, str]:
    """Return the runs in runs/<corpus> that cannot exist on its features, in the paper's order, with the reason."""
    return {name: str(of_run["absent"]) for name, of_run in read_metrics(folder)[0].items() if "absent" in of_run}


def reference_of(runs: Mapping[str, FinishedRun], wanted: str) -> FinishedRun:
    """Return the run that `read_runs` compares the others with: the wanted one, or the first where it is absent."""
    return runs[wanted] if wanted in runs else next(iter(runs.values()))


def _run_names(folder: Path) -> list[str]:
    """Return the names of the runs in runs/<corpus>: variants in the paper's order, then others by name.

    Runs with a label, such as `full@wavlm`, follow those without.
    """
    names = [path.name for path in folder.glob("*/") if not path.name.startswith(".")]

    def place(name: str) -> tuple:
        variant = name.partition("@")[0]
        known = list(VARIANTS).index(variant) if variant in VARIANTS else len(VARIANTS)
        return known, known == len(VARIANTS) and not re.match(SELECTION, variant), name

    return sorted(names, key=place)


def align(run: FinishedRun, reference: FinishedRun) -> FinishedRun:
    """Return `run` with its classes numbered as the reference's, since the card's hash leaves their order open.

    Raises:
        InputError: they follow different protocols; the message shows both cards.
    """
    if run.card["card"] != reference.card["card"]:
        raise InputError(
            f"{reference.folder} and {run.folder} follow different protocols; their scores must not be compared:\n"
            f"{_describe(reference)}\n{_describe(run)}\nTrain and score both on the same labels and splits."
        )
    number_C = np.array([reference.classes.index(emotion) for emotion in run.classes])
    return replace(
        run,
        classes=reference.classes,
        actual_T=np.append(number_C, -1)[run.actual_T],  # -1, unlabelled, indexes the last
        predicted_ST=number_C[run.predicted_ST],
        probability_STC=run.probability_STC[..., np.argsort(number_C)],
    )


def _describe(run: FinishedRun) -> str:
    splits = (f"{name} {split['labelled']} in {split['dialogues']}" for name, split in run.card["splits"].items())
    classes = f"classes {', '.join(run.card['classes'])}; labelled utterances in dialogues: {', '.join(splits)}"
    return f"  - {run.folder}: card {run.card['card']}: {run.card['protocol']}; {classes}"


def simulated(runs: Mapping[str, FinishedRun]) -> Iterator[str]:
    """Yield a sentence for the corpus and for each modality that is declared synthetic or simulated."""
    yield from simulations({"protocol": next(iter(runs.values())).card["protocol"]})
    yield from simulated_features(runs)


def simulated_features(runs: Mapping[str, FinishedRun]) -> Iterator[str]:
    """Yield a sentence for each modality that is declared synthetic or simulated."""
    each = (simulated_modalities(run.trained_features) for run in runs.values())
    yield from dict.fromkeys(sentence for sentences in each for sentence in sentences)
