"""Emotions of a corpus, labelled or not, by a model trained on this or another one.

    >>> import dferc
    >>> table = dferc.load("runs/meld/full").predict("features/mine")
    >>> table.to_csv("mine.csv")

A model understands only features that were made as those it was trained on: by the same encoder and face network, with
the same sampling and feature set. Other features are refused; other versions of the same tools are noted. A modality
that the corpus lacks is absent, as it may be in any utterance. N utterances, M modalities, C classes.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dferc.core.device import choose_device
from dferc.core.errors import InputError, did_you_mean
from dferc.core.files import refuse_device, write_atomically
from dferc.core.metrics import Scores, score_labels
from dferc.core.records import differences
from dferc.core.tables import write_csv
from dferc.evaluation.evaluate import Predictions, predict
from dferc.evaluation.files import identify, prediction_columns, with_milliseconds
from dferc.store.card import card_hash, simulations
from dferc.store.hdf5 import read_corpus
from dferc.store.rows import CachedCorpus, Features
from dferc.store.vocabulary import SPLITS
from dferc.training.checkpoint import WEIGHTS, Checkpoint, load_checkpoint
from dferc.training.seeds import find_checkpoints, verify_seeds

_VERSIONED = ("computed_in", "decoder", "extractor")
"""Parts of an identity that name the version of a tool: values differ by rounding, as a rule."""


@dataclass(frozen=True, kw_only=True)
class PredictionTable:
    """Predicted emotions of a corpus, one row per utterance in the corpus' order."""

    corpus: str
    classes: tuple[str, ...]  # those that the model knows
    rows: list[dict[str, object]]
    """By column: utterance_id, dialogue_id, position, speaker, text, emotion (the corpus' own label, or empty),
    predicted, p_<class>, start_s, end_s, media (relative to the raw corpus; these three empty where unknown),
    contribution_<modality>, context_weight, agreement."""
    models: int  # number of models (seeds) whose mean this is
    notes: tuple[str, ...] = ()  # sentences: absent modalities, other versions of tools
    synthetic: tuple[str, ...] = ()  # sentences: synthetic or simulated data that the model was trained on
    card: str = ""  # protocol card of the corpus
    trained_on: str = ""  # protocol card of the model's training
    scores: Scores | None = field(default=None, repr=False)
    """Of the labelled utterances; None where there are none, or where the model has learnt them."""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, object]]:
        return iter(self.rows)

    def __repr__(self) -> str:
        warning = (
            f"; SYNTHETIC DATA: the model was trained on it: {'; '.join(self.synthetic)}" if self.synthetic else ""
        )
        return f"PredictionTable({self.corpus}: {len(self)} utterances, mean of {self.models} model(s){warning})"

    def to_csv(self, path: str | Path) -> None:
        """Write the rows as CSV; floats to 6 significant digits, times to milliseconds."""
        write_csv(Path(path), list(self.rows[0]), map(with_milliseconds, self.rows))

    def to_json(self, path: str | Path) -> None:
        """Write the table as one JSON document: corpus, classes, models, notes, synthetic and rows."""
        names = ("corpus", "classes", "models", "notes", "synthetic", "card", "trained_on", "rows")
        document = {name: getattr(self, name) for name in names}
        text = json.dumps(document, indent=1, ensure_ascii=False, default=lambda number: number.item()) + "\n"
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


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
    """The trained models of a run, one per seed, ready to predict; made by `load`."""

    checkpoints: list[Checkpoint]
    device: torch.device

    def predict(self, features: str | Path | CachedCorpus) -> PredictionTable:
        """Predict the emotion of every utterance of a corpus, or of its folder, as the mean over the seeds."""
        corpus = features if isinstance(features, CachedCorpus) else read_corpus(features)
        record = self.checkpoints[0].record
        for checkpoint in self.checkpoints:
            fitted, notes = fit_to(checkpoint, corpus)
        predictions, utterances = predict_corpus(self.checkpoints, fitted, self.device), corpus.utterances
        columns_of_rows = prediction_columns(utterances, predictions, record)
        rows = [
            identify(utterances, row) | {"text": utterances.text[row]} | columns for row, columns in columns_of_rows
        ]
        return PredictionTable(
            corpus=utterances.corpus,
            classes=tuple(record["classes"]),
            rows=rows,
            models=len(self.checkpoints),
            notes=tuple(notes),
            synthetic=tuple(simulations(record)),
            card=card_hash(utterances),
            trained_on=record["card"],
            scores=score_labelled(record, fitted, predictions),
        )


