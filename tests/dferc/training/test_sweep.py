"""Ablations: the bytes of each run alone, only what is missing is run, and what fails or is killed costs no other."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from rich.console import Console

import dferc.evaluation.ablate
import dferc.training.display
import dferc.training.sweep
from dferc.cli.main import main
from dferc.core.errors import InputError
from dferc.engine import WorkerDied, Workers
from dferc.settings.sections import DEFAULTS
from dferc.training.display import SweepTable
from dferc.training.learner import DialogueLearner
from dferc.training.resume import RunElsewhereError, claim, load_progress
from dferc.training.sweep import Outcome, SeedRun, Sweep, perform, place, refuse_failures
from tests.helpers.common import REPOSITORY, small_settings, write_features_folder
from tests.helpers.processes import all_end, end_with_parent, is_alive

EPOCHS = 3
SMALL = [f"--set=train.{setting}" for setting in ("hidden=8", "align=8", f"epochs={EPOCHS}", "warmup_steps=2")]


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    return write_features_folder(tmp_path_factory.mktemp("features") / "demo").parent


def arguments(features: Path, root: Path, command: str, *more: str) -> list[str]:
    places = [f"--features={features}", f"--out={root / 'runs'}", f"--scratch={root / 'scratch'}"]
    return [command, "--corpus=demo", *places, f"--params={REPOSITORY / 'params.yaml'}", "--device=cpu", *SMALL, *more]


def ablate(features: Path, root: Path, *more: str, workers: int = 0) -> Result:
    return CliRunner().invoke(main, arguments(features, root, "ablate", f"--workers={workers}", *more))


def contents(root: Path) -> dict[str, bytes]:
    """Read every file of the runs but settings.json, which names the revision of the code."""
    runs = root / "runs/demo"
    files = (path for path in runs.rglob("*") if path.is_file() and path.name != "settings.json")
    return {str(path.relative_to(runs)): path.read_bytes() for path in files}


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """One entry per epoch that this process trains: the variant."""
    epochs, score = [], DialogueLearner.score

    def counted(self, model):
        epochs.append(self.task.name)
        return score(self, model)

    monkeypatch.setattr(DialogueLearner, "score", counted)
    return epochs


def test_a_warm_up_is_compared_with_the_steps_of_each_variant(features, tmp_path, monkeypatch):
    """`plus` has batches of 4 dialogues where `full` has 2: half as many steps."""
    monkeypatch.setattr(dferc.evaluation.ablate, "perform", lambda *_: iter(()))
    for variant, is_noted in (("full", False), ("plus", True)):
        done = ablate(features, tmp_path, f"--variant={variant}", "--seed=0", "--set=train.warmup_steps=12")
        assert done.exit_code == 0, done.output
        assert ("12 warmup_steps in 9 steps of training" in " ".join(done.stderr.split())) == is_noted


def test_another_criterion_is_named_in_lines_cards_and_tables(features, tmp_path):
    chosen = ("--set=train.select_by=uar", "--seed=0")
    done = ablate(features, tmp_path, "--variant=full", *chosen)
    assert done.exit_code == 0 and "epochs, validation UAR 0." in done.stderr
    own = [part for part in arguments(features, tmp_path, "baselines", *chosen) if not part.startswith("--scratch")]
    fitted = CliRunner().invoke(main, [*own, "--name=bc_lstm", "--name=majority"])
    assert fitted.exit_code == 0, fitted.output
    places = [f"--runs={tmp_path / 'runs'}", f"--out={tmp_path / 'reports'}"]
    table = CliRunner().invoke(main, ["table", "--corpus=demo", *places])
    for name in ("full", "bc_lstm"):
        assert f"{name} was selected by UAR on validation" in table.stderr
        card = json.loads((tmp_path / f"runs/demo/{name}/evaluate/protocol.json").read_text())
        assert card["selected_by"] == "uar"
    assert "majority was selected" not in table.stderr


# ---------------------------------------------------------------------------------------------------- the same bytes


def test_runs_beside_each_other_have_the_bytes_of_each_alone(features, tmp_path):
    selection = ("--variant=full", "--variant=t", "--seed=0")
    beside = ablate(features, tmp_path / "beside", *selection, workers=2)
    assert beside.exit_code == 0, beside.output
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # as a process alone on a machine would have
    try:
        for variant in ("full", "t"):
            alone = arguments(features, tmp_path / "alone", "train", f"--variant={variant}", "--seed=0")
            assert CliRunner().invoke(main, alone).exit_code == 0
    finally:
        torch.set_num_threads(threads)
    found = contents(tmp_path / "beside")
    assert "full/train/curves.csv" in found and "t/metrics.json" in found and "t/evaluate/predictions.csv" in found
    assert found == contents(tmp_path / "alone")


def test_a_run_computes_with_the_threads_that_its_settings_state(features, tmp_path, monkeypatch):
    seen, score = [], DialogueLearner.score

    def watched(self, model):
        seen.append(torch.get_num_threads())
        return score(self, model)

    monkeypatch.setattr(DialogueLearner, "score", watched)
    before = torch.get_num_threads()
    assert ablate(features, tmp_path, "--variant=t", "--seed=0", "--set=train.threads=3").exit_code == 0
    assert set(seen) == {3} and torch.get_num_threads() == before


# ---------------------------------------------------------------------------------------------------- only what is new


def test_a_variant_or_a_seed_more_runs_only_that(features, tmp_path, trained):
    assert ablate(features, tmp_path, "--variant=full", "--seed=0").exit_code == 0
    model = tmp_path / "runs/demo/full/train/seed-0/model.safetensors"
    written = model.stat().st_ino
    more = ablate(features, tmp_path, "--variant=full", "--variant=a", "--seed=0", "--seed=7")
    assert more.exit_code == 0 and "full seed 0: was finished, 3 epochs, validation weighted F1" in more.stderr
    assert trained == ["full"] * 2 * EPOCHS + ["a"] * 2 * EPOCHS
    assert model.stat().st_ino == written
    assert json.loads((tmp_path / "runs/demo/full/metrics.json").read_text())["seeds"] == 2
    assert ablate(features, tmp_path, "--variant=full", "--seed=0", "--fresh").exit_code == 0
    assert len(trained) == 5 * EPOCHS


def test_what_dvc_removed_comes_back_without_training(features, tmp_path, trained):
    assert ablate(features, tmp_path, "--variant=t", "--seed=0").exit_code == 0
    before = contents(tmp_path)
    shutil.rmtree(tmp_path / "runs")  # as DVC does before it runs a stage again
    assert ablate(features, tmp_path, "--variant=t", "--seed=0").exit_code == 0
    assert contents(tmp_path) == before and len(trained) == EPOCHS
    (state,) = (tmp_path / "scratch").glob("*/state.pt")
    assert load_progress(state).machinery == {}  # what only a resumed run needs is not kept


def damage(folder: Path, what: str) -> None:
    if what == "weights cut short":
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
    elif what == "no history":
        (folder / "history.csv").unlink()
    elif what == "settings of another epoch":
        path = folder / "settings.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"best_epoch": 99}))
    else:
        (folder / "settings.json").write_text("{")


@pytest.mark.parametrize("what", ["weights cut short", "no history", "settings of another epoch", "settings cut short"])
@pytest.mark.parametrize("state", ["there", "gone"])
def test_a_half_written_run_is_made_whole(features, tmp_path, trained, what, state):
    assert ablate(features, tmp_path, "--variant=t", "--seed=0").exit_code == 0
    before = contents(tmp_path)
    damage(tmp_path / "runs/demo/t/train/seed-0", what)
    if state == "gone":
        shutil.rmtree(tmp_path / "scratch")
    assert ablate(features, tmp_path, "--variant=t", "--seed=0").exit_code == 0
    assert contents(tmp_path) == before
    assert len(trained) == EPOCHS * (2 if state == "gone" else 1)


def test_a_run_that_is_there_needs_no_state(features, tmp_path, trained):
    assert ablate(features, tmp_path, "--variant=t", "--seed=0").exit_code == 0
    shutil.rmtree(tmp_path / "scratch")
    assert ablate(features, tmp_path, "--variant=t", "--seed=0").exit_code == 0
    assert len(trained) == EPOCHS


# ---------------------------------------------------------------------------------------------------- failures, kills


def test_a_failing_variant_is_reported_at_the_end_and_the_others_finish(features, tmp_path, monkeypatch):
    real = dferc.training.sweep.make_task

    def fail(corpus, variant, *rest):
        if variant == "a":
            raise InputError("the variant 'a' is at fault")
        return real(corpus, variant, *rest)

    monkeypatch.setattr(dferc.training.sweep, "make_task", fail)
    result = ablate(features, tmp_path, "--variant=a", "--variant=t", "--seed=0", "--seed=1")
    assert result.exit_code == 1 and "Traceback" not in result.stderr
    message = " ".join(result.stderr.split())
    assert "a seed 0: FAILED (1 of 4 runs, 1 FAILED" in message
    assert "2 of 4 runs failed: - a, seed 0, 1: the variant 'a' is at fault" in message
    assert (tmp_path / "runs/demo/t/metrics.json").exists() and not (tmp_path / "runs/demo/a/metrics.json").exists()


def test_an_older_seed_that_was_damaged_is_left_out_and_ends_nothing(features, tmp_path):
    assert ablate(features, tmp_path, "--variant=t", "--seed=7").exit_code == 0
    weights = tmp_path / "runs/demo/t/train/seed-7/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3] + b"\x7f\x01\x02")
    result = ablate(features, tmp_path, "--variant=t", "--variant=a", "--seed=0")
    assert result.exit_code == 0 and "t, seed-7 is left out" in result.stderr, result.stderr
    assert json.loads((tmp_path / "runs/demo/t/metrics.json").read_text())["seeds"] == 1
    assert (tmp_path / "runs/demo/a/metrics.json").exists()


def test_a_fault_of_the_program_in_one_run_leaves_the_others(features, tmp_path, monkeypatch):
    real = dferc.training.sweep.train_run
    monkeypatch.setattr(
        dferc.training.sweep, "train_run", lambda task, seed, *rest, **more: real(task, 1 // seed, *rest, **more)
    )
    result = ablate(features, tmp_path, "--variant=t", "--seed=0", "--seed=1")
    assert result.exit_code == 1
    assert "t, seed 0: a fault of the program" in result.stderr and "ZeroDivisionError" in result.stderr
    assert (tmp_path / "runs/demo/t/train/seed-1/model.safetensors").exists()


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), RuntimeError("CUDA out of memory. Tried 2 GiB")])
def test_a_fault_of_disk_or_memory_in_one_run_is_none_of_the_program(features, tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(dferc.training.sweep, "train_run", fail)
    result = ablate(features, tmp_path, "--variant=t", "--seed=0")
    assert result.exit_code == 1 and str(error) in result.stderr
    assert "a fault of the program" not in result.stderr and "Traceback" not in result.stderr
    assert ("--workers" in result.stderr) == isinstance(error, RuntimeError)


def test_a_run_that_kills_its_workers_is_a_failure(features, tmp_path, monkeypatch):
    def run(function, items, *_):
        return ((index, WorkerDied(3)) for index, _ in enumerate(items))

    monkeypatch.setattr(dferc.training.sweep.engine, "run", run)
    ((found, outcome),) = perform(sweep(features, tmp_path, seeds=(0,)), Workers(1), tmp_path)
    assert str(found) == "t seed 0" and "worker died: 3 times" in outcome.error


@contextlib.contextmanager
def started(features: Path, root: Path, epochs: int, runs: int = 1) -> Iterator[subprocess.Popen]:
    """Start an ablation of so many runs at once in its own process group; it does not outlive the test."""
    seeds = [f"--seed={seed}" for seed in range(runs)]
    command = arguments(features, root, "ablate", f"--workers={runs}", "--variant=t", *seeds)
    command += [f"--set=train.{name}={epochs}" for name in ("epochs", "patience")]
    command = [sys.executable, "-m", "dferc", *command]
    options = {"cwd": REPOSITORY, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, preexec_fn=end_with_parent, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_states(root: Path, count: int) -> list[Path]:
    deadline = time.monotonic() + 600  # a machine may be busy
    while time.monotonic() < deadline:
        states = sorted((root / "scratch").glob("*/state.pt"))
        if len(states) == count:
            return states
        time.sleep(0.02)
    raise AssertionError(f"after ten minutes {len(states)} of {count} runs have begun")


def workers_of(parent: int) -> list[int]:
    """List the processes whose parent is this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = path.read_text().partition(" (")
        except FileNotFoundError:
            continue
        if int(rest.rpartition(")")[2].split()[1]) == parent:
            found.append(int(number))
    return found


