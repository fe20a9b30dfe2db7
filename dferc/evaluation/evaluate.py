"""Score saved checkpoints: validation and test, once each, by the model that validation chose.

No epoch is ever chosen by its test score. The forward pass is float32, also on CUDA. N utterances, C classes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from dferc.core.device import cpu_threads
from dferc.core.errors import InputError
from dferc.store.rows import CachedCorpus
from dferc.training.checkpoint import Checkpoint, differences, load_checkpoint, verify_corpus
from dferc.training.data import Dialogues

SCORED = ("validation", "test")
SEED = "seed-"
"""What the folder of a seed is called, before its number."""
BATCH_DIALOGUES = 32
"""Composition of a batch does not change an utterance's logits, so this is about speed only."""


class Predictions(NamedTuple):
    """What one model says of one split, row-aligned with `rows_N` (indices into the corpus' utterances)."""

    rows_N: np.ndarray
    probabilities_NC: np.ndarray
    contribution_NM: np.ndarray
    context_weight_N: np.ndarray
    agreement_N: np.ndarray


class SplitScores(NamedTuple):
    """Scores of one model on the labelled utterances of one split; arrays have one entry per class."""

    accuracy: float
    weighted_f1: float
    macro_f1: float
    """Mean over the classes that occur in the split."""
    precision_C: np.ndarray
    recall_C: np.ndarray
    f1_C: np.ndarray
    support_C: np.ndarray
    confusion_CC: np.ndarray
    """Rows: actual; columns: predicted."""


class Evaluation(NamedTuple):
    """One seed: its checkpoint, and predictions and scores by split; a split without labels has no scores."""

    checkpoint: Checkpoint
    predictions: dict[str, Predictions]
    scores: dict[str, SplitScores]


def find_checkpoints(folder: Path, seeds: Sequence[int] = ()) -> list[Path]:
    """The checkpoint folders of these seeds, or of every seed that is there, by number.

    Raises:
        InputError: there is none.
    """
    if seeds:
        return [folder / f"{SEED}{seed}" for seed in seeds]
    found = [path for path in folder.glob(f"{SEED}*") if path.name.removeprefix(SEED).isdigit()]
    if not found:
        raise InputError(f"{folder} has no trained seed (seed-<s>/model.safetensors). Train first: `dferc train`.")
    return sorted(found, key=lambda path: int(path.name.removeprefix(SEED)))


def evaluate(corpus: CachedCorpus, folders: Sequence[Path], device: torch.device) -> list[Evaluation]:
    """Evaluate one checkpoint per folder.

    Raises:
        InputError: a checkpoint is unreadable, was trained on other features or with another seed than its folder
            says, or differs from the others by more than its seed.
    """
    checkpoints = [load_checkpoint(folder, device) for folder in folders]
    for checkpoint in checkpoints:
        verify_corpus(checkpoint, corpus)
        verify_seed(checkpoint)
    verify_alike(checkpoints)
    return [_evaluate_one(checkpoint, corpus, device) for checkpoint in checkpoints]


def verify_seed(checkpoint: Checkpoint) -> None:
    """A checkpoint copied over another seed's would count twice in the mean.

    Raises:
        InputError: its folder names another seed than its record.
    """
    folder, seed = checkpoint.folder, checkpoint.record["seed"]
    if folder.name.startswith(SEED) and folder.name != f"{SEED}{seed}":
        raise InputError(
            f"{folder} holds a checkpoint of seed {seed}: was it copied there? Move it to {SEED}{seed}, or train this "
            "seed again."
        )


def verify_alike(checkpoints: Sequence[Checkpoint]) -> None:
    """A mean over seeds means something only if nothing but the seed differs.

    Raises:
        InputError: more does.
    """
    first = checkpoints[0]
    for other in checkpoints[1:]:
        pair = (
            {key: each.record[key] for key in ("variant", "settings", "classes", "widths")} for each in (first, other)
        )
        found = [f"{key} = {one!r} and {two!r}" for key, one, two in differences(*pair)]
        if found:
            raise InputError(
                f"{first.folder} and {other.folder} differ in more than the seed: {', '.join(found)}. "
                "Train them alike, or name the seeds to evaluate with --seed."
            )


