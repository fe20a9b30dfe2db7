"""Selection on little data: training anew on training and validation, and validation splits drawn by seed."""

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dferc.cli.main import main
from dferc.core.device import choose_device
from dferc.core.errors import InputError
from dferc.evaluation.predict import load
from dferc.results.runs import read_run
from dferc.store.hdf5 import read_corpus
from dferc.store.rows import CachedCorpus
from dferc.training.checkpoint import load_checkpoint, verify_corpus
from dferc.training.run import Interrupted, train
from dferc.training.task import describe_run, draw_validation, make_task
from tests.helpers.common import REPOSITORY, make_utterances, small_settings, write_features_folder

CPU = choose_device("cpu", "float32")
DIALOGUES = {"train": 24, "validation": 8, "test": 6}


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    return write_features_folder(tmp_path_factory.mktemp("features") / "demo", dialogues=DIALOGUES, noise=3.0).parent


@pytest.fixture(scope="module")
def corpus(features) -> CachedCorpus:
    return read_corpus(features / "demo")


def train_one(corpus: CachedCorpus, root: Path, report=None, **changes):
    """Train seed 0 and return its checkpoint."""
    task = make_task(corpus, "full", small_settings(**changes), CPU)
    callbacks = {"report": report} if report else {}
    (folder,) = train(task, (0,), folder=root / "train", scratch=root / "scratch", **callbacks)
    return load_checkpoint(folder, CPU.device)


def alike(one, two) -> bool:
    one, two = one.model.state_dict(), two.model.state_dict()
    return all(torch.equal(one[name], two[name]) for name in one)


# ---------------------------------------------------------------------------------------------------- refit