def verify_gone(processes: list[int]) -> None:
    """Wait for all to end; multiprocessing's own helper follows its parent a moment later."""
    assert all_end(processes)


def test_killed_by_sigkill_it_goes_on_and_ends_with_the_same_bytes(features, tmp_path, trained):
    long = [f"--set=train.{name}=10" for name in ("epochs", "patience")]
    selection = ("--variant=t", "--seed=0", "--seed=1", *long)
    with started(features, tmp_path / "killed", epochs=10, runs=2) as process:
        states = wait_for_states(tmp_path / "killed", 2)
        workers = workers_of(process.pid)
    verify_gone(workers)
    kept = sum(load_progress(state).epoch for state in states)
    assert ablate(features, tmp_path / "killed", *selection).exit_code == 0
    assert len(trained) == 2 * 10 - kept  # nothing that was saved is done again; a state is saved after every epoch
    assert ablate(features, tmp_path / "whole", *selection).exit_code == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_terminated_it_ends_at_once_with_its_workers(features, tmp_path):
    """By SIGTERM; test_train.py sends SIGINT."""
    with started(features, tmp_path, epochs=100_000) as process:
        wait_for_states(tmp_path, 1)
        workers = workers_of(process.pid)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=300)
    assert process.returncode == 143
    assert "the same command goes on from there" in stderr and "Traceback" not in stderr
    assert len(workers) >= 1
    verify_gone(workers)
    assert not list((tmp_path / "scratch").glob("dferc-sweep-*"))


