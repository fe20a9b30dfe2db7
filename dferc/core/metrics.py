"""Classification scores, computed in this one place: accuracy, recall and its mean, precision, F1 and its means.

C classes, N items; further leading dimensions (seeds, resamples) are free.
"""

from dataclasses import dataclass

import numpy as np

SCORES = {"accuracy": "accuracy (WA)", "uar": "UAR", "weighted_f1": "weighted F1", "macro_f1": "macro F1"}
"""Properties of `Scores` for whole splits -> their headings, in the order of tables.

Weighted accuracy (WA) is what speech emotion recognition calls the accuracy: class recalls weighted by class counts.
"""

MAIN_FIRST = ("weighted_f1", "macro_f1", "uar", "accuracy")
"""The same in the order of summaries: first the one by which epochs are selected by default."""

PER_CLASS = ("f1", "recall", "precision")
"""Scores of single classes, properties `<name>_C` of `Scores`, in the order of tables."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores between 0 and 1 from counts per class; a class that never occurs has precision, recall and F1 of 0."""

    hits_C: np.ndarray  # [..., C] items of the class that are recognised
    predicted_C: np.ndarray  # [..., C] items that are predicted to be of the class
    actual_C: np.ndarray  # [..., C] items of the class; broadcasts against the others

    @property
    def accuracy(self) -> np.ndarray:
        """Share of the items that are recognised, also known as weighted accuracy (WA); 0 of none."""
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
        return self._mean_over_classes(self.f1_C)

    @property
    def uar(self) -> np.ndarray:
        """Unweighted average recall (balanced accuracy): mean of recall over the classes that occur; 0 of none."""
        return self._mean_over_classes(self.recall_C)

    def _mean_over_classes(self, values_C: np.ndarray) -> np.ndarray:
        occurs_C = self.actual_C > 0
        return (values_C * occurs_C).sum(axis=-1) / np.maximum(occurs_C.sum(axis=-1), 1)

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
