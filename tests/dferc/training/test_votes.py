"""Training on annotators' votes: one-hot votes are labels to the last bit, others change what is learnt."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dferc.baselines.run import run_baseline
from dferc.core.device import choose_device
from dferc.core.errors import InputError
from dferc.core.tables import read_numbers
from dferc.evaluation.evaluate import evaluate
from dferc.evaluation.files import write_evaluation
from dferc.results.compare import collect
from dferc.results.tables import notes
from dferc.store.hdf5 import read_corpus
from dferc.store.rows import CachedCorpus
from dferc.training.checkpoint import load_checkpoint
from dferc.training.run import train
from dferc.training.task import make_task
from tests.helpers.common import small_settings, write_features_folder

CPU = choose_device("cpu", "float32")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> CachedCorpus:
    return read_corpus(write_features_folder(tmp_path_factory.mktemp("features") / "demo", noise=2.0))


def with_votes(corpus: CachedCorpus, softness: float) -> CachedCorpus:
    """Return the corpus with votes: one-hot labels, mixed with equal shares; every fifth row has none."""
    rows = corpus.utterances
    one_hot = np.eye(len(rows.classes))[np.maximum(rows.emotion, 0)]
    votes = (1 - softness) * one_hot + softness / len(rows.classes)
    votes[::5] = np.nan
    return replace(corpus, utterances=replace(rows, votes=votes))


def weights(corpus: CachedCorpus, root: Path, **changes) -> dict[str, torch.Tensor]:
    settings = small_settings(class_weights={"neutral": 1.0, "other": 1.3}, **changes)
    (folder,) = train(make_task(corpus, "full", settings, CPU), (0,), folder=root / "train", scratch=root / "scratch")
    return load_checkpoint(folder, CPU.device).model.state_dict()


def alike(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], two[name]) for name in one)


def test_one_hot_votes_are_labels_and_soft_ones_are_not(corpus, tmp_path):
    labels = weights(corpus, tmp_path / "labels")
    assert alike(labels, weights(with_votes(corpus, 0.0), tmp_path / "hot", labels="votes"))
    assert not alike(labels, weights(with_votes(corpus, 0.5), tmp_path / "soft", labels="votes"))
    assert alike(labels, weights(with_votes(corpus, 0.5), tmp_path / "unused"))
    record = json.loads((tmp_path / "labels/train/seed-0/settings.json").read_text())
    assert "votes" not in record and "labels" not in record["settings"]


def test_other_votes_are_another_run(corpus, tmp_path):
    weights(with_votes(corpus, 0.3), tmp_path, labels="votes")
    first = (tmp_path / "train/seed-0/model.safetensors").read_bytes()
    weights(with_votes(corpus, 0.4), tmp_path, labels="votes")
    assert (tmp_path / "train/seed-0/model.safetensors").read_bytes() != first


def test_balanced_weights_balance_what_the_votes_teach(corpus):
    """A class of few or no majorities is not worth all others together."""
    voted = with_votes(corpus, 0.5)
    rows = voted.utterances
    few = replace(voted, utterances=replace(rows, emotion=np.where(rows.emotion == 2, -1, rows.emotion)))
    task = make_task(few, "full", small_settings(labels="votes", class_weights="balanced"), CPU)
    share_C = (task.class_weights_C * task.train.targets_NC.sum(dim=0)).tolist()
    assert share_C == pytest.approx([sum(share_C) / 3] * 3)


def test_votes_that_are_not_there_are_asked_for(corpus):
    with pytest.raises(InputError, match="train.labels is votes.*prepare.options.votes.*majority"):
        make_task(corpus, "full", small_settings(labels="votes"), CPU)


def test_votes_and_speakers_outside_of_training_alone_teach_nothing_and_are_refused(corpus):
    rows, test_N = corpus.utterances, corpus.utterances.split == "test"
    votes = np.where(test_N[:, None], np.full((1, len(rows.classes)), 1 / len(rows.classes)), np.nan)
    there = replace(rows, votes=votes, speaker=np.where(test_N, rows.speaker, ""))
    for changes in ({"labels": "votes"}, {"normalisation": "speaker"}):
        with pytest.raises(InputError, match="no utterance has (any|one) in training"):
            make_task(replace(corpus, utterances=there), "full", small_settings(**changes), CPU)


def test_the_loss_to_the_votes_is_scored_and_the_way_is_marked(corpus, tmp_path):
    voted = with_votes(corpus, 0.5)
    task = make_task(voted, "full", small_settings(labels="votes", epochs=1), CPU)
    folders = train(task, (0,), folder=tmp_path / "full/train", scratch=tmp_path / "scratch")
    (made,) = evaluate(voted, folders, CPU.device)
    metrics = write_evaluation(tmp_path / "full", voted, [made])
    predicted = made.predictions["test"]
    votes = voted.utterances.votes[predicted.rows_N]
    given = ~np.isnan(votes[:, 0])
    expected = -(votes[given] * np.log(predicted.probabilities_NC[given])).sum(axis=1).mean()
    assert metrics["test"]["votes_loss"] == pytest.approx(expected, rel=1e-4)
    assert metrics["test"]["votes_loss_calibrated"] > 0
    assert "votes_loss" in (tmp_path / "full/evaluate/per_seed.csv").read_text()
    run_baseline("bc_lstm", task, (0,), tmp_path / "bc_lstm")
    found = collect(tmp_path)
    assert sum("annotators' votes" in note for note in notes(found)) == 2
    assert read_numbers(folders[0] / "history.csv")[0]["validation_accuracy"] <= 1
