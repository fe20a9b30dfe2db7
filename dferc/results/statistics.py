"""Paired tests of a difference over seeds, over dialogues and over utterances; Holm's correction.

The three tests answer three questions, none of which answers the others:

- over seeds: would other seeds show the difference, on these utterances? Paired t (`compare_seeds`). Wilcoxon's signed
  ranks cannot reach 5 % with five seeds: their smallest two-sided p is 2/32.
- over dialogues: would other dialogues show it, with these models? Bootstrap of whole dialogues (`compare_dialogues`):
  the utterances of a dialogue are not independent.
- over utterances: McNemar's exact test (`mcnemar`), which the field uses. It treats utterances as independent, and is
  too sure where errors come in runs.

B resamples, D dialogues, S seeds, N utterances, C classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from dferc.core.metrics import Scores

RESAMPLES = 10_000
CHUNK = 1_000  # resamples at a time, so that memory stays in the tens of megabytes


class Interval(NamedTuple):
    """95 % interval of a difference, and the two-sided p of no difference."""

    low: float
    high: float
    p: float


class Counts(NamedTuple):
    """Counts of predictions by dialogue, so that dialogues can be resampled: enough for every score."""

    hits_DSC: np.ndarray  # utterances of the class that are recognised
    predicted_DSC: np.ndarray
    actual_DC: np.ndarray


class MeanScores(NamedTuple):
    """Mean of `dferc.core.metrics.Scores` over the seeds."""

    accuracy: np.ndarray
    weighted_f1: np.ndarray
    macro_f1: np.ndarray
    uar: np.ndarray
    f1_C: np.ndarray


def count(actual_N: np.ndarray, predicted_SN: np.ndarray, dialogue_N: np.ndarray, classes: int) -> Counts:
    """Count labels, predictions and hits; class ids are not negative, dialogues numbered from 0 without a gap."""
    dialogues = int(dialogue_N.max()) + 1

    def cells(class_n: np.ndarray, dialogue_n: np.ndarray) -> np.ndarray:
        return np.bincount(dialogue_n * classes + class_n, minlength=dialogues * classes).reshape(dialogues, classes)

    hits = [cells(actual_N[one_N == actual_N], dialogue_N[one_N == actual_N]) for one_N in predicted_SN]
    predicted = [cells(one_N, dialogue_N) for one_N in predicted_SN]
    return Counts(np.stack(hits, axis=1), np.stack(predicted, axis=1), cells(actual_N, dialogue_N))


def score_seeds(counts: Counts) -> Scores:
    """Return scores per seed, [S] and [S, C], on all dialogues."""
    return Scores(*(part.sum(axis=0) for part in counts))


def draw_dialogues(dialogues: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return how often each dialogue is drawn in each resample, [B, D]; paired runs need the same draw."""
    drawn = np.random.default_rng(seed).multinomial(dialogues, np.full(dialogues, 1 / dialogues), size=resamples)
    return drawn.astype(np.float32)  # whole numbers, far below where float32 rounds them


def score_resamples(counts: Counts, drawn_BD: np.ndarray) -> MeanScores:
    """Return the scores of each resample, [B] and [B, C], mean over the seeds."""
    parts = []
    for drawn in np.array_split(drawn_BD, max(1, len(drawn_BD) // CHUNK)):
        hits, predicted, actual = (np.tensordot(drawn, part.astype(np.float32), axes=1) for part in counts)
        scores = Scores(hits, predicted, actual[:, None])
        parts.append([getattr(scores, name).mean(axis=1) for name in MeanScores._fields])
    return MeanScores(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def compare_dialogues(difference_B: np.ndarray, dialogues: int) -> Interval | None:
    """Return the percentile interval and p of a resampled difference [B]; None with fewer than two dialogues.

    The percentiles are moved outwards for few dialogues (Hesterberg, "What Teachers Should Know About the Bootstrap",
    The American Statistician 69, 2015): plain ones would call one null in eleven a difference with 12 dialogues.
    Where no resample has the other sign, p is that of the resamples' mean and deviation: counts end at 1 in B.
    """
    if dialogues < 2:
        return None
    widen = np.sqrt(dialogues / (dialogues - 1))
    tail = stats.norm.cdf(widen * stats.t.ppf(0.025, dialogues - 1))
    low, high = np.quantile(difference_B, [tail, 1 - tail])
    extreme = min((difference_B <= 0).sum(), (difference_B >= 0).sum()) + 1
    z = stats.norm.ppf(min(0.5, extreme / (len(difference_B) + 1)))
    if extreme == 1 and np.ptp(difference_B) > 1e-12:
        z = min(z, -abs(difference_B.mean()) / difference_B.std())
    return Interval(float(low), float(high), float(2 * stats.t.cdf(z / widen, dialogues - 1)))


def compare_seeds(one_S: Sequence[float], two_S: Sequence[float]) -> Interval | None:
    """Return the paired t-test of `one - two`, seed by seed.

    None for fewer than two seeds, or a difference that does not vary (two methods without randomness).
    """
    difference_S = np.subtract(one_S, two_S)
    if len(difference_S) < 2 or np.ptp(difference_S) <= 1e-12:
        return None
    test = stats.ttest_1samp(difference_S, 0.0)
    low, high = test.confidence_interval(0.95)
    return Interval(float(low), float(high), float(test.pvalue))


def mcnemar(actual_N: np.ndarray, one_N: np.ndarray, two_N: np.ndarray) -> float:
    """Return the exact two-sided p that both are right equally often where only one is; 1 where that never happens."""
    only_one = int(((one_N == actual_N) & (two_N != actual_N)).sum())
    only_two = int(((one_N != actual_N) & (two_N == actual_N)).sum())
    if only_one + only_two == 0:
        return 1.0
    return float(stats.binomtest(only_one, only_one + only_two).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Apply Holm's step-down correction to the p of a family of tests; None (no test) stays None."""
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected, largest = list(p_values), 0.0
    for rank, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        corrected[index] = largest
    return corrected
