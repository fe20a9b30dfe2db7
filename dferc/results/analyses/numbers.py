"""Numbers over seeds, and scores of a part of the utterances.

S seeds, T utterances of a split, N utterances, C classes.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dferc.core.metrics import score_labels
from dferc.results.runs import FinishedRun

DECIMALS = 6  # decimals of every number in the file, as in metrics.json


def number(values_S: Sequence[float], n_S: Sequence[float] | float) -> dict:
    """Return mean and standard deviation over the seeds in the file's layout; NaN = a seed without utterances."""
    values_S, n_S = np.broadcast_arrays(np.asarray(values_S, dtype=float), np.asarray(n_S, dtype=float))
    finite_S = np.isfinite(values_S)
    values = values_S[finite_S]
    return {
        "mean": plain(values.mean()) if len(values) else None,
        "std": plain(values.std(ddof=1)) if len(values) > 1 else None,
        "seeds": len(values),
        "n": plain(n_S[finite_S].mean()) if len(values) else 0,
    }


def plain(value: float) -> float | int:
    """Return a rounded Python number; whole ones are integers."""
    value = round(float(value), DECIMALS)
    return int(value) if value.is_integer() else value


def mean_where(values_ST: np.ndarray, where_ST: np.ndarray) -> dict:
    """Return the number of a quantity, averaged within each seed over the utterances of a mask ([T] or [S, T])."""
    where_ST = np.broadcast_to(where_ST, values_ST.shape)
    n_S = where_ST.sum(axis=1)
    sums_S = np.where(where_ST, values_ST, 0.0).sum(axis=1)
    return number(np.where(n_S > 0, sums_S / np.maximum(n_S, 1), np.nan), n_S)


def scores_where(actual_T: np.ndarray, predicted_ST: np.ndarray, where_ST: np.ndarray) -> dict:
    """Return accuracy and weighted F1 of the labelled utterances of a mask ([T] or [S, T]), each a number.

    Weighted F1 weighs by the classes of these utterances, as scikit-learn would for them alone.
    """
    where_ST = np.broadcast_to(where_ST, predicted_ST.shape) & (actual_T >= 0)
    pairs = zip(predicted_ST, where_ST, strict=True)
    scores_S2 = np.array([score(actual_T[where_T], predicted_T[where_T]) for predicted_T, where_T in pairs])
    return score_numbers(scores_S2, where_ST.sum(axis=1))


def score(actual_N: np.ndarray, predicted_N: np.ndarray) -> tuple[float, float]:
    """Return accuracy and weighted F1 of class ids, all labelled; NaN without any."""
    if not len(actual_N):
        return float("nan"), float("nan")
    scores = score_labels(actual_N, predicted_N, int(max(actual_N.max(), predicted_N.max())) + 1)
    return float(scores.accuracy), float(scores.weighted_f1)


def score_numbers(scores_S2: np.ndarray, n_S: Sequence[float] | float) -> dict:
    """Return the numbers of `score` of every seed under the file's names."""
    return {"accuracy": number(scores_S2[:, 0], n_S), "weighted_f1": number(scores_S2[:, 1], n_S)}


def analyse_each(
    runs: Mapping[str, FinishedRun], analyse_run: Callable[[FinishedRun], dict | str]
) -> tuple[dict[str, dict], list[str]]:
    """Return the analysis of every run by name, and a statement for each that has a reason against it instead."""
    results = {name: analyse_run(run) for name, run in runs.items()}
    analysed = {name: result for name, result in results.items() if isinstance(result, dict)}
    return analysed, [f"{name}: {reason}" for name, reason in results.items() if name not in analysed]
