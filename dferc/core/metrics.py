"""Classification scores, computed in this one place: accuracy, precision, recall, F1, weighted and macro F1.

C classes, N items; further leading dimensions (seeds, resamples) are free.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores between 0 and 1 from counts per class; a class that never occurs has precision, recall and F1 of 0."""

    hits_C: np.ndarray  # [..., C] items of the class that are recognised
    predicted_C: np.ndarray  # [..., C] items that are predicted to be of the class
    actual_C: np.ndarray  # [..., C] items of the class; broadcasts against the others

    @property
    def accuracy(self) -> np.ndarray:
        """Share of the items that are recognised; 0 of none."""
        return self.hits_C.sum(axis=-1) / self._total

    @property
    def precision_C(self) -> np.ndarray:
        """Hits / predicted."""
        return self.hits_C / np.maximum(self.predicted_C, 1)

    @property
    def recall_C(self) -> np.ndarray:
        """Hits / actual."""
        return self.hits_C / np.maximum(self.actual_C, 1)

    @property
    def f1_C(self) -> np.ndarray:
        """Harmonic mean of precision and recall: 2 hits / (actual + predicted)."""
        return 2 * self.hits_C / np.maximum(self.actual_C + self.predicted_C, 1)

    @property
    def weighted_f1(self) -> np.ndarray:
        """Mean of F1 over the classes, weighted by how often each occurs; 0 of none."""
        return (self.f1_C * self.actual_C).sum(axis=-1) / self._total

    @property
    def macro_f1(self) -> np.ndarray:
        """Mean of F1 over the classes that occur; 0 of none."""
        occurs_C = self.actual_C > 0
        return (self.f1_C * occurs_C).sum(axis=-1) / np.maximum(occurs_C.sum(axis=-1), 1)

    @property
    def _total(self) -> np.ndarray:
        return np.maximum(self.actual_C.sum(axis=-1), 1)


def score_confusion(confusion_CC: np.ndarray) -> Scores:
    """Score a confusion matrix (rows: actual, columns: predicted)."""
    return Scores(confusion_CC.diagonal(), confusion_CC.sum(axis=0), confusion_CC.sum(axis=1))


def score_labels(actual_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> Scores:
    """Score predicted class ids; items without a label (a negative `actual_N`) are left out."""
    labelled_N = actual_N >= 0
    actual_N, predicted_N = actual_N[labelled_N], predicted_N[labelled_N]
    hits_N = actual_N[actual_N == predicted_N]
    return Scores(*(np.bincount(ids, minlength=classes) for ids in (hits_N, predicted_N, actual_N)))
