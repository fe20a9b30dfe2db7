"""The training loop, one flat function: epochs, batches, steps, selection (docs/method.md, §6).

Everything that is trained here is trained by it: DF-ERC, the recurrent baselines, and in stage 1 the text encoder and
the face network. A learner says what a batch costs and how good the model is.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dferc.training.optimiser import Machinery
from dferc.training.resume import Progress


class Learner(Protocol):
    """Data, loss and scores of a model."""

    def batches(self, order: torch.Generator) -> Iterable[Any]:
        """Yield the training batches of an epoch, shuffled by `order`."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the loss of a batch, a scalar on the device."""

    def score(self, model: nn.Module) -> dict[str, float]:
        """Validate the model after an epoch; return the epoch's row of history.csv."""

    def quality(self, row: Mapping[str, float]) -> Any:
        """Return what selection compares: the epoch of the greatest quality is kept. May refuse the row."""


def fit(
    learner: Learner,
    machinery: Machinery,
    progress: Progress,
    *,
    epochs: int,
    patience: int,
    save: Callable[[Progress], None] = lambda progress: None,
    report: Callable[[Mapping[str, float], bool], None] = lambda row, is_best: None,
) -> None:
    """Train until all epochs are done, or `patience` of them passed without a better model.

    Args:
        learner: data, loss and scores.
        machinery: model, optimiser, schedule and random order.
        progress: state of the run, filled epoch by epoch; training resumes from it.
        epochs: number of epochs at most.
        patience: epochs without a better model before training stops.
        save: callback, called after each epoch before `report`.
        report: callback, called after each epoch with its row of history.csv and whether it is the best so far.
    """
    if progress.machinery:
        machinery.restore(progress.machinery)
    while not progress.is_finished(epochs=epochs, patience=patience):
        row = {"epoch": progress.epoch + 1, "learning_rate": machinery.schedule.get_last_lr()[0]}

        machinery.model.train()
        for batch in learner.batches(machinery.order):  # nothing in here waits for the device
            machinery.optimiser.zero_grad(set_to_none=True)
            machinery.scaler.scale(learner.loss(machinery.model, batch)).backward()
            machinery.scaler.unscale_(machinery.optimiser)
            machinery.clip(machinery.model.parameters())
            machinery.scaler.step(machinery.optimiser)
            machinery.scaler.update()
            machinery.schedule.step()
            if machinery.average is not None:
                machinery.average.update(machinery.model)

        judged = machinery.judged.eval()
        with torch.no_grad():
            row |= learner.score(judged)
        quality = learner.quality(row)
        progress.history.append(row)
        if not progress.best or quality > progress.best_score:
            weights = {name: value.detach().clone() for name, value in judged.state_dict().items()}
            # In one assignment: Ctrl-C must not leave the weights of one epoch beside the number of another.
            progress.best_epoch, progress.best_score, progress.best = row["epoch"], quality, weights
        progress.machinery = {} if progress.is_finished(epochs=epochs, patience=patience) else machinery.state()
        save(progress)
        report(row, progress.best_epoch == row["epoch"])
