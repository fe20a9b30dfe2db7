"""Emotions of a corpus, labelled or not, by a model trained on this or another one.

    >>> import dferc
    >>> table = dferc.load("runs/meld/full").predict("features/mine")
    >>> table.to_csv("mine.csv")

A model understands only features that were made as those it was trained on: by the same encoder and face network, with
the same sampling and feature set. Other features are refused; other versions of the same tools are noted. A modality
that the corpus lacks is absent, as it may be in any utterance.

Probabilities are calibrated: softmax(logits / T) with the temperature T of each seed, fitted on its validation split.
No T changes the class that one seed chooses. The mean over seeds may choose another class than it would without: seeds
that are too sure weigh less in it. The mean over all seeds of a run has one more temperature, fitted by `evaluate`,
which changes no choice. S seeds, N utterances, M modalities, C classes.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dferc.core.device import choose_device
from dferc.core.errors import InputError, counted, did_you_mean, listed
from dferc.core.files import refuse_device, write_text
from dferc.core.metrics import Scores, score_labels
from dferc.core.records import differences, read_record
from dferc.core.tables import write_csv
from dferc.evaluation.evaluate import Predictions, predict
from dferc.evaluation.files import identify, prediction_columns, with_milliseconds
from dferc.model.calibration import temper
from dferc.store.bundle import AGAIN, MANIFEST, is_bundle, is_hub_id, open_bundle, refuse_revision
from dferc.store.card import card_hash, simulations
from dferc.store.hdf5 import find_sets, read_corpus
from dferc.store.records import BundleManifest, RunCalibration
from dferc.store.rows import OF_ROWS, CachedCorpus, Features, by_set
from dferc.store.vocabulary import SPLITS
from dferc.training.checkpoint import WEIGHTS, Checkpoint, load_checkpoint
from dferc.training.data import describe_transduction
from dferc.training.seeds import find_checkpoints, verify_seeds

_VERSIONED = (
    *("computed_in", "decoder", "extractor", "finder.opencv", "runtime"),
    # of `dferc import`: whether another file was made alike, none knows
    *("file", "file_git_blob", "file_sha256", "known_as", "version"),
)
"""Parts of an identity that name a tool or its version: values differ by rounding, as a rule."""

_FILES = {"params.encoder": "model", "params.feature_set": "model", "params.finder": "finder.yunet"}
"""Settings that may be the path of a file or a folder, and where the identity has the hash of that file."""


@dataclass(frozen=True, kw_only=True)
class PredictionTable:
    """Predicted emotions of a corpus, one row per utterance in the corpus' order."""

    corpus: str
    classes: tuple[str, ...]  # those that the model knows
    rows: list[dict[str, object]]
    """By column: utterance_id, dialogue_id, position, speaker, text, emotion (the corpus' own label, or empty),
    predicted (empty = undecided, see `undecided`), p_<class>, start_s, end_s, media (relative to the raw corpus; these
    three empty where unknown), contribution_<modality>, context_weight, agreement, disagreement (standard deviation
    over the seeds of the probability of the most probable class; empty for one seed), synthetic (`yes` or empty:
    whether the model was trained on synthetic data)."""
    models: int  # number of models (seeds) whose mean this is
    abstain: float = 0.0  # least probability of a prediction; rows below it are undecided
    temperatures: tuple[float, ...] = ()  # one per model; 1 = as the model gives its probabilities
    temperature_of_mean: float = 1.0  # of the mean over the models; 1 = the mean as it is
    notes: tuple[str, ...] = ()  # sentences: absent modalities, other versions of tools
    synthetic: tuple[str, ...] = ()  # sentences: synthetic or simulated data that the model was trained on
    card: str = ""  # protocol card of the corpus
    trained_on: str = ""  # protocol card of the model's training
    scores: Scores | None = field(default=None, repr=False)
    """Of the labelled utterances; None where there are none, or where the model has learnt them."""

    @property
    def undecided(self) -> int:
        """Number of rows whose highest probability is below `abstain`."""
        return sum(not row["predicted"] for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, object]]:
        return iter(self.rows)

    def __repr__(self) -> str:
        synthetic = "; ".join(self.synthetic)
        warning = f"; SYNTHETIC DATA: the model was trained on it: {synthetic}" if synthetic else ""
        sizes = f"{counted(len(self), 'utterance')}, mean of {counted(self.models, 'model')}"
        return f"PredictionTable({self.corpus}: {sizes}{warning})"

    def to_csv(self, path: str | Path) -> None:
        """Write the rows as CSV; floats to 6 significant digits, times to milliseconds."""
        write_csv(Path(path), list(self.rows[0]), map(with_milliseconds, self.rows))

    def to_json(self, path: str | Path) -> None:
        """Write the table as one JSON document: what it is of, notes, synthetic, and rows."""
        names = ("corpus", "classes", "models", "abstain", "temperatures", "temperature_of_mean", "notes", "synthetic")
        names += ("card", "trained_on", "rows")
        document = {name: getattr(self, name) for name in names}
        text = json.dumps(document, indent=1, ensure_ascii=False, default=lambda number: number.item())
        write_text(path, text + "\n")


