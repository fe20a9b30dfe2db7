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

LARGEST_GRID = 2**22
"""Pairs B x L x L above which dialogues are attended to one by one: a long one beside many short ones is padding."""


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
        lengths = layout.lengths
        if len(lengths) == 1 or len(lengths) * max(lengths) ** 2 <= LARGEST_GRID:
            return self._attend(x_NA, speaker_N, lengths)
        parts = zip(x_NA.split(lengths), speaker_N.split(lengths), lengths, strict=True)
        return torch.cat([self._attend(x_LA, speaker_L, (length,)) for x_LA, speaker_L, length in parts])

    def _attend(self, x_NA: Tensor, speaker_N: Tensor, lengths: Sequence[int]) -> Tensor:
        padding = Padding.of(lengths, x_NA.device)
        speaker_BL = padding.pad(speaker_N, fill=-1)
        known_BLL = (speaker_BL >= 0).unsqueeze(2) & (speaker_BL >= 0).unsqueeze(1)
        who_BLL = torch.where(known_BLL, (speaker_BL.unsqueeze(2) == speaker_BL.unsqueeze(1)).long(), 2)
        for layer in self.layers:
            x_NA = layer(x_NA, padding, who_BLL)
        return x_NA


class AttentionLayer(nn.Module):
    """One layer of `DialogueAttention`."""

    def __init__(self, width: int, heads: int, dropout: float, causal: bool):
        super().__init__()
        self.heads, self.dropout, self.causal = heads, dropout, causal
        self.norm_in, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.bias = nn.Parameter(torch.zeros(heads, 3, 2 * REACH + 1))  # b, of no preference at first

    def forward(self, x_NA: Tensor, padding: Padding, who_BLL: Tensor) -> Tensor:
        """Map [N, A] to [N, A].

        Args:
            x_NA: rows of whole dialogues, one after another.
            padding: places of the rows.
            who_BLL: 0 = another speaker, 1 = the same, 2 = unknown.
        """
        (B, L), A = padding.real_BT.shape, x_NA.shape[1]
        padded_BLA = padding.pad(self.norm_in(x_NA).to(x_NA.dtype))
        # [3, B, heads, L, A / heads]
        q, k, v = self.qkv(padded_BLA).view(B, L, 3, self.heads, A // self.heads).permute(2, 0, 3, 1, 4)
        place_L = torch.arange(L, device=x_NA.device)
        distance_LL = place_L - place_L.unsqueeze(1)  # j - i
        bias = self.bias[:, who_BLL, distance_LL.clamp(-REACH, REACH) + REACH].transpose(0, 1)  # [B, heads, L, L]
        seen_BLL = padding.real_BT.unsqueeze(1) & (distance_LL <= 0 if self.causal else True)
        bias = bias.masked_fill(~seen_BLL.unsqueeze(1), float("-inf")).to(q.dtype)
        # A row of padding in a causal grid sees its dialogue's past at least: no row is without a key.
        gathered = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        gathered_NA = padding.unpad(gathered.transpose(1, 2).flatten(2))
        x_NA = x_NA + dropout(self.out(gathered_NA), self.dropout, self.training)
        hidden = F.gelu(self.widen(self.norm_mlp(x_NA)))
        return x_NA + dropout(self.narrow(hidden), self.dropout, self.training)
