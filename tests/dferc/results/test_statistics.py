"""Tests against hand-computed, scipy's and statsmodels' values, and by simulation: right size, and power.

Simulations of no difference ask for 3 to 7 % finds at 5 %: 1,000 draws of 5 % have a standard deviation of 0.7 %.
"""

import numpy as np
import pytest
from scipy import stats

from dferc.core.metrics import Scores, score_labels
from dferc.results.statistics import (
    compare_dialogues,
    compare_seeds,
    count,
    draw_dialogues,
    holm,
    mcnemar,
    score_resamples,
    score_seeds,
)

SIMULATIONS = 1_000
CLASSES = 4


def draw_predictions(random, *, dialogues: int, per_dialogue: int = 6, seeds: int = 2, gain: float = 0.0):
    """Labels, dialogue numbers, and two methods' predictions; `gain` makes the second one better.

    Errors come in runs: a dialogue is easy for a method or not, for all its seeds.
    """
    dialogue_N = np.repeat(np.arange(dialogues), per_dialogue)
    actual_N = random.choice(CLASSES, size=len(dialogue_N), p=[0.4, 0.3, 0.2, 0.1])
    made = []
    for better in (0.0, gain):
        ease_N = random.normal(size=dialogues)[dialogue_N] + 0.4 + better
        right_SN = ease_N + random.normal(size=(seeds, len(dialogue_N))) > 0
        made.append(np.where(right_SN, actual_N, random.integers(CLASSES, size=right_SN.shape)))
    return actual_N, dialogue_N, *made


def resampled_difference(actual_N, dialogue_N, one_SN, two_SN, drawn_BD):
    one, two = (score_resamples(count(actual_N, each, dialogue_N, CLASSES), drawn_BD) for each in (one_SN, two_SN))
    return one.weighted_f1 - two.weighted_f1


# ---------------------------------------------------------------------------------------------------- scores


def test_scores_of_counts_by_hand():
    # class 0: 3 there, 2 predicted, 2 hits: F1 4/5; class 1: 1 there, 2 predicted, 1 hit: F1 2/3; class 2 is not there
    found = Scores(np.array([2, 1, 0]), np.array([2, 2, 0]), np.array([3, 1, 0]))
    assert found.accuracy == 3 / 4
    assert found.weighted_f1 == pytest.approx((3 * 4 / 5 + 2 / 3) / 4)
    assert found.macro_f1 == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert found.f1_C == pytest.approx([4 / 5, 2 / 3, 0])


@pytest.mark.parametrize("absent", [False, True])
def test_scores_are_those_of_scikit_learn(absent):
    random = np.random.default_rng(0)
    actual_N, dialogue_N, predicted_SN, _ = draw_predictions(random, dialogues=20)
    if absent:  # nobody feels class 2, and nobody says class 1
        actual_N, predicted_SN = np.where(actual_N == 2, 3, actual_N), np.where(predicted_SN == 1, 0, predicted_SN)
    found = score_seeds(count(actual_N, predicted_SN, dialogue_N, CLASSES))
    for seed, predicted_N in enumerate(predicted_SN):
        expected = score_labels(actual_N, predicted_N, CLASSES)
        assert found.accuracy[seed] == pytest.approx(expected.accuracy)
        assert found.weighted_f1[seed] == pytest.approx(expected.weighted_f1)
        assert found.macro_f1[seed] == pytest.approx(expected.macro_f1)
        assert found.f1_C[seed] == pytest.approx(expected.f1_C)


def test_resample_scores_are_those_of_the_drawn_dialogues():
    random = np.random.default_rng(1)
    actual_N, dialogue_N, predicted_SN, _ = draw_predictions(random, dialogues=7)
    drawn_BD = draw_dialogues(7, resamples=5)
    found = score_resamples(count(actual_N, predicted_SN, dialogue_N, CLASSES), drawn_BD)
    for at, drawn_D in enumerate(drawn_BD.astype(int)):
        rows = np.concatenate([np.tile(np.flatnonzero(dialogue_N == d), times) for d, times in enumerate(drawn_D)])
        expected = [score_labels(actual_N[rows], predicted_N[rows], CLASSES) for predicted_N in predicted_SN]
        assert found.weighted_f1[at] == pytest.approx(np.mean([each.weighted_f1 for each in expected]), abs=1e-6)
        assert found.macro_f1[at] == pytest.approx(np.mean([each.macro_f1 for each in expected]), abs=1e-6)
        assert found.f1_C[at] == pytest.approx(np.mean([each.f1_C for each in expected], axis=0), abs=1e-6)


def test_draws_are_whole_dialogues_with_replacement_and_repeat():
    drawn = draw_dialogues(9, resamples=4_000)
    assert (drawn.sum(axis=1) == 9).all() and (drawn == drawn.round()).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(9), abs=0.06)
    assert drawn.var() == pytest.approx(8 / 9, abs=0.03)  # of a multinomial's cell: D * 1/D * (1 - 1/D)
    assert (drawn == draw_dialogues(9, resamples=4_000)).all()
    assert (drawn != draw_dialogues(9, resamples=4_000, seed=1)).any()


