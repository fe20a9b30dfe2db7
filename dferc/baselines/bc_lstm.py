"""bc-LSTM, the field's recurrent baseline: a bidirectional LSTM over a dialogue's features, without DF-ERC's parts.

Poria et al., *Context-Dependent Sentiment Analysis in User-Generated Videos*, ACL 2017. One branch reads all modalities
side by side (early fusion). Late fusion has a branch per modality, each with its own loss; the mean of their
probabilities decides. Data, class weights, optimiser, schedule, loop and selection are those of DF-ERC's training.

M modalities, N utterances, C classes, K branches.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dferc.baselines.shared import BaselineLosses, TrainedBaseline
from dferc.model.layers.bc_lstm import BcLSTM
from dferc.model.losses import classification_loss
from dferc.training.data import Batch
from dferc.training.task import Task


class RecurrentBaseline(nn.Module):
    """Branches whose probabilities are averaged; one branch is early fusion.

    Args:
        branches: the bc-LSTMs.
        groups: modalities that each of them reads, side by side.
        modalities: all that there are, in the order of M.
    """

    def __init__(self, branches: Sequence[BcLSTM], groups: Sequence[Sequence[str]], modalities: Sequence[str]):
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.groups, self.modalities = groups, tuple(modalities)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits [K, N, C], and [K, N] whether the branch has something of the utterance to read."""
        inputs = (torch.cat([batch.features[name] for name in group], dim=1) for group in self.groups)
        logits_KNC = torch.stack([branch(x_ND, batch.layout) for branch, x_ND in zip(self.branches, inputs)])
        rows = [[self.modalities.index(name) for name in group] for group in self.groups]
        return logits_KNC, torch.stack([batch.present_MN[row].any(dim=0) for row in rows])


def average_probabilities(logits_KNC: Tensor, sees_KN: Tensor) -> Tensor:
    """Average over the branches that see the utterance; over all where none does (they know its context): [N, C]."""
    weight_KN = (sees_KN | ~sees_KN.any(dim=0)).float()
    # Mean of probabilities, not of logits: branches may be scaled differently.
    return (logits_KNC.softmax(dim=2) * weight_KN.unsqueeze(2)).sum(dim=0) / weight_KN.sum(dim=0).unsqueeze(1)


def build_branches(task: Task, groups: Sequence[Sequence[str]]) -> RecurrentBaseline:
    """Build a freshly initialised branch per group of modalities; draws from the global generator."""
    widths = [sum(task.corpus.modalities[name].width for name in group) for group in groups]
    sizes = task.settings.hidden, task.classes, task.settings.dropout
    return RecurrentBaseline(
        [BcLSTM(width, *sizes, task.settings.input_dropout, task.settings.causal) for width in widths],
        groups,
        task.variant.modalities,
    )


def recurrent_objective(model: RecurrentBaseline, batch: Batch, task: Task) -> tuple[BaselineLosses, Tensor]:
    """Compute the sum of the branches' cross-entropies, and the probabilities that decide."""
    logits_KNC, sees_KN = model(batch)
    loss = sum(
        classification_loss(logits_NC, batch.labels_N, task.settings, task.class_weights_C, batch.targets_NC, sees_N)
        for logits_NC, sees_N in zip(logits_KNC, sees_KN)
    )
    return BaselineLosses(loss), average_probabilities(logits_KNC.detach().float(), sees_KN)


# One branch that reads all modalities; and a branch for each.
BC_LSTM = TrainedBaseline(lambda task: build_branches(task, [task.variant.modalities]), recurrent_objective, {})
LATE_FUSION = TrainedBaseline(
    lambda task: build_branches(task, [(name,) for name in task.variant.modalities]), recurrent_objective, {}
)
