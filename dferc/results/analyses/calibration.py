"""Expected calibration error and reliability diagram: is a probability of 80 % right 80 % of the time?

S seeds, T utterances, B bins.
"""

from collections.abc import Mapping

import numpy as np

from dferc.model.calibration import BINS, bins_of, calibration_error
from dferc.results.analyses.numbers import mean_where, number
from dferc.results.runs import FinishedRun

HOW = (
    "Confidence is the probability of the chosen class, as the models give it, without the fitted temperature, which "
    "metrics.json names with the ECE after it. "
    f"{BINS} bins of equal width, (low, high]; ECE is the mean over the bins of |accuracy - confidence|, weighted by "
    "their utterances, per seed. Bins are of each seed's own confidences; share: how many utterances lie there."
)


def analyse_calibration(runs: Mapping[str, FinishedRun]) -> dict:
    """Return the file's `calibration`, of every run."""
    return {"how": HOW, "statements": [], "runs": {name: _calibration(run) for name, run in runs.items()}}


def _calibration(run: FinishedRun) -> dict:
    labelled_T = run.is_labelled
    confidence_ST = run.probability_STC.max(axis=2)[:, labelled_T]
    # The choice as saved, since rounding may have made two probabilities equal.
    right_ST = (run.predicted_ST == run.actual_T)[:, labelled_T].astype(float)
    bin_ST = bins_of(confidence_ST)
    all_ST = np.ones_like(right_ST, dtype=bool)
    ece_S = [calibration_error(*of_seed) for of_seed in zip(confidence_ST, right_ST, strict=True)]
    bins = [
        {
            "low": round(index / BINS, 6),
            "high": round((index + 1) / BINS, 6),
            "share": mean_where((bin_ST == index).astype(float), all_ST),
            "confidence": mean_where(confidence_ST, bin_ST == index),
            "accuracy": mean_where(right_ST, bin_ST == index),
        }
        for index in range(BINS)
    ]
    return {
        "ece": number(ece_S, labelled_T.sum()),
        "confidence": mean_where(confidence_ST, all_ST),
        "accuracy": mean_where(right_ST, all_ST),
        "bins": bins,
    }
