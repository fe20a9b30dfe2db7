"""Losses and confusion of a pass over a split, summed on the device: the host reads them once per epoch.

C classes, K loss terms, N utterances of a batch.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from dferc.core.metrics import score_confusion
from dferc.store.vocabulary import SPLITS


class EpochTally:
    """Sums of one pass over a split; adding to it never waits for the device.

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
        losses_K = torch.stack([term.detach() for term in losses]).double()
        self.terms, self.sums_K = losses._fields, losses_K if self.sums_K is None else self.sums_K + losses_K
        cell_N = labels_N.clamp(min=0) * len(self.confusion_CC) + scores_NC.argmax(dim=1)
        self.confusion_CC.view(-1).index_add_(0, cell_N, (labels_N >= 0).long())
        self.steps += 1


def read_tallies(tallies: Iterable[EpochTally]) -> dict[str, float]:
    """Bring the sums of the training and validation passes to the host in one transfer, as a row of history.csv.

    Returns:
        `<split>_<term>`, the mean over the steps of each loss term (the total as `<split>_loss`), and
        `<split>_accuracy` and `<split>_weighted_f1`.
    """
    tallies, row = list(tallies), {}
    sizes = [size for tally in tallies for size in (len(tally.terms), tally.confusion_CC.numel())]
    packed = torch.cat([part for tally in tallies for part in (tally.sums_K, tally.confusion_CC.flatten().double())])
    parts = packed.cpu().split(sizes)
    for split, tally, sums_K, confusion in zip(SPLITS, tallies, parts[::2], parts[1::2], strict=False):
        means = dict(zip(tally.terms, (sums_K / tally.steps).tolist(), strict=True))
        row[f"{split}_loss"] = means.pop("total")
        row |= {f"{split}_{term}": value for term, value in means.items()}
        scores = score_confusion(confusion.view_as(tally.confusion_CC).numpy())
        row |= {f"{split}_accuracy": float(scores.accuracy), f"{split}_weighted_f1": float(scores.weighted_f1)}
    return row