def writer_of(path: str | Path) -> Callable[[PredictionTable, str | Path], None]:
    """Return the writer of a table for the suffix of a file.

    Raises:
        InputError: there is none, or the path is no place for a file.
    """
    refuse_device(path)
    writers = {".csv": PredictionTable.to_csv, ".json": PredictionTable.to_json}
    writer = writers.get(Path(path).suffix.lower())
    if writer is None:
        raise InputError(f"{path}: expected a name that ends in {' or '.join(writers)}, which chooses the format.")
    return writer


class Predictor(NamedTuple):
    """The trained models of a run, one per seed, ready to predict; made by `load` or `load_predictor`."""

    checkpoints: list[Checkpoint]
    device: torch.device
    temperature_of_mean: float | None = None  # None = no temperature is fitted to the mean over these seeds

    def predict(self, features: str | Path | CachedCorpus, abstain: float = 0.0) -> PredictionTable:
        """Predict the emotion of every utterance of a corpus, as the mean over the seeds.

        Args:
            features: the corpus, or its folder.
            abstain: probability from 0 to 1; utterances whose highest probability is below it stay undecided.
        """
        verify_share(abstain, "abstain")
        record = self.checkpoints[0].record
        corpus = features if isinstance(features, CachedCorpus) else _read_for(record, Path(features))
        for checkpoint in self.checkpoints:
            fitted, notes = fit_to(checkpoint, corpus)
        interrupted = (one.record["seed"] for one in self.checkpoints if not one.record["finished"])
        notes += (f"seed {seed} is of an interrupted training" for seed in interrupted)
        notes += self.describe_calibration()
        notes += filter(None, [describe_transduction(record["settings"])])
        utterances, synthetic = corpus.utterances, tuple(simulations(record))
        of_seeds = predict_seeds(self.checkpoints, fitted, self.device)
        predictions, disagreement_N = average(of_seeds), disagreement(of_seeds)
        scores = score_labelled(record, fitted, predictions)
        labels = {utterances.classes[emotion] for emotion in utterances.emotion if emotion >= 0}
        if unknown := [name for name in utterances.classes if name in labels - set(record["classes"])]:
            notes.append(f"not scored: the labels {listed(unknown)} are no classes of the model")
        if scores and utterances.corpus == record["corpus"]:  # a part of it, or other splits: no record has its ids
            notes.append(f"the model learnt from {utterances.corpus}: scores are too high if it saw these utterances")
        of_mean = self.temperature_of_mean or 1.0
        predictions = predictions._replace(probabilities_NC=temper(predictions.probabilities_NC, of_mean))
        rows = []
        for number, (row, columns) in enumerate(prediction_columns(utterances, predictions, record)):
            spread = "" if disagreement_N is None else float(disagreement_N[number])
            rows.append(identify(utterances, row) | {"text": utterances.text[row]} | columns)
            rows[-1] |= {"disagreement": spread, "synthetic": "yes" if synthetic else ""}
            if predictions.probabilities_NC[number].max() < abstain:
                rows[-1]["predicted"] = ""
        return PredictionTable(
            corpus=utterances.corpus,
            classes=tuple(record["classes"]),
            rows=rows,
            models=len(self.checkpoints),
            abstain=abstain,
            temperatures=tuple(checkpoint.temperature for checkpoint in self.checkpoints),
            temperature_of_mean=of_mean,
            notes=tuple(notes),
            synthetic=synthetic,
            card=card_hash(utterances),
            trained_on=record["card"],
            scores=scores,
        )

    def describe_calibration(self) -> Iterator[str]:
        """Yield a sentence on the checkpoints that have no temperature, or on a mean that has none."""
        bare = [str(one.record["seed"]) for one in self.checkpoints if "calibration" not in one.record]
        if bare:
            yield (
                f"no temperature is stored with the checkpoint of seed {', '.join(bare)} (an older version trained it, "
                "or its settings.json is not there): its probabilities are as the model gives them"
            )
        elif len(self.checkpoints) > 1 and self.temperature_of_mean is None:
            how = why_no_mean_temperature(self.checkpoints[0].record["settings"])
            yield f"no temperature is fitted to the mean over these seeds: it may be less sure than it is right ({how})"


