"""The training loop, one flat function: epochs, batches, validation, selection (docs/method.md, §6).

DF-ERC and the recurrent baselines are trained by it alike; what differs is the objective.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dferc.core.errors import InputError
from dferc.model.losses import dferc_losses
from dferc.training.data import Batch
from dferc.training.optimiser import make_machinery
from dferc.training.resume import Progress
from dferc.training.tally import EpochTally, read_tallies
from dferc.training.task import Task

Objective = Callable[[nn.Module, Batch, Task], tuple[NamedTuple, Tensor]]
"""Maps a model and a batch to losses (a NamedTuple of scalars, `total` among them) and class scores [N, C]."""

Report = Callable[[int, Mapping[str, float], bool], None]
"""Callback after each epoch: the seed, the epoch's row of history.csv, whether it is the best so far."""


def dferc_objective(model: nn.Module, batch: Batch, task: Task) -> tuple[NamedTuple, Tensor]:
    """Compute DF-ERC's losses and logits; in training mode the prototypes learn from the batch."""
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
    return losses, outputs.logits_NC


def fit(
    model: nn.Module,
    task: Task,
    seed: int,
    progress: Progress,
    *,
    objective: Objective = dferc_objective,
    save: Callable[[Progress], None] = lambda progress: None,
    report: Report = lambda seed, row, is_best: None,
) -> None:
    """Train until all epochs are done, or `patience` of them passed without a better validation score.

    Args:
        model: freshly initialised, on its device.
        task: data and settings.
        seed: of the order of the dialogues; dropout draws from the global generators.
        progress: state of the run, filled epoch by epoch; training resumes from it.
        objective: losses and class scores of a batch.
        save: callback, called after each epoch before `report`.
        report: callback, called after each epoch.

    Raises:
        InputError: a loss is not finite.
    """
    settings, (device, dtype, _) = task.settings, task.device
    limits = {"epochs": settings.epochs, "patience": settings.patience}
    steps = math.ceil(len(task.train) / settings.batch_dialogues) * settings.epochs
    machinery = make_machinery(model, settings, steps=steps, seed=seed, dtype=dtype)
    if progress.machinery:
        machinery.restore(progress.machinery)

    while not progress.is_finished(**limits):
        learning_rate = machinery.schedule.get_last_lr()[0]
        trained, validated = (EpochTally(task.classes, device) for _ in range(2))

        # One pass over the training split. Nothing in it waits for the device.
        model.train()
        for batch in task.train.batches(settings.batch_dialogues, generator=machinery.order):
            machinery.optimiser.zero_grad(set_to_none=True)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                losses, scores_NC = objective(model, batch, task)
            machinery.step(losses.total, settings.clip_norm)
            trained.add(losses, scores_NC, batch.labels_N)

        # One pass over the validation split, in float32, in batches as in training: contrastive losses depend on them.
        judged = machinery.judged.eval()
        with torch.no_grad():
            for batch in task.validation.batches(settings.batch_dialogues):
                validated.add(*objective(judged, batch, task), batch.labels_N)

        scores = read_tallies([trained, validated])  # the epoch's one wait for the device
        row = {"epoch": progress.epoch + 1, "learning_rate": learning_rate} | scores
        _check_finite(row, seed, settings.learning_rate)
        progress.history.append(row)
        if (score := row["validation_weighted_f1"]) > progress.best_score:
            weights = {name: value.detach().clone() for name, value in judged.state_dict().items()}
            # In one assignment: Ctrl-C must not leave the weights of one epoch beside the number of another.
            progress.best_epoch, progress.best_score, progress.best = row["epoch"], score, weights
        progress.machinery = {} if progress.is_finished(**limits) else machinery.state()
        save(progress)
        report(seed, row, progress.best_epoch == row["epoch"])


def _check_finite(row: Mapping[str, float], seed: int, learning_rate: float) -> None:
    bad = [f"{name} = {value}" for name, value in row.items() if not math.isfinite(value)]
    if bad:
        raise InputError(
            f"seed {seed}, epoch {row['epoch']}: the loss is not finite ({', '.join(bad)}); training is stopped. "
            f"Try a smaller step (--set train.learning_rate={learning_rate / 10:.1e}), "
            "--set train.precision=float32, or look for outlying values in the features (dferc inspect)."
        )
