"""`dferc tune`: trials on a tiny corpus, what is reported, what a kill leaves, and studies that are refused."""

import csv
import dataclasses
import json
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner, Result

import dferc.tuning.trials
from dferc.cli.main import main
from dferc.core.errors import InputError
from dferc.model.variants import settings_of
from dferc.settings.document import load_params
from dferc.settings.sections import DEFAULT_TUNING, DEFAULTS, Range, Train, Tune, recorded_settings
from dferc.store.hdf5 import read_utterances, write_utterances
from dferc.tuning.study import decode, distributions, open_study
from dferc.tuning.summary import show_summary
from dferc.tuning.trials import Search
from tests.helpers.common import REPOSITORY, write_features_folder

SPACE = """
tune:
  variant: t
  seeds: [0, 1]
  sampler_seed: 3
  space:
    learning_rate: {low: 1.0e-3, high: 3.0e-2, log: true}
    hidden: [4, 8]
    betas: [[0.9, 0.84], [0.9, 0.999]]
"""
SMALL = [f"--set=train.{setting}" for setting in ("align=8", "epochs=2", "warmup_steps=2")]


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    return write_features_folder(tmp_path_factory.mktemp("features") / "demo").parent


@pytest.fixture(scope="module")
def params(tmp_path_factory) -> Path:
    text = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    start, end = text.index("\ntune:"), text.index("# ---------")
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text(text[:start] + SPACE + text[end:], encoding="utf-8")
    return path


def tune(features: Path, params: Path, root: Path, *more: str) -> Result:
    places = [f"--{name}={root / name}" for name in ("out", "reports", "scratch")]
    common = ["--corpus=demo", f"--features={features}", f"--params={params}", "--device=cpu", "--workers=0"]
    return CliRunner().invoke(main, ["tune", *common, *places, *SMALL, *more])


@pytest.fixture(scope="module")
def done(features, params, tmp_path_factory) -> tuple[Path, Result]:
    root = tmp_path_factory.mktemp("tuned")
    result = tune(features, params, root, "--trials=2", "--json")
    assert result.exit_code == 0, result.output
    return root, result