def why_no_mean_temperature(settings: Mapping) -> str:
    """Return why the mean over the seeds of a run by these `train` settings has no temperature, or how it gets one."""
    if settings.get("selection") == "refit":
        return "they learnt the validation split"
    if settings.get("validation_split") == "by_seed":
        return "each has a validation split of its own"
    return "`dferc evaluate` fits one for all seeds of a run"


def verify_share(value: float, name: str) -> None:
    """Refuse what is no probability: 50 would leave every utterance undecided."""
    if not 0 <= value <= 1:
        raise InputError(f"{name} is {value!r}; expected a probability, 0 to 1.")


def load(run: str | Path, seeds: Sequence[int] = (), device: str = "auto", revision: str | None = None) -> Predictor:
    """Load the trained models of a run or of a bundle.

    Args:
        run: runs/<corpus>/<variant>, or the folder of one seed; or a bundle: folder, .zip or `owner/name` of the hub.
        seeds: which seeds; all that are there if empty.
        device: auto (CUDA where there is one), cpu or cuda.
        revision: of a bundle of the hub.
    """
    return load_predictor(find_run(run, seeds, revision), choose_device(device, "float32").device)


def load_predictor(folders: Sequence[Path], device: torch.device) -> Predictor:
    """Load the checkpoints of a run or bundle, and the temperature of the mean over them where one is fitted.

    That is where the seeds are all those of the run's last evaluation, and have the temperatures that they had then.
    """
    checkpoints = load_run(folders, device)
    home = Path(folders[0]).absolute().parents[1]
    if (home / MANIFEST).exists():
        manifest = read_record(home / MANIFEST, BundleManifest, AGAIN)
        seeds, of_mean = manifest["seeds"], manifest.get("calibration_of_mean")
        fits = seeds == [each.record["seed"] for each in checkpoints]
    elif (home / "metrics.json").exists():
        scored = read_record(home / "metrics.json", RunCalibration, "Score it again: `dferc evaluate`.")
        fitted = {str(each.record["seed"]): each.temperature for each in checkpoints}
        fits = (scored.get("temperatures"), scored["card"]) == (fitted, checkpoints[0].record["card"])
        of_mean = scored.get("mean")
    else:
        fits, of_mean = False, None
    return Predictor(checkpoints, device, of_mean["temperature"] if fits and of_mean else None)


