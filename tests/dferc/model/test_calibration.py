"""Temperature and calibration error: against SciPy, on labels drawn from known chances, and where nothing decides."""

import numpy as np
import pytest

from dferc.model.calibration import TEMPERATURES, calibration_error, fit_temperature, temper


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
    ([[0.1, 0], [0, 0.1], [0.1, 0], [0.1, 0]], [0, 1, 0, 1], TEMPERATURES[0], "the scores hardly differ"),
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
