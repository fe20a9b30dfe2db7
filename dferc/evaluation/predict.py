"""Emotions of a corpus, labelled or not, by a model trained on this or another one.

A model understands only features that were made as those it was trained on: by the same encoder and face network, of
the same sampling and feature set. Anything else is refused; other versions of the same tools are told. A modality that
the corpus lacks is absent, as it may be in any utterance. N utterances, M modalities, C classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dferc.core.errors import InputError
from dferc.evaluation.evaluate import (
    Predictions,
    SplitScores,
    find_checkpoints,
    predict,
    score,
    verify_alike,
    verify_seed,
)
from dferc.evaluation.record import numbered
from dferc.store.rows import CachedCorpus, Features
from dferc.store.vocabulary import SPLITS
from dferc.training.checkpoint import WEIGHTS, Checkpoint, differences, load_checkpoint

_OF_THE_ROWS = "rows_hash"
"""The one part of an identity that is about the utterances, not about how their values were made."""

_VERSIONED = ("computed_in", "decoder", "extractor")
"""Parts of an identity that say which version of a tool it was: values differ by rounding, as a rule."""


def find_run(run: Path, seeds: Sequence[int] = ()) -> list[Path]:
    """The checkpoints of runs/<corpus>/<variant> (all seeds, or these), or the one that `run` itself is.

    Raises:
        InputError: there is none.
    """
    if (run / WEIGHTS).exists() and not seeds:
        return [run]
    return find_checkpoints(run / "train" if (run / "train").is_dir() else run, seeds)


def load_run(folders: Sequence[Path], device: torch.device) -> list[Checkpoint]:
    """Load checkpoints that differ in nothing but the seed.

    Raises:
        InputError: one is unreadable or in the folder of another seed, or they differ in more.
    """
    checkpoints = [load_checkpoint(folder, device) for folder in folders]
    for checkpoint in checkpoints:
        verify_seed(checkpoint)
    verify_alike(checkpoints)
    return checkpoints


def fit_to(checkpoint: Checkpoint, corpus: CachedCorpus) -> tuple[CachedCorpus, list[str]]:
    """The corpus with all modalities that a checkpoint needs, and what of them is not quite as in its training.

    Raises:
        InputError: features that were made otherwise than those of the training, each difference with both sides; or
            none of the modalities that the model knows.
    """
    modalities, notes, faults = dict(corpus.modalities), [], []
    for name in checkpoint.modalities:
        made = corpus.modalities.get(name)
        if made is None or not made.present.any():
            modalities[name] = _absent(corpus, name, checkpoint.record["widths"][name])
            notes.append(f"{name}: absent throughout")
            continue
        hard, soft = _compare(checkpoint.record, made)
        faults += hard
        notes += soft
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


def _compare(record: Mapping, made: Features) -> tuple[list[str], list[str]]:
    """How one modality differs from that of the training: what forbids a prediction, and what is to be told."""
    faults, notes = [], []
    width = record["widths"][made.modality]
    if made.width != width:
        faults.append(f"{made.modality}, width: trained on {width}, found {made.width}")
    for key, one, two in differences(record["features"][made.modality], dict(made.identity)):
        said = f"{made.modality}, {key}: trained on {one!r}, found {two!r}"
        if key in _VERSIONED and _tool(key, one) == _tool(key, two):
            notes.append(said)
        elif key != _OF_THE_ROWS:
            faults.append(said)
    return faults, notes


def _tool(key: str, value: object) -> object:
    """What must be the same of a versioned part: an extractor's name, and nothing of the others."""
    if key != "extractor":
        return None
    return value.split()[0] if isinstance(value, str) and value else value


def _absent(corpus: CachedCorpus, modality: str, width: int) -> Features:
    """A modality that no utterance has."""
    rows = corpus.utterances
    return Features(
        modality=modality,
        corpus=rows.corpus,
        features=np.zeros((len(rows), width), np.float32),
        present=np.zeros(len(rows), bool),
        utterance_id=rows.utterance_id,
        identity={},
    )


def predict_corpus(checkpoints: Sequence[Checkpoint], corpus: CachedCorpus, device: torch.device) -> Predictions:
    """Mean over the checkpoints of what each says of every utterance, in the corpus' order.

    Args:
        checkpoints: of one run.
        corpus: from `fit_to`.
        device: of the checkpoints.
    """
    splits = [split for split in SPLITS if (corpus.utterances.split == split).any()]
    of_each = []
    for checkpoint in checkpoints:
        parts = [predict(checkpoint, corpus, split, device) for split in splits]
        order = np.argsort(np.concatenate([part.rows_N for part in parts]))
        of_each.append([np.concatenate(column)[order] for column in zip(*parts, strict=True)])
    rows_N, *columns = zip(*of_each, strict=True)
    return Predictions(rows_N[0], *(np.mean(column, axis=0) for column in columns))


def prediction_rows(checkpoint: Checkpoint, corpus: CachedCorpus, made: Predictions) -> Iterator[dict]:
    """The rows of predictions.csv; `emotion` is the corpus' own label, or empty."""
    rows, classes = corpus.utterances, checkpoint.record["classes"]
    for at, row in enumerate(made.rows_N):
        yield {
            **{
                name: getattr(rows, name)[row]
                for name in ("utterance_id", "dialogue_id", "position", "speaker", "text")
            },
            "emotion": rows.classes[rows.emotion[row]] if rows.emotion[row] >= 0 else "",
            "predicted": classes[made.probabilities_NC[at].argmax()],
            **numbered("p", classes, made.probabilities_NC[at]),
            **numbered("contribution", checkpoint.modalities, made.contribution_NM[at]),
            "context_weight": float(made.context_weight_N[at]),
            "agreement": float(made.agreement_N[at]),
        }


def score_labelled(checkpoint: Checkpoint, corpus: CachedCorpus, made: Predictions) -> SplitScores | None:
    """Scores on the labelled utterances of a corpus that the model was not trained on.

    Returns:
        None where there is no label, a label that the model does not know, or the corpus is that of its training (most
        of which it has learnt: `dferc evaluate` scores the rest).
    """
    rows, classes = corpus.utterances, checkpoint.record["classes"]
    here = {rows.classes[emotion] for emotion in rows.emotion if emotion >= 0}
    if not here or here - set(classes) or rows.rows_hash == checkpoint.record["rows_hash"]:
        return None
    ids = np.array(
        [classes.index(name) if name in classes else -1 for name in (*rows.classes, None)]
    )  # last: unlabelled
    return score(ids[rows.emotion[made.rows_N]], made.probabilities_NC.argmax(axis=1), len(classes))
