"""Annotators' votes: how cells and arrays are read, what is refused with its row, and that the store keeps them."""

from dataclasses import replace

import numpy as np
import pytest

from dferc.core.errors import InputError
from dferc.store.hdf5 import read_corpus, read_utterances, write_utterances
from dferc.store.inspection import inspect_corpus, show_inspection
from dferc.store.labels import describe_votes, read_votes
from tests.helpers.common import CLASSES, make_utterances, write_features_folder


def read(values):
    return read_votes(values, CLASSES, lambda row: f"line {row + 2}", "own.csv")


def test_cells_are_counts_or_shares_and_empty_ones_no_votes():
    found = read(["anger:2 joy:1", "Joy: 0.25; neutral:0.75", "", None, "neutral:1"])
    assert found[0] == pytest.approx([0, 1 / 3, 2 / 3])
    assert found[1].tolist() == [0.75, 0.25, 0]
    assert np.isnan(found[2:4]).all() and found[4].tolist() == [1, 0, 0]


def test_arrays_are_in_the_order_of_the_classes():
    found = read(np.array([[3, 1, 0], [0, 0, 2]]))
    assert found.tolist() == [[0.75, 0.25, 0], [0, 0, 1]]
    assert np.isnan(read(np.array([[np.nan] * 3, [0.5, 0.5, 0.0]]))[0]).all()
    assert read(np.array([[0.333, 0.333, 0.333]])).sum() == pytest.approx(1, abs=1e-12)  # rounded shares


@pytest.mark.parametrize(
    ("values", "facts"),
    [
        (["neutral:1", "joy:0.5 anger:0.2"], ("line 3", "sum of 1")),
        (["joy:-1 anger:2"], ("line 2", "negative")),
        (["joy:0"], ("line 2", "all are 0")),
        (["joy:nan anger:1"], ("line 2", "class:count")),
        (["joy:1", "joi:2"], ("line 3", "'joi'", "neutral, joy, anger")),
        (["joy 2"], ("line 2", "class:count")),
        (["joy:1 joy:2"], ("line 2", "twice")),
        (np.array([[1.0, np.nan, 0.0]]), ("line 2", "no finite number")),
        (np.array([[np.inf, 1.0, 0.0]]), ("line 2", "no finite number")),
        (np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), ("line 2", "all are 0")),
        (np.array([[1, 2]]), ("2 columns", "3 classes", "neutral, joy, anger")),
        (np.array([["a", "b", "c"]]), ("expected a number",)),
    ],
)
def test_votes_that_are_none_are_refused_with_their_row(values, facts):
    with pytest.raises(InputError) as refusal:
        read(values)
    assert all(fact in str(refusal.value) for fact in ("own.csv", *facts))


def test_disagreement_with_the_labels_is_listed():
    votes = np.array([[1, 0, 0], [0, 1, 0], [np.nan] * 3, [0, 0, 1], [0.5, 0.5, 0]])
    found = dict(describe_votes(votes, [0, 2, 1, -1, 1], lambda row: f"row {row}"))
    assert list(found) == [
        "no votes beside a label: 1, first row 2",
        "label of fewer votes than another class: 1, first row 1",
        "votes without a label: 1, first row 3",
    ]


def test_the_store_keeps_votes_and_refuses_what_is_no_distribution(tmp_path):
    rows = make_utterances()
    votes = np.random.default_rng(0).dirichlet([1, 1, 1], len(rows))
    votes[3] = np.nan
    write_utterances(tmp_path / "utterances.h5", replace(rows, votes=votes))
    np.testing.assert_array_equal(read_utterances(tmp_path / "utterances.h5").votes, votes)
    write_utterances(tmp_path / "utterances.h5", rows)
    assert read_utterances(tmp_path / "utterances.h5").votes is None
    for row, wrong in ((5, [0.5, 0.6, 0]), (6, [1.5, -0.5, 0]), (7, [1, np.nan, 0]), (8, [0, 0, 0])):
        with pytest.raises(InputError, match=f"{rows.utterance_id[row]}: votes .*sum to 1"):
            replace(rows, votes=np.where(np.arange(len(rows))[:, None] == row, wrong, votes))
    with pytest.raises(InputError, match=r"\(56, 2\)|of shape"):
        replace(rows, votes=votes[:, :2])


def test_shares_of_two_digits_may_miss_a_sum_of_one_by_half_a_hundredth_each():
    found = read_votes(["a:0.14 b:0.71 c:0.14", "a:0.17 b:0.17 c:0.67", ""], ("a", "b", "c"), str, "table")
    np.testing.assert_allclose(found[:2].sum(axis=1), 1)
    with pytest.raises(InputError, match="1: the votes are .*neither whole counts nor shares"):
        read_votes(["", "a:0.14 b:0.70 c:0.14"], ("a", "b", "c"), str, "table")


def test_inspect_counts_the_utterances_with_votes(tmp_path, capsys):
    folder = write_features_folder(tmp_path / "demo")
    rows = read_utterances(folder / "utterances.h5")
    assert inspect_corpus(read_corpus(folder))["votes"] is None
    votes_NC = np.tile([0.5, 0.25, 0.25], (len(rows), 1))
    votes_NC[np.flatnonzero(rows.split == "train")[:3]] = np.nan
    write_utterances(folder / "utterances.h5", replace(rows, votes=votes_NC))
    counts = {split: int((rows.split == split).sum()) for split in ("train", "validation", "test")}
    inspection = inspect_corpus(read_corpus(folder))
    assert inspection["votes"] == counts | {"train": counts["train"] - 3}
    show_inspection({"folder": str(folder), **inspection})
    assert "with annotators' votes" in " ".join(capsys.readouterr().err.split())
