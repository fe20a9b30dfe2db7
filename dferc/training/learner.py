"""What an epoch over dialogues computes: losses of batches, scores of a pass, summed on the device.

C classes, K loss terms, N utterances of a batch.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dferc.core.errors import InputError
from dferc.core.metrics import Scores, score_confusion, score_labels
from dferc.model.calibration import fit_temperature
from dferc.model.linear_blend import BLEND, fit_blend
from dferc.model.losses import Losses, classification_loss, dferc_losses
from dferc.store.vocabulary import SPLITS
from dferc.training.data import Batch
from dferc.training.task import Task

Objective = Callable[[nn.Module, Batch, Task], tuple[NamedTuple, Tensor]]
"""Maps a model and a batch to losses (a NamedTuple of scalars, `total` among them) and class scores [N, C]."""

Track = Callable[[int], Callable[[], None]]
"""Maps the number of steps of an epoch to a callback for each finished step, such as of a progress bar."""


def dferc_objective(model: nn.Module, batch: Batch, task: Task) -> tuple[NamedTuple, Tensor]:
    """Compute DF-ERC's losses and logits; in training mode the prototypes learn from the batch."""
    outputs = model(batch.features, batch.present_MN, batch.layout, batch.speaker_N)
    losses = [
        dferc_losses(
            of_member,
            batch.labels_N,
            batch.present_MN,
            prototypes=member.prototypes,
            settings=task.settings,
            variant=task.variant,
            class_weights_C=task.class_weights_C,
            targets_NC=batch.targets_NC,
        )
        for member, of_member in zip(model.members, outputs.of_members or (outputs,), strict=True)
    ]
    for logits_NC in outputs.of_recurrent:
        loss = classification_loss(logits_NC, batch.labels_N, task.settings, task.class_weights_C, batch.targets_NC)
        nothing = torch.zeros_like(loss)
        losses.append(Losses(loss, loss, *[nothing] * (len(Losses._fields) - 2)))  # it has no other term
    if len(losses) == 1:
        return losses[0], outputs.logits_NC
    return Losses(*(torch.stack(terms).mean() for terms in zip(*losses, strict=True))), outputs.logits_NC