def test_the_best_trial_is_that_of_the_best_mean_validation_score(done):
    root, result = done
    summary = json.loads(result.stdout)
    with open(root / "reports/demo/tune-tune.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["complete", "complete"]
    for row in rows:
        mean = (float(row["seed_0"]) + float(row["seed_1"])) / 2
        assert float(row["value"]) == pytest.approx(mean, abs=1e-5)
    best = max(rows, key=lambda row: float(row["value"]))
    assert summary["best"]["trial"] == int(best["trial"])
    assert summary["trials"] == {"finished": 2, "failed": 0, "running": 0}
    assert summary == json.loads((root / "reports/demo/tune-tune.json").read_text())


def test_the_best_settings_are_trained_again_to_their_value_and_tested_once(done):
    root, result = done
    summary = json.loads(result.stdout)
    metrics = json.loads((root / "out/demo/t@tune/metrics.json").read_text())
    assert metrics["validation"]["weighted_f1"] == pytest.approx(summary["validation"]["mean"], abs=1e-5)
    assert metrics["test"]["weighted_f1"] == summary["test"]["mean"]
    assert summary["gap"] == pytest.approx(summary["validation"]["mean"] - summary["test"]["mean"])
    assert summary["tested_trials"] == [summary["best"]["trial"]]
    record = json.loads((root / "out/demo/t@tune/train/seed-0/settings.json").read_text())
    assert {name: record["settings"][name] for name in summary["best"]["settings"]} == summary["best"]["settings"]
    shown = " ".join(result.stderr.split())
    assert "--set train.learning_rate=" in shown and "<<: *train" in shown and "points from test to validation" in shown
    assert not list((root / "scratch/demo/tune").glob("trial-*"))  # runs of finished trials are not kept


def test_a_trial_is_valued_by_the_model_that_it_saves(features, params, tmp_path):
    """The blend with the linear floor is fitted after the last epoch: the scores of the epochs lack it."""
    options = ("--trials=1", "--json", "--seed=0", "--set=train.epochs=1", "--set=train.linear_blend=true")
    result = tune(features, params, tmp_path, *options)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    metrics = json.loads((tmp_path / "out/demo/t@tune/metrics.json").read_text())
    assert metrics["validation"]["weighted_f1"] == pytest.approx(summary["validation"]["mean"], abs=1e-5)
    with open(tmp_path / "out/demo/t@tune/train/seed-0/history.csv", newline="") as file:
        alone = float(next(csv.DictReader(file))["validation_weighted_f1"])
    assert abs(alone - summary["validation"]["mean"]) > 0.05


def test_settings_as_shown_give_the_same_settings_again(done, params):
    _, result = done
    summary = json.loads(result.stdout)
    options = [f"train.{name}={json.dumps(value)}" for name, value in summary["best"]["settings"].items()]
    block = load_params(params, options, "demo").corpus("demo").train
    assert {name: getattr(block, name) for name in summary["best"]["settings"]} == {
        name: tuple(value) if isinstance(value, list) else value for name, value in summary["best"]["settings"].items()
    }


def test_block_as_shown_has_all_settings_of_the_best_trial(done):
    """Those of the corpus' block and of `--set`, too: with the paper's in their place it is another training."""
    root, result = done
    _, shown = result.stderr.split("and as a block of params.yaml:")
    block = {name: json.loads(value) for name, value in re.findall(r"^    (\w+): (.*)$", shown, re.MULTILINE)}
    record = json.loads((root / "out/demo/t@tune/train/seed-0/settings.json").read_text())
    assert recorded_settings(DEFAULTS.changed(block)) == record["settings"]


def test_settings_that_a_block_cannot_give_to_a_variant_are_named(capsys):
    """In params.yaml the paper's values are no choice, so that `plus` keeps its own: docs/plus.md."""
    settings = {"hidden": 300, "batch_dialogues": 2, "learning_rate": 1.0e-3, "cfm_weight": 1.0}
    counts = {"finished": 1, "failed": 0, "running": 0}
    summary = {"select_by": "uar", "corpus": "iemocap", "trials": counts, "importance": {}}
    summary |= {"best": {"trial": 0, "settings": settings}, "validation": {"mean": 0.5, "std": None}}
    for variant, named in {"plus": True, "full": False}.items():
        show_summary(summary | {"variant": variant})
        assert ("plus has its own hidden, batch_dialogues, which only --set" in capsys.readouterr().err) == named
    block = DEFAULTS.changed(settings)
    assert settings_of("plus", block, "iemocap").hidden == 100
    assert settings_of("plus", block.giving(settings), "iemocap").hidden == 300


def test_options_as_shown_are_one_word_each_to_a_shell(capsys):
    settings = {"betas": [0.9, 0.84], "class_weights": {"neutral": 1.0, "other": 1.3}, "hidden": 300}
    summary = {"variant": "full", "select_by": "uar", "corpus": "demo", "importance": {}}
    summary |= {"trials": {"finished": 1, "failed": 0, "running": 0}, "validation": {"mean": 0.5, "std": None}}
    show_summary(summary | {"best": {"trial": 0, "settings": settings}})
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("  --set"))
    shown = shlex.split(line)
    assert shown[::2] == ["--set"] * 3
    assert shown[1::2] == [f"train.{name}={json.dumps(value)}" for name, value in settings.items()]


def test_runs_of_another_study_in_the_place_of_the_best_are_refused_before_the_first_trial(features, params, tmp_path):
    (tmp_path / "out/demo/t@tune/train").mkdir(parents=True)
    result = tune(features, params, tmp_path, "--trials=1")
    assert result.exit_code == 1 and "trial 0" not in result.stderr
    assert "t@tune/train is there, and not of this study. Choose another --name" in " ".join(result.stderr.split())


