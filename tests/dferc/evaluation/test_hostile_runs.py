"""A run folder that was damaged or made by a stranger gives the same predictions, or one clear refusal."""

import csv
import json
import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

import dferc
from dferc.cli.main import main
from dferc.core.device import choose_device
from dferc.core.errors import InputError
from dferc.core.tables import read_numbers, write_csv
from dferc.evaluation.evaluate import evaluate
from dferc.evaluation.files import write_evaluation
from dferc.results.runs import FinishedRun, read_run, simulated_features
from dferc.settings.document import load_params
from dferc.store.hdf5 import read_corpus
from dferc.training.checkpoint import holds_run, load_checkpoint
from dferc.training.run import refuse_other_settings, train
from dferc.training.task import make_task
from tests.helpers.common import REPOSITORY, small_settings, write_features_folder
from tests.helpers.perturbations import COUNT, perturb_bytes, perturb_json, perturb_lines

CPU = torch.device("cpu")
SEED = Path("train/seed-0")
LONGEST_S = 5  # of one refusal, on a machine that is busy


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Features of `demo`, and a run of one seed that is trained and scored."""
    root = tmp_path_factory.mktemp("hostile")
    corpus = read_corpus(write_features_folder(root / "features/demo"))
    task = make_task(corpus, "full", small_settings(epochs=2), choose_device("cpu", "float32"))
    folders = train(task, (0,), folder=root / "demo/full/train", scratch=root / "scratch")
    write_evaluation(root / "demo/full", corpus, evaluate(corpus, folders, CPU))
    return root


@pytest.fixture(scope="module")
def corpus(root):
    return read_corpus(root / "features/demo")


@pytest.fixture
def run(root, tmp_path) -> Path:
    """The run, to be damaged."""
    return Path(shutil.copytree(root / "demo/full", tmp_path / "full"))


def predictions(run: Path, corpus) -> list:
    return dferc.load(run, device="cpu").predict(corpus).rows


def alike(found: list, expected: list) -> bool:
    """Compare to 5 digits: the length of a file's header moves the weights in memory, and so the last bits."""
    return len(found) == len(expected) and all(one == pytest.approx(two, abs=1e-5) for one, two in zip(found, expected))


def same(one: FinishedRun, two: FinishedRun) -> bool:
    names = ("utterance_id_T", "speaker_T", "actual_T", "predicted_ST", "probability_STC", "contribution_STM")
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in names)


def outcome(use, path: Path, done: str):
    """Return the result, or the message of a refusal, which is short, and names the file or the run's folder."""
    began_s = time.process_time()
    try:
        result = use()
    except InputError as error:
        message = str(error)
        assert str(path.parent) in message or str(path.parent.parent) in message, (done, message)
        assert len(message) < 3000, (done, message[:3000])
        result = message
    assert time.process_time() - began_s < LONGEST_S, done
    return result


def weights_of(run: Path) -> tuple[dict, str]:
    path = run / SEED / "model.safetensors"
    return load_file(path), json.dumps(load_checkpoint(run / SEED, CPU).record)


def perturb_weights(run: Path, chance: random.Random) -> str:
    """Change one weight, or its type, shape or name, in a way that no training can give."""
    tensors, record = weights_of(run)
    name = chance.choice(list(tensors))
    kind = chance.choice(["nan", "inf", "float16", "float64", "complex64", "int32", "shape", "drop", "add", "rename"])
    value = tensors.pop(name)
    if kind in ("nan", "inf"):
        value.view(-1)[chance.randrange(value.numel())] = float(kind)
    changed = {
        "nan": {name: value}, "inf": {name: value}, "drop": {}, "rename": {name + "_": value},
        "shape": {name: value.unsqueeze(0)}, "add": {name: value, "model.extra": torch.zeros(3)},
    }  # fmt: skip
    changed |= {
        other: {name: value.to(getattr(torch, other))} for other in ("float16", "float64", "complex64", "int32")
    }
    save_file(tensors | changed[kind], run / SEED / "model.safetensors", {"dferc": record})
    return f"{kind} {name}"


def test_older_run_without_newer_fields_gives_the_same(root, corpus, run):
    """No hashes, versions and newer settings in its records, no times and media in its predictions."""
    newer = {"precision", "weight_average", "threads", "prototype_momentum"}

    def drop(path, names, settings=()):
        record = json.loads(path.read_text("utf-8"))
        assert names <= set(record)
        for name in names:
            del record[name]
        for name in settings:
            del record["settings"][name]
        path.write_text(json.dumps(record), "utf-8")

    expected, table = predictions(root / "demo/full", corpus), run / "evaluate/predictions.csv"
    tensors, record = weights_of(run)
    kept = {name: value for name, value in json.loads(record)["settings"].items() if name not in newer}
    save_file(tensors, run / SEED / "model.safetensors", {"dferc": json.dumps(json.loads(record) | {"settings": kept})})
    drop(run / SEED / "settings.json", {"run", "versions", "weights"}, newer)
    drop(run / "metrics.json", {"files"})
    with open(table, encoding="utf-8", newline="") as file:
        rows = [
            {name: cell for name, cell in row.items() if name not in ("start_s", "end_s", "media")}
            for row in csv.DictReader(file)
        ]
    write_csv(table, list(rows[0]), rows)
    assert alike(predictions(run, corpus), expected)
    assert same(read_run(run), read_run(root / "demo/full"))


