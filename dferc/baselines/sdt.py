"""SDT: transformers within and between modalities, gated fusion, and self-distillation.

Ma et al., *A Transformer-Based Model With Self-Distillation for Multimodal Emotion Recognition in Conversations*, IEEE
Transactions on Multimedia 2023, arXiv 2310.20494; n and m are modalities:

    z_m     = W_m u_m + position + speaker
    h_nm    = z_m + MultiHead(query z_m, keys and values z_n);   h_nm += FFN(LayerNorm(h_nm))     n = m: within
    h_m     = W [sigmoid(V_nm h_nm) * h_nm]_{all n} + b                                           unimodal gates
    h       = sum_m softmax_m(V h_m) * h_m                                                        multimodal gate
    y = W h + b,   y_m = W_m ReLU(h_m) + b_m
    L = CE(y) + sum_m CE(y_m) + sum_m KL(softmax(y / tau) || softmax(y_m / tau))

A modality that an utterance lacks is no key and has no share in h; its losses do not count. Order of layers, dropout
and an undetached teacher are those of the authors' code. A layer norm that it builds and never uses is left out.

Shapes: N utterances, M modalities, B dialogues, T longest dialogue, H width, C classes.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dferc.baselines.shared import Recipe, TrainedBaseline, build_with_parties, masked_softmax, number_parties, seen
from dferc.model.layers import dropout
from dferc.model.layers.padding import Padding
from dferc.model.losses import cross_entropy
from dferc.training.data import Batch
from dferc.training.task import Task

LEARNT = {"hidden": 1024, "heads": 8, "dropout": 0.5, "temperature": 1.0, "learnt_gates": True}
FIXED = LEARNT | {"temperature": 8.0, "learnt_gates": False}
RECIPES = {
    # butterfliesss/SDT, train.py and exec_iemocap.sh
    "iemocap": Recipe(
        learning_rate=1e-4, weight_decay=1e-5, batch_dialogues=16, epochs=150, class_weights="balanced", sizes=LEARNT
    ),
    # exec_meld.sh; model.py fixes the unimodal gates' V to the identity
    "meld": Recipe(
        learning_rate=5e-6, weight_decay=1e-5, batch_dialogues=8, epochs=50, class_weights="uniform", sizes=FIXED
    ),
}
LONGEST_WAVE = 10_000.0  # of the positions' sinusoids, per radian


class CrossTransformer(nn.Module):
    """One transformer layer: each utterance's query of one modality reads the dialogue in another (or in the same).

    Args:
        hidden: H, also of the feed-forward layer.
        heads: number of heads, a divisor of H.
        dropout: share, on inputs, attention and both sub-layers.
        gate: whether the unimodal gate is learnt; else its weight is the identity.
    """

    def __init__(self, hidden: int, heads: int, dropout: float, gate: bool):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(hidden, hidden) for _ in range(4))
        self.norm = nn.LayerNorm(hidden, eps=1e-6)
        self.widen, self.narrow = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.gate = nn.Linear(hidden, hidden, bias=False) if gate else nn.Identity()

    def forward(self, z_NH: Tensor, source_NH: Tensor, source_seen_N: Tensor, padding: Padding) -> Tensor:
        """Return the gated state [N, H].

        Args:
            z_NH: the queries' modality.
            source_NH: the modality that is read; the same tensor for attention within a modality.
            source_seen_N: bool; utterances that may be read.
            padding: places of the rows.
        """
        within = z_NH is source_NH
        z_NH = self._drop(z_NH)
        source_NH = z_NH if within else self._drop(source_NH)
        query, key, value = (
            padding.pad(linear(x_NH)).unflatten(2, (self.heads, -1)).transpose(1, 2)  # [B, heads, T, H / heads]
            for linear, x_NH in ((self.query, z_NH), (self.key, source_NH), (self.value, source_NH))
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        weights = self._drop(masked_softmax(scores, padding.pad(source_seen_N)[:, None, None]))
        context_NH = padding.unpad((weights @ value).transpose(1, 2).flatten(2))
        h_NH = z_NH + self._drop(self.out(context_NH))
        inner_NH = self._drop(F.gelu(self.widen(self.norm(h_NH)), approximate="tanh"))
        h_NH = h_NH + self._drop(self.narrow(inner_NH))
        return torch.sigmoid(self.gate(h_NH)) * h_NH

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


class SDT(nn.Module):
    """The whole model.

    Args:
        widths: modality -> D, in the order of M.
        classes: C.
        parties: rows of the speaker embedding.
        hidden: H, even.
        heads: attention heads.
        dropout: share.
        temperature: tau of the distillation.
        learnt_gates: whether the unimodal gates have weights.
    """

    def __init__(
        self,
        *,
        widths: Mapping[str, int],
        classes: int,
        parties: int,
        hidden: int,
        heads: int,
        dropout: float,
        temperature: float,
        learnt_gates: bool,
    ):
        super().__init__()
        self.modalities, self.parties = tuple(widths), parties
        self.dropout, self.temperature, M = dropout, temperature, len(widths)
        self.speakers = nn.Embedding(parties, hidden)
        self.enter = nn.ModuleList(nn.Linear(width, hidden, bias=False) for width in widths.values())
        self.transformers = nn.ModuleList(  # row m reads column n
            nn.ModuleList(CrossTransformer(hidden, heads, dropout, learnt_gates) for _ in range(M)) for _ in range(M)
        )
        self.reduce = nn.ModuleList(nn.Linear(M * hidden, hidden) for _ in range(M))
        self.gate = nn.Linear(hidden, hidden, bias=False)
        self.classify_each = nn.ModuleList(nn.Linear(hidden, classes) for _ in range(M))
        self.classify = nn.Linear(hidden, classes)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits [N, C] that decide, and those of each modality, [M, N, C]."""
        padding, seen_MN = Padding.of(batch.layout.lengths, batch.labels_N.device), seen(batch.present_MN)
        place_NH = sinusoids(padding.time_N, self.gate.in_features)
        place_NH = place_NH + self.speakers(number_parties(batch.speaker_N, self.parties))
        z = [linear(batch.features[name]) + place_NH for name, linear in zip(self.modalities, self.enter)]
        states = []
        for z_NH, row, reduce in zip(z, self.transformers, self.reduce):
            read = [each(z_NH, source, seen_N, padding) for each, source, seen_N in zip(row, z, seen_MN)]
            states.append(reduce(torch.cat(read, dim=1)))
        h_NHM = torch.stack(states, dim=2)
        gate_NHM = torch.stack([self.gate(h_NH) for h_NH in states], dim=2)
        fused_NH = (masked_softmax(gate_NHM, seen_MN.T.unsqueeze(1)) * h_NHM).sum(dim=2)
        each_MNC = [
            classify(dropout(F.relu(h_NH), self.dropout, self.training))
            for classify, h_NH in zip(self.classify_each, states)
        ]
        return self.classify(fused_NH), torch.stack(each_MNC)