# ---------------------------------------------------------------------------------------------------- over dialogues


def test_bootstrap_of_a_mean_is_the_t_interval():
    """On the mean of normal values both know the answer: x̄ ± t·s/√n (n = 15: plain percentiles give 0.88 of it)."""
    values_D = 0.5 + stats.norm.ppf((np.arange(15) + 0.5) / 15)  # quantiles: a sample without skew
    found = compare_dialogues(draw_dialogues(15, 40_000) @ values_D / 15, 15)
    expected = stats.ttest_1samp(values_D, 0.0)
    low, high = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02 * (high - low))
    assert found.p == pytest.approx(expected.pvalue, abs=0.02)


def test_bootstrap_p_and_interval_agree():
    random = np.random.default_rng(3)
    for mean in np.linspace(-0.5, 0.5, 21):
        found = compare_dialogues(random.normal(mean, 0.2, size=4_000), 40)
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


@pytest.mark.parametrize("dialogues", [5, 10, 30])
def test_bootstrap_of_a_plain_difference_has_the_p_of_t_however_small(dialogues):
    """The count of resamples alone would end at 0.006 for ten dialogues: too much for the rows of a table."""
    values_D = 2.0 + stats.norm.ppf((np.arange(dialogues) + 0.5) / dialogues)
    found = compare_dialogues(draw_dialogues(dialogues) @ values_D / dialogues, dialogues)
    expected = stats.ttest_1samp(values_D, 0.0).pvalue
    assert expected / 3 < found.p < 3 * expected < 0.05


def test_bootstrap_of_equal_runs_finds_nothing():
    actual_N, dialogue_N, one_SN, _ = draw_predictions(np.random.default_rng(4), dialogues=10)
    found = compare_dialogues(resampled_difference(actual_N, dialogue_N, one_SN, one_SN, draw_dialogues(10, 200)), 10)
    assert found == (0, 0, 1)


def test_bootstrap_needs_two_dialogues():
    assert compare_dialogues(np.zeros(10), 1) is None
    assert compare_dialogues(np.zeros(10), 2) == (0, 0, 1)


@pytest.mark.parametrize("dialogues", [12, 100])
def test_bootstrap_finds_five_percent_where_there_is_no_difference(dialogues):
    random, drawn_BD = np.random.default_rng(5), draw_dialogues(dialogues, resamples=1_500)
    finds = plain = by_mcnemar = 0
    for _ in range(SIMULATIONS):
        actual_N, dialogue_N, one_SN, two_SN = draw_predictions(random, dialogues=dialogues)
        difference_B = resampled_difference(actual_N, dialogue_N, one_SN, two_SN, drawn_BD)
        finds += compare_dialogues(difference_B, dialogues).p < 0.05
        plain += np.prod(np.quantile(difference_B, [0.025, 0.975])) > 0
        by_mcnemar += mcnemar(actual_N, one_SN[0], two_SN[0]) < 0.05
    assert 0.03 <= finds / SIMULATIONS <= 0.07
    assert by_mcnemar / SIMULATIONS > 0.1  # errors come in runs here, and it counts each as a witness
    if dialogues == 12:
        assert plain / SIMULATIONS > 0.07  # why the percentiles are moved


def test_bootstrap_finds_a_planted_difference():
    random, drawn_BD = np.random.default_rng(6), draw_dialogues(150, resamples=1_000)
    found = []
    for _ in range(50):
        drawn = draw_predictions(random, dialogues=150, gain=0.5)
        found.append(compare_dialogues(resampled_difference(*drawn, drawn_BD), 150))
    assert sum(each.p < 0.05 and each.high < 0 for each in found) >= 45


# ---------------------------------------------------------------------------------------------------- over seeds


def test_seeds_by_hand():
    # differences 0.01, 0.02, 0.03: mean 0.02, s = 0.01, t = 0.02 / (0.01 / √3) = 3.4641, t(0.975; 2) = 4.30265
    found = compare_seeds([0.51, 0.52, 0.53], [0.50, 0.50, 0.50])
    half = 4.30265 * 0.01 / np.sqrt(3)
    assert (found.low, found.high) == pytest.approx((0.02 - half, 0.02 + half), abs=1e-6)
    assert found.p == pytest.approx(0.074180, abs=1e-6)


def test_seeds_are_those_of_scipy():
    one, two = np.random.default_rng(7).normal(size=(2, 6))
    assert compare_seeds(one, two).p == pytest.approx(stats.ttest_rel(one, two).pvalue)


def test_seeds_have_nothing_to_say_alone_or_without_chance():
    assert compare_seeds([0.5], [0.4]) is None
    assert compare_seeds([0.5, 0.5], [0.4, 0.4]) is None
    assert compare_seeds([0.5, 0.5], [0.4, 0.5]) is not None