def test_weights_alone(root, corpus, run):
    """Without settings.json, which has their hash: the record and the weights have to show it themselves."""
    expected, path = predictions(root / "demo/full", corpus), run / SEED / "model.safetensors"
    good, chance = path.read_bytes(), random.Random(0)
    tensors, record = weights_of(run)
    (run / SEED / "settings.json").unlink()
    refused = 0
    for _ in range(COUNT):
        path.write_bytes(good)
        kind = chance.choice(["record", "record", "weights", "truncated"])
        if kind == "record":
            text, done = perturb_json(record, chance, only_wrong_types=True)
            if done.endswith("('calibration',)"):  # older runs have none: their probabilities are uncalibrated
                continue
            save_file(tensors, path, {"dferc": text.encode("utf-8", "replace").decode()})
        elif kind == "weights":
            done = perturb_weights(run, chance)
        else:
            path.write_bytes(good[: chance.randrange(len(good))])
            done = kind
        found = outcome(lambda: predictions(run, corpus), path, done)
        refused += isinstance(found, str)
        assert isinstance(found, str) or alike(found, expected), done
        holds_run(run / SEED, "0" * 16)
    assert refused > COUNT / 2


def test_run_folder(root, corpus, run):
    """Any file of a run, damaged in any way: the same predictions and the same scores, or a refusal."""
    expected, scored = predictions(root / "demo/full", corpus), read_run(root / "demo/full")
    names = [SEED / "model.safetensors", SEED / "settings.json", SEED / "history.csv", Path("metrics.json")]
    names += [Path("evaluate/protocol.json"), Path("evaluate/predictions.csv")]
    chance, refused = random.Random(1), 0
    for _ in range(COUNT):
        name = chance.choice(names)
        path, good = run / name, (run / name).read_bytes()
        kind = chance.choice(["bytes", "own", "own"])
        if name.suffix == ".safetensors" or kind == "bytes":
            content, done = perturb_bytes(good, chance)
        else:
            perturb = perturb_json if name.suffix == ".json" else perturb_lines
            text, done = perturb(good.decode(), chance)
            content = text.encode("utf-8", "surrogatepass")
        path.write_bytes(content)
        done = f"{name}: {done}"
        if SEED in name.parents:
            found = outcome(lambda: predictions(run, corpus), path, done)
            assert isinstance(found, str) or alike(found, expected), done
            outcome(lambda path=path: read_numbers(path.with_name("history.csv"), ("validation_loss",)), path, done)
            outcome(lambda: list(simulated_features({"full": read_run(run)})), path, done)
            outcome(lambda: refuse_other_settings(run / "train", small_settings(epochs=2)), path, done)
            holds_run(run / SEED, "0" * 16)
        else:
            found = outcome(lambda: read_run(run), path, done)
            assert isinstance(found, str) or same(found, scored), done
        refused += isinstance(found, str)
        path.write_bytes(good)
    assert refused > COUNT / 3


def test_settings_file(tmp_path):
    """params.yaml with a damaged line is read, or refused with its path."""
    good, path, chance = (
        (REPOSITORY / "params.yaml").read_text(encoding="utf-8"),
        tmp_path / "params.yaml",
        random.Random(2),
    )
    for _ in range(COUNT):
        if chance.random() < 0.3:
            content, done = perturb_bytes(good.encode(), chance)
        else:
            text, done = perturb_lines(good, chance)
            content = text.encode("utf-8", "surrogatepass")
        path.write_bytes(content)
        outcome(lambda: load_params(path).corpus("demo"), path / "x", done)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
@pytest.mark.parametrize("name", ["model.safetensors", "settings.json"])
def test_pipe_or_folder_in_place_of_a_record_does_not_hang(run, corpus, name, make):
    path = run / SEED / name
    path.unlink()
    make(path)
    assert "regular file" in outcome(lambda: predictions(run, corpus), path, name)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_scale_by_which_no_feature_can_be_divided_is_refused(run, corpus, scale):
    tensors, record = weights_of(run)
    tensors["normalisation.scale.audio"][2] = scale
    save_file(tensors, run / SEED / "model.safetensors", {"dferc": record})
    with pytest.raises(InputError, match="scale"):
        predictions(run, corpus)


def test_weights_that_overflow_are_refused_as_they_predict(run, corpus):
    tensors, record = weights_of(run)
    for name, value in tensors.items():
        if name.startswith("model.projections") and name.endswith("weight"):
            value.fill_(3e38)
    (run / SEED / "settings.json").unlink()
    save_file(tensors, run / SEED / "model.safetensors", {"dferc": record})
    with pytest.raises(InputError, match="no numbers"):
        predictions(run, corpus)


def test_command_prints_one_message(root, run, tmp_path):
    path = run / SEED / "model.safetensors"
    tensors, record = weights_of(run)
    record = json.loads(record)
    record["classes"] = ["[/]", "\x1b[31m", 7]
    save_file(tensors, path, {"dferc": json.dumps(record)})
    arguments = ["predict", f"--run={run}", f"--features={root / 'features/demo'}", f"--out={tmp_path / 'out.csv'}"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert f"error: {path}, its record: classes.2 is 7; it should be a valid string" in result.stderr
    assert "\x1b" not in result.stderr
