"""MMGCN: a deep graph convolution over all utterances of a dialogue in all modalities.

Hu et al., *MMGCN: Multimodal Fusion via Deep Graph Convolution Network for Emotion Recognition in Conversation*, ACL
2021, arXiv 2107.06779:

    x_m = W_m u_m + b_m             text: then two layers of bidirectional LSTM, and the speaker's embedding is added
    A   = 1 - arccos(cos(x_i, x_j)) / pi        between all utterances of a modality, and the modalities of one
    P   = D^-1/2 A D^-1/2,   H_0 = ReLU(W_0 x + b_0)
    H_l = ReLU(((1 - alpha) P H_{l-1} + alpha H_0) ((1 - beta_l) I + beta_l W_l)),   beta_l = log(eta / l + 1)
    logits = W ReLU([x ; H_L]_{all m}) + b

A modality that an utterance lacks has no node, and zeros in the classifier's input. Without text, the first modality
has the LSTM and the speakers. Where the paper leaves a choice, this is the authors' code: the speakers enter the text
alone, and edges between modalities weigh as much as those within. Differences from that code: it builds 64 layers
whatever its option says (its script: 4); its layers read [P H ; H_0] (GCNII's variant); on MELD it replaces the paper's
cross-entropy by a focal loss of its own, whose factor (1 - log p)^2.5 grows with the error.

Shapes: N utterances, M modalities, B dialogues, T longest dialogue, W = 2 * units of x, H of the graph's states.
"""

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dferc.baselines.shared import Recipe, TrainedBaseline, build_with_parties, logits_objective, number_parties, seen
from dferc.model.layers import dropout
from dferc.model.layers.lstm import BiLSTMLayer
from dferc.model.layers.padding import Padding
from dferc.training.data import Batch

SIZES = {"units": 100, "graph": 100, "layers": 4, "dropout": 0.4, "alpha": 0.1, "eta": 0.5}
RECIPES = {
    # hujingwen6666/MMGCN: run.sh; the widths from train.py, alpha and eta from model.py
    "iemocap": Recipe(
        learning_rate=3e-4, weight_decay=3e-5, batch_dialogues=16, epochs=20, class_weights="balanced", sizes=SIZES
    ),
    "meld": Recipe(
        learning_rate=1e-3, weight_decay=0.0, batch_dialogues=16, epochs=60, class_weights="uniform", sizes=SIZES
    ),
}
MOST_SIMILAR = 0.99999  # factor of the cosines: the slope of arccos has no end at 1