def test_nothing_that_a_killed_test_started_goes_on():
    program = (
        "import subprocess; from tests.helpers.processes import end_with_parent\n"
        "print(subprocess.Popen(['sleep', '600'], preexec_fn=end_with_parent, stdout=-3).pid, flush=True); input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
    assert all_end([child], within_s=10)


def test_what_another_process_is_at_is_left_to_it_and_then_taken(features, tmp_path, trained):
    selection = ("--variant=t", "--seed=0", "--seed=1")
    assert ablate(features, tmp_path, *selection[:2]).exit_code == 0
    whole = contents(tmp_path)["t/train/seed-0/model.safetensors"]
    (state,) = (tmp_path / "scratch").glob("*/state.pt")
    shutil.rmtree(tmp_path / "runs")
    with claim(state, waiting=None):  # as another process does
        mine = threading.Thread(target=ablate, args=(features, tmp_path, *selection))
        mine.start()
        deadline = time.monotonic() + 120
        while not (tmp_path / "runs/demo/t/train/seed-1/settings.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        assert mine.is_alive() and not (tmp_path / "runs/demo/t/train/seed-0").exists()
        with pytest.raises(RunElsewhereError, match="another process is training this run"), claim(state, waiting=None):
            pass
    mine.join(timeout=120)
    assert (tmp_path / "runs/demo/t/metrics.json").exists()
    assert contents(tmp_path)["t/train/seed-0/model.safetensors"] == whole
    assert len(trained) == 2 * EPOCHS


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--variant=no_ddn"], "There is no variant 'no_ddn'. Did you mean 'no_ddm'"),
        (["--features=nowhere"], "utterances.h5 is missing"),
        (["--set=train.threads=0"], "demo.train.threads: got 0"),
    ],
)
def test_bad_input_stops_it_before_anything_runs(features, tmp_path, trained, more, message):
    result = ablate(features, tmp_path, *more)
    assert result.exit_code == 1 and message in " ".join(result.stderr.split())
    assert trained == [] and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("seeds", "message"), [("[]", "ablate.seeds: got []"), ("[1, 2, 1]", "duplicate values: 1")])
