"""Train the head on cached features: runs that end whole or go on, whatever interrupts them (METHOD §6).

Selection is on the validation split's weighted F1; the test split is never touched here. The same seed on the CPU gives
bit-identical weights, undisturbed or resumed after a kill, alone or beside others: `train.threads` says by how many
threads, and rounding depends on nothing else. On CUDA, sums of parallel threads vary in the last bits.
"""

import contextlib
import json
import math
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from dferc.core import VERSION
from dferc.core.console import console
from dferc.core.device import cpu_threads
from dferc.core.errors import InputError
from dferc.core.sources import code_hash
from dferc.core.tables import write_csv
from dferc.settings.sections import Train
from dferc.training.checkpoint import HISTORY, RECORD, holds_run, save_checkpoint
from dferc.training.epoch import flatten, train_epoch, validate
from dferc.training.history import write_curves
from dferc.training.optimiser import make_machinery
from dferc.training.resume import Progress, claim, load_progress, run_key, save_progress
from dferc.training.tally import read_tallies
from dferc.training.task import Task

Report = Callable[[int, Mapping[str, float], bool], None]
"""Called after each epoch with the seed, the epoch's row of history.csv, and whether it is the best so far."""
Tell = Callable[[str], None]
"""Called with a sentence for people."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM during training; the message says what was kept and how to go on."""


def train(
    task: Task,
    seeds: Sequence[int],
    *,
    folder: Path,
    scratch: Path,
    fresh: bool = False,
    report: Report | None = None,
    tell: Tell = console.print,
) -> list[Path]:
    """Train one model per seed into `folder`/seed-<s>/ and write the mean curves beside them.

    Args:
        task: data and settings.
        seeds: one run each; what is finished already is taken as it is.
        folder: runs/<corpus>/<variant>/train.
        scratch: where the states of runs live.
        fresh: ignore such states and what is finished.
        report: told of every epoch.
        tell: told in a sentence what else happens: a run is found finished, resumes, or waits for another process.

    Returns:
        The checkpoint folders.

    Raises:
        InputError: a loss is not finite.
        Interrupted: Ctrl-C or SIGTERM; what was reached is saved.
    """
    folders = [folder / f"seed-{seed}" for seed in seeds]
    for seed, of_seed in zip(seeds, folders, strict=True):
        train_run(task, seed, of_seed, scratch=scratch, fresh=fresh, report=report, tell=tell)
    write_curves(folder / "curves.csv", [of_seed / HISTORY for of_seed in folders])
    return folders


def train_run(
    task: Task,
    seed: int,
    folder: Path,
    *,
    scratch: Path,
    fresh: bool = False,
    report: Report | None = None,
    tell: Tell = console.print,
    wait: bool = True,
) -> None:
    """Train one seed into `folder`, or go on with it, unless it is finished; see `train`.

    Another process at the same run is waited for, and its result taken.

    Raises:
        RunElsewhereError: there is another, and `wait` is False.
    """
    key = run_key(task.describe() | {"device": task.device.device.type, "seed": seed}, code_hash(__name__))
    state = scratch / key / "state.pt"
    told = f"seed {seed}: another process is at this very run; waits for it"
    with claim(state, waiting=(lambda: tell(told)) if wait else None):
        if fresh:
            state.unlink(missing_ok=True)
        elif holds_run(folder, key):
            tell(f"seed {seed}: finished already, kept as it is (--fresh would train it again)")
            return
        progress = load_progress(state)
        if progress.machinery:
            tell(f"seed {seed}: resumes after epoch {progress.epoch} (--fresh would start again)")
        elif progress.epoch:
            tell(f"seed {seed}: finished earlier, taken from {state} (--fresh would train it again)")
        try:
            with _reproducible(seed, task):
                _train_seed(task, seed, progress, state, report)
        except KeyboardInterrupt:
            if progress.best:
                _save(task, seed, progress, folder, key)
            raise Interrupted(_explain_interruption(seed, progress, folder)) from None
        _save(task, seed, progress, folder, key)