def test_a_finished_study_trains_nothing_and_another_one_is_refused(done, features, params, monkeypatch):
    root, first = done
    monkeypatch.setattr(dferc.tuning.trials, "_train", None)  # a trial would fail
    again = tune(features, params, root, "--trials=2", "--json")
    assert again.exit_code == 0 and json.loads(again.stdout) == json.loads(first.stdout)
    for change, facts in {
        "--set=train.epochs=3": ("settings.epochs", "2 then", "3 now"),
        "--variant=a": ("variant", "'t' then", "'a' now"),
        "--seed=7": ("seeds", "[0, 1] then", "[7] now"),
    }.items():
        refused = tune(features, params, root, "--trials=3", change)
        assert refused.exit_code == 1 and "--name NEW" in refused.stderr, refused.output
        assert all(fact in refused.stderr for fact in facts), refused.stderr


def test_a_study_of_other_features_is_refused(done, params, tmp_path):
    root, _ = done
    other = write_features_folder(tmp_path / "demo", seed=5).parent
    refused = tune(other, params, root, "--trials=3")
    assert refused.exit_code == 1 and "features.text.extractor" in refused.stderr, refused.output


def test_a_study_over_votes_that_have_changed_is_refused(features, params, tmp_path):
    path = tmp_path / "params.yaml"
    text, space = params.read_text(encoding="utf-8"), "  space:\n    labels: [majority, votes]\n"
    path.write_text(text[: text.index("  space:")] + space + text[text.index("# ---------") :], encoding="utf-8")
    own = write_features_folder(tmp_path / "features" / "demo")
    rows = read_utterances(own / "utterances.h5")
    votes_NC = np.random.default_rng(0).dirichlet(np.ones(3), size=len(rows))
    for votes_of, exit_code in ((votes_NC, 0), (np.roll(votes_NC, 1, axis=1), 1)):
        write_utterances(own / "utterances.h5", dataclasses.replace(rows, votes=votes_of))
        result = tune(own.parent, path, tmp_path, "--trials=2", "--seed=0", "--set=train.epochs=1", "--no-test")
        assert result.exit_code == exit_code, result.output
    assert "votes" in result.stderr and "--name NEW" in result.stderr


def test_an_interrupted_trial_goes_on_to_the_same_value(done, features, params, tmp_path, monkeypatch):
    report = dferc.tuning.trials._tell

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(dferc.tuning.trials, "_tell", interrupted)
    cut = tune(features, params, tmp_path, "--trials=2", "--no-test", "--at-once=1")
    assert cut.exit_code != 0
    monkeypatch.setattr(dferc.tuning.trials, "_tell", report)
    again = tune(features, params, tmp_path, "--trials=2", "--no-test", "--json", "--at-once=1")
    assert again.exit_code == 0 and "trial 0 was interrupted: it goes on" in again.stderr, again.output
    summary = json.loads(again.stdout)
    assert summary["trials"] == {"finished": 2, "failed": 0, "running": 0} and "test" not in summary
    values = []
    for root in (done[0], tmp_path):
        with open(root / "reports/demo/tune-tune.csv", newline="") as file:
            values.append(next(csv.DictReader(file)))
    assert values[0] == values[1]  # the first trial is drawn by the sampler's seed alone


def test_failed_trials_are_counted_and_a_study_of_them_alone_is_an_error(features, params, tmp_path):
    failing = tune(features, params, tmp_path, "--trials=1", "--set=train.clip_norm=1.0e+30", "--set=train.eps=1.0e-38",
                   "--set=train.weight_decay=1.0e+30")  # fmt: skip
    assert failing.exit_code == 1, failing.output
    assert "none of 1 trial(s) is finished, 1 failed" in failing.stderr and "not finite" in failing.stderr


