"""The paper's analyses, from finished runs with known predictions: numbers by hand, and what cannot be answered."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dferc.model.calibration import BINS, bins_of
from dferc.results.analyses.calibration import analyse_calibration
from dferc.results.analyses.context import analyse_context
from dferc.results.analyses.contributions import analyse_contributions
from dferc.results.analyses.dialogues import (
    FIRST,
    INERTIA,
    NAMELESS,
    SHIFT,
    analyse_dialogues,
    emotion_before,
    emotion_shifts,
    ranges,
)
from dferc.results.analyses.numbers import mean_where, number, scores_where
from dferc.results.runs import FinishedRun
from pipeline import corpora
from tests.helpers.clips import SHARED
from tests.helpers.corpora import prepare_settings

CLASSES = ("neutral", "joy", "anger")


def make_run(
    actual: str,
    predicted: list[str],
    *,
    dialogues: str | None = None,
    speakers: str | None = None,
    contributions: list | None = None,
    weights: list | None = None,
    confidence: float | list = 0.8,
) -> FinishedRun:
    """Return a run of utterances as characters: labels n, j, a (`-`: none), dialogues and speakers (`.`: nameless)."""
    ids = {"n": 0, "j": 1, "a": 2, "-": -1}
    predicted_ST = np.array([[ids[each] for each in row] for row in predicted])
    sure_ST = np.broadcast_to(np.asarray(confidence, dtype=float), predicted_ST.shape)[..., None]
    chosen_STC = predicted_ST[..., None] == np.arange(3)
    contribution_STM = np.asarray(contributions if contributions is not None else np.zeros((*predicted_ST.shape, 0)))
    weight_ST = np.broadcast_to(np.asarray(weights if weights is not None else 0.5, dtype=float), predicted_ST.shape)
    return FinishedRun(
        folder=Path("full"),
        split="test",
        card={},
        classes=CLASSES,
        modalities=("text", "audio", "visual")[: contribution_STM.shape[2]],
        seeds=tuple(range(len(predicted))),
        utterance_id_T=np.array([f"u{at}" for at in range(len(actual))], dtype=object),
        dialogue_id_T=np.array(list(dialogues or "d" * len(actual)), dtype=object),
        speaker_T=np.array([each.replace(".", "") for each in speakers or "A" * len(actual)], dtype=object),
        actual_T=np.array([ids[each] for each in actual]),
        predicted_ST=predicted_ST,
        probability_STC=np.where(chosen_STC, sure_ST, (1 - sure_ST) / 2),
        contribution_STM=contribution_STM,
        context_weight_ST=weight_ST,
        agreement_ST=1 - weight_ST / 0.8,
    )


# ---------------------------------------------------------------------------------------------------- numbers


def test_number_is_mean_and_spread_over_the_seeds_that_have_one():
    assert number([0.5, 0.7], 10) == {"mean": 0.6, "std": pytest.approx(0.141421), "seeds": 2, "n": 10}
    assert number([0.5, np.nan, 0.7], [4, 0, 6]) == {"mean": 0.6, "std": pytest.approx(0.141421), "seeds": 2, "n": 5}


def test_number_of_one_seed_has_no_spread_and_of_none_no_mean():
    assert number([0.5], 3) == {"mean": 0.5, "std": None, "seeds": 1, "n": 3}
    assert number([np.nan, np.nan], [0, 0]) == {"mean": None, "std": None, "seeds": 0, "n": 0}


def test_means_are_of_each_seed_first_and_never_pooled():
    values_ST = np.array([[1.0, 0, 0], [1, 1, 1]])
    where_ST = np.array([[True, False, False], [True, True, True]])
    assert mean_where(values_ST, where_ST)["mean"] == 1
    values_ST[0, 0] = 0  # pooled, this would be 3/4
    assert mean_where(values_ST, where_ST) == {"mean": 0.5, "std": pytest.approx(0.707107), "seeds": 2, "n": 2}


def test_scores_of_a_part_by_hand():
    run = make_run("nnja-", ["njjan", "nnnnn"])
    found = scores_where(run.actual_T, run.predicted_ST, np.array([True, True, True, False, True]))
    # seed 0: n n j as n j j: 2 of 3; F1 n = 2/3, j = 2/3. Seed 1: n n n: 2 of 3; F1 n = 4/5, j = 0, weighted 8/15.
    assert found["accuracy"] == {"mean": pytest.approx(2 / 3, abs=1e-6), "std": 0, "seeds": 2, "n": 3}
    assert found["weighted_f1"]["mean"] == pytest.approx((2 / 3 + 8 / 15) / 2, abs=1e-6)


# ---------------------------------------------------------------------------------------------------- contributions


def test_contributions_by_class_by_hand():
    shares = [[0.5, 0.3, 0.2], [0.7, 0.1, 0.2], [0.6, 0.4, 0.0], [0.2, 0.2, 0.6]]
    found = analyse_contributions({"full": make_run("nnja", ["nnja"], contributions=[shares])})["runs"]["full"]
    assert found["by_class"]["neutral"]["text"] == {"mean": 0.6, "std": None, "seeds": 1, "n": 2}
    assert found["by_class"]["joy"]["text"]["mean"] is None  # its only utterance has no picture
    assert found["by_class"]["anger"]["visual"]["mean"] == 0.6
    assert sum(each["mean"] for each in found["overall"].values()) == pytest.approx(1)
    assert found["overall"]["audio"] == {"mean": 0.2, "std": None, "seeds": 1, "n": 3}
    assert found["present"]["visual"]["mean"] == 0.75


@pytest.mark.parametrize(
    ("shares", "reason"),
    [
        (np.full((1, 2, 3), 1 / 3), "equal shares by construction"),
        (np.ones((1, 2, 1)), "one modality (text)"),
        (np.zeros((1, 2, 0)), "no CFM (a baseline)"),
        ([[[1.0, 0, 0], [0, 0.5, 0.5]]], "no labelled utterance has every modality"),
    ],
)
def test_contributions_that_say_nothing_are_told(shares, reason):
    found = analyse_contributions({"no_cfm": make_run("nj", ["nj"], contributions=shares)})
    assert found["runs"] == {}
    assert found["statements"] == [pytest.approx(found["statements"][0])] and reason in found["statements"][0]
    assert found["statements"][0].startswith("no_cfm: ")


# ---------------------------------------------------------------------------------------------------- context


def test_context_weight_fifths_by_hand():
    weights = np.arange(1, 11) / 20
    run = make_run("nnnnnnnnnn", ["nnnnnjjjjj"], weights=weights)
    found = analyse_context({"full": run})["runs"]["full"]
    assert found["correlation"]["mean"] == -1
    assert [each["accuracy"]["mean"] for each in found["bins"]] == [1, 1, 0.5, 0, 0]
    assert [each["accuracy"]["n"] for each in found["bins"]] == [2] * 5
    assert found["bins"][0]["weight"]["mean"] == 0.075
    assert found["bins"][0]["agreement"]["mean"] == pytest.approx(1 - 0.075 / 0.8)


def test_context_weights_that_are_equal_share_a_bin():
    run = make_run("nnnnn", ["nnnnj"], weights=[0.1, 0.1, 0.1, 0.1, 0.8])
    assert [each["accuracy"]["n"] for each in analyse_context({"full": run})["runs"]["full"]["bins"]] == [4, 1]


def test_context_weight_on_an_edge_belongs_to_the_bin_below():
    run = make_run("nnnnnn", ["nnnnnn"], weights=np.arange(1, 7) / 8)  # the edges are 2/8, 3/8, 4/8 and 5/8
    assert [each["accuracy"]["n"] for each in analyse_context({"full": run})["runs"]["full"]["bins"]] == [2, 1, 1, 1, 1]


@pytest.mark.parametrize(("weight", "reason"), [(0.8, "0.8 for every utterance"), (np.nan, "no CRM (a baseline)")])
def test_context_weights_that_say_nothing_are_told(weight, reason):
    found = analyse_context({"t": make_run("nj", ["nj"], weights=weight)})
    assert found["runs"] == {} and reason in found["statements"][0]


# ---------------------------------------------------------------------------------------------------- dialogues


def test_shifts_are_of_the_same_speaker_in_the_same_dialogue():
    # Ann: neutral (first), neutral again, one without a label, anger (a shift); Bob: joy (first); nobody: joy.
    run = make_run("njn-a" + "j" + "aa", ["n" * 8], dialogues="ddddddee", speakers="ABAAA.AA")
    expected = [FIRST, FIRST, INERTIA, FIRST, SHIFT, NAMELESS, FIRST, INERTIA]
    assert emotion_shifts(run).tolist() == expected
    assert emotion_before(run).tolist() == [-1, -1, 0, 0, 0, -1, -1, 2]
    found = analyse_dialogues({"full": run})
    lines = {each["name"]: each for each in found["by_shift"]["full"]}
    assert list(lines) == [FIRST, INERTIA, SHIFT, NAMELESS]
    assert [each["accuracy"]["n"] for each in lines.values()] == [3, 2, 1, 1]  # the unlabelled one is not counted
    assert lines[FIRST]["accuracy"]["mean"] == pytest.approx(1 / 3, abs=1e-6)
    assert lines[INERTIA]["accuracy"]["mean"] == 0.5 and lines[SHIFT]["accuracy"]["mean"] == 0
    assert lines[INERTIA]["dialogues"] == 2
    assert "1 labelled utterance(s) have no speaker" in found["statements"][0]


@pytest.mark.skipif(not (SHARED / "data" / "MELD").is_dir(), reason="no MELD CSVs in $DFERC_SHARED/data/MELD")
def test_shifts_of_meld_are_as_many_as_its_authors_count():
    utterances = corpora.read(SHARED / "data" / "MELD", prepare_settings("meld")).utterances
    names = sorted({each.emotion for each in utterances})
    found = {}
    for split in ("train", "validation", "test"):
        rows = [each for each in utterances if each.split == split]
        run = replace(
            make_run("n", ["n"]),
            actual_T=np.array([names.index(each.emotion) for each in rows]),
            speaker_T=np.array([each.speaker for each in rows], dtype=object),
            dialogue_id_T=np.array([each.dialogue_id for each in rows], dtype=object),
        )
        found[split] = int((emotion_shifts(run) == SHIFT).sum())
    assert found == {"train": 4001, "validation": 427, "test": 1003}  # published: 4003, 427, 1003


def test_ranges_hold_about_as_many_each_and_never_part_equals():
    values_T = np.array([1, 1, 2, 3, 4, 5, 6, 7])
    everywhere_T = np.ones(8, bool)
    assert ranges(values_T, everywhere_T).tolist() == ["1", "1", "2–3", "2–3", "4–5", "4–5", "6–7", "6–7"]
    assert set(ranges(np.full(8, 3), everywhere_T)) == {"3"}
    labelled_T = values_T < 7  # what is not labelled takes no part, and falls into the nearest
    assert ranges(values_T, labelled_T)[-1] == ranges(values_T, labelled_T)[-2]


def test_positions_and_lengths_count_unlabelled_utterances():
    run = make_run("n-nnj", ["nnnnn"], dialogues="dddde")
    assert run.place.tolist() == [1, 2, 3, 4, 1] and run.length.tolist() == [4, 4, 4, 4, 1]


def test_order_of_dialogues_changes_nothing():
    random = np.random.default_rng(0)
    text = ["".join(random.choice(list("nja-"), size=size)) for size in (3, 5, 2, 7)]
    guess = ["".join(random.choice(list("nja"), size=len(each))) for each in text]
    speakers = ["".join(random.choice(list("AB"), size=len(each))) for each in text]

    def made(order: list[int]) -> dict:
        parts = ["".join(part[at] for at in order) for part in (text, guess, speakers)]
        names = "".join("defg"[at] * len(text[at]) for at in order)
        run = make_run(parts[0], [parts[1]], speakers=parts[2], dialogues=names)
        return {"dialogues": analyse_dialogues({"full": run}), "calibration": analyse_calibration({"full": run})}

    assert made([0, 1, 2, 3]) == made([2, 0, 3, 1])


# ---------------------------------------------------------------------------------------------------- calibration


def test_calibration_by_hand():
    # Four at 0.6 of which one is right, one at 0.9 that is right: ECE = 4/5 * |0.25 - 0.6| + 1/5 * |1 - 0.9|.
    run = make_run("nnnnn-", ["njjjnn"], confidence=[[0.6, 0.6, 0.6, 0.6, 0.9, 1.0]])
    found = analyse_calibration({"full": run})["runs"]["full"]
    assert found["ece"] == {"mean": pytest.approx(0.3), "std": None, "seeds": 1, "n": 5}
    assert found["confidence"]["mean"] == pytest.approx(0.66) and found["accuracy"]["mean"] == 0.4
    filled = {at: each for at, each in enumerate(found["bins"]) if each["accuracy"]["n"]}
    assert list(filled) == [8, 13] and len(found["bins"]) == BINS  # (8/15, 9/15] and (13/15, 14/15]
    assert filled[8]["accuracy"]["mean"] == 0.25 and filled[8]["share"]["mean"] == 0.8
    assert found["bins"][0]["accuracy"] == {"mean": None, "std": None, "seeds": 0, "n": 0}


def test_calibration_of_what_is_sure_and_right_is_perfect():
    found = analyse_calibration({"full": make_run("nja", ["nja", "nja"], confidence=1.0)})["runs"]["full"]
    assert found["ece"] == {"mean": 0, "std": 0, "seeds": 2, "n": 3}


def test_confidence_on_an_edge_belongs_to_the_bin_below():
    assert bins_of(np.array([0.0, 0.2, 3 / 15, 0.21, 1.0])).tolist() == [0, 2, 2, 3, 14]


def test_analyses_are_strict_json_without_nan():
    run = make_run("nj", ["nj"], weights=[0.1, 0.5], contributions=[[[0.5, 0.5], [0.4, 0.6]]])
    for analysis in (analyse_contributions, analyse_context, analyse_dialogues, analyse_calibration):
        json.dumps(analysis({"full": run}), allow_nan=False)
