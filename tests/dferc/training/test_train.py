"""The trainer: what it learns, that it repeats itself, and that a kill costs one epoch at most."""

import contextlib
import csv
import dataclasses
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.utils._python_dispatch import TorchDispatchMode

from dferc.baselines.deterministic import logistic
from dferc.cli.main import main
from dferc.core.device import choose_device
from dferc.core.errors import InputError
from dferc.core.tables import read_numbers
from dferc.evaluation.evaluate import make_evaluation, predict
from dferc.model.losses import Losses
from dferc.store.hdf5 import read_corpus, read_features, write_features, write_utterances
from dferc.training.checkpoint import load_checkpoint, save_checkpoint
from dferc.training.display import show_task
from dferc.training.learner import EpochTally, read_tallies
from dferc.training.optimiser import make_optimiser, rate_at
from dferc.training.resume import KEPT_DAYS, Progress, load_progress, remove_abandoned, run_key, save_progress
from dferc.training.run import Interrupted, train
from dferc.training.task import make_task
from tests.helpers.common import CLASSES, REPOSITORY, make_features, small_settings, write_features_folder
from tests.helpers.processes import end_with_parent

CPU = choose_device("cpu", "float32")


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    return write_features_folder(tmp_path_factory.mktemp("features") / "demo")


def task_for(features: Path, variant: str = "full", **changes):
    return make_task(read_corpus(features), variant, small_settings(**changes), CPU)


def run(task, root: Path, seeds=(0,), **options) -> list[bytes]:
    """Train and return the checkpoint files' bytes."""
    folders = train(task, seeds, folder=root / "train", scratch=root / "scratch", **options)
    return [(folder / "model.safetensors").read_bytes() for folder in folders]


def validation_f1(checkpoint, task) -> float:
    predictions = predict(checkpoint, task.corpus, "validation", CPU.device)
    evaluation = make_evaluation(
        checkpoint.folder, checkpoint.record, {"validation": predictions}, task.corpus.utterances
    )
    return float(evaluation.scores["validation"].weighted_f1)


def interrupt_after(seed: int, epoch: int):
    def report(at_seed, row, is_best):
        if (at_seed, row["epoch"]) == (seed, epoch):
            raise KeyboardInterrupt

    return report


# ---------------------------------------------------------------------------------------------------- learning