def refuse_other_settings(folder: Path, settings: Train) -> None:
    """Keep a trial from overwriting part of a run: all seeds of a folder have the same settings.

    Raises:
        InputError: `folder` holds a seed that was trained otherwise.
    """
    here = settings.model_dump(mode="json")
    for path in sorted(folder.glob(f"seed-*/{RECORD}")):
        try:
            there = json.loads(path.read_text(encoding="utf-8"))["settings"]
        except (ValueError, KeyError):  # damaged: a run that is half there is trained again
            continue
        differ = sorted(key for key in here if there.get(key) != here[key])
        if differ:
            raise InputError(
                f"{path.parent} was trained with other settings ({', '.join(differ)}); this run would mix with it. "
                "Put a trial elsewhere (--out runs/trial), or remove that folder first."
            )


def _train_seed(task: Task, seed: int, progress: Progress, state: Path, report: Report | None) -> None:
    """The loop: fills `progress` epoch by epoch and saves it after each."""
    settings, (device, dtype, _) = task.settings, task.device
    model = task.new_model().to(device)
    steps = math.ceil(len(task.train) / settings.batch_dialogues) * settings.epochs
    machinery = make_machinery(model, settings, steps=steps, seed=seed, dtype=dtype)
    if progress.machinery:
        machinery.restore(progress.machinery)

    while not progress.is_finished(epochs=settings.epochs, patience=settings.patience):
        learning_rate = machinery.schedule.get_last_lr()[0]
        trained = train_epoch(machinery, task)
        scores = read_tallies([trained, validate(machinery.judged, task)])  # the epoch's one host sync
        row = {"epoch": progress.epoch + 1, "learning_rate": learning_rate} | flatten(*scores)
        _check_finite(row, seed, settings.learning_rate)
        progress.history.append(row)
        score = row["validation_weighted_f1"]
        if score > progress.best_score:
            weights = {name: value.detach().clone() for name, value in machinery.judged.state_dict().items()}
            # Together: Ctrl-C must not find the weights of one epoch beside the number of another.
            progress.best_epoch, progress.best_score, progress.best = row["epoch"], score, weights
        done = progress.is_finished(epochs=settings.epochs, patience=settings.patience)
        progress.machinery = {} if done else machinery.state()
        save_progress(state, progress)
        if report is not None:
            report(seed, row, progress.best_epoch == row["epoch"])


def _check_finite(row: Mapping[str, float], seed: int, learning_rate: float) -> None:
    bad = [f"{name} = {value}" for name, value in row.items() if not math.isfinite(value)]
    if bad:
        raise InputError(
            f"seed {seed}, epoch {row['epoch']}: the loss is not finite ({', '.join(bad)}); training is stopped. "
            f"Try a smaller step (--set train.learning_rate={learning_rate / 10:.1e}), "
            "--set train.precision=float32, or look for outlying values in the features (dferc inspect)."
        )


@contextlib.contextmanager
def _reproducible(seed: int, task: Task) -> Iterator[None]:
    """Seed the global generators (dropout), fix the threads and, on the CPU, allow deterministic kernels only."""
    device = task.device.device
    strict = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    forked = torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else [])
    with forked, cpu_threads(task.settings.threads):
        torch.manual_seed(seed)
        torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs time
        torch.use_deterministic_algorithms(device.type == "cpu")
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict)
            torch.utils.deterministic.fill_uninitialized_memory = fill


def _save(task: Task, seed: int, progress: Progress, folder: Path, key: str) -> None:
    """Write the best weights so far, the record and the history."""
    settings = task.settings
    record = task.describe() | {
        "seed": seed,
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "finished": progress.is_finished(epochs=settings.epochs, patience=settings.patience),
        "scores": dict(progress.history[progress.best_epoch - 1]),
    }
    remarks = {"run": key, "versions": {"dferc": VERSION, "torch": torch.__version__, "revision": _revision()}}
    write_csv(folder / HISTORY, list(progress.history[0]), progress.history)
    save_checkpoint(folder, progress.best, task.normalisation, record, remarks)


def _revision() -> str | None:
    """The git revision of the code, `-dirty` where it is changed; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _explain_interruption(seed: int, progress: Progress, folder: Path) -> str:
    kept = "nothing is saved yet"
    if progress.best:
        kept = f"the best model so far (epoch {progress.best_epoch}) is in {folder}"
    return f"interrupted after {progress.epoch} epoch(s) of seed {seed}; {kept}. The same command goes on from there."
