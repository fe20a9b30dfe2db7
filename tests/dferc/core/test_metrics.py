"""Scores against scikit-learn, by hand, and where there is nothing to score."""

import warnings

import numpy as np
import pytest

from dferc.core.metrics import Scores, score_confusion, score_labels


def random_labels(seed: int, classes: int = 5, count: int = 90):
    random = np.random.default_rng(seed)
    actual = random.integers(-1, classes - 1, count)  # the last class never occurs
    return actual, random.integers(0, classes, count)


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_scikit_learns_over_the_labelled_items(seed):
    from sklearn.metrics import (
        accuracy_score,
        balanced_accuracy_score,
        f1_score,
        precision_recall_fscore_support,
    )  # seconds, for each worker

    actual, predicted = random_labels(seed)
    scores = score_labels(actual, predicted, 5)
    known = actual >= 0
    given = actual[known], predicted[known]
    assert scores.accuracy == pytest.approx(accuracy_score(*given))
    assert scores.weighted_f1 == pytest.approx(f1_score(*given, average="weighted", zero_division=0))
    present = np.unique(actual[known])
    assert scores.macro_f1 == pytest.approx(f1_score(*given, average="macro", labels=present, zero_division=0))
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # a predicted class that never occurs
        assert scores.uar == pytest.approx(balanced_accuracy_score(*given))
    columns = precision_recall_fscore_support(*given, labels=range(5), zero_division=0)
    for mine, theirs in zip((scores.precision_C, scores.recall_C, scores.f1_C, scores.actual_C), columns, strict=True):
        assert mine == pytest.approx(theirs)


def test_confusion_by_hand():
    # F1: 2*3/(4+3) = 6/7 of 4 items, 2*1/(1+2) = 2/3 of 1
    scores = score_confusion(np.array([[3, 1], [0, 1]]))
    assert scores.accuracy == pytest.approx(0.8)
    assert scores.weighted_f1 == pytest.approx((6 / 7 * 4 + 2 / 3) / 5)
    assert scores.macro_f1 == pytest.approx((6 / 7 + 2 / 3) / 2)
    assert scores.uar == pytest.approx((3 / 4 + 1) / 2)


def test_nothing_to_score_is_zero():
    scores = score_confusion(np.zeros((3, 3)))
    assert (scores.accuracy, scores.uar, scores.weighted_f1, scores.macro_f1) == (0, 0, 0, 0)
    assert score_labels(np.array([-1, -1]), np.array([0, 1]), 2).weighted_f1 == 0


def test_leading_dimensions_are_kept():
    pairs = [random_labels(seed) for seed in range(3)]
    alone = [score_labels(*pair, 5) for pair in pairs]
    together = Scores(*(np.stack(column) for column in zip(*((s.hits_C, s.predicted_C, s.actual_C) for s in alone))))
    assert together.weighted_f1 == pytest.approx([scores.weighted_f1 for scores in alone])
    assert together.f1_C.shape == (3, 5)
