"""Losses and hits of an epoch, summed on the device: the host reads them once, when the epoch is over.

C classes, K loss terms, N utterances of a batch.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch

from dferc.model.losses import Losses


class Scores(NamedTuple):
    """What an epoch says of one split."""

    losses: Losses
    """Mean over the steps, as plain numbers."""
    accuracy: float
    weighted_f1: float


class Tally:
    """Sums of one pass over a split; adding to it never waits for the device.

    Args:
        classes: C.
        device: where losses and logits are.
    """

    def __init__(self, classes: int, device: torch.device):
        self.sums_K = torch.zeros(len(Losses._fields), dtype=torch.float64, device=device)
        self.confusion_CC = torch.zeros(classes, classes, dtype=torch.int64, device=device)
        self.steps = 0

    def add(self, losses: Losses, logits_NC: torch.Tensor, labels_N: torch.Tensor) -> None:
        """Count one batch; utterances without a label (negative) weigh nothing."""
        with torch.no_grad():
            self.sums_K += torch.stack([term.detach() for term in losses]).double()
            cell_N = labels_N.clamp(min=0) * len(self.confusion_CC) + logits_NC.argmax(dim=1)
            self.confusion_CC.view(-1).index_add_(0, cell_N, (labels_N >= 0).long())
        self.steps += 1


def read_tallies(tallies: Iterable[Tally]) -> list[Scores]:
    """Bring the sums of several passes to the host in one transfer."""
    tallies = list(tallies)
    packed = torch.cat([torch.cat([t.sums_K, t.confusion_CC.flatten().double()]) for t in tallies])
    scores = []
    for tally, values in zip(tallies, packed.cpu().tensor_split(len(tallies)), strict=True):
        sums_K, confusion = values.split([len(tally.sums_K), tally.confusion_CC.numel()])
        losses = Losses(*(sums_K / max(tally.steps, 1)).tolist())
        scores.append(Scores(losses, *score_confusion(confusion.view_as(tally.confusion_CC))))
    return scores


def score_confusion(confusion_CC: torch.Tensor) -> tuple[float, float]:
    """Accuracy and weighted F1 of a confusion matrix (rows: actual, columns: predicted); 0 where it is empty.

    F1 of a class = 2·hits / (actual + predicted), weighted by how often the class is the actual one.
    """
    confusion_CC = confusion_CC.double()
    hits_C, actual_C, predicted_C = confusion_CC.diagonal(), confusion_CC.sum(1), confusion_CC.sum(0)
    total = confusion_CC.sum().clamp(min=1)
    f1_C = 2 * hits_C / (actual_C + predicted_C).clamp(min=1)
    return (hits_C.sum() / total).item(), ((f1_C * actual_C).sum() / total).item()