def test_refit_trains_on_both_splits_for_the_steps_that_selection_found(corpus, tmp_path):
    selected = train_one(corpus, tmp_path / "plain", epochs=6)
    refitted = train_one(corpus, tmp_path / "refit", epochs=6, selection="refit")
    assert refitted.record["best_epoch"] == selected.record["best_epoch"]
    assert refitted.record["scores"] == selected.record["scores"]
    history = [(tmp_path / name / "train/seed-0/history.csv").read_text() for name in ("plain", "refit")]
    assert history[0] == history[1]
    steps = {dialogues: -(-dialogues // 3) for dialogues in (24, 32)}
    expected = max(1, round(selected.record["best_epoch"] * steps[24] / steps[32]))
    assert refitted.record["refit"] == {"epochs": expected, "dialogues": 32}
    assert not alike(selected, refitted)
    assert refitted.record["calibration"] == selected.record["calibration"]
    both = corpus.utterances.split != "test"
    text = corpus.modalities["text"]
    mean = text.features[both & text.present].mean(axis=0)
    np.testing.assert_allclose(refitted.normalisation.mean["text"], mean, rtol=1e-5)


def test_refit_has_the_rates_of_the_selecting_run_step_by_step(corpus):
    task = make_task(corpus, "full", small_settings(epochs=6, selection="refit"), CPU)
    merged = task.merged(4)
    assert task.epoch_steps == 8 and merged.epoch_steps == 11
    assert merged.refit == (3, 48)  # 4 epochs of 8 steps are nearest to 3 of 11; the rate falls to 0 after 6 of 8


def test_refit_fits_the_linear_floor_anew_and_keeps_the_blend_of_the_selecting_run(corpus, tmp_path):
    changes = {"linear_blend": True, "epochs": 2}
    plain = train_one(corpus, tmp_path / "plain", **changes).model.state_dict()
    refitted = train_one(corpus, tmp_path, selection="refit", **changes).model.state_dict()
    assert torch.equal(refitted["extras.blend"], plain["extras.blend"])
    assert not torch.equal(refitted["extras.floor.weight"], plain["extras.floor.weight"])
    task = make_task(corpus, "full", small_settings(selection="refit", **changes), CPU).merged(1)
    assert torch.equal(refitted["extras.floor.weight"], task.floor.weight_CS)


def test_an_interrupted_refit_goes_on_to_the_same_bits(corpus, tmp_path, monkeypatch):
    import dferc.training.run

    whole = train_one(corpus, tmp_path / "whole", epochs=4, selection="refit")
    save, saved = dferc.training.run.save_progress, []

    def interrupt(path, progress):
        save(path, progress)
        saved.append(path.name)
        if path.name == "refit.pt" and saved.count("refit.pt") == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(dferc.training.run, "save_progress", interrupt)
    with pytest.raises(Interrupted, match="seed 0"):
        train_one(corpus, tmp_path / "cut", epochs=4, selection="refit")
    assert not json.loads((tmp_path / "cut/train/seed-0/settings.json").read_text())["finished"]
    monkeypatch.setattr(dferc.training.run, "save_progress", save)
    again = train_one(corpus, tmp_path / "cut", epochs=4, selection="refit")
    assert alike(whole, again) and again.record["finished"]


# ---------------------------------------------------------------------------------------------------- splits by seed


def test_drawn_splits_keep_dialogues_whole_the_share_and_the_test_split(corpus):
    rows = corpus.utterances
    drawn = [draw_validation(corpus, seed).utterances for seed in range(4)]
    assert (draw_validation(corpus, 2).utterances.split == drawn[2].split).all()
    assert len({tuple(each.split) for each in drawn}) > 1
    own = (rows.split == "validation").sum()
    for each in drawn:
        assert ((each.split == "test") == (rows.split == "test")).all()
        assert all(len(set(each.split[rows.dialogue_id == name])) == 1 for name in set(rows.dialogue_id))
        assert abs((each.split == "validation").sum() - own) <= 3
        pool = rows.split != "test"
        counts = Counter(rows.emotion[each.split == "validation"])
        for emotion, count in Counter(rows.emotion[pool]).items():
            assert abs(counts[emotion] / count - own / pool.sum()) < 0.12


def test_each_seed_draws_another_split_of_dialogues_as_long_as_those_of_training():
    """No two dialogues have as many utterances: all seeds drew the same few, the shortest ones."""
    lengths = np.arange(20, 60)
    dialogue = np.repeat(lengths, lengths)
    names = np.array([f"d{number}" for number in dialogue], dtype=object)
    split = np.where(dialogue % 10 == 5, "validation", "train").astype(object)
    rows, ids = make_utterances(dialogues={"train": 1000}), np.arange(len(names))
    columns = {name: getattr(rows, name)[ids] for name in ("speaker", "text", "start_s", "end_s", "emotion")}
    columns |= {"utterance_id": ids.astype(str).astype(object), "dialogue_id": names, "position": ids, "split": split}
    corpus = CachedCorpus(utterances=replace(rows, **columns), modalities={})
    drawn = [draw_validation(corpus, seed).utterances.split == "validation" for seed in range(8)]
    assert len({each.tobytes() for each in drawn}) > 4
    means = [np.unique(dialogue[each]).mean() for each in drawn]  # 26.7 each, where those of training have 42.2
    assert abs(np.mean(means) - lengths.mean()) < 6


def test_drawn_splits_keep_dialogues_together_that_share_an_utterance(corpus):
    rows = corpus.utterances
    pool = [name for name in dict.fromkeys(rows.dialogue_id) if (rows.split[rows.dialogue_id == name] != "test").all()]
    pairs = list(zip(pool[::2], pool[1::2]))  # as MELD's dyadic dialogues: an utterance of the one is in the other
    group, start_s = np.full(len(rows), -1), rows.start_s.copy()
    for number, pair in enumerate(pairs):
        shared = [np.flatnonzero(rows.dialogue_id == name)[0] for name in pair]
        group[shared], start_s[shared] = number, 0.0
    end_s = np.where(group >= 0, 1.0, rows.end_s)
    together = replace(corpus, utterances=replace(rows, media_group=group, start_s=start_s, end_s=end_s))
    for seed in range(4):
        split = draw_validation(together, seed).utterances.split
        assert {"train", "validation", "test"} == set(split)
        assert all(len(set(split[np.isin(rows.dialogue_id, pair)])) == 1 for pair in pairs)
    apart = np.arange(len(rows)) * 2.0  # spans of one long video
    other = replace(rows, media_group=np.zeros(len(rows), np.int64), start_s=apart, end_s=apart + 1.0)
    drawn = draw_validation(replace(corpus, utterances=other), 1).utterances.split
    assert (drawn == draw_validation(corpus, 1).utterances.split).all()


def test_a_drawn_split_without_a_modality_in_training_is_refused(corpus):
    """One dialogue alone has pictures: a seed that validates on it would learn no weight for those of the test."""
    rows, visual = corpus.utterances, corpus.modalities["visual"]
    there = visual.present & ((rows.dialogue_id == "train-1") | (rows.split == "test"))
    few = replace(visual, present=there, features=np.where(there[:, None], visual.features, 0))
    task = make_task(
        replace(corpus, modalities=corpus.modalities | {"visual": few}),
        "full",
        small_settings(validation_split="by_seed"),
        CPU,
    )
    first = np.flatnonzero(rows.dialogue_id == "train-1")[0]
    drawn = {seed: draw_validation(corpus, seed).utterances.split[first] for seed in range(9)}
    assert set(drawn.values()) == {"train", "validation"}
    for seed, split in drawn.items():
        if split == "train":
            assert task.of_seed(seed).train.present_MN[2].any()
        else:
            with pytest.raises(InputError, match="no training utterance of demo has visual .of a split drawn by seed"):
                task.of_seed(seed)


def test_a_run_on_drawn_splits_is_not_scored_where_others_would_be_drawn(corpus, tmp_path):
    """Media that were compared later, or by an older version: its validation split would hold rows of its training."""
    rows = corpus.utterances
    firsts = [np.flatnonzero(rows.dialogue_id == name)[0] for name in dict.fromkeys(rows.dialogue_id)][:2]
    group, zeros = np.where(np.isin(np.arange(len(rows)), firsts), 0, -1), np.zeros(len(rows))
    later = replace(corpus, utterances=replace(rows, media_group=group, start_s=zeros, end_s=zeros + 1))
    settings = small_settings(epochs=1, validation_split="by_seed")
    checkpoint = train_one(corpus, tmp_path, epochs=1, validation_split="by_seed")
    verify_corpus(checkpoint, corpus)
    with pytest.raises(InputError, match="together: trained on None"):
        verify_corpus(checkpoint, later)
    assert describe_run(later, "full", settings) != describe_run(corpus, "full", settings)


def test_splits_are_runs_like_seeds_that_tables_compare_by_pairs(features, tmp_path):
    small = [f"--set=train.{setting}" for setting in ("hidden=8", "align=8", "epochs=2", "warmup_steps=2")]
    places = [f"--features={features}", f"--out={tmp_path / 'runs'}", f"--params={REPOSITORY / 'params.yaml'}"]
    common = ["--corpus=demo", *places, "--device=cpu", "--splits=2", *small]
    ablate = ["ablate", *common, f"--scratch={tmp_path / 'scratch'}", "--workers=0"]
    done = CliRunner().invoke(main, [*ablate, "--variant=full", "--variant=t"])
    assert done.exit_code == 0, done.output
    known = "A text encoder that was fine-tuned has seen their labels"
    assert " ".join(done.stderr.split()).count(known) == 1
    done = CliRunner().invoke(main, ["baselines", *common, "--name=majority", "--name=bc_lstm"])
    assert done.exit_code == 0 and " ".join(done.stderr.split()).count(known) == 1, done.output
    (why,) = load(tmp_path / "runs/demo/full").describe_calibration()
    assert "no temperature is fitted to the mean" in why and "each has a validation split of its own" in why
    corpus = read_corpus(features / "demo")
    for name in ("full", "bc_lstm"):
        folder = tmp_path / "runs/demo" / name
        with open(folder / "evaluate/predictions.csv", newline="") as file:
            predictions = list(csv.DictReader(file))
        for seed in (0, 1):
            drawn = draw_validation(corpus, seed).utterances
            expected = set(drawn.utterance_id[drawn.split == "validation"])
            rows = [row for row in predictions if row["seed"] == str(seed) and row["split"] == "validation"]
            assert {row["utterance_id"] for row in rows} == expected
        assert json.loads((folder / "metrics.json").read_text())["card"] == read_run(folder).card["card"]
        with pytest.raises(InputError, match="drew one for each seed.*--split test"):
            read_run(folder, "validation")
    table = CliRunner().invoke(
        main, ["table", "--corpus=demo", f"--runs={tmp_path / 'runs'}", f"--out={tmp_path / 'reports'}"]
    )
    assert table.exit_code == 0 and "drew its own validation split" in table.stderr, table.output
    refused = CliRunner().invoke(main, [*ablate, "--seed=3"])
    assert refused.exit_code == 2 and "--splits takes the seeds from 0 on" in refused.stderr


def test_refit_on_drawn_splits_scores_test_alone_and_is_marked(features, tmp_path):
    small = ("hidden=8", "align=8", "epochs=1", "warmup_steps=2", "selection=refit")
    common = ["--corpus=demo", f"--features={features}", f"--out={tmp_path / 'runs'}", "--device=cpu", "--splits=2"]
    common += [f"--params={REPOSITORY / 'params.yaml'}", *(f"--set=train.{setting}" for setting in small)]
    done = CliRunner().invoke(main, ["ablate", *common, f"--scratch={tmp_path / 'scratch'}", "--variant=full"])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(main, ["baselines", *common, "--name=logistic", "--name=bc_lstm"])
    assert done.exit_code == 0 and "was trained on (selection: refit)" in done.stderr, done.output
    for name in ("full", "bc_lstm", "logistic"):
        metrics = json.loads((tmp_path / f"runs/demo/{name}/metrics.json").read_text())
        assert "validation" not in metrics and metrics["test"]["weighted_f1"] >= 0
        assert read_run(tmp_path / "runs/demo" / name).card["selection"] == "refit"
    settings = json.loads((tmp_path / "runs/demo/full/train/seed-1/settings.json").read_text())
    assert settings["settings"]["validation_split"] == "by_seed" and settings["refit"]["dialogues"] == 32


def test_settings_of_the_default_are_recorded_as_before(corpus, tmp_path):
    record = json.loads((train_one(corpus, tmp_path, epochs=1).folder / "settings.json").read_text())
    assert not {"selection", "validation_split", "labels", "select_by"} & set(record["settings"])
    assert "refit" not in record
    task = make_task(corpus, "full", small_settings(), CPU)
    assert task.of_seed(3) is task and replace(task, refit=None).refit is None
