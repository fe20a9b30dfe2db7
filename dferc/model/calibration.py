"""Calibration of a model's probabilities: one temperature, and the error that is left (docs/bundle.md, Probabilities).

N items, C classes, B bins.
"""

import numpy as np

BINS = 15  # of the calibration error: of equal width over [0, 1], as in Guo et al. 2017 (arXiv 1706.04599)

RARE_ERRORS = 0.95  # share of right choices from which on the errors of a split are rare

TEMPERATURES = (0.25, 10.0)
"""Bounds of a fitted temperature: without an error on a split, its likelihood grows without end as T falls to 0."""


def bins_of(confidence: np.ndarray) -> np.ndarray:
    """Return bin numbers from 0; a confidence on an edge belongs to the bin below it."""
    return np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)


def calibration_error(confidence_N: np.ndarray, right_N: np.ndarray) -> float:
    """Return the expected calibration error (ECE): mean over the bins of |accuracy - confidence|, weighted by items.

    Args:
        confidence_N: probability of the chosen class.
        right_N: whether the choice is right, as 0 or 1; N > 0.
    """
    # The sum over bins of |sum of confidence - number right|, over N.
    gap_B = np.bincount(bins_of(confidence_N), confidence_N - right_N, BINS)
    return float(np.abs(gap_B).sum() / len(confidence_N))


def temper(probabilities_NC: np.ndarray, temperature: float) -> np.ndarray:
    """Return softmax(logits / T) of probabilities = softmax(logits), in float64; the order of the classes is kept."""
    if temperature == 1:
        return probabilities_NC
    powers_NC = probabilities_NC.astype(np.float64) ** (1 / temperature)
    return powers_NC / powers_NC.sum(axis=1, keepdims=True)


def fit_of_probabilities(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> tuple[float, str]:
    """Fit the temperature of probabilities that are no model's own, such as a mean; see `fit_temperature`."""
    return fit_temperature(np.log(np.maximum(probabilities_NC, np.finfo(np.float32).tiny)), labels_N)


def fit_temperature(logits_NC: np.ndarray, labels_N: np.ndarray) -> tuple[float, str]:
    """Fit the temperature T of softmax(logits / T) that minimises the negative log-likelihood of the labels.

    Args:
        logits_NC: class scores.
        labels_N: class ids; negative = unlabelled, and left out.

    Returns:
        T, to 6 digits, and a sentence where it is not a plain minimum: it is at a bound of `TEMPERATURES`, or 1 because
        nothing decides it.
    """
    logits_NC, labels_N = logits_NC[labels_N >= 0].astype(np.float64), labels_N[labels_N >= 0]
    if not len(labels_N):
        return 1.0, "the validation split has no label"
    of_label_N = np.take_along_axis(logits_NC, labels_N[:, None], axis=1)[:, 0]

    def slope(beta: float) -> float:
        """Return the derivative of the mean loss by beta = 1 / T: E[z] - z_label, which grows with beta (convex)."""
        scaled_NC = beta * (logits_NC - logits_NC.max(axis=1, keepdims=True))
        p_NC = np.exp(scaled_NC) / np.exp(scaled_NC).sum(axis=1, keepdims=True)
        return float(((p_NC * logits_NC).sum(axis=1) - of_label_N).mean())

    smallest, largest = TEMPERATURES
    low, high = 1 / largest, 1 / smallest
    if slope(low) >= 0 >= slope(high):
        return 1.0, "all classes have the same score in every utterance of the validation split"
    if slope(low) >= 0:
        return largest, "the loss falls beyond the largest temperature: the scores do not tell the classes apart"
    if slope(high) <= 0:
        is_right = (logits_NC.argmax(axis=1) == labels_N).mean() > RARE_ERRORS
        why = "the split has hardly an error" if is_right else "the scores hardly differ, and are right more often"
        return smallest, f"the loss falls beyond the smallest temperature: {why}"
    for _ in range(60):  # bisection: no other minimum to fall into, and the same bits whatever the library
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return float(f"{1 / middle:.6g}"), ""
