"""Finished runs read back, whole or not at all."""

import csv
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from dferc.core.errors import InputError
from dferc.results.runs import align, choose_split, read_metrics, read_run
from dferc.store.rows import Utterances
from tests.helpers.common import make_utterances
from tests.helpers.finished_runs import guess, write_run


@pytest.fixture
def rows() -> Utterances:
    return make_utterances(unlabelled=("train",))


@pytest.fixture
def folder(rows, tmp_path) -> Path:
    return write_run(tmp_path / "demo/full", rows, {0: guess(rows, 0.7, 5), 1: guess(rows, 0.7, 6)})


def change_table(path: Path, change) -> None:
    """Write the predictions again with `change` made to their list of rows."""
    with open(path, newline="", encoding="utf-8") as file:
        table = list(csv.reader(file))
    change(table)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(table)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_run_has_the_labels_predictions_and_scores_of_its_split(folder, rows, split):
    run = read_run(folder, split)
    labelled = run.labelled
    here = np.flatnonzero(rows.split == split)
    order = here[np.argsort(rows.utterance_id[here].astype(str))]
    assert labelled.utterance_id_T.tolist() == rows.utterance_id[order].tolist()
    assert labelled.actual_T.tolist() == rows.emotion[order].tolist()
    assert labelled.predicted_ST.tolist() == [guess(rows, 0.7, seed)[order].tolist() for seed in (5, 6)]
    assert run.probability_STC.argmax(axis=2).tolist() == run.predicted_ST.tolist()
    assert [(labelled.dialogue[one] == labelled.dialogue[two]) for one, two in ((0, 1), (1, 2))] == [
        rows.dialogue_id[order[one]] == rows.dialogue_id[order[two]] for one, two in ((0, 1), (1, 2))
    ]
    assert run.dialogues == 5 and run.seeds == (0, 1)
    metrics = json.loads((folder / "metrics.json").read_text())[split]
    for name in ("accuracy", "weighted_f1", "macro_f1"):
        assert getattr(run.scores, name).mean() == pytest.approx(metrics[name], abs=1e-6)


def test_runs_are_compared_on_test_where_it_has_labels_else_on_validation(folder, tmp_path):
    assert choose_split(folder) == "test"
    rows = make_utterances(unlabelled=("test",))
    assert choose_split(write_run(tmp_path / "demo/t", rows, {0: guess(rows, 0.7, 5)})) == "validation"
    assert choose_split(tmp_path / "demo/none") == "test"  # reading it says what is missing


def test_unlabelled_utterances_are_no_part(tmp_path):
    rows = make_utterances()
    some = dataclasses.replace(rows, emotion=np.where(np.arange(len(rows)) % 4 == 0, -1, rows.emotion))
    run = read_run(write_run(tmp_path / "full", some, {0: guess(rows, 0.7, 5)}))
    assert len(run.labelled.actual_T) == ((some.emotion >= 0) & (some.split == "test")).sum()


def test_seeds_choose_together_by_their_mean_probability(rows, tmp_path):
    run = read_run(write_run(tmp_path / "full", rows, {seed: guess(rows, 0.4, seed) for seed in range(5)}))
    votes_TC = np.stack([(run.predicted_ST == number).sum(axis=0) for number in range(3)], axis=1)
    assert (votes_TC[np.arange(len(votes_TC)), run.together] == votes_TC.max(axis=1)).all()
    assert run.only((3,)).together.tolist() == run.predicted_ST[3].tolist()


def test_only_takes_the_named_seeds(folder):
    run = read_run(folder)
    assert run.only((1,)).scores.weighted_f1.tolist() == run.scores.weighted_f1[1:].tolist()


# ---------------------------------------------------------------------------------------------------- half-written


@pytest.mark.parametrize(
    "name, message",
    [
        ("metrics.json", "metrics.json is missing: {folder} is no finished run. Score it again: `dferc evaluate`"),
        ("evaluate/protocol.json", "evaluate/protocol.json is missing"),
        ("evaluate/predictions.csv", "evaluate/predictions.csv is missing: {folder} is half-written."),
    ],
)
def test_missing_file_is_named(folder, name, message):
    (folder / name).unlink()
    with pytest.raises(InputError, match=re.escape(message.format(folder=folder))):
        read_run(folder)


def test_folder_of_runs_names_the_runs_below(folder):
    with pytest.raises(InputError, match=re.escape(f"is no finished run. Runs below it: {folder}.")):
        read_run(folder.parent)