def find_run(run: str | Path, seeds: Sequence[int] = (), revision: str | None = None) -> list[Path]:
    """Return the checkpoint folders of a run or a bundle (all seeds, or these), or `run` itself if it is one."""
    refuse_revision(run, revision)
    if is_bundle(run) or is_hub_id(run):
        bundle = open_bundle(run, revision)
        if unknown := sorted(set(seeds) - set(bundle.manifest.seeds)):
            known = ", ".join(map(str, bundle.manifest.seeds))
            raise InputError(f"{run} has no seed {', '.join(map(str, unknown))}. Choose among {known}.")
        return [head for head in bundle.heads if not seeds or head.name in {f"seed-{seed}" for seed in seeds}]
    run = Path(run)
    if not run.is_dir():
        known = sorted(str(folder.parent) for folder in run.parent.glob("*/train"))
        there = f" Runs beside it: {', '.join(known)}." if known else ""
        raise InputError(
            f"{run} is not there, so it has no trained seed. Expected the folder of a trained variant, such as "
            f"runs/meld/full, or of one seed, or a bundle.{did_you_mean(str(run), known)}{there}"
        )
    if (run / WEIGHTS).exists() and not seeds:
        return [run]
    if not (run / "train").is_dir() and (run / "metrics.json").is_file():
        raise InputError(
            f"{run} keeps predictions and no model: it is a baseline, or was copied without `train`. Name a variant of "
            "DF-ERC, such as full."
        )
    return find_checkpoints(run / "train" if (run / "train").is_dir() else run, seeds)


def load_run(folders: Sequence[Path], device: torch.device) -> list[Checkpoint]:
    """Load checkpoints that differ in nothing but the seed."""
    checkpoints = [load_checkpoint(folder, device) for folder in folders]
    verify_seeds(checkpoints)
    return checkpoints


def _read_for(record: Mapping, folder: Path) -> CachedCorpus:
    """Read the feature sets of a training from the folder of any corpus, and nothing else.

    One that is not there is taken from the modality's first or only set: whether that was made alike, `fit_to` decides.
    """
    there, chosen = find_sets(folder), record["settings"]["features"]
    known = Counter(name.partition("/")[0] for name in there)
    sets = dict.fromkeys(known.keys() - set(record["widths"]), [])
    for modality in record["widths"]:
        names = chosen.get(modality, [modality])
        first = names[0].partition("/")[0]
        sets[modality] = [first] if len(names) == 1 and names[0] not in there and first in there else names
        if not set(sets[modality]) & set(there):
            sets[modality] = [modality] * (modality in there or known[modality] == 1)  # none: absent throughout
    if not any(sets.values()):
        return read_corpus(folder)  # `fit_to` reports it
    return read_corpus(folder, sets={name: names for name, names in sets.items() if names != [name]})


def fit_to(checkpoint: Checkpoint, corpus: CachedCorpus) -> tuple[CachedCorpus, list[str]]:
    """Return the corpus with all modalities that a checkpoint needs, and notes on how they differ from its training."""
    modalities, notes, faults = dict(corpus.modalities), [], []
    for name in checkpoint.modalities:
        features = corpus.modalities.get(name)
        if features is None or not features.present.any():
            rows, width = corpus.utterances, checkpoint.record["widths"][name]
            modalities[name] = Features(
                modality=name,
                corpus=rows.corpus,
                features=np.zeros((len(rows), width), np.float32),
                present=np.zeros(len(rows), bool),
                utterance_id=rows.utterance_id,
                identity={},
            )
            notes.append(f"{name}: absent throughout")
            continue
        for difference, is_fault in _compare(checkpoint.record, features):
            (faults if is_fault else notes).append(difference)
    if faults:
        raise InputError(
            f"{checkpoint.folder} was trained on features made otherwise than those of {corpus.utterances.corpus}:\n"
            + "\n".join(f"  - {fault}" for fault in faults)
            + "\nExtract them with that model's encoder (extract_text --encoder), face network (extract_visual --face) "
            "and extract_* settings: docs/own-data.md."
        )
    if not any(modalities[name].present.any() for name in checkpoint.modalities):
        raise InputError(
            f"{corpus.utterances.corpus} has none of the modalities that {checkpoint.folder} was trained with: "
            f"{', '.join(checkpoint.modalities)}."
        )
    return replace(corpus, modalities=modalities), notes