def _evaluate_one(checkpoint: Checkpoint, corpus: CachedCorpus, device: torch.device) -> Evaluation:
    predictions, scores = {}, {}
    for split in SCORED:
        if not (corpus.utterances.split == split).any():
            continue
        with cpu_threads(checkpoint.record["settings"]["threads"]):
            made = predictions[split] = predict(checkpoint, corpus, split, device)
        actual_N = corpus.utterances.emotion[made.rows_N]
        if (actual_N >= 0).any():
            scores[split] = score(actual_N, made.probabilities_NC.argmax(axis=1), len(corpus.utterances.classes))
    return Evaluation(checkpoint, predictions, scores)


@torch.inference_mode()
def predict(checkpoint: Checkpoint, corpus: CachedCorpus, split: str, device: torch.device) -> Predictions:
    """One forward pass over a split, in the corpus' order."""
    dialogues = Dialogues(corpus, split, checkpoint.normalisation, checkpoint.modalities, device)
    columns = [[] for _ in Predictions._fields]
    for batch in dialogues.batches(BATCH_DIALOGUES):
        outputs = checkpoint.model(batch.features, batch.present_MN, batch.layout)
        made = Predictions(
            rows_N=batch.rows_N,
            probabilities_NC=outputs.logits_NC.softmax(dim=1),
            contribution_NM=outputs.contribution_MN.T,
            context_weight_N=outputs.context_weight_N,
            agreement_N=outputs.agreement_N,
        )
        for column, values in zip(columns, made, strict=True):
            column.append(values)
    return Predictions(*(torch.cat(column).cpu().numpy() for column in columns))


def score(actual_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> SplitScores:
    """Score the labelled utterances; a class never predicted and never actual has precision, recall and F1 of 0."""
    labelled = actual_N >= 0
    actual_N, predicted_N = actual_N[labelled], predicted_N[labelled]
    per_class = {"labels": range(classes), "zero_division": 0}
    *columns, support_C = precision_recall_fscore_support(actual_N, predicted_N, **per_class)
    return SplitScores(
        float(accuracy_score(actual_N, predicted_N)),
        float(f1_score(actual_N, predicted_N, average="weighted", zero_division=0)),
        float(f1_score(actual_N, predicted_N, average="macro", labels=np.unique(actual_N), zero_division=0)),
        *columns,
        support_C.astype(np.int64),  # scikit-learn's are floats where no prediction is right
        confusion_matrix(actual_N, predicted_N, labels=range(classes)),
    )


def summarise(evaluations: Sequence[Evaluation]) -> dict:
    """What metrics.json holds: protocol card, means over the seeds, standard deviations if several, F1 per class."""
    record = evaluations[0].checkpoint.record
    metrics: dict = {"card": record["card"], "protocol": record["protocol"], "seeds": len(evaluations)}
    for split in evaluations[0].scores:
        scores = [evaluation.scores[split] for evaluation in evaluations]
        metrics[split] = {}
        for name in ("weighted_f1", "macro_f1", "accuracy"):
            values = [getattr(one, name) for one in scores]
            metrics[split][name] = round(fmean(values), 6)
            if len(values) > 1:
                metrics[split][f"{name}_std"] = round(stdev(values), 6)
        f1_C = np.mean([one.f1_C for one in scores], axis=0).round(6)
        metrics[split]["f1"] = dict(zip(record["classes"], f1_C.tolist(), strict=True))
    return metrics


def zero_f1(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """A sentence per split and class that some seed never gets right though the split has it."""
    classes = evaluations[0].checkpoint.record["classes"]
    for split in evaluations[0].scores:
        f1_SC = np.array([evaluation.scores[split].f1_C for evaluation in evaluations])
        support_C = evaluations[0].scores[split].support_C
        for index in np.flatnonzero((f1_SC == 0).any(axis=0) & (support_C > 0)):
            seeds = int((f1_SC[:, index] == 0).sum())
            yield (
                f"{split}: {classes[index]} has F1 = 0 in {seeds} of {len(evaluations)} seed(s) "
                f"({support_C[index]} utterances)"
            )
