"""What must be seen on the demo corpus (synthetic, with planted signals), from media to scores.

Five seeds, selected on validation. `se` is the standard error of a mean over the seeds.
"""

import csv
import math
from collections import defaultdict
from statistics import fmean, stdev

import numpy as np
import pytest
from scipy.stats import spearmanr

from dferc.evaluation.floor import linear_floor
from dferc.store.hdf5 import read_corpus
from dferc.store.vocabulary import MODALITIES
from pipeline.demo.plan import LOST, plan_corpus

pytestmark = pytest.mark.slow


def read(path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def scores_on_test(demo, variant) -> list[float]:
    """Weighted F1 on test, one per seed."""
    rows = read(demo / f"runs/demo/{variant}/evaluate/per_seed.csv")
    return [float(row["weighted_f1"]) for row in rows if row["split"] == "test"]


@pytest.mark.parametrize("other", ["t", "a", "v", "no_crm"])
def test_full_beats_each_single_modality_and_no_context_by_two_standard_errors(demo, other):
    full, less = scores_on_test(demo, "full"), scores_on_test(demo, other)
    assert len(full) == len(less) == 5
    se = math.sqrt(stdev(full) ** 2 / len(full) + stdev(less) ** 2 / len(less))
    assert fmean(full) - fmean(less) > 2 * se, f"full {fmean(full):.3f}, {other} {fmean(less):.3f}, se {se:.3f}"


def test_full_beats_the_linear_floor_by_more_than_the_spread_of_seeds(demo):
    full, floor = scores_on_test(demo, "full"), linear_floor(read_corpus(demo / "features/demo")).test
    assert fmean(full) - stdev(full) > floor, f"full {fmean(full):.3f} ± {stdev(full):.3f}, floor {floor:.3f}"


@pytest.mark.parametrize("modality", MODALITIES)
def test_contributions_rise_with_the_planted_reliability(demo, modality):
    """Rank correlation over the test utterances, contributions averaged over the seeds (one is noisy)."""
    reliability = {
        row["utterance_id"]: float(row[f"{modality}_reliability"]) for row in read(demo / "data/raw/demo/planted.csv")
    }
    contributions = defaultdict(list)
    for row in read(demo / "runs/demo/full/evaluate/predictions.csv"):
        if row["split"] == "test" and reliability[row["utterance_id"]] > 0:
            contributions[row["utterance_id"]].append(float(row[f"contribution_{modality}"]))
    assert {len(values) for values in contributions.values()} == {5}
    found = spearmanr(
        [reliability[utterance] for utterance in contributions], [fmean(values) for values in contributions.values()]
    )
    assert found.statistic > 0.2 and found.pvalue < 0.01, found


def test_what_a_clip_cannot_show_is_absent(demo):
    corpus = read_corpus(demo / "features/demo")
    row_of = {utterance: row for row, utterance in enumerate(corpus.utterances.utterance_id)}
    for planned in plan_corpus(0):
        for modality in LOST.get(planned.awkward, ()):
            assert not corpus.modalities[modality].present[row_of[planned.utterance_id]], planned
    assert corpus.modalities["text"].present.all()
    assert np.mean([corpus.modalities[m].present.mean() for m in MODALITIES]) > 0.98


def test_predictions_are_probabilities_of_every_scored_utterance(demo):
    rows = read(demo / "runs/demo/full/evaluate/predictions.csv")
    utterances = read_corpus(demo / "features/demo").utterances
    assert len(rows) == 5 * np.isin(utterances.split, ["validation", "test"]).sum()
    for row in rows:
        assert math.isclose(sum(float(row[f"p_{name}"]) for name in utterances.classes), 1, abs_tol=1e-4)
        assert math.isclose(sum(float(row[f"contribution_{m}"]) for m in MODALITIES), 1, abs_tol=1e-4)
