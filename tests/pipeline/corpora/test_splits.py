"""Splits by dialogue: whole, near their shares, filled, and the same for the same seed."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dferc.core.errors import InputError
from dferc.store.vocabulary import DRAWN, split_dialogues

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}
COUNTS = st.dictionaries(st.sampled_from(["joy", "anger", "fear", ""]), st.integers(1, 30), min_size=1)
LENGTHS = (3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63)
DIALOGUES = st.dictionaries(st.text("abc", min_size=1, max_size=4), COUNTS, min_size=3, max_size=25)


def alike(count: int) -> dict[str, Counter]:
    """Dialogues of one joy, two anger, one unlabelled each."""
    return {f"d{number:02}": Counter({"joy": 1, "anger": 2, "": 1}) for number in range(count)}


def test_dialogues_that_are_alike_are_dealt_by_their_shares():
    assert Counter(split_dialogues(alike(20), SHARES, 0).values()) == {"train": 14, "validation": 3, "test": 3}


def test_rare_emotion_is_spread_over_the_splits():
    dialogues = {f"d{n:02}": Counter({"joy": 9, **({"fear": 1} if n < 4 else {})}) for n in range(20)}
    dealt = split_dialogues(dialogues, {"train": 0.5, "validation": 0.25, "test": 0.25}, 0)
    assert Counter(dealt[f"d{n:02}"] for n in range(4)) == {"train": 2, "validation": 1, "test": 1}


def test_dialogues_of_very_different_lengths_come_near_the_shares():
    """In a single order that a seed draws, a long dialogue that comes last has no place: they were 0.11 off."""
    dialogues = {f"d{number:02}": Counter({"joy": length, "anger": length}) for number, length in enumerate(LENGTHS)}
    for seed in range(20):
        dealt = split_dialogues(dialogues, SHARES, seed)
        for split, share in SHARES.items():
            found = sum(length for length, name in zip(LENGTHS, dialogues, strict=True) if dealt[name] == split)
            assert abs(found / sum(LENGTHS) - share) < 0.08


def test_seed_decides_and_the_order_of_the_table_does_not():
    dialogues = alike(20)
    backwards = dict(reversed(dialogues.items()))
    assert split_dialogues(dialogues, SHARES, 1) == split_dialogues(backwards, SHARES, 1)
    assert split_dialogues(dialogues, SHARES, 1) != split_dialogues(dialogues, SHARES, 2)


def test_split_without_a_share_stays_empty():
    assert set(split_dialogues(alike(5), {"train": 0.8, "validation": 0.2, "test": 0.0}, 0).values()) == {
        "train",
        "validation",
    }


def test_three_dialogues_fill_three_splits_and_two_cannot():
    assert sorted(split_dialogues(alike(3), SHARES, 0).values()) == ["test", "train", "validation"]
    with pytest.raises(InputError, match=r"2 dialogue\(s\) have labels, too few to make 3 splits"):
        split_dialogues(alike(2) | {"x": Counter({"": 5})}, SHARES, 0)


@settings(max_examples=75, deadline=None)
@given(DIALOGUES, st.integers(0, 5))
def test_every_dialogue_is_dealt_once_and_every_split_has_a_label(dialogues, seed):
    labelled = [name for name, counts in dialogues.items() if set(counts) - {""}]
    if len(labelled) < 3:
        return
    dealt = split_dialogues(dialogues, SHARES, seed)
    assert set(dealt) == set(dialogues)
    assert {dealt[name] for name in labelled} == set(SHARES)


def test_seeds_draw_other_splits_of_few_dialogues():
    """Of many orders the best is nearly always the same one."""
    dialogues = {f"d{n:02}": Counter(joy=n % 7 + 1, anger=n % 5 + 1, fear=n % 3 + 1) for n in range(12)}
    shares = {"train": 0.85, "validation": 0.15}
    drawn = [split_dialogues(dialogues, shares, seed) for seed in range(20)]
    assert len({tuple(name for name in dialogues if each[name] == "validation") for each in drawn}) >= 13


def test_other_splits_have_another_version():
    """Runs on splits that are drawn otherwise now must be refused: raise DRAWN with what is drawn."""
    dialogues = {f"d{n:02}": Counter(joy=n % 7 + 1, anger=n % 5 + 1) for n in range(40)}
    dealt = split_dialogues(dialogues, {"train": 0.85, "validation": 0.15}, 0)
    drawn = [name for name, split in dealt.items() if split == "validation"]
    assert (DRAWN, sorted(drawn)) == (2, ["d06", "d07", "d13", "d29", "d31", "d36"])
