"""The linear floor: a z-scored logistic regression on the concatenated modalities, without context.

A model that does not beat it has learnt nothing from fusion or context. N utterances, D width.
"""

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dferc.core.errors import InputError
from dferc.core.metrics import score_labels
from dferc.store.rows import CachedCorpus
from dferc.store.vocabulary import SPLITS
from dferc.training.data import UNVARYING, training_statistics

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

GRID = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # C, the inverse of the regularisation's strength
FEW = 30  # labelled utterances of a split below which its score means little: one is more than three hundredths


class Floor(NamedTuple):
    """Weighted F1 of the regression selected on validation; `test` is None where the test split has no label."""

    validation: float
    test: float | None
    c: float
    labelled: dict[str, int]  # labelled utterances by split

    @property
    def few(self) -> str:
        """Splits with next to no labels and their counts; empty where all have enough."""
        return ", ".join(f"{split} {count}" for split, count in self.labelled.items() if count < FEW)


def linear_floor(corpus: CachedCorpus, modalities: tuple[str, ...] | None = None) -> Floor:
    """Fit on the training split, select C on validation, score test once; `modalities` are concatenated (None: all)."""
    model, features_ND = fit_floor(corpus, modalities)
    labelled = {split: _labelled(corpus, split) for split in SPLITS}
    test = _score(model, features_ND, corpus, labelled["test"]) if labelled["test"].any() else None
    validation = _score(model, features_ND, corpus, labelled["validation"])
    return Floor(validation, test, model.C, {split: int(rows_N.sum()) for split, rows_N in labelled.items()})


def fit_floor(
    corpus: CachedCorpus,
    modalities: tuple[str, ...] | None = None,
    c: float | None = None,
    select_by: str = "weighted_f1",
) -> tuple["LogisticRegression", np.ndarray]:
    """Fit the regression with this C (None: of the grid, validation selects it) on the training split.

    Returns:
        The regression, and the features [N, D] of all utterances.

    Raises:
        InputError: training has a single class or none of the signals, or validation has no label to select on.
    """
    from sklearn.exceptions import ConvergenceWarning  # two seconds, which not every baseline needs
    from sklearn.linear_model import LogisticRegression

    rows = corpus.utterances
    train_N, validation_N = (_labelled(corpus, split) for split in ("train", "validation"))
    classes = len(set(rows.emotion[train_N]))
    if classes < 2 or (c is None and not validation_N.any()):
        raise InputError(
            f"{rows.corpus}: a linear floor needs two classes to learn and labels to select on; the training split has "
            f"{classes} class(es), the validation split {validation_N.sum()} labelled utterance(s)."
        )
    features_ND = np.concatenate([_z_score(corpus, name) for name in modalities or tuple(corpus.modalities)], axis=1)
    if features_ND.shape[1] == 0:
        raise InputError(f"{rows.corpus}: no training utterance has any of these signals; nothing to learn from.")
    with warnings.catch_warnings():  # a fit stopped at max_iter is a floor too, and usually the better one
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = [
            LogisticRegression(C=each, max_iter=300).fit(features_ND[train_N], rows.emotion[train_N])
            for each in (GRID if c is None else (c,))
        ]
    if c is not None:
        return models[0], features_ND
    return max(models, key=lambda model: _score(model, features_ND, corpus, validation_N, select_by)), features_ND


def _labelled(corpus: CachedCorpus, split: str) -> np.ndarray:
    return (corpus.utterances.emotion >= 0) & (corpus.utterances.split == split)


def _score(
    model: "LogisticRegression",
    features_ND: np.ndarray,
    corpus: CachedCorpus,
    of_split_N: np.ndarray,
    select_by: str = "weighted_f1",
) -> float:
    actual, predicted = corpus.utterances.emotion[of_split_N], model.predict(features_ND[of_split_N])
    return float(getattr(score_labels(actual, predicted, len(corpus.utterances.classes)), select_by))


def _z_score(corpus: CachedCorpus, modality: str) -> np.ndarray:
    """Scale [N, D] to units of the present training rows' standard deviation; absent rows are zeros."""
    features, training_N, scaled = corpus.modalities[modality], corpus.utterances.split == "train", []
    mean_D, scale_D, varies_D = training_statistics(corpus, modality)
    scaled_ND = (features.features - mean_D) / np.where(varies_D, scale_D, UNVARYING)
    for columns, present_N in features.blocks:
        if (present_N & training_N).any():
            scaled.append(np.where(present_N[:, None], scaled_ND[:, columns], 0.0))
    return np.concatenate(scaled, axis=1) if scaled else np.zeros((len(features.features), 0))
