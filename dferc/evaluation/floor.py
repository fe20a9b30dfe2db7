"""The linear floor: a z-scored logistic regression on the concatenated modalities, without context.

Several published systems miss it when their features are not normalised; a model that does not beat it has learnt
nothing from fusion or context.
"""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from dferc.core.errors import InputError
from dferc.store.rows import CachedCorpus
from dferc.store.vocabulary import SPLITS

GRID = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""C, the inverse of the regularisation's strength, chosen on the validation split."""


FEW = 30
"""Labelled utterances of a split below which its score says little: one utterance is more than three hundredths."""


class Floor(NamedTuple):
    """Weighted F1 of the regression chosen on validation; `test` is None where the test split has no label."""

    validation: float
    test: float | None
    c: float
    labelled: dict[str, int]
    """Labelled utterances by split."""

    @property
    def few(self) -> str:
        """Which splits have next to no labels, in words; empty where all have enough."""
        return ", ".join(f"{split} {count}" for split, count in self.labelled.items() if count < FEW)


def linear_floor(corpus: CachedCorpus, modalities: tuple[str, ...] | None = None) -> Floor:
    """Fit on the training split, choose C on validation, score test once.

    Args:
        corpus: a verified features folder.
        modalities: which to concatenate; all that are there if None.

    Raises:
        InputError: the training split has fewer than two classes, or the validation split no label.
    """
    model, features = fit_floor(corpus, modalities)
    validation, test = (_labelled(corpus, split) for split in ("validation", "test"))
    scores = (_score(model, features, corpus, here) if here.any() else None for here in (validation, test))
    labelled = {split: int(_labelled(corpus, split).sum()) for split in SPLITS}
    return Floor(*scores, model.C, labelled)


def fit_floor(corpus: CachedCorpus, modalities: tuple[str, ...] | None = None) -> tuple[LogisticRegression, np.ndarray]:
    """The regression that validation chose, and the features [N, D] of all utterances as it reads them.

    Raises:
        InputError: as `linear_floor`.
    """
    rows = corpus.utterances
    train, validation = (_labelled(corpus, split) for split in ("train", "validation"))
    found = len(set(rows.emotion[train]))
    if found < 2 or not validation.any():
        raise InputError(
            f"{rows.corpus}: a linear floor needs two classes to learn and labels to select on; the training split has "
            f"{found} class(es), the validation split {validation.sum()} labelled utterance(s)."
        )
    features = np.concatenate([_z_score(corpus, m) for m in modalities or tuple(corpus.modalities)], axis=1)
    if features.shape[1] == 0:
        raise InputError(f"{rows.corpus}: no training utterance has any of these signals; nothing to learn from.")
    with warnings.catch_warnings():  # a fit stopped at max_iter is a floor too, and usually the better one
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = [LogisticRegression(C=c, max_iter=300).fit(features[train], rows.emotion[train]) for c in GRID]
    return max(models, key=lambda model: _score(model, features, corpus, validation)), features


def _labelled(corpus: CachedCorpus, split: str) -> np.ndarray:
    return (corpus.utterances.emotion >= 0) & (corpus.utterances.split == split)


def _score(model: LogisticRegression, features: np.ndarray, corpus: CachedCorpus, here: np.ndarray) -> float:
    actual = corpus.utterances.emotion[here]
    return float(f1_score(actual, model.predict(features[here]), average="weighted", zero_division=0))


def _z_score(corpus: CachedCorpus, modality: str) -> np.ndarray:
    """[N, D] in units of the present training rows' standard deviation; absent rows are zeros."""
    made = corpus.modalities[modality]
    training = made.features[made.present & (corpus.utterances.split == "train")].astype(np.float64)
    if not len(training):
        return np.zeros((len(made.features), 0))
    scale = training.std(axis=0)
    scaled = (made.features - training.mean(axis=0)) / np.where(scale > 1e-8, scale, 1.0)
    return np.where(made.present[:, None], scaled, 0.0)
