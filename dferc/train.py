"""Train the head on cached features: one flat loop, everything on the device, no host sync inside a step (METHOD §6).

Selection is on the validation split's weighted F1; the test split is never touched here. The same seed on the CPU gives
bit-identical weights, undisturbed or resumed after a kill. On CUDA, sums of parallel threads vary in the last bits.
"""

import contextlib
import json
import math
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from dferc import SPLITS, __version__
from dferc.checkpoint import save_checkpoint
from dferc.console import InputError, console
from dferc.dataset import Batch
from dferc.history import write_csv, write_curves
from dferc.losses import Losses, dferc_losses
from dferc.model import DFERC, Outputs
from dferc.optimisation import Machinery, make_machinery
from dferc.resume import Progress, forget, load_progress, resume_path, save_progress
from dferc.tally import Scores, Tally, read_tallies
from dferc.task import Task

Report = Callable[[int, Mapping[str, float], bool], None]
"""Called after each epoch with the seed, the epoch's row of history.csv, and whether it is the best so far."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM during training; the message says what was kept and how to go on."""


def train(
    task: Task, seeds: Sequence[int], *, folder: Path, scratch: Path, fresh: bool = False, report: Report | None = None
) -> list[Path]:
    """Train one model per seed into `folder`/seed-<s>/ and write the mean curves beside them.

    Args:
        task: data and settings.
        seeds: one run each.
        folder: runs/<corpus>/<variant>/train.
        scratch: where the states of unfinished runs live; those of this call are removed when all its seeds are done.
        fresh: ignore such states.
        report: told of every epoch.

    Returns:
        The checkpoint folders.

    Raises:
        InputError: a loss is not finite.
        Interrupted: Ctrl-C or SIGTERM; what was reached is saved.
    """
    about = task.describe() | {"device": task.device.device.type}
    states = {seed: resume_path(scratch, about | {"seed": seed}) for seed in seeds}
    histories = []
    for seed, state in states.items():
        if fresh:
            forget(state)
        progress = load_progress(state)
        if progress.epoch:
            console.print(f"seed {seed}: resumes after epoch {progress.epoch} (--fresh would start again)")
        try:
            with _reproducible(seed, task.device.device):
                _train_seed(task, seed, progress, state, report)
        except KeyboardInterrupt:
            if progress.best:
                _save(task, seed, progress, folder)
            raise Interrupted(_explain_interruption(seed, progress, folder)) from None
        _save(task, seed, progress, folder)
        histories.append(progress.history)
    write_curves(folder / "curves.csv", histories)
    for state in states.values():
        forget(state)
    return [folder / f"seed-{seed}" for seed in seeds]


def refuse_other_settings(folder: Path, task: Task) -> None:
    """Keep a trial from overwriting part of a run: all seeds of a folder have the same settings.

    Raises:
        InputError: `folder` holds a seed that was trained otherwise.
    """
    for path in sorted(folder.glob("seed-*/settings.json")):
        there, here = json.loads(path.read_text(encoding="utf-8")).get("settings", {}), task.describe()["settings"]
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
        row = {"epoch": progress.epoch + 1, "learning_rate": learning_rate} | _flatten(*scores)
        _check_finite(row, seed, settings.learning_rate)
        progress.history.append(row)
        score = row["validation_weighted_f1"]
        if score > progress.best_score:
            weights = {name: value.detach().clone() for name, value in machinery.judged.state_dict().items()}
            # Together: Ctrl-C must not find the weights of one epoch beside the number of another.
            progress.best_epoch, progress.best_score, progress.best = row["epoch"], score, weights
        progress.machinery = machinery.state()
        save_progress(state, progress)
        if report is not None:
            report(seed, row, progress.best_epoch == row["epoch"])


def train_epoch(machinery: Machinery, task: Task) -> Tally:
    """One pass over the training split; nothing in it waits for the device."""
    model, (device, dtype, _) = machinery.model, task.device
    trained = Tally(task.classes, device)
    model.train()
    for batch in task.train.batches(task.settings.batch_dialogues, generator=machinery.order):
        machinery.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            outputs, losses = forward(model, batch, task)
        machinery.step(losses.total, task.settings.clip_norm)
        trained.add(losses, outputs.logits_NC, batch.labels_N)
    return trained


def forward(model: DFERC, batch: Batch, task: Task) -> tuple[Outputs, Losses]:
    """One batch through the model and its losses; in training mode the prototypes learn from it."""
    outputs = model(batch.features, batch.present_MN, batch.layout)
    losses = dferc_losses(
        outputs,
        batch.labels_N,
        batch.present_MN,
        prototypes=model.prototypes,
        settings=task.settings,
        variant=task.variant,
        class_weights_C=task.class_weights_C,
    )
    return outputs, losses


@torch.no_grad()
def validate(model: DFERC, task: Task) -> Tally:
    """One pass over the validation split, in float32, in batches as in training (contrastive losses depend on them)."""
    tally = Tally(task.classes, task.device.device)
    model.eval()
    for batch in task.validation.batches(task.settings.batch_dialogues):
        outputs, losses = forward(model, batch, task)
        tally.add(losses, outputs.logits_NC, batch.labels_N)
    return tally


def _flatten(trained: Scores, validated: Scores) -> dict[str, float]:
    """One row of history.csv: `<split>_<score>`, with the total loss as `<split>_loss`."""
    row = {}
    for split, scores in zip(SPLITS, (trained, validated), strict=False):
        terms = scores.losses._asdict()
        row[f"{split}_loss"] = terms.pop("total")
        row |= {f"{split}_{term}": value for term, value in terms.items()}
        row |= {f"{split}_accuracy": scores.accuracy, f"{split}_weighted_f1": scores.weighted_f1}
    return row


def _check_finite(row: Mapping[str, float], seed: int, learning_rate: float) -> None:
    bad = [f"{name} = {value}" for name, value in row.items() if not math.isfinite(value)]
    if bad:
        raise InputError(
            f"seed {seed}, epoch {row['epoch']}: the loss is not finite ({', '.join(bad)}); training is stopped. "
            f"Try a smaller step (--set train.learning_rate={learning_rate / 10:.1e}), "
            "--set train.precision=float32, or look for outlying values in the features (dferc inspect)."
        )


@contextlib.contextmanager
def _reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators (dropout) and, on the CPU, allow deterministic kernels only; undo both afterwards."""
    strict = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs time
        torch.use_deterministic_algorithms(device.type == "cpu")
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict)
            torch.utils.deterministic.fill_uninitialized_memory = fill


def _save(task: Task, seed: int, progress: Progress, folder: Path) -> None:
    """Write the best weights so far, the record and the history."""
    settings = task.settings
    record = task.describe() | {
        "seed": seed,
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "finished": progress.is_finished(epochs=settings.epochs, patience=settings.patience),
        "scores": dict(progress.history[progress.best_epoch - 1]),
    }
    remarks = {"versions": {"dferc": __version__, "torch": torch.__version__, "revision": _revision()}}
    folder = folder / f"seed-{seed}"
    write_csv(folder / "history.csv", list(progress.history[0]), progress.history)
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
        kept = f"the best model so far (epoch {progress.best_epoch}) is in {folder / f'seed-{seed}'}"
    return f"interrupted after {progress.epoch} epoch(s) of seed {seed}; {kept}. The same command goes on from there."
