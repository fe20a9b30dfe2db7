"""Train runs on cached features: each ends whole or resumes, whatever interrupts it.

Selection is on the validation split's score (`train.select_by`); the test split is never touched here. The same seed on
the CPU gives bit-identical weights, undisturbed or resumed after a kill, alone or beside others: `train.threads` sets
the number of threads, and rounding depends on nothing else. On CUDA, sums of parallel threads vary in the last bits.
"""

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from dferc.core import VERSION
from dferc.core.device import cpu_threads
from dferc.core.errors import InputError
from dferc.core.sources import code_hash
from dferc.core.tables import write_csv
from dferc.settings.sections import Train
from dferc.training.checkpoint import HISTORY, RECORD, holds_run, read_training_record, save_checkpoint
from dferc.training.learner import DialogueLearner, Objective, Track, blend, calibrate, dferc_objective, score_blended
from dferc.training.loop import fit
from dferc.training.optimiser import Machinery, make_machinery
from dferc.training.resume import Progress, claim, load_progress, run_key, save_progress
from dferc.training.seeds import ABSENT, seed_folder, write_curves
from dferc.training.task import Task

Report = Callable[[int, Mapping[str, float], bool], None]
"""Callback after each epoch: the seed, the epoch's row of history.csv, whether it is the best so far."""

EpochTrack = Callable[[int, int, int], Callable[[], None]]
"""Callback before each epoch: the seed, the epoch and its number of steps; returns a callback for each step."""

Notify = Callable[[str], None]
"""Callback for messages: a run is finished already, resumes, or waits for another process."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM during training; the message says what was kept and how to go on."""


def train(
    task: Task,
    seeds: Sequence[int],
    *,
    folder: Path,
    scratch: Path,
    fresh: bool = False,
    report: Report = lambda seed, row, is_best: None,
    notify: Notify = lambda message: None,
    track: EpochTrack = lambda seed, epoch, steps: lambda: None,
) -> list[Path]:
    """Train one model per seed into `folder`/seed-<s>/ and write the mean curves beside them.

    Args:
        task: data and settings.
        seeds: one run each; a finished run is kept as it is.
        folder: runs/<corpus>/<variant>/train.
        scratch: folder of the states of runs.
        fresh: ignore such states and finished runs.
        report: callback, called after each epoch.
        notify: callback for messages.
        track: callback before each epoch, for a progress bar.

    Returns:
        The checkpoint folders.

    Raises:
        InputError: a loss is not finite.
        Interrupted: Ctrl-C or SIGTERM; the best model so far is saved.
    """
    folders = [seed_folder(folder, seed) for seed in seeds]
    for seed, of_seed in zip(seeds, folders, strict=True):
        train_run(task, seed, of_seed, scratch=scratch, fresh=fresh, report=report, notify=notify, track=track)
    write_curves(folder / "curves.csv", [of_seed / HISTORY for of_seed in folders])
    return folders


def train_run(
    task: Task,
    seed: int,
    folder: Path,
    *,
    scratch: Path,
    fresh: bool = False,
    report: Report = lambda seed, row, is_best: None,
    notify: Notify = lambda message: None,
    track: EpochTrack = lambda seed, epoch, steps: lambda: None,
    wait: bool = True,
) -> None:
    """Train one seed into `folder`, or resume it, unless it is finished; see `train`.

    Another process that trains the same run is waited for, and its result taken.

    Raises:
        RunElsewhereError: there is another process, and `wait` is False.
    """
    key = run_key(task.describe() | {"device": task.device.device.type, "seed": seed}, code_hash(__name__))
    state, task = scratch / key / "state.pt", task.of_seed(seed)
    second = state.with_name("refit.pt")
    waiting = f"seed {seed}: another process is training this run; waiting for it to finish"

    def once(task: Task, progress: Progress, state: Path, **more: Callable) -> None:
        more |= {"track": lambda steps: track(seed, progress.epoch + 1, steps), "save": partial(save_progress, state)}
        train_model(task, task.new_model, seed, progress, **more)

    (folder.parent / ABSENT).unlink(missing_ok=True)
    with claim(state, waiting=(lambda: notify(waiting)) if wait else None):
        if fresh:
            state.unlink(missing_ok=True)
            second.unlink(missing_ok=True)
        elif holds_run(folder, key):
            notify(f"seed {seed}: finished already, kept as it is (--fresh trains it again)")
            return
        progress = load_progress(state, notify)
        if progress.machinery:
            notify(f"seed {seed}: resumes after epoch {progress.epoch} (--fresh starts again)")
        elif progress.epoch:
            notify(f"seed {seed}: finished earlier, taken from {state} (--fresh trains it again)")
        merged, refit = None, Progress()
        try:
            once(task, progress, state, report=partial(report, seed))
            if task.settings.selection == "refit":
                merged, refit = task.merged(progress.best_epoch), load_progress(second, notify)
                notify(
                    f"seed {seed}: epoch {progress.best_epoch} is selected; trains anew on training and validation for "
                    f"{merged.refit.epochs} epoch(s)"
                )
                once(merged, refit, second)
        except KeyboardInterrupt:
            kept = "nothing is saved yet"
            if progress.best:
                _save(task, seed, progress, folder, key, interrupted=True)
                kept = f"the best model so far (epoch {progress.best_epoch}) is in {folder}"
            raise Interrupted(
                f"interrupted after {progress.epoch + refit.epoch} epoch(s) of seed {seed}; {kept}. The same command "
                f"{'without --fresh ' if fresh else ''}goes on from there."
            ) from None
        _save(task, seed, progress, folder, key, merged and (merged, refit))


