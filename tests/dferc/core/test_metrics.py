"""Scores against scikit-learn, by hand, and where there is nothing to score."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from dferc.core.metrics import (
    TEMPERATURES,
    Scores,
    calibration_error,
    fit_temperature,
    score_confusion,
    score_labels,
    temper,
)


def random_labels(seed: int, classes: int = 5, count: int = 90):
    random = np.random.default_rng(seed)
    actual = random.integers(-1, classes - 1, count)  # the last class never occurs
    return actual, random.integers(0, classes, count)


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_scikit_learns_over_the_labelled_items(seed):
    actual, predicted = random_labels(seed)
    scores = score_labels(actual, predicted, 5)
    known = actual >= 0
    given = actual[known], predicted[known]
    assert scores.accuracy == pytest.approx(accuracy_score(*given))
    assert scores.weighted_f1 == pytest.approx(f1_score(*given, average="weighted", zero_division=0))
    present = np.unique(actual[known])
    assert scores.macro_f1 == pytest.approx(f1_score(*given, average="macro", labels=present, zero_division=0))
    columns = precision_recall_fscore_support(*given, labels=range(5), zero_division=0)
    for mine, theirs in zip((scores.precision_C, scores.recall_C, scores.f1_C, scores.actual_C), columns, strict=True):
        assert mine == pytest.approx(theirs)


def test_confusion_by_hand():
    # F1: 2*3/(4+3) = 6/7 of 4 items, 2*1/(1+2) = 2/3 of 1
    scores = score_confusion(np.array([[3, 1], [0, 1]]))
    assert scores.accuracy == pytest.approx(0.8)
    assert scores.weighted_f1 == pytest.approx((6 / 7 * 4 + 2 / 3) / 5)
    assert scores.macro_f1 == pytest.approx((6 / 7 + 2 / 3) / 2)


def test_nothing_to_score_is_zero():
    scores = score_confusion(np.zeros((3, 3)))
    assert (scores.accuracy, scores.weighted_f1, scores.macro_f1) == (0, 0, 0)
    assert score_labels(np.array([-1, -1]), np.array([0, 1]), 2).weighted_f1 == 0


def test_leading_dimensions_are_kept():
    pairs = [random_labels(seed) for seed in range(3)]
    alone = [score_labels(*pair, 5) for pair in pairs]
    together = Scores(*(np.stack(column) for column in zip(*((s.hits_C, s.predicted_C, s.actual_C) for s in alone))))
    assert together.weighted_f1 == pytest.approx([scores.weighted_f1 for scores in alone])
    assert together.f1_C.shape == (3, 5)


# ---------------------------------------------------------------------------------------------------- calibration


def drawn(temperature: float, items: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(logits / temperature): the best temperature is this one, but for chance."""
    random = np.random.default_rng(0)
    logits_NC = random.normal(0, 3, (items, 4))
    chances_NC = np.exp(logits_NC / temperature)
    chances_NC /= chances_NC.sum(axis=1, keepdims=True)
    return logits_NC, np.array([random.choice(4, p=chances_C) for chances_C in chances_NC])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_the_one_that_made_the_labels_and_the_least_loss(temperature):
    from scipy import optimize, special

    logits_NC, labels_N = drawn(temperature)
    found, note = fit_temperature(logits_NC, np.where(np.arange(len(labels_N)) % 7 == 0, -1, labels_N))
    assert found == pytest.approx(temperature, rel=0.1) and note == ""
    kept = np.arange(len(labels_N)) % 7 != 0

    def loss(t: float) -> float:
        log_NC = special.log_softmax(logits_NC[kept] / t, axis=1)
        return -log_NC[np.arange(kept.sum()), labels_N[kept]].mean()

    best = optimize.minimize_scalar(loss, bounds=TEMPERATURES, method="bounded", options={"xatol": 1e-6}).x
    assert found == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize(("logits", "labels", "expected", "said"), [
    ([[5, 1], [1, 5]], [0, 1], TEMPERATURES[0], "hardly an error"),
    ([[5, 1], [1, 5]], [1, 0], TEMPERATURES[1], "do not tell the classes apart"),
    ([[2, 2], [3, 3]], [1, 0], 1.0, "the same score"),
    ([[5, 1], [1, 5]], [-1, -1], 1.0, "no label"),
    ([[1e4, 0], [0, 1e4], [0, 1e4]], [0, 1, 0], TEMPERATURES[1], "do not tell"),
])  # fmt: skip
def test_temperature_of_a_degenerate_split_is_a_bound_or_1_and_says_why(logits, labels, expected, said):
    found, note = fit_temperature(np.array(logits, dtype=float), np.array(labels))
    assert found == expected and said in note


@pytest.mark.parametrize("temperature", [*TEMPERATURES, 0.8, 2.0])
def test_tempering_divides_the_logits_and_keeps_the_choice(temperature):
    logits_NC = np.random.default_rng(1).normal(0, 4, (500, 6))
    logits_NC[:100, 1] = logits_NC[:100, 0] + 1e-6  # nearly a tie
    softmax = lambda z_NC: np.exp(z_NC) / np.exp(z_NC).sum(axis=1, keepdims=True)  # noqa: E731
    raw_NC = softmax(logits_NC).astype(np.float32)
    divided_NC = temper(raw_NC, temperature)
    np.testing.assert_allclose(divided_NC, softmax(logits_NC / temperature), rtol=1e-5, atol=1e-12)
    assert (divided_NC.argmax(axis=1) == raw_NC.argmax(axis=1)).all()
    assert temper(raw_NC, 1.0) is raw_NC


def test_calibration_error_is_the_gap_of_confidence_and_accuracy_by_bin():
    confidence_N = np.array([0.95, 0.95, 0.55, 0.55])
    assert calibration_error(confidence_N, np.array([1, 1, 1, 0])) == pytest.approx((2 * 0.05 + 2 * 0.05) / 4)
    assert calibration_error(confidence_N, np.array([0, 0, 0, 0])) == pytest.approx(confidence_N.mean())
    logits_NC, labels_N = drawn(3.0)
    errors = []
    for values in (1.0, 3.0):
        p_NC = temper(np.exp(logits_NC) / np.exp(logits_NC).sum(axis=1, keepdims=True), values)
        errors.append(calibration_error(p_NC.max(axis=1), (p_NC.argmax(axis=1) == labels_N).astype(float)))
    assert errors[1] < 0.03 < 0.2 < errors[0]