def test_seeds_are_some_and_each_counts_once(features, tmp_path, seeds, message):
    text = (
        (REPOSITORY / "params.yaml").read_text(encoding="utf-8").replace("seeds: [0, 1, 2, 3, 4] ", f"seeds: {seeds} ")
    )
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    result = ablate(features, tmp_path, f"--params={tmp_path / 'params.yaml'}")
    assert result.exit_code == 1 and message in " ".join(result.stderr.split())


def test_a_seed_asked_for_twice_runs_once(features, tmp_path, trained):
    assert ablate(features, tmp_path, "--variant=t", "--seed=3", "--seed=3").exit_code == 0
    assert len(trained) == EPOCHS


def test_runs_of_other_settings_are_not_mixed_with(features, tmp_path, trained):
    assert ablate(features, tmp_path, "--variant=t", "--seed=0").exit_code == 0
    result = ablate(features, tmp_path, "--variant=full", "--variant=t", "--seed=1", "--set=train.ddm_scale=0.1")
    assert result.exit_code == 1 and "was trained with other settings (ddm_scale)" in " ".join(result.stderr.split())
    assert len(trained) == EPOCHS


# ---------------------------------------------------------------------------------------------------- parts


def sweep(features: Path, root: Path, **changes) -> Sweep:
    about = {
        "corpus": "demo",
        "features": features / "demo",
        "folder": root / "runs/demo",
        "scratch": root / "scratch",
        "variants": ("t",),
        "seeds": (0, 1),
        "settings": small_settings(epochs=10),
        "device": "cpu",
        "fresh": False,
    }
    return Sweep(**about | changes)


