"""bc-LSTM, the field's recurrent baseline: a bidirectional LSTM over a dialogue's features, without DF-ERC's parts.

Poria et al., *Context-Dependent Sentiment Analysis in User-Generated Videos*, ACL 2017. One branch reads all modalities
side by side (early fusion); `late_fusion.py` has a branch per modality. Data, class weights, optimiser, schedule, loop
and selection are those of DF-ERC's training.

M modalities, N utterances, C classes, H hidden, K branches.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dferc.baselines.shared import BaselineLosses, TrainedBaseline
from dferc.model.layers import dropout
from dferc.model.layers.lstm import BiLSTMLayer, Layout
from dferc.model.losses import cross_entropy
from dferc.training.data import Batch
from dferc.training.task import Task


class Branch(nn.Module):
    """One bc-LSTM on modalities side by side, D wide in all: BiLSTM, dropout, a tanh layer, dropout, class logits."""

    def __init__(self, modalities: tuple[str, ...], width: int, hidden: int, classes: int, dropout: float):
        super().__init__()
        self.modalities = modalities
        self.dropout = dropout
        self.lstm = BiLSTMLayer(width, hidden, 0.0)
        self.dense = nn.Linear(2 * hidden, hidden)
        self.classify = nn.Linear(hidden, classes)

    def forward(self, features: Mapping[str, Tensor], layout: Layout) -> Tensor:
        """Return logits [N, C] of whole dialogues; absent features are zeros."""
        # Early fusion: [N, sum of the branch's D] -> both directions side by side, [N, 2H]
        state_N2H = self.lstm(torch.cat([features[name] for name in self.modalities], dim=1), layout)
        dense_NH = torch.tanh(self.dense(dropout(state_N2H, self.dropout, self.training)))
        return self.classify(dropout(dense_NH, self.dropout, self.training))


class RecurrentBaseline(nn.Module):
    """Branches whose probabilities are averaged; one branch is early fusion. The modalities are in the order of M."""

    def __init__(self, branches: Sequence[Branch], modalities: Sequence[str]):
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.modalities = tuple(modalities)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits [K, N, C], and [K, N] whether the branch has something of the utterance to read."""
        logits_KNC = torch.stack([branch(batch.features, batch.layout) for branch in self.branches])
        rows = [[self.modalities.index(name) for name in branch.modalities] for branch in self.branches]
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
    branches = [Branch(tuple(group), width, *sizes) for group, width in zip(groups, widths)]
    return RecurrentBaseline(branches, task.variant.modalities)


def build_bc_lstm(task: Task) -> RecurrentBaseline:
    """Build a freshly initialised branch that reads all modalities."""
    return build_branches(task, [task.variant.modalities])


def recurrent_objective(model: RecurrentBaseline, batch: Batch, task: Task) -> tuple[BaselineLosses, Tensor]:
    """Compute the sum of the branches' cross-entropies, and the probabilities that decide."""
    logits_KNC, sees_KN = model(batch)
    loss = sum(
        cross_entropy(logits_NC, batch.labels_N, task.class_weights_C, sees_N, batch.targets_NC)
        for logits_NC, sees_N in zip(logits_KNC, sees_KN)
    )
    return BaselineLosses(loss), average_probabilities(logits_KNC.detach().float(), sees_KN)


BC_LSTM = TrainedBaseline(build_bc_lstm, recurrent_objective, {})