@pytest.mark.parametrize(
    "text, message", [("{", "is no readable JSON"), ("[]", "should be an object"), ("{}", "card is missing")]
)
def test_damaged_metrics_are_refused(folder, text, message):
    (folder / "metrics.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_run(folder)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda table: table.pop(), "seed 0 with 15, seed 1 with 14"),
        (lambda table: table.__delitem__(slice(len(table) // 2 + 1, None)), "expected 2 seed(s) of 15 labelled test"),
        (lambda table: table.__delitem__(slice(1, None)), "found none"),
        (lambda table: table[-1].__delitem__(slice(7, None)), "line 61: no row of predictions"),
        (lambda table: table[-1].__setitem__(7, "rage"), "line 61: no row of predictions (KeyError('rage'))"),
        (lambda table: table[-1].__setitem__(8, "much"), "line 61: no row of predictions (ValueError("),
        (lambda table: table.append(table[-1]), "line 62: test-4-4 is there twice for seed 1"),
        (lambda table: table[0].__setitem__(7, "chosen"), "line 1: no column predicted"),
        (lambda table: table.clear(), "no column"),
    ],
)
def test_damaged_predictions_are_refused_with_their_place(folder, change, message):
    change_table(folder / "evaluate/predictions.csv", change)
    with pytest.raises(InputError, match=re.escape(message)):
        read_run(folder)


def test_predictions_of_another_evaluation_are_refused(folder, rows, tmp_path):
    other = write_run(tmp_path / "other", rows, {0: guess(rows, 0.2, 8), 1: guess(rows, 0.2, 9)})
    (other / "evaluate/predictions.csv").rename(folder / "evaluate/predictions.csv")
    with pytest.raises(InputError, match="they are of two evaluations"):
        read_run(folder)
    (other / "evaluate/protocol.json").write_text((folder / "evaluate/protocol.json").read_text().replace("card", "c"))
    with pytest.raises(InputError, match="card is missing"):
        read_run(other)


def test_a_seed_that_was_trained_again_since_it_was_scored_is_refused(folder):
    metrics, record = folder / "metrics.json", folder / "train/seed-1/settings.json"
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"temperatures": {"0": 1.2, "1": 1.5}}))
    record.parent.mkdir(parents=True)
    trained = {"corpus": "demo", "variant": "full", "settings": {}, "features": {}}
    record.write_text(json.dumps(trained | {"calibration": {"temperature": 1.5, "utterances": 9}}))
    assert read_run(folder).seeds == (0, 1)
    record.write_text(json.dumps(trained | {"calibration": {"temperature": 1.25, "utterances": 9}}))
    with pytest.raises(InputError, match=r"seed 1 was trained again after it was scored\. Score it again"):
        read_run(folder)
    metrics, notes = read_metrics(folder.parent)
    assert list(metrics) == ["full"] and "full may have the scores of an earlier training: " in notes[0]


def test_split_without_labels_is_refused(rows, tmp_path):
    silent = make_utterances(unlabelled=("test",))
    folder = write_run(tmp_path / "full", silent, {0: guess(rows, 0.7, 5)})
    with pytest.raises(InputError, match="the test split has no labelled utterance"):
        read_run(folder)
    assert len(read_run(folder, "validation").labelled.actual_T) == 15


# ---------------------------------------------------------------------------------------------------- two runs


def test_align_numbers_the_classes_alike(folder, rows, tmp_path):
    """The card's hash is the same under another order of the classes, and so must be the comparison."""
    turn = np.array([1, 2, 0, -1])  # the number of neutral, joy, anger and none in the other order; no swap undoes it
    turned = dataclasses.replace(rows, classes=("anger", "neutral", "joy"), emotion=turn[rows.emotion])
    predicted = {seed: turn[guess(rows, 0.7, 5 + seed)] for seed in (0, 1)}
    other = read_run(write_run(tmp_path / "turned", turned, predicted))
    run = read_run(folder)
    found = align(other, run)
    assert other.classes != run.classes == found.classes
    for name in ("actual_T", "predicted_ST", "probability_STC"):
        assert np.array_equal(getattr(found, name), getattr(run, name)), name


def test_align_refuses_another_protocol_and_shows_both_cards(folder, rows, tmp_path):
    fewer = make_utterances(dialogues={"train": 12, "validation": 5, "test": 4}, unlabelled=("train",))
    one, two = read_run(folder), read_run(write_run(tmp_path / "other", fewer, {0: guess(fewer, 0.7, 5)}))
    with pytest.raises(InputError, match="follow different protocols") as caught:
        align(two, one)
    for run, test in ((one, "15 in 5"), (two, "10 in 4")):
        line = (
            f"{run.folder}: card {run.card['card']}: synthetic; classes neutral, joy, anger; labelled utterances in "
            f"dialogues: train 0 in 12, validation 15 in 5, test {test}"
        )
        assert line in str(caught.value)


@pytest.mark.parametrize("without", ["validation", "test"])
def test_votes_of_one_split_alone_leave_the_cells_of_the_other_empty(rows, tmp_path, without):
    votes = np.where((rows.split == without)[:, None], np.nan, np.eye(len(rows.classes))[rows.emotion])
    run = write_run(tmp_path / "full", dataclasses.replace(rows, votes=votes), {0: guess(rows, 0.7, 5)})
    with open(run / "evaluate/per_seed.csv", newline="", encoding="utf-8") as file:
        losses = {row["split"]: row["votes_loss"] for row in csv.DictReader(file)}
    assert losses.pop(without) == "" and float(*losses.values()) > 0
