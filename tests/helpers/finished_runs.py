"""Runs as `dferc evaluate` leaves them, without a model: labels by dialogue, and predictions as they are wanted."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dferc.evaluation.evaluate import Predictions, make_evaluation
from dferc.evaluation.files import write_evaluation
from dferc.store.card import card_hash
from dferc.store.rows import CachedCorpus, Utterances


def write_run(
    folder: Path,
    rows: Utterances,
    predicted: Mapping[int, Sequence[int]],
    sure: float = 0.8,
    modalities: Sequence[str] = (),
) -> Path:
    """Write a finished run: seed -> class id of every utterance of the corpus; all splits but train are scored.

    Contributions are random; every context weight and agreement is 0.
    """
    record = {"card": card_hash(rows), "protocol": rows.protocol, "classes": list(rows.classes)}
    record["widths"] = dict.fromkeys(modalities, 1)
    evaluations = []
    for seed, classes_N in predicted.items():
        made = {}
        of_seed = record | {"seed": seed, "best_epoch": 1}
        for split in ("validation", "test"):
            here = np.flatnonzero(rows.split == split)
            chosen = np.asarray(classes_N)[here]
            rest = (1 - sure) / (len(rows.classes) - 1)
            probabilities = np.where(np.arange(len(rows.classes)) == chosen[:, None], sure, rest)
            nothing = np.zeros(len(here))
            shares = np.random.default_rng(seed).dirichlet(np.ones(max(len(modalities), 1)), size=len(here))
            made[split] = Predictions(here, probabilities, shares[:, : len(modalities)], nothing, nothing)
        evaluations.append(make_evaluation(folder, of_seed, made, rows))
    write_evaluation(folder, CachedCorpus(utterances=rows, modalities={}), evaluations)
    return folder


def guess(rows: Utterances, right: float, seed: int) -> np.ndarray:
    """Return class ids that are right with this chance, otherwise any."""
    random = np.random.default_rng(seed)
    anything = random.integers(len(rows.classes), size=len(rows))
    return np.where(random.random(len(rows)) < right, rows.emotion, anything)