class MMGCN(nn.Module):
    """The whole model.

    Args:
        widths: modality -> D, in the order of M.
        classes: C.
        parties: rows of the speaker embedding.
        units: of the LSTM per direction; W is twice as much.
        graph: H.
        layers: number of graph convolutions.
        dropout: share, before each layer of the LSTM but the first, of the graph, and before the classifier.
        alpha: weight of the initial residual.
        eta: of the identity mapping.
    """

    def __init__(
        self,
        *,
        widths: Mapping[str, int],
        classes: int,
        parties: int,
        units: int,
        graph: int,
        layers: int,
        dropout: float,
        alpha: float,
        eta: float,
    ):
        super().__init__()
        self.modalities, self.parties = tuple(widths), parties
        self.first = self.modalities.index("text") if "text" in widths else 0
        self.dropout, self.alpha = dropout, alpha
        self.betas = [math.log(eta / layer + 1) for layer in range(1, layers + 1)]
        self.encoders = nn.ModuleList(nn.Linear(width, 2 * units) for width in widths.values())
        self.lstm = nn.ModuleList(BiLSTMLayer(2 * units, units, 0.0) for _ in range(2))
        self.speakers = nn.Embedding(parties, 2 * units)
        self.enter = nn.Linear(2 * units, graph)
        self.convolutions = nn.ParameterList(torch.empty(graph, graph) for _ in range(layers))
        for weight in self.convolutions:
            nn.init.uniform_(weight, -1 / math.sqrt(graph), 1 / math.sqrt(graph))
        self.classify = nn.Linear(len(widths) * (2 * units + graph), classes)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits [N, C]."""
        padding, seen_NM = Padding.of(batch.layout.lengths, batch.labels_N.device), seen(batch.present_MN).T
        x_NMW = torch.stack(self._encode(batch), dim=1)
        within_BMTT, across_BTMM, scale_BTM = graph_edges(padding.pad(x_NMW), padding.pad(seen_NM))
        x_NMW = self._drop(x_NMW)
        start_NMH = h_NMH = F.relu(self.enter(x_NMW))
        for beta, weight_HH in zip(self.betas, self.convolutions):
            scaled_BTMH = padding.pad(self._drop(h_NMH)) * scale_BTM.unsqueeze(3)
            # P H: over the utterances of a modality, and over the modalities of an utterance
            spread_BTMH = (within_BMTT @ scaled_BTMH.transpose(1, 2)).transpose(1, 2) + across_BTMM @ scaled_BTMH
            spread_NMH = padding.unpad(spread_BTMH * scale_BTM.unsqueeze(3))
            mixed_NMH = (1 - self.alpha) * spread_NMH + self.alpha * start_NMH
            h_NMH = F.relu((1 - beta) * mixed_NMH + beta * (mixed_NMH @ weight_HH))
        nodes_NMF = torch.cat([x_NMW, self._drop(h_NMH)], dim=2) * seen_NM.unsqueeze(2)
        return self.classify(F.relu(self._drop(nodes_NMF.flatten(1))))

    def _encode(self, batch: Batch) -> list[Tensor]:
        """Return x of each modality, [N, W]."""
        encoded = [linear(batch.features[name]) for name, linear in zip(self.modalities, self.encoders)]
        context_NW = self.lstm[0](encoded[self.first], batch.layout)
        context_NW = self.lstm[1](self._drop(context_NW), batch.layout)
        encoded[self.first] = context_NW + self.speakers(number_parties(batch.speaker_N, self.parties))
        return encoded

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


def graph_edges(x_BTMW: Tensor, real_BTM: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the edges of every dialogue's graph.

    Args:
        x_BTMW: features of the nodes.
        real_BTM: bool; False = there is no such node.

    Returns:
        A between the utterances of a modality, [B, M, T, T], and between the modalities of an utterance, [B, T, M, M];
        and the diagonal of D^-1/2, [B, T, M]. Zeros where there is no node.
    """
    with torch.autocast(x_BTMW.device.type, enabled=False):  # arccos near 1 needs all digits
        unit_BTMW = F.normalize(x_BTMW.float(), dim=3)
        unit_BMTW, real_BMT = unit_BTMW.transpose(1, 2), real_BTM.transpose(1, 2)
        within = _similarity(unit_BMTW @ unit_BMTW.transpose(2, 3)) * (real_BMT.unsqueeze(3) & real_BMT.unsqueeze(2))
        other_MM = ~torch.eye(real_BTM.shape[2], dtype=torch.bool, device=x_BTMW.device)  # `within` has the self-loops
        pairs_BTMM = real_BTM.unsqueeze(3) & real_BTM.unsqueeze(2) & other_MM
        across = _similarity(unit_BTMW @ unit_BTMW.transpose(2, 3)) * pairs_BTMM
        degree_BTM = within.sum(dim=3).transpose(1, 2) + across.sum(dim=3)
        scale_BTM = torch.where(real_BTM, degree_BTM.clamp(min=1e-6).rsqrt(), 0.0)
    return within, across, scale_BTM


def _similarity(cosine: Tensor) -> Tensor:
    """Return 1 - arccos(cosine) / pi: 1 for the same direction, 0 for the opposite."""
    return 1 - torch.acos(cosine * MOST_SIMILAR) / math.pi


MMGCN_BASELINE = TrainedBaseline(partial(build_with_parties, MMGCN), logits_objective, RECIPES)
