"""Attention over a dialogue that knows who spoke and how far away (`train.attention_layers`, docs/plus.md).

    x_i = tanh(lin_in(f_i))                                                            [N, A]
    s_ij = q_i . k_j / sqrt(A / heads) + b[who(i, j), clip(j - i, -REACH, REACH)]      per head
    x_i <- x_i + lin_out(sum_j softmax_j(s_ij) v_j)
    x_i <- x_i + mlp(norm(x_i))                                                        the last two per layer

`who` is 0 for another speaker, 1 for the same, 2 where one of the two is unknown; j runs over the dialogue of i, or
with `causal` over its past and i itself. Relative positions: Shaw et al., NAACL 2018 (arXiv 1803.02155); as a bias per
head: T5, arXiv 1910.10683. Speakers in the attention of a dialogue: DialogXL, arXiv 2012.08695.

Shapes: N utterances of all dialogues of the batch, B dialogues, L the longest, A width, F width in.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dferc.model.layers import dropout
from dferc.model.layers.lstm import Layout
from dferc.model.layers.padding import Padding

REACH = 8
"""Distances beyond which a position is not told from a further one; utterances there are still attended to."""

HEAD_WIDTH = 32
"""Width of an attention head."""

LARGEST_GRID = {"cpu": 2**17, "cuda": 2**22}
"""Pairs B x L x L of dialogues that are attended to at once, by device. Beyond, those of similar lengths are: a long
one beside many short ones is padding, and a CPU's caches hold no more."""


class DialogueAttention(nn.Module):
    """Layers of self-attention within each dialogue.

    Args:
        width_in: F.
        width: A, a multiple of `heads`.
        layers: number of layers.
        heads: attention heads.
        dropout: share, on the input and on what a layer adds.
        causal: whether an utterance sees nothing that comes after it.
    """

    def __init__(self, *, width_in: int, width: int, layers: int, heads: int, dropout: float, causal: bool):
        super().__init__()
        self.dropout = dropout
        self.project = nn.Linear(width_in, width)
        self.layers = nn.ModuleList(AttentionLayer(width, heads, dropout, causal) for _ in range(layers))

    def forward(self, f_NF: Tensor, speaker_N: Tensor, layout: Layout) -> Tensor:
        """Return what each utterance has gathered from its dialogue, [N, A].

        Args:
            f_NF: fused features of whole dialogues.
            speaker_N: numbers that tell speakers of one dialogue apart; -1 = unknown.
            layout: which rows are which dialogue.
        """
        x_NA = torch.tanh(self.project(dropout(f_NF, self.dropout, self.training)))
        groups = group_by_length(layout.lengths, LARGEST_GRID[x_NA.device.type])
        if len(groups) == 1:
            return self._attend(x_NA, speaker_N, layout.lengths)
        first = np.cumsum(layout.lengths) - layout.lengths
        lengths = [[layout.lengths[dialogue] for dialogue in group] for group in groups]
        rows = [np.arange(first[d], first[d] + layout.lengths[d]) for group in groups for d in group]
        order_N = torch.from_numpy(np.concatenate(rows)).to(x_NA.device, non_blocking=True)
        sizes = [sum(of_group) for of_group in lengths]
        parts = zip(x_NA[order_N].split(sizes), speaker_N[order_N].split(sizes), lengths, strict=True)
        attended_NA = torch.cat([self._attend(*part) for part in parts])
        return torch.zeros_like(attended_NA).index_copy(0, order_N, attended_NA)

    def _attend(self, x_NA: Tensor, speaker_N: Tensor, lengths: Sequence[int]) -> Tensor:
        padding = Padding.of(lengths, x_NA.device)
        speaker_BL = padding.pad(speaker_N, fill=-1)
        known_BLL = (speaker_BL >= 0).unsqueeze(2) & (speaker_BL >= 0).unsqueeze(1)
        same_BLL = speaker_BL.unsqueeze(2) == speaker_BL.unsqueeze(1)
        for layer in self.layers:
            x_NA = layer(x_NA, padding, same_BLL, known_BLL)
        return x_NA


def group_by_length(lengths: Sequence[int], most_pairs: int) -> list[list[int]]:
    """Group dialogues of similar lengths, longest first, so that a padded group has at most so many pairs, or one each.

    All are one group, in their order, where that has no more.
    """
    if len(lengths) * max(lengths) ** 2 <= most_pairs:
        return [list(range(len(lengths)))]
    groups: list[list[int]] = []
    for dialogue in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        if not groups or (len(groups[-1]) + 1) * lengths[groups[-1][0]] ** 2 > most_pairs:
            groups.append([])
        groups[-1].append(dialogue)
    return groups


class AttentionLayer(nn.Module):
    """One layer of `DialogueAttention`."""

    def __init__(self, width: int, heads: int, dropout: float, causal: bool):
        super().__init__()
        self.heads, self.dropout, self.causal = heads, dropout, causal
        self.norm_in, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.bias = nn.Parameter(torch.zeros(heads, 3, 2 * REACH + 1))  # b, of no preference at first

    def forward(self, x_NA: Tensor, padding: Padding, same_BLL: Tensor, known_BLL: Tensor) -> Tensor:
        """Map [N, A] to [N, A].

        Args:
            x_NA: rows of whole dialogues, one after another.
            padding: places of the rows.
            same_BLL: bool, whether j has the speaker of i.
            known_BLL: bool, whether both have a known one.
        """
        (B, L), A = padding.real_BT.shape, x_NA.shape[1]
        # q, k, v of the real rows alone, then padded: [3, B * heads, L, A / heads]
        padded = padding.pad(self.qkv(self.norm_in(x_NA))).view(B, L, 3, self.heads, A // self.heads)
        q, k, v = padded.permute(2, 0, 3, 1, 4).reshape(3, B * self.heads, L, A // self.heads)
        place_L = torch.arange(L, device=x_NA.device)
        distance_LL = place_L - place_L.unsqueeze(1)  # j - i
        # b of each distance for another speaker, the same, unknown: [heads, L, L]. Selecting among three is several
        # times as fast as an index of each pair, whose gradient is a sum over all pairs one by one.
        other, same, unknown = self.bias[:, :, distance_LL.clamp(-REACH, REACH) + REACH].unbind(1)
        bias = torch.where(known_BLL.unsqueeze(1), torch.where(same_BLL.unsqueeze(1), same, other), unknown)
        seen_BLL = padding.real_BT.unsqueeze(1) & (distance_LL <= 0 if self.causal else True)
        bias = bias.masked_fill(~seen_BLL.unsqueeze(1), float("-inf")).to(q.dtype).flatten(0, 1)
        # A row of padding in a causal grid sees its dialogue's past at least: no row is without a key.
        weights = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=(A // self.heads) ** -0.5).softmax(dim=2)
        gathered = (weights @ v).view(B, self.heads, L, A // self.heads)
        gathered_NA = padding.unpad(gathered.transpose(1, 2).flatten(2))
        x_NA = x_NA + dropout(self.out(gathered_NA), self.dropout, self.training)
        hidden = F.gelu(self.widen(self.norm_mlp(x_NA)))
        return x_NA + dropout(self.narrow(hidden), self.dropout, self.training)