def sinusoids(time_N: Tensor, width: int) -> Tensor:
    """Return the positions' encoding [N, width] of Vaswani et al. (2017): sine in even columns, cosine in odd ones."""
    rate = torch.arange(0, width, 2, device=time_N.device) * (-math.log(LONGEST_WAVE) / width)
    angle = time_N.unsqueeze(1) * rate.exp()
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


class SDTLosses(NamedTuple):
    """Scalars: the total, and its terms."""

    total: Tensor
    classification: Tensor
    unimodal: Tensor
    distillation: Tensor


def sdt_objective(model: SDT, batch: Batch, task: Task) -> tuple[SDTLosses, Tensor]:
    """Compute the losses, each with weight 1, and the probabilities [N, C]."""
    (logits_NC, each_MNC), seen_MN = model(batch), seen(batch.present_MN)
    logits_NC, each_MNC, tau = logits_NC.float(), each_MNC.float(), model.temperature
    classification = cross_entropy(logits_NC, batch.labels_N, task.class_weights_C, targets_NC=batch.targets_NC)
    unimodal = sum(
        cross_entropy(each_NC, batch.labels_N, task.class_weights_C, seen_N, batch.targets_NC)
        for each_NC, seen_N in zip(each_MNC, seen_MN)
    )
    teacher_MNC = F.softmax(logits_NC / tau, dim=1).expand_as(each_MNC)
    apart_MN = F.kl_div(F.log_softmax(each_MNC / tau, dim=2), teacher_MNC, reduction="none").sum(dim=2)
    distillation = ((apart_MN * seen_MN).sum(dim=1) / seen_MN.sum(dim=1).clamp(min=1)).sum()
    losses = SDTLosses(classification + unimodal + distillation, classification, unimodal, distillation)
    return losses, logits_NC.detach().softmax(dim=1)


SDT_BASELINE = TrainedBaseline(partial(build_with_parties, SDT), sdt_objective, RECIPES)
