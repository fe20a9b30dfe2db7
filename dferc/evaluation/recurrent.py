"""bc-LSTM, the field's recurrent baseline: a bidirectional LSTM over a dialogue's features, without DF-ERC's parts.

Poria et al., *Context-Dependent Sentiment Analysis in User-Generated Videos*, ACL 2017. Early fusion: one branch reads
all modalities side by side. Late fusion: a branch per modality, learnt on its own; the mean of their probabilities
decides. Data, class weights, optimiser, schedule and selection are those of DF-ERC's training.

M modalities, N utterances, C classes, H hidden, K branches.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dferc.evaluation.evaluate import BATCH_DIALOGUES
from dferc.model.layers import dropout
from dferc.model.losses import cross_entropy
from dferc.model.lstm import BiLSTMLayer, Layout
from dferc.training.data import Batch, Dialogues
from dferc.training.optimiser import Machinery, make_machinery
from dferc.training.tally import score_confusion
from dferc.training.task import Task


class Branch(nn.Module):
    """One bc-LSTM: BiLSTM, dropout, a tanh layer, dropout, class logits.

    Args:
        modalities: what it reads, side by side.
        widths: modality -> D.
        hidden: H, units each way and of the tanh layer.
        classes: C.
        dropout: before both linear layers.
    """

    def __init__(
        self, *, modalities: Sequence[str], widths: Mapping[str, int], hidden: int, classes: int, dropout: float
    ):
        super().__init__()
        self.modalities = tuple(modalities)
        self.dropout = dropout
        self.lstm = BiLSTMLayer(sum(widths[name] for name in modalities), hidden, 0.0)
        self.dense = nn.Linear(2 * hidden, hidden)
        self.classify = nn.Linear(hidden, classes)

    def forward(self, features: Mapping[str, Tensor], layout: Layout) -> Tensor:
        """Logits [N, C] of whole dialogues; absent features are zeros."""
        state = self.lstm(torch.cat([features[name] for name in self.modalities], dim=1), layout)
        dense = torch.tanh(self.dense(dropout(state, self.dropout, self.training)))
        return self.classify(dropout(dense, self.dropout, self.training))


class RecurrentBaseline(nn.Module):
    """Branches whose probabilities are averaged; one branch is early fusion.

    Args:
        branches: in any order.
        modalities: of the data, in the order of M.
    """

    def __init__(self, branches: Sequence[Branch], modalities: Sequence[str]):
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.modalities = tuple(modalities)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits [K, N, C], and [K, N] which branch has something of the utterance to read."""
        logits_KNC = torch.stack([branch(batch.features, batch.layout) for branch in self.branches])
        rows = [[self.modalities.index(name) for name in branch.modalities] for branch in self.branches]
        return logits_KNC, torch.stack([batch.present_MN[row].any(dim=0) for row in rows])

    def probabilities(self, batch: Batch) -> Tensor:
        """[N, C]: mean over the branches that see the utterance; over all where none does (they know its context)."""
        logits_KNC, sees_KN = self(batch)
        weight_KN = (sees_KN | ~sees_KN.any(dim=0)).float()
        return (logits_KNC.softmax(dim=2) * weight_KN.unsqueeze(2)).sum(dim=0) / weight_KN.sum(dim=0).unsqueeze(1)


class Fitted(NamedTuple):
    """The model as validation chose it."""

    model: RecurrentBaseline
    best_epoch: int
    validation_weighted_f1: float


def build_baseline(task: Task, late: bool) -> RecurrentBaseline:
    """A freshly initialised model; draws from the global generator."""
    modalities = task.variant.modalities
    groups = [(name,) for name in modalities] if late else [modalities]
    widths = {name: task.corpus.modalities[name].width for name in modalities}
    sizes = {"widths": widths, "hidden": task.settings.hidden, "classes": task.classes}
    branches = [Branch(modalities=group, dropout=task.settings.dropout, **sizes) for group in groups]
    return RecurrentBaseline(branches, modalities)


def fit_recurrent(task: Task, seed: int, late: bool, report: Callable[[], None] | None = None) -> Fitted:
    """Train one seed and keep the epoch that is best on validation.

    Args:
        task: made for the variant `full`.
        seed: of initialisation, dropout and order; on the CPU it gives the same bits again.
        late: late fusion instead of early.
        report: told of every epoch.
    """
    settings, device = task.settings, task.device.device
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = build_baseline(task, late).to(device)
        steps = math.ceil(len(task.train) / settings.batch_dialogues) * settings.epochs
        machinery = make_machinery(model, settings, steps=steps, seed=seed, dtype=task.device.dtype)
        best_epoch, best_score, best = 0, -1.0, {}
        for epoch in range(1, settings.epochs + 1):
            _train_epoch(machinery, task)
            score = _validate(machinery.judged, task)
            if report is not None:
                report()
            if score > best_score:
                weights = {name: value.detach().clone() for name, value in machinery.judged.state_dict().items()}
                best_epoch, best_score, best = epoch, score, weights
            elif epoch - best_epoch >= settings.patience:
                break
    model.load_state_dict(best)
    return Fitted(model.eval(), best_epoch, best_score)


def _train_epoch(machinery: Machinery, task: Task) -> None:
    model, (device, dtype, _) = machinery.model, task.device
    model.train()
    for batch in task.train.batches(task.settings.batch_dialogues, generator=machinery.order):
        machinery.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits_KNC, sees_KN = model(batch)
            loss = sum(
                cross_entropy(logits_NC, batch.labels_N, task.class_weights_C, sees_N)
                for logits_NC, sees_N in zip(logits_KNC, sees_KN)
            )
        machinery.step(loss, task.settings.clip_norm)


@torch.no_grad()
def _validate(model: RecurrentBaseline, task: Task) -> float:
    """Weighted F1 of the probabilities that decide."""
    rows_N, probabilities_NC = predict_recurrent(model, task.validation)
    labels_N = torch.from_numpy(task.corpus.utterances.emotion)[rows_N]
    known, C = labels_N >= 0, task.classes
    cells = labels_N[known] * C + probabilities_NC.argmax(dim=1)[known]
    return score_confusion(torch.bincount(cells, minlength=C * C).view(C, C))[1]


@torch.inference_mode()
def predict_recurrent(model: RecurrentBaseline, dialogues: Dialogues) -> tuple[Tensor, Tensor]:
    """Rows of the corpus [N] and their probabilities [N, C] in float32, on the CPU."""
    model.eval()
    made = [(batch.rows_N, model.probabilities(batch)) for batch in dialogues.batches(BATCH_DIALOGUES)]
    return tuple(torch.cat(column).cpu() for column in zip(*made, strict=True))