def test_optuna_that_is_missing_is_asked_for(features, params, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    refused = tune(features, params, tmp_path)
    assert refused.exit_code == 1 and "pip install '.[tune]'" in refused.stderr


@pytest.mark.parametrize("storage", ["nothing", "sqlite:////nowhere/at/all.db", "oracle+none://x:secret@host/db"])
def test_a_storage_that_cannot_be_used_is_refused_without_its_password(storage):
    with pytest.raises(InputError) as refusal:
        open_study(storage, "tune", {}, 0)
    assert "sqlite:///FILE" in str(refusal.value) and "secret" not in str(refusal.value)


# ---------------------------------------------------------------------------------------------------- search space


def test_a_choice_that_is_the_papers_value_is_tried_under_plus():
    wanted = Tune(variant="plus", seeds=[0], sampler_seed=0, space={"batch_dialogues": [2, 4]})
    sweep = SimpleNamespace(settings=DEFAULTS.giving(["members"]))
    tried = Search(study=None, tune=wanted, sweep=sweep, folder=Path()).settings({"batch_dialogues": 2})
    trained = settings_of("plus", tried)
    assert (trained.batch_dialogues, trained.members, trained.attention_layers) == (2, 1, 2)


def test_the_default_space_is_that_of_params_yaml():
    assert load_params(REPOSITORY / "params.yaml").tune == DEFAULT_TUNING


def test_parameters_become_settings_of_their_type():
    space = {
        "learning_rate": Range(low=1, high=2),
        "epochs": Range(low=1, high=9),
        "betas": [[0.9, 0.8], [0.5, 0.5]],
        "class_weights": ["uniform", {"neutral": 1.0, "other": 2.0}],
    }
    found = distributions(space)
    assert found["epochs"].high == 9 and found["learning_rate"].low == 1.0
    params = {
        "learning_rate": 2,
        "epochs": 3,
        "betas": "[0.5, 0.5]",
        "class_weights": found["class_weights"].choices[1],
    }
    settings = decode(params, space)
    assert settings == {
        "learning_rate": 2.0, "epochs": 3, "betas": [0.5, 0.5], "class_weights": {"neutral": 1.0, "other": 2.0}
    }  # fmt: skip
    Train.model_validate(load_params(REPOSITORY / "params.yaml").corpus("demo").train.model_dump() | settings)


@pytest.mark.parametrize(
    ("space", "fact"),
    [
        ({"learning_rat": [0.1, 0.2]}, "Did you mean 'learning_rate'"),
        ({"features": [{}, {"audio": []}]}, "space.features is no setting"),
        ({"select_by": ["uar", "accuracy"]}, "space.select_by is no setting"),
        ({"learning_rate": {"low": 1.0, "high": 0.5}}, "expected low < high"),
        ({"learning_rate": {"low": 0.0, "high": 0.5, "log": True}}, "low > 0"),
        ({"dropout": {"low": 0.0, "high": 1.5}}, "space.dropout: 1.5 is refused"),
        ({"hidden": {"low": 1.5, "high": 9}}, "whole numbers"),
        ({"learning_rate": {"low": 0.1, "high": 10**400}}, "is refused"),
        ({"betas": {"low": 0.1, "high": 0.9}}, "a list of choices"),
        ({"attention_width": {"low": 32, "high": 128}}, "space.attention_width: 33 is refused"),
        ({"hidden": [8, 8]}, "a choice is there twice"),
        ({"hidden": [8]}, "at least 2"),
        ({}, "at least 1"),
    ],
)
def test_a_space_that_no_training_fits_is_refused(space, fact):
    with pytest.raises(ValueError, match=".*") as refusal:
        Tune.model_validate({"variant": "full", "seeds": [0], "sampler_seed": 0, "space": space})
    assert fact in str(refusal.value)


def test_a_misspelt_range_is_named_with_what_is_allowed(tmp_path):
    text = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("cfm_weight: {low: 0.0, high: 1.5}", "cfm_weight: {low: 0.0, hihg: 1.5}"), "utf-8")
    with pytest.raises(InputError, match=r"(?s)tune\.space\.cfm_weight.*hihg.*high"):
        load_params(path)


def test_a_variant_that_is_not_there_names_the_nearest(features, params, tmp_path):
    result = tune(features, params, tmp_path, "--variant=ful")
    assert result.exit_code == 1 and "There is no variant 'ful'. Did you mean 'full'" in result.stderr