def test_train_learns_what_is_plain(features, tmp_path):
    task = task_for(features, epochs=15)
    run(task, tmp_path)
    record = json.loads((tmp_path / "train/seed-0/settings.json").read_text())
    assert record["scores"]["validation_weighted_f1"] > 0.9
    assert record["finished"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_train_learns_on_cuda_in_every_precision(features, tmp_path, precision):
    settings = small_settings(epochs=15, precision=precision)
    task = make_task(read_corpus(features), "full", settings, choose_device("cuda", precision))
    run(task, tmp_path)
    record = load_checkpoint(tmp_path / "train/seed-0", torch.device("cuda")).record
    assert record["scores"]["validation_weighted_f1"] > 0.9


@pytest.mark.parametrize("variant", ["no_ddm", "no_cfm", "no_crm", "full_context", "no_alignment", "a", "tv"])
def test_train_runs_every_kind_of_variant(features, tmp_path, variant):
    task = task_for(features, variant, epochs=1)
    run(task, tmp_path)
    checkpoint = load_checkpoint(tmp_path / "train/seed-0", torch.device("cpu"))
    assert checkpoint.record["variant"] == variant
    assert checkpoint.modalities == task.variant.modalities


def test_train_writes_history_and_mean_curves(features, tmp_path):
    run(task_for(features), tmp_path, seeds=(0, 1))
    histories = [list(csv.DictReader(open(tmp_path / f"train/seed-{seed}/history.csv"))) for seed in (0, 1)]
    curves = list(csv.DictReader(open(tmp_path / "train/curves.csv")))
    assert [row["epoch"] for row in curves] == ["1", "2", "3"]
    for epoch, row in enumerate(curves):
        for name in ("train_loss", "validation_loss", "train_weighted_f1", "validation_weighted_f1"):
            mean = np.mean([float(history[epoch][name]) for history in histories])
            assert float(row[name]) == pytest.approx(mean, abs=2e-5)


@pytest.mark.parametrize("select_by", ["uar", "macro_f1", "accuracy"])
def test_train_selects_by_the_score_asked_for(tmp_path, select_by):
    features = write_features_folder(tmp_path / "demo", noise=6.0)  # so noisy that the scores disagree
    task = task_for(features, epochs=8, learning_rate=0.02, select_by=select_by)
    run(task, tmp_path)
    checkpoint = load_checkpoint(tmp_path / "train/seed-0", torch.device("cpu"))
    history = read_numbers(tmp_path / "train/seed-0/history.csv")
    scores = {name: [row[f"validation_{name}"] for row in history] for name in {"weighted_f1", select_by}}
    assert checkpoint.record["best_epoch"] == 1 + int(np.argmax(scores[select_by]))
    assert checkpoint.record["settings"]["select_by"] == select_by
    predicted = predict(checkpoint, task.corpus, "validation", CPU.device)
    evaluation = make_evaluation(tmp_path, checkpoint.record, {"validation": predicted}, task.corpus.utterances)
    found = float(getattr(evaluation.scores["validation"], select_by))
    assert found == pytest.approx(max(scores[select_by]), abs=1e-5)
    curves = read_numbers(tmp_path / "train/curves.csv")
    assert curves[0][f"train_{select_by}"] == pytest.approx(history[0][f"train_{select_by}"])


def test_records_and_histories_of_the_default_criterion_are_as_before(features, tmp_path):
    run(task_for(features, epochs=1), tmp_path)
    checkpoint = tmp_path / "train/seed-0"
    written = json.loads((checkpoint / "settings.json").read_text())
    assert "select_by" not in written["settings"]
    assert not any(name.endswith(("uar", "macro_f1")) for name in read_numbers(checkpoint / "history.csv")[0])
    assert load_checkpoint(checkpoint, CPU.device).record["settings"]["select_by"] == "weighted_f1"


def test_train_stops_when_validation_no_longer_improves(features, tmp_path):
    run(task_for(features, learning_rate=1e-12, epochs=30, patience=3), tmp_path)  # weights that hardly move
    record = json.loads((tmp_path / "train/seed-0/settings.json").read_text())
    assert (record["best_epoch"], record["epochs"], record["finished"]) == (1, 4, True)


def test_train_saves_the_weights_of_the_best_validation_epoch(tmp_path):
    features = write_features_folder(tmp_path / "demo", noise=6.0)  # so noisy that training scores rise alone
    task = task_for(features, epochs=8, learning_rate=0.02)
    run(task, tmp_path)
    checkpoint = load_checkpoint(tmp_path / "train/seed-0", torch.device("cpu"))
    history = list(csv.DictReader(open(tmp_path / "train/seed-0/history.csv")))
    f1 = [float(row["validation_weighted_f1"]) for row in history]
    assert checkpoint.record["best_epoch"] == 1 + int(np.argmax(f1))
    assert validation_f1(checkpoint, task) == pytest.approx(max(f1), abs=1e-5)


def test_a_head_that_has_learnt_nothing_leaves_the_decision_to_the_linear_floor(features, tmp_path):
    task = task_for(features, "plus", learning_rate=1e-12)
    run(task, tmp_path)
    checkpoint = load_checkpoint(tmp_path / "train/seed-0", CPU.device)
    predicted = predict(checkpoint, task.corpus, "test", CPU.device)
    floor_NC = logistic(task.corpus, task.variant.modalities)[predicted.rows_N]
    assert (predicted.probabilities_NC.argmax(axis=1) == floor_NC.argmax(axis=1)).mean() > 0.95


@pytest.mark.parametrize("seed", range(3))
def test_a_blend_never_ends_below_the_floor_where_one_feature_of_many_informs(tmp_path, seed):
    folder = write_features_folder(tmp_path / "demo", seed=seed, widths={"text": 501})
    text, rows = read_features(folder / "text.h5", "text"), read_corpus(folder).utterances
    random = np.random.default_rng(seed)
    text.features[:] = random.normal(size=text.features.shape)
    text.features[:, 0] += 1.5 * rows.emotion
    text.features[~text.present] = 0
    write_features(folder / "text.h5", text)
    task = task_for(folder, "plus")
    run(task, tmp_path)
    checkpoint = load_checkpoint(tmp_path / "train/seed-0", CPU.device)
    losses = []
    for blend in (checkpoint.model.extras.blend, torch.tensor([0.0, 1.0])):  # as fitted; the floor alone
        checkpoint.model.extras.blend = blend
        predicted = predict(checkpoint, task.corpus, "validation", CPU.device)
        labels_N = task.corpus.utterances.emotion[predicted.rows_N]
        p_N = predicted.probabilities_NC[np.arange(len(labels_N)), labels_N][labels_N >= 0]
        losses.append(-np.log(p_N).mean())
    assert losses[0] <= losses[1] + 1e-4  # F1 on so few rows is luck


def test_train_never_sees_the_test_split(features, tmp_path):
    before = task_for(features)
    rows = before.corpus.utterances
    other = read_corpus(features)
    for made in other.modalities.values():
        made.features[(rows.split == "test") & made.present] = 1e6
    after = make_task(other, "full", small_settings(), CPU)
    assert run(before, tmp_path / "a") == run(after, tmp_path / "b")


# ---------------------------------------------------------------------------------------------------- repetition


def test_train_same_seed_gives_the_same_bytes_and_another_seed_others(features, tmp_path):
    first = run(task_for(features), tmp_path / "a", seeds=(0, 1))
    torch.manual_seed(99)  # what the caller has drawn before is no matter
    assert run(task_for(features), tmp_path / "b", seeds=(1,)) == [first[1]]
    assert first[0] != first[1]


def test_train_leaves_the_callers_random_state_alone(features, tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run(task_for(features), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_train_keeps_the_averaged_weights_it_validated(features, tmp_path):
    task = task_for(features, epochs=3, weight_average=0.9)
    averaged, plain = run(task, tmp_path / "a"), run(task_for(features, epochs=3), tmp_path / "b")
    assert averaged != plain
    loaded = load_checkpoint(tmp_path / "a/train/seed-0", torch.device("cpu"))
    assert validation_f1(loaded, task) == pytest.approx(loaded.record["scores"]["validation_weighted_f1"], abs=1e-6)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_train_interrupted_leaves_a_usable_model_and_resumes_to_the_same_bytes(features, tmp_path, average):
    undisturbed = run(task_for(features, epochs=5, weight_average=average), tmp_path / "a")
    task = task_for(features, epochs=5, weight_average=average)
    with pytest.raises(Interrupted, match=r"interrupted after 2 epoch\(s\) of seed 0; the best model so far"):
        run(task, tmp_path / "b", report=interrupt_after(0, 2))
    record = load_checkpoint(tmp_path / "b/train/seed-0", torch.device("cpu")).record
    assert (record["finished"], record["epochs"]) == (False, 2)

    seen = []
    resumed = run(task, tmp_path / "b", report=lambda seed, row, best: seen.append(row["epoch"]))
    assert seen == [3, 4, 5]
    assert resumed == undisturbed
    histories = [(tmp_path / name / "train/seed-0/history.csv").read_text() for name in "ab"]
    assert histories[0] == histories[1]
    (state,) = (tmp_path / "b/scratch").rglob("*.pt")
    assert load_progress(state).machinery == {}  # a finished run needs it no more


def test_train_resumed_repeats_no_finished_seed_even_if_its_outputs_are_gone(features, tmp_path):
    undisturbed = run(task_for(features), tmp_path / "a", seeds=(0, 1))
    task = task_for(features)
    with pytest.raises(Interrupted):
        run(task, tmp_path / "b", seeds=(0, 1), report=interrupt_after(1, 1))
    (tmp_path / "b/train/seed-0/model.safetensors").unlink()  # as DVC does before it runs a stage again
    seen = []
    resumed = run(task, tmp_path / "b", seeds=(0, 1), report=lambda seed, row, _: seen.append((seed, row["epoch"])))
    assert seen == [(1, 2), (1, 3)]
    assert resumed == undisturbed


def test_an_interrupted_fresh_training_goes_on_without_fresh(features, tmp_path):
    with pytest.raises(Interrupted, match=r"The same command without --fresh goes on from there\."):
        run(task_for(features), tmp_path, report=interrupt_after(0, 2), fresh=True)


def test_train_fresh_or_with_another_setting_does_not_resume(features, tmp_path):
    with pytest.raises(Interrupted):
        run(task_for(features), tmp_path, report=interrupt_after(0, 2))
    for task, options in ((task_for(features, ddm_scale=0.5), {}), (task_for(features), {"fresh": True})):
        seen = []
        run(task, tmp_path, report=lambda seed, row, _: seen.append(row["epoch"]), **options)  # noqa: B023
        assert seen == [1, 2, 3]


def test_train_of_other_features_does_not_resume(features, tmp_path):
    about = task_for(features).describe()
    changed = about | {"features": about["features"] | {"text": {"extractor": "another"}}}
    assert run_key(about, "code") == run_key(dict(reversed(about.items())), "code") != run_key(changed, "code")


@pytest.mark.parametrize(
    ("variant", "part", "again"),
    [("full", "features", True), ("full", "speaker", False), ("plus", "speaker", True)],
)
def test_train_of_other_values_or_heard_speakers_under_one_identity_starts_again(tmp_path, variant, part, again):
    folder = write_features_folder(tmp_path / "demo")
    run(task_for(folder, variant), tmp_path)
    corpus = read_corpus(folder)
    if part == "features":
        text = corpus.modalities["text"]
        write_features(folder / "text.h5", dataclasses.replace(text, features=text.features * 2))
    else:
        write_utterances(
            folder / "utterances.h5", dataclasses.replace(corpus.utterances, speaker=corpus.utterances.split)
        )
    seen = []
    run(task_for(folder, variant), tmp_path, report=lambda seed, row, _: seen.append(row["epoch"]))
    assert bool(seen) == again


def test_train_makes_a_run_again_whose_history_is_damaged(features, tmp_path):
    task = task_for(features)
    run(task, tmp_path)
    history = tmp_path / "train/seed-0/history.csv"
    whole = history.read_bytes()
    history.write_bytes(whole[: len(whole) // 2])
    run(task, tmp_path)
    assert history.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"junk\n", None])
def test_train_with_a_damaged_state_reports_it_and_starts_again(features, tmp_path, content):
    task = task_for(features)
    with pytest.raises(Interrupted):
        run(task, tmp_path, report=interrupt_after(0, 1))
    (state,) = (tmp_path / "scratch").rglob("state.pt")
    state.write_bytes(state.read_bytes()[:1000] if content is None else content)
    messages = []
    run(task, tmp_path, notify=messages.append)
    assert len(messages) == 1 and "the run's state is damaged" in messages[0] and "starts again" in messages[0]


def test_states_that_nothing_wrote_for_a_month_are_removed_and_reported(tmp_path):
    paths = {name: tmp_path / run_key({"of": name}, "") / "state.pt" for name in ("month", "week")}
    for path, days in zip(paths.values(), (KEPT_DAYS + 1, 7), strict=True):
        save_progress(path, Progress())
        (path.parent / ".state.pt.x.part").write_bytes(b"half")
        os.utime(path, (time.time() - days * 24 * 3600,) * 2)
    messages = []
    remove_abandoned(tmp_path, messages.append)
    assert list(tmp_path.iterdir()) == [paths["week"].parent]
    assert len(messages) == 1 and "removed the states of 1 run(s) older than 30 days" in messages[0]
    remove_abandoned(tmp_path, messages.append)
    assert len(messages) == 1


def test_old_folders_of_others_stay_in_a_shared_scratch(tmp_path):
    """`--scratch /scratch/me` is a folder of everything."""
    others = [tmp_path / "sweep-2025/results.csv", tmp_path / "thesis/state.pt"]
    for path in others:
        path.parent.mkdir()
        path.touch()
        for old in (path, path.parent):
            os.utime(old, (time.time() - (KEPT_DAYS + 1) * 24 * 3600,) * 2)
    remove_abandoned(tmp_path, lambda message: None)
    assert all(path.exists() for path in others)


def test_training_imports_no_compiler(features, tmp_path, monkeypatch):
    """PyTorch's: an import of seconds, in the first call of many of its functions."""
    for package in ("torch._dynamo", "torch._inductor"):
        monkeypatch.setitem(sys.modules, package, None)
    run(task_for(features, epochs=1), tmp_path)


def command_line(root: Path, features: Path, epochs: int) -> list[str]:
    arguments = ["train", "--corpus=demo", "--no-evaluate", "--seed=0", "--device=cpu"]
    arguments += [f"--features={features.parent}", f"--out={root / 'runs'}", f"--scratch={root / 'scratch'}"]
    arguments += [f"--params={REPOSITORY / 'params.yaml'}"]
    for setting in ("hidden=8", "align=8", f"epochs={epochs}", f"patience={epochs}"):
        arguments += ["--set", f"train.{setting}"]
    return arguments


def start(arguments: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "dferc", *arguments]
    options = {"cwd": REPOSITORY, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, preexec_fn=end_with_parent, **options)


def wait_for_epoch(process: subprocess.Popen, epoch: int) -> None:
    for line in process.stderr:
        if f"epoch {epoch}:" in line:
            return
    raise AssertionError(f"the training ended (status {process.wait()}) before epoch {epoch}")


def test_train_killed_resumes_to_the_same_bytes(features, tmp_path):
    killed, whole = (command_line(tmp_path / name, features, epochs=16) for name in ("killed", "whole"))
    process = start(killed)
    wait_for_epoch(process, 3)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    assert not (tmp_path / "killed/runs").exists()
    resumed = CliRunner().invoke(main, killed)
    assert "seed 0: resumes after epoch" in resumed.stderr
    assert "epoch 3:" not in resumed.stderr and "epoch 16:" in resumed.stderr

    assert CliRunner().invoke(main, whole).exit_code == 0
    name = "runs/demo/full/train/seed-0/model.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_train_interrupted_keeps_the_best_model_and_says_how_to_go_on(features, tmp_path):
    """By SIGINT; test_sweep.py sends SIGTERM."""
    process = start(command_line(tmp_path, features, epochs=3000))
    wait_for_epoch(process, 2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130
    assert stderr.strip().splitlines()[-1].endswith("The same command goes on from there.")
    assert load_checkpoint(tmp_path / "runs/demo/full/train/seed-0", torch.device("cpu")).record["finished"] is False


# ---------------------------------------------------------------------------------------------------- parts


def test_rate_at_rises_and_falls_linearly():
    shares = [rate_at(step, warmup=4, steps=12) for step in range(13)]
    assert shares[:5] == [0, 0.25, 0.5, 0.75, 1]
    assert shares[8] == 0.5 and shares[12] == 0
    assert rate_at(0, warmup=0, steps=10) == 1
    assert rate_at(3, warmup=100, steps=10) == 0.03  # a run shorter than its warm-up only rises


def test_make_optimiser_decays_no_bias(features):
    task = task_for(features)
    model = task.new_model()
    decayed, spared = make_optimiser(model, task.settings).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
    spared = {id(parameter) for parameter in spared["params"]}
    for name, parameter in model.named_parameters():
        assert (id(parameter) in spared) == ("bias" in name), name
    assert len(spared) + len(decayed["params"]) == len(list(model.parameters()))


def test_tally_scores_as_scikit_learn_does_and_leaves_out_the_unlabelled():
    from sklearn.metrics import accuracy_score, f1_score  # seconds, for each worker

    random = np.random.default_rng(0)
    actual, logits = random.integers(-1, 4, size=90), random.normal(size=(90, 4))
    tallies = [EpochTally(4, torch.device("cpu")) for _ in range(2)]
    losses = Losses(*map(torch.tensor, (1.0, 2.0, 3.0, 4.0, 5.0)))
    for tally in tallies:
        for part in (slice(0, 50), slice(50, 90)):
            tally.add(losses, torch.tensor(logits[part]), torch.tensor(actual[part]))
    row = read_tallies(tallies)
    labelled, predicted = actual >= 0, logits.argmax(1)
    assert [row[f"train_{term}"] for term in ("loss", "classification", "ddm", "cfm", "alignment")] == [1, 2, 3, 4, 5]
    f1 = f1_score(actual[labelled], predicted[labelled], average="weighted")
    for split in ("train", "validation"):
        assert row[f"{split}_accuracy"] == pytest.approx(accuracy_score(actual[labelled], predicted[labelled]))
        assert row[f"{split}_weighted_f1"] == pytest.approx(f1)


class NoHostSync(TorchDispatchMode):
    """Counts operations that need values on the host: on a GPU each would wait for it."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "bincount", "unique", "_unique2", "equal")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put_", "index_put") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in self.FORBIDDEN or by_mask:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("variant", ["full", "plus"])
def test_train_asks_for_no_value_inside_a_step(features, tmp_path, variant):
    counts = []
    for batch_dialogues in (12, 1):  # 1 and 12 steps an epoch
        with NoHostSync() as mode:
            run(task_for(features, variant, epochs=1, batch_dialogues=batch_dialogues), tmp_path / str(batch_dialogues))
        counts.append(len(mode.found))
    assert counts[0] == counts[1]


# ---------------------------------------------------------------------------------------------------- bad input


def test_train_stops_at_a_loss_that_is_not_finite(features, tmp_path):
    task = task_for(features, learning_rate=1e38, epochs=4, clip_norm=1e30)
    with pytest.raises(InputError, match=r"seed 0, epoch \d: the loss is not finite \(.*_loss = .*train.learning_rate"):
        run(task, tmp_path)


@contextlib.contextmanager
def full_disk(most: int = 1000):
    """No file can grow beyond this; no fixture, since pytest's own log must grow as soon as the test has ended."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_train_on_a_full_disk_keeps_the_old_files_and_says_so(features, tmp_path):
    run(task_for(features), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    task = task_for(features, epochs=1)
    weights = task.new_model().state_dict()
    size = next(path.stat().st_size for path in before if path.name == "state.pt")
    for most in (1000, size // 3, size // 2):  # torch reports a full disk in two ways
        with full_disk(most), pytest.raises(InputError, match=r"state.pt could not be written .*Is the disk full\?"):
            run(task, tmp_path)
    with full_disk():
        with pytest.raises(InputError, match="model.safetensors could not be written"):
            save_checkpoint(tmp_path / "train/seed-0", weights, task.normalisation, {}, {})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before


@pytest.mark.parametrize("split", ["train", "validation"])
def test_make_task_needs_labels_to_learn_from_and_to_select_on(tmp_path, split):
    folder = write_features_folder(tmp_path / "demo", unlabelled=(split,))
    with pytest.raises(InputError, match=f"the {split} split has .* none of them labelled"):
        task_for(folder)


def test_make_task_needs_a_validation_split(tmp_path):
    folder = write_features_folder(tmp_path / "demo", dialogues={"train": 4, "test": 4})
    with pytest.raises(InputError, match=re.escape("the validation split has 0 utterance(s)")):
        task_for(folder)


def test_make_task_leaves_out_a_modality_that_no_training_utterance_has(tmp_path):
    folder = write_features_folder(tmp_path / "demo")
    rows = read_corpus(folder).utterances
    write_features(folder / "audio.h5", make_features(rows, "audio", 6, absent=1.0))
    assert task_for(folder).variant.modalities == ("text", "visual")
    with pytest.raises(InputError, match="'a' uses audio, and no training utterance of demo has such a signal"):
        task_for(folder, "a")


def test_train_without_the_files_of_two_modalities(tmp_path):
    folder = write_features_folder(tmp_path / "demo", widths={"text": 8})
    task = task_for(folder)
    assert task.variant.modalities == ("text",)
    run(task, tmp_path)
    assert load_checkpoint(tmp_path / "train/seed-0", torch.device("cpu")).record["widths"] == {"text": 8}


def test_make_task_refuses_class_weights_of_unknown_classes(features):
    with pytest.raises(InputError, match="bliss"):
        task_for(features, class_weights={"bliss": 1.0, "other": 2.0})


def test_make_task_normalises_by_present_training_rows(features):
    task = task_for(features)
    made, rows = read_features(features / "text.h5", "text"), task.corpus.utterances
    training = made.features[made.present & (rows.split == "train")]
    assert np.allclose(task.normalisation.mean["text"], training.mean(0), rtol=1e-5)
    assert task.classes == len(CLASSES)


def test_speaker_normalisation_without_speakers_is_refused(tmp_path):
    """It would be that over the corpus, and tables would call the run transductive."""
    corpus = read_corpus(write_features_folder(tmp_path / "demo"))
    rows = dataclasses.replace(corpus.utterances, speaker=np.array([""] * len(corpus.utterances), dtype=object))
    settings = small_settings(normalisation="speaker")
    with pytest.raises(InputError, match="normalisation is speaker, and no utterance has one"):
        make_task(dataclasses.replace(corpus, utterances=rows), "full", settings, CPU)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attention_layers": 1, "attention_width": 32}, "attention takes them for unknown ones"),
        ({"normalisation": "speaker"}, "they are normalised over the corpus"),
        ({}, None),
    ],
)
def test_missing_speakers_are_told_where_a_variant_reads_them(tmp_path, capsys, changes, said):
    corpus = read_corpus(write_features_folder(tmp_path / "demo"))
    rows, train_N = corpus.utterances, corpus.utterances.split == "train"
    speaker = rows.speaker.copy()
    speaker[np.flatnonzero(train_N)[:5]] = ""
    corpus = dataclasses.replace(corpus, utterances=dataclasses.replace(rows, speaker=speaker))
    show_task(make_task(corpus, "full", small_settings(**changes), CPU), (0,))
    told = " ".join(capsys.readouterr().err.split())
    assert (f"full reads who speaks, and 5 of {train_N.sum()} training utterances" in told) == (said is not None)
    assert said is None or said in told


def test_warm_up_that_outlasts_the_training_is_noted(features, capsys):
    for warmup_steps, is_noted in ((1000, True), (1, False)):
        show_task(task_for(features, warmup_steps=warmup_steps), (0,))
        assert ("the rate stays below its peak" in capsys.readouterr().err) == is_noted