def test_seeds_find_five_percent_where_there_is_no_difference_and_a_planted_one():
    random = np.random.default_rng(8)
    seed_S = random.normal(0.6, 0.05, size=(SIMULATIONS, 5))  # what a seed does to both
    one, two = seed_S + random.normal(0, 0.01, size=(2, SIMULATIONS, 5))
    assert 0.03 <= np.mean([compare_seeds(*pair).p < 0.05 for pair in zip(one, two)]) <= 0.07
    assert np.mean([compare_seeds(*pair).p < 0.05 for pair in zip(one + 0.04, two)]) > 0.9


def test_two_kinds_of_chance_need_both_tests():
    """Two methods alike on average, each with lucky seeds and easy dialogues of its own.

    What is tested by seeds alone, or by dialogues alone, is too often a difference; what both find is not.
    """
    random, drawn_BD, found = np.random.default_rng(12), draw_dialogues(60, resamples=1_000), []
    dialogue_N = np.repeat(np.arange(60), 6)
    for _ in range(SIMULATIONS // 2):
        actual_N = random.integers(CLASSES, size=len(dialogue_N))
        ease_MSN = random.normal(0, 0.3, (2, 1, 60))[..., dialogue_N] + random.normal(0, 0.08, (2, 5, 1))
        right_MSN = 0.4 + ease_MSN + random.normal(size=(2, 5, len(dialogue_N))) > 0
        made_MSN = np.where(right_MSN, actual_N, random.integers(CLASSES, size=right_MSN.shape))
        one, two = (count(actual_N, made_SN, dialogue_N, CLASSES) for made_SN in made_MSN)
        resampled = (score_resamples(each, drawn_BD).weighted_f1 for each in (one, two))
        over_dialogues = compare_dialogues(np.subtract(*resampled), 60).p
        found.append((over_dialogues, compare_seeds(*(score_seeds(each).weighted_f1 for each in (one, two))).p))
    by_dialogues, by_seeds = (np.array(found) < 0.05).mean(axis=0)
    assert by_dialogues > 0.08 and by_seeds > 0.08
    assert (np.array(found).max(axis=1) < 0.05).mean() <= 0.07


def test_wilcoxon_cannot_reach_five_percent_with_five_seeds():
    assert stats.wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5]).pvalue == 2 / 32


# ---------------------------------------------------------------------------------------------------- over utterances


def pairs(both: int, only_one: int, only_two: int, neither: int):
    """Labels and two predictions with these counts."""
    one = [0] * both + [0] * only_one + [1] * only_two + [1] * neither
    two = [0] * both + [1] * only_one + [0] * only_two + [2] * neither
    return np.zeros(len(one), int), np.array(one), np.array(two)


def test_mcnemar_by_hand():
    # 1 of 6: two-sided 2 * (C(6, 0) + C(6, 1)) / 2^6 = 14/64; agreeing pairs do not matter
    assert mcnemar(*pairs(10, 1, 5, 3)) == pytest.approx(14 / 64)
    assert mcnemar(*pairs(99, 5, 1, 0)) == pytest.approx(14 / 64)
    assert mcnemar(*pairs(5, 0, 0, 5)) == 1
    assert mcnemar(*pairs(5, 3, 3, 5)) == 1


@pytest.mark.parametrize("cells", [(30, 12, 25, 9), (5, 0, 9, 0), (100, 61, 40, 3)])
def test_mcnemar_is_that_of_statsmodels(cells):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    both, only_one, only_two, neither = cells
    expected = tables.mcnemar([[both, only_one], [only_two, neither]], exact=True).pvalue
    assert mcnemar(*pairs(*cells)) == pytest.approx(expected)


def test_mcnemar_finds_five_percent_where_utterances_are_independent_and_a_planted_difference():
    random = np.random.default_rng(9)

    def finds(right_one: float, right_two: float, simulations: int) -> float:
        found = 0
        for _ in range(simulations):
            actual_N = np.zeros(2_000, int)
            one_N, two_N = (random.random((2, 2_000)) > np.array([[right_one], [right_two]])).astype(int)
            found += mcnemar(actual_N, one_N, two_N) < 0.05
        return found / simulations

    assert 0.03 <= finds(0.6, 0.6, SIMULATIONS) <= 0.07
    assert finds(0.6, 0.66, 50) > 0.9


# ---------------------------------------------------------------------------------------------------- Holm


def test_holm_by_hand():
    # sorted 0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1 = 0.04, 0.06, 0.06, 0.04, and never less than the one before
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([]) == []


def test_holm_leaves_out_what_was_not_tested():
    assert holm([None, 0.02, None, 0.03]) == [None, 0.04, None, 0.04]


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p_values = np.random.default_rng(10).random(13) ** 3
    assert holm(p_values.tolist()) == pytest.approx(multitest.multipletests(p_values, method="holm")[1])


def test_holm_finds_five_percent_anywhere_among_thirteen_tests_of_nothing():
    p_values = np.random.default_rng(11).random((SIMULATIONS, 13))
    assert 0.03 <= np.mean([min(holm(row.tolist())) < 0.05 for row in p_values]) <= 0.07