def train_model(
    task: Task,
    make_model: Callable[[], nn.Module],
    seed: int,
    progress: Progress,
    objective: Objective = dferc_objective,
    track: Track | None = None,
    machinery: Callable[..., Machinery] = make_machinery,
    **callbacks: Callable,
) -> nn.Module:
    """Train a model of one seed with the settings of a task, reproducibly; `progress.best` has its best weights.

    Args:
        task: data and settings.
        make_model: builds the model; draws its weights from the global generator.
        seed: of initialisation, dropout and order; on the CPU it gives the same bits again.
        progress: state of the run, filled epoch by epoch.
        objective: losses and class scores of a batch.
        track: of `DialogueLearner`.
        machinery: builds the optimiser and its schedule.
        callbacks: `save` and `report` of `dferc.training.loop.fit`.
    """
    settings, (device, dtype, _) = task.settings, task.device
    epochs, steps = task.refit or (settings.epochs, task.epoch_steps * settings.epochs)
    patience = epochs if task.refit else settings.patience
    with _reproducible(seed, task):
        model = make_model().to(device)
        parts = machinery(model, settings, steps=steps, seed=seed, dtype=dtype)
        learner = DialogueLearner(task, seed, objective, track)
        fit(learner, parts, progress, epochs=epochs, patience=patience, **callbacks)
    return model


def refuse_other_settings(folder: Path, settings: Train) -> None:
    """Keep a trial from overwriting part of a run: all seeds of a folder have the same settings.

    Raises:
        InputError: `folder` holds a seed that was trained with other settings.
    """
    expected = settings.model_dump(mode="json")
    for path in sorted(folder.glob(f"seed-*/{RECORD}")):
        try:
            found = read_training_record(path)["settings"]
        except InputError:  # damaged: the run is trained again
            continue
        if differ := sorted(key for key in expected if found.get(key) != expected[key]):
            raise InputError(
                f"{path.parent} was trained with other settings ({', '.join(differ)}); this run would mix with it. "
                "Keep it beside (--label NAME) or elsewhere (--out runs/trial), or remove that folder first."
            )


@contextlib.contextmanager
def _reproducible(seed: int, task: Task) -> Iterator[None]:
    """Seed the global generators (dropout), fix the threads and, on the CPU, allow deterministic kernels only."""
    device = task.device.device
    strict = torch.get_deterministic_debug_mode()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    forked = torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else [])
    with forked, cpu_threads(task.settings.threads):
        torch.manual_seed(seed)
        torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs time
        # Not `use_deterministic_algorithms`, which does the same and imports PyTorch's compiler: seconds.
        torch.set_deterministic_debug_mode("error" if device.type == "cpu" else "default")
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(strict)
            torch.utils.deterministic.fill_uninitialized_memory = fill


def _save(
    task: Task,
    seed: int,
    progress: Progress,
    folder: Path,
    key: str,
    refit: tuple[Task, Progress] | None = None,
    interrupted: bool = False,
) -> None:
    """Write weights (`refit` has those of a training anew); calibration, record and history are of the selection."""
    settings = task.settings
    record = task.describe() | {
        "seed": seed,
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "finished": not interrupted and progress.is_finished(epochs=settings.epochs, patience=settings.patience),
        "scores": dict(progress.history[progress.best_epoch - 1]),
    }
    weights, normalisation = progress.best, task.normalisation
    if refit:
        weights, normalisation = refit[1].best, refit[0].normalisation
        record["refit"] = {"epochs": refit[1].epoch, "dialogues": len(refit[0].train)}
    remarks = {"run": key, "versions": {"dferc": VERSION, "torch": torch.__version__, "revision": _revision()}}
    with cpu_threads(settings.threads):
        blended = blend(task, progress.best) if task.floor else {}
        remarks["calibration"] = calibrate(task, {**progress.best, **blended})
        if blended:
            record["scores"] |= score_blended(task, {**progress.best, **blended})
    weights = {**weights, **blended}
    write_csv(folder / HISTORY, list(progress.history[0]), progress.history)
    save_checkpoint(folder, weights, normalisation, record, remarks)


def _revision() -> str | None:
    """Return the git revision of the code, `-dirty` where it is changed; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    options = {"cwd": Path(__file__).parent, "capture_output": True, "text": True, "check": True}
    try:
        return subprocess.run(command, **options).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