def _compare(record: Mapping, features: Features) -> Iterator[tuple[str, bool]]:
    """Yield how one modality differs from that of the training, and whether this forbids a prediction."""
    name, width = features.modality, record["widths"][features.modality]
    if features.width != width:
        yield f"{name}, width: trained on {width}, found {features.width}", True
    trained, found = (by_set(name, identity) for identity in (record["features"][name], features.identity))
    if len(trained) != len(found):
        yield f"{name}: trained on {' + '.join(trained)}, found {' + '.join(found)}", True
        return
    for (one, trained_by), found_by in zip(trained.items(), found.values(), strict=True):
        yield from _compare_identities(one, trained_by, found_by)


def _compare_identities(name: str, trained_by: Mapping, found_by: Mapping) -> Iterator[tuple[str, bool]]:
    differing = {key: values for key, *values in differences(trained_by, dict(found_by))}
    for key, (trained, found) in differing.items():
        if key in OF_ROWS or (key == "tokenizer" and None in (trained, found)):  # older features do not name theirs
            continue
        if key in _FILES and _FILES[key] not in differing and _is_there(found_by, _FILES[key]):
            continue  # the same file at another path
        # Versions may differ; an extractor's name, which is in front of its version, may not.
        one, two = (value.split()[:1] if isinstance(value, str) else value for value in (trained, found))
        is_fault = key not in _VERSIONED or (key == "extractor" and one != two)
        yield f"{name}, {key}: trained on {trained!r}, found {found!r}", is_fault


def _is_there(identity: Mapping, path: str) -> bool:
    """Return whether an identity has a value at a dotted path."""
    value: object = identity
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value is not None


def predict_seeds(checkpoints: Sequence[Checkpoint], corpus: CachedCorpus, device: torch.device) -> list[Predictions]:
    """Predict every utterance of a corpus (from `fit_to`) in its order, with each checkpoint of a run, calibrated."""
    splits = [split for split in SPLITS if (corpus.utterances.split == split).any()]
    of_seeds = []
    for checkpoint in checkpoints:
        parts = [predict(checkpoint, corpus, split, device) for split in splits]
        order = np.argsort(np.concatenate([part.rows_N for part in parts]))
        whole = Predictions(*(np.concatenate(column)[order] for column in zip(*parts, strict=True)))
        of_seeds.append(whole._replace(probabilities_NC=temper(whole.probabilities_NC, checkpoint.temperature)))
    return of_seeds


def average(of_seeds: Sequence[Predictions]) -> Predictions:
    """Return the mean over the seeds of one corpus."""
    rows_N, *columns = zip(*of_seeds, strict=True)
    return Predictions(rows_N[0], *(np.mean(column, axis=0) for column in columns))


def disagreement(of_seeds: Sequence[Predictions]) -> np.ndarray | None:
    """Return the standard deviation [N] over seeds of the probability of the most probable class; None for one seed."""
    if len(of_seeds) < 2:
        return None
    probabilities_SNC = np.stack([predictions.probabilities_NC for predictions in of_seeds])
    chosen_N = probabilities_SNC.mean(axis=0).argmax(axis=1)
    chosen_SN = np.take_along_axis(probabilities_SNC, chosen_N[None, :, None], axis=2)[:, :, 0]
    return chosen_SN.std(axis=0, ddof=1)


def score_labelled(record: Mapping, corpus: CachedCorpus, predictions: Predictions) -> Scores | None:
    """Score the labelled utterances of a corpus; None without labels, or with one that the model does not know.

    None also for the corpus of its training: the model has learnt most of it, and `dferc evaluate` scores the rest.
    """
    rows, classes = corpus.utterances, record["classes"]
    labels = {rows.classes[emotion] for emotion in rows.emotion if emotion >= 0}
    learnt = rows.rows_hash == record["rows_hash"] or card_hash(rows) == record["card"]  # dialogues in another order
    if not labels or labels - set(classes) or learnt:
        return None
    # The model's id of each class of the corpus; the last is that of -1, unlabelled.
    ids = np.array([classes.index(name) if name in classes else -1 for name in (*rows.classes, None)])
    actual_N = ids[rows.emotion[predictions.rows_N]]
    return score_labels(actual_N, predictions.probabilities_NC.argmax(axis=1), len(classes))