class DialogueLearner:
    """Trains on the dialogues of a task by an objective (see `dferc.training.loop.Learner`).

    Args:
        task: data and settings.
        seed: seed of the run, for messages.
        objective: losses and class scores of a batch.
        track: called before each epoch with its number of steps; what it returns is called after each step.
    """

    def __init__(self, task: Task, seed: int, objective: Objective = dferc_objective, track: Track | None = None):
        self.task, self.seed, self.objective, self.track = task, seed, objective, track
        self.trained = EpochTally(task.classes, task.device.device)

    def batches(self, order: torch.Generator) -> Iterator[Batch]:
        """Yield the training dialogues in random order."""
        self.trained, size = EpochTally(self.task.classes, self.task.device.device), self.task.settings.batch_dialogues
        finish_step = self.track(math.ceil(len(self.task.train) / size)) if self.track else lambda: None
        for batch in self.task.train.batches(size, generator=order):
            yield batch
            finish_step()

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the total loss of a batch, and count it."""
        device, dtype, _ = self.task.device
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            losses, scores_NC = self.objective(model, batch, self.task)
        self.trained.add(losses, scores_NC, batch.labels_N)
        return losses.total

    def score(self, model: nn.Module) -> dict[str, float]:
        """Pass once over the validation split, if there is one, in float32; return the row of the splits."""
        if self.task.validation is None:
            return read_tallies([self.trained], self.task.settings.select_by)
        validated = EpochTally(self.task.classes, self.task.device.device)
        # Batches are as in training, since contrastive losses depend on them.
        for batch in self.task.validation.batches(self.task.settings.batch_dialogues):
            validated.add(*self.objective(model, batch, self.task), batch.labels_N)
        # The epoch's one wait for the device.
        return read_tallies([self.trained, validated], self.task.settings.select_by)

    def quality(self, row: Mapping[str, float]) -> float:
        """Return the score on validation that `train.select_by` names; without validation, the last epoch is the best.

        Raises:
            InputError: a loss is not finite.
        """
        if bad := [f"{name} = {value}" for name, value in row.items() if not math.isfinite(value)]:
            rate = self.task.settings.learning_rate
            smaller = f"Try a smaller step (--set train.learning_rate={rate / 10:.1e}), "
            if self.task.fixed_rate:
                smaller = f"The learning rate, {rate:g}, is a constant of this model's paper. Try "
            raise InputError(
                f"seed {self.seed}, epoch {row['epoch']}: the loss is not finite ({', '.join(bad)}); training is "
                f"stopped. {smaller}--set train.precision=float32, or look for outlying values in the features (dferc "
                "inspect)."
            )
        return row["epoch"] if self.task.refit else row[f"validation_{self.task.settings.select_by}"]


class EpochTally:
    """Losses and confusion of one pass over a split, summed on the device; adding to it never waits for the device.

    Args:
        classes: C.
        device: device of the losses and logits.
    """

    def __init__(self, classes: int, device: torch.device):
        self.terms: tuple[str, ...] = ()
        self.sums_K: Tensor | None = None
        self.confusion_CC = torch.zeros(classes, classes, dtype=torch.int64, device=device)
        self.steps = 0

    @torch.no_grad()
    def add(self, losses: tuple[Tensor, ...], scores_NC: Tensor, labels_N: Tensor) -> None:
        """Count one batch; utterances without a label (negative) weigh nothing.

        Args:
            losses: NamedTuple of K scalars.
            scores_NC: logits or probabilities; the largest is the prediction.
            labels_N: class ids.
        """
        # Double precision: sums over hundreds of steps are compared to six digits.
        losses_K = torch.stack([term.detach() for term in losses]).double()
        self.terms, self.sums_K = losses._fields, losses_K if self.sums_K is None else self.sums_K + losses_K
        # Row = actual, column = predicted; an unlabelled utterance adds 0 to some cell, which needs no mask.
        cell_N = labels_N.clamp(min=0) * len(self.confusion_CC) + scores_NC.argmax(dim=1)
        self.confusion_CC.view(-1).index_add_(0, cell_N, (labels_N >= 0).long())
        self.steps += 1


def read_tallies(tallies: Iterable[EpochTally], select_by: str = "weighted_f1") -> dict[str, float]:
    """Bring the sums of the training and validation passes to the host in one transfer, as a row of history.csv.

    Args:
        tallies: of training, then of validation.
        select_by: score of `dferc.core.metrics.SCORES` that selects the epoch.

    Returns:
        `<split>_<term>`, the mean over the steps of each loss term (the total as `<split>_loss`), and
        `<split>_accuracy`, `<split>_weighted_f1` and, where it is another, `<split>_<select_by>`.
    """
    tallies, row = list(tallies), {}
    sizes = [size for tally in tallies for size in (len(tally.terms), tally.confusion_CC.numel())]
    packed = torch.cat([part for tally in tallies for part in (tally.sums_K, tally.confusion_CC.flatten().double())])
    parts = packed.cpu().split(sizes)
    for split, tally, sums_K, confusion in zip(SPLITS, tallies, parts[::2], parts[1::2], strict=False):
        means = dict(zip(tally.terms, (sums_K / tally.steps).tolist(), strict=True))
        row[f"{split}_loss"] = means.pop("total")
        row |= {f"{split}_{term}": value for term, value in means.items()}
        row |= _columns(split, score_confusion(confusion.view_as(tally.confusion_CC).numpy()), select_by)
    return row


def _columns(split: str, scores: Scores, select_by: str) -> dict[str, float]:
    names = dict.fromkeys(("accuracy", "weighted_f1", select_by))
    return {f"{split}_{name}": float(getattr(scores, name)) for name in names}


def calibrate(task: Task, weights: Mapping[str, Tensor]) -> dict:
    """Fit the temperature of a trained model on the validation split, in float32 as predictions are.

    Args:
        task: data and settings.
        weights: state of the model.

    Returns:
        `temperature`, the number of labelled `utterances` it was fitted on, and a `note` where it is no plain minimum.
    """
    logits_NC, labels_N = _validate(task, weights)
    temperature, note = fit_temperature(logits_NC, labels_N)
    return {"temperature": temperature, "utterances": int((labels_N >= 0).sum())} | ({"note": note} if note else {})


def blend(task: Task, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a trained model with its blend fitted on the validation split (`train.linear_blend`)."""
    parts = (_validate(task, {**weights, BLEND: torch.tensor(pair)}) for pair in ((1.0, 0.0), (0.0, 1.0)))
    (head_NC, labels_N), (floor_NC, _) = parts
    return {BLEND: fit_blend(head_NC, floor_NC, labels_N).to(weights[BLEND].device)}


def score_blended(task: Task, weights: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the scores of a model with its blend on the validation split, as columns of history.csv.

    The history has those of the head alone: the blend is fitted when all epochs are done.
    """
    logits_NC, labels_N = _validate(task, weights)
    scores = score_labels(labels_N, logits_NC.argmax(axis=1), task.classes)
    return _columns("validation", scores, task.settings.select_by)


@torch.inference_mode()
def _validate(task: Task, weights: Mapping[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Return logits [N, C] and class ids [N] of the validation split."""
    with torch.device("meta"):  # no weights are drawn: the caller's random state stays as it is
        model = task.new_model()
    model.load_state_dict(weights, assign=True)
    model = model.to(task.device.device).eval()
    logits_NC, labels_N = [], []
    for batch in task.validation.batches(task.settings.batch_dialogues):
        logits_NC.append(model(batch.features, batch.present_MN, batch.layout, batch.speaker_N).logits_NC)
        labels_N.append(batch.labels_N)
    return torch.cat(logits_NC).cpu().numpy(), torch.cat(labels_N).cpu().numpy()