def load(run: str | Path, seeds: Sequence[int] = (), device: str = "auto") -> Predictor:
    """Load the trained models of a run.

    Args:
        run: runs/<corpus>/<variant>, or the folder of one seed.
        seeds: which seeds; all that are there if empty.
        device: auto (CUDA where there is one), cpu or cuda.
    """
    chosen = choose_device(device, "float32").device
    return Predictor(load_run(find_run(Path(run), seeds), chosen), chosen)


def find_run(run: Path, seeds: Sequence[int] = ()) -> list[Path]:
    """Return the checkpoint folders of runs/<corpus>/<variant> (all seeds, or these), or `run` itself if it is one."""
    if not run.is_dir():
        known = sorted(str(folder.parent) for folder in run.parent.glob("*/train"))
        there = f" Runs beside it: {', '.join(known)}." if known else ""
        raise InputError(
            f"{run} is not there, so it has no trained seed. Expected the folder of a trained variant, such as "
            f"runs/meld/full, or of one seed.{did_you_mean(str(run), known)}{there}"
        )
    if (run / WEIGHTS).exists() and not seeds:
        return [run]
    return find_checkpoints(run / "train" if (run / "train").is_dir() else run, seeds)


def load_run(folders: Sequence[Path], device: torch.device) -> list[Checkpoint]:
    """Load checkpoints that differ in nothing but the seed."""
    checkpoints = [load_checkpoint(folder, device) for folder in folders]
    verify_seeds(checkpoints)
    return checkpoints


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
    for key, trained, found in differences(record["features"][name], dict(features.identity)):
        if key == "rows_hash":  # about the utterances, not about how their values were made
            continue
        # Versions may differ; an extractor's name, which is in front of its version, may not.
        one, two = (value.split()[:1] if isinstance(value, str) else value for value in (trained, found))
        is_fault = key not in _VERSIONED or (key == "extractor" and one != two)
        yield f"{name}, {key}: trained on {trained!r}, found {found!r}", is_fault


def predict_corpus(checkpoints: Sequence[Checkpoint], corpus: CachedCorpus, device: torch.device) -> Predictions:
    """Predict every utterance of a corpus (from `fit_to`) in its order, as the mean over the checkpoints of a run."""
    splits = [split for split in SPLITS if (corpus.utterances.split == split).any()]
    columns_of_models = []
    for checkpoint in checkpoints:
        parts = [predict(checkpoint, corpus, split, device) for split in splits]
        order = np.argsort(np.concatenate([part.rows_N for part in parts]))
        columns_of_models.append([np.concatenate(column)[order] for column in zip(*parts, strict=True)])
    rows_N, *columns = zip(*columns_of_models, strict=True)
    return Predictions(rows_N[0], *(np.mean(column, axis=0) for column in columns))


def score_labelled(record: Mapping, corpus: CachedCorpus, predictions: Predictions) -> Scores | None:
    """Score the labelled utterances of a corpus; None without labels, or with one that the model does not know.

    None also for the corpus of its training: the model has learnt most of it, and `dferc evaluate` scores the rest.
    """
    rows, classes = corpus.utterances, record["classes"]
    labels = {rows.classes[emotion] for emotion in rows.emotion if emotion >= 0}
    if not labels or labels - set(classes) or rows.rows_hash == record["rows_hash"]:
        return None
    # The model's id of each class of the corpus; the last is that of -1, unlabelled.
    ids = np.array([classes.index(name) if name in classes else -1 for name in (*rows.classes, None)])
    actual_N = ids[rows.emotion[predictions.rows_N]]
    return score_labels(actual_N, predictions.probabilities_NC.argmax(axis=1), len(classes))