@pytest.mark.parametrize(
    ("cpus", "threads", "on_gpu", "asked", "count"),
    [
        (8, 1, False, None, 6),  # no more than there are runs
        (4, 1, False, None, 4),
        (8, 4, False, None, 2),
        (2, 4, False, None, 0),  # one after the other needs no other process
        (8, 1, True, None, dferc.training.sweep.ON_ONE_GPU),
        (2, 1, False, 5, 5),
        (2, 1, False, 0, 0),
    ],
)
def test_as_many_runs_at_once_as_fill_the_cores(tmp_path, monkeypatch, cpus, threads, on_gpu, asked, count):
    monkeypatch.setattr(dferc.training.sweep, "default_workers", lambda: cpus)
    wanted = sweep(tmp_path, tmp_path, seeds=(0, 1, 2), variants=("t", "a"), settings=small_settings(threads=threads))
    placed = place(Workers(asked), wanted, on_gpu, 0.25)
    assert (placed.count, placed.cpus, placed.gpus) == (count, threads, 0.0)  # --device cpu takes no GPU
    assert place(Workers(asked), replace(wanted, device="auto"), on_gpu, 0.25).gpus == 0.25


def test_failures_are_reported_once_for_all_seeds_they_befell():
    failures = {SeedRun("a", 0): "no sound", SeedRun("a", 2): "no sound", SeedRun("t", 1): "too hot"}
    with pytest.raises(InputError, match=r"3 of 9 runs failed:\n  - a, seed 0, 2: no sound\n  - t, seed 1: too hot\n"):
        refuse_failures(failures, 9)
    refuse_failures({}, 9)


class Clock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def table_of(tmp_path: Path, monkeypatch, terminal: bool) -> tuple[SweepTable, Console, Clock]:
    console = Console(record=True, force_terminal=terminal, width=100, file=open(os.devnull, "w"))
    clock = Clock()
    monkeypatch.setattr(dferc.training.display, "console", console)
    monkeypatch.setattr(dferc.training.display, "time", clock)
    return SweepTable(sweep(tmp_path, tmp_path, variants=("full", "t")), tmp_path), console, clock


def write_status(folder: Path, run: str, **values) -> None:
    status = {"epoch": 0, "first": None, "score": 0.0, "note": ""} | values
    (folder / f"{run}.json").write_text(json.dumps(status))


def test_table_shows_runs_and_time_left(tmp_path, monkeypatch):
    table, console, clock = table_of(tmp_path, monkeypatch, terminal=True)
    write_status(tmp_path, "full-0", epoch=4, first=0, score=0.5)
    write_status(tmp_path, "full-1", epoch=9, first=7, score=0.75)  # resumed after its seventh
    write_status(tmp_path, "t-0", note="seed 0: another process is training this run; waiting for it to finish")
    clock.now = 60.0
    with table:
        table.add(SeedRun("full", 0), Outcome(4, 0.5))
    console.print(table._table())
    shown = console.export_text()
    for part in ("seed 1", "0.500", "epoch 9/10, 0.750", "waits for another process", "·"):
        assert part in shown
    # 6 epochs in 60 s; a run takes 4 as far as is known: 1 more for the second, 4 each for two that have not begun
    assert "1 of 4 runs, 0:01:30 left" in shown


def test_log_has_a_line_per_run_and_one_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(dferc.training.display, "LINE_EVERY_S", 0.05)
    table, console, clock = table_of(tmp_path, monkeypatch, terminal=False)
    write_status(tmp_path, "t-1", epoch=2, first=0, score=0.25)
    clock.now = 10.0
    with table:
        table.add(SeedRun("full", 0), Outcome(error="no sound"))
        time.sleep(0.5)
    shown = console.export_text()
    assert "full seed 0: FAILED (1 of 4 runs, 1 FAILED, 0:02:20 left)" in shown  # 5 s an epoch, 8 + 10 + 10 to go
    assert "1 of 4 runs, 1 FAILED, 0:02:20 left; t seed 1: epoch 2/10, 0.250" in shown


def test_the_epochs_shown_are_those_of_the_variant(tmp_path):
    table = SweepTable(replace(sweep(tmp_path, tmp_path, variants=("full", "plus")), settings=DEFAULTS), tmp_path)
    status = {"epoch": 21, "score": 0.5}
    assert "epoch 21/40" in table._progress(SeedRun("plus", 0), status)
    assert "epoch 21/20" in table._progress(SeedRun("full", 0), status)
