"""A bidirectional LSTM over dialogues of any lengths, without padding.

Rows are packed time-major, longest dialogue first, as PyTorch's PackedSequence does: step t holds one row of each
dialogue that is longer than t. The backward direction reads each dialogue from its own last utterance, so both
directions have the same step sizes and advance together: one batched product per step.

On the CPU at two dialogues a batch the recurrence is bound by reading the hidden-to-hidden weights; stepping both
directions at once, one per core, and keeping everything else out of the loop is what makes it fast. On CUDA the same
weights go to cuDNN.

N utterances, B dialogues, D width in, H units each way, T longest dialogue; a leading 2 is forward, backward.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the dialogues of a batch lie in its rows.

    Attributes:
        steps: rows per time step, falling; on the CPU, since they shape the computation.
        order: [2, N] row of the batch at each packed place, for both directions.
        place: [2, N] packed place of each row: the inverse of `order`.
        dialogue: [N] dialogue of each row.
        joined: [N-1] bool, True = this row and the next are of one dialogue.
    """

    steps: tuple[int, ...]
    order: Tensor
    place: Tensor
    dialogue: Tensor
    joined: Tensor

    @staticmethod
    def of(lengths: Sequence[int], device: torch.device | str = "cpu") -> "Layout":
        """Lay out dialogues of these lengths (each at least 1), one after another.

        Raises:
            ValueError: no dialogue, or an empty one.
        """
        if len(lengths) == 0 or min(lengths) < 1:
            raise ValueError(f"dialogues must have at least one utterance; lengths are {list(lengths)}")
        lengths = np.asarray(lengths)
        starts = np.cumsum(lengths) - lengths
        longest_first = np.argsort(-lengths, kind="stable")
        time = np.arange(lengths.max())[:, None]
        alive = time < lengths[longest_first]  # [T, B]
        forward = (starts[longest_first] + time)[alive]
        backward = ((starts + lengths - 1)[longest_first] - time)[alive]
        order = np.stack([forward, backward])
        dialogue = np.repeat(np.arange(len(lengths)), lengths)
        return Layout(
            steps=tuple(alive.sum(axis=1).tolist()),
            order=torch.from_numpy(order).to(device, non_blocking=True),
            place=torch.from_numpy(np.argsort(order, axis=1)).to(device, non_blocking=True),
            dialogue=torch.from_numpy(dialogue).to(device, non_blocking=True),
            joined=torch.from_numpy(dialogue[1:] == dialogue[:-1]).to(device, non_blocking=True),
        )


class DialogueLSTM(nn.Module):
    """Stacked bidirectional LSTM; every layer maps [N, width] to [N, width].

    Args:
        width: input and output width; half of it per direction.
        layers: how many.
        dropout: variational dropout on each layer's input: one mask per dialogue, shared over time.
        recurrent_dropout: DropConnect on the columns of the hidden-to-hidden weights, one mask per batch.
    """

    def __init__(self, *, width: int, layers: int, dropout: float, recurrent_dropout: float):
        super().__init__()
        self.dropout = dropout
        self.layers = nn.ModuleList(BiLSTMLayer(width, width // 2, recurrent_dropout) for _ in range(layers))

    def forward(self, x_ND: Tensor, layout: Layout) -> Tensor:
        """States [N, width] of each utterance in its dialogue."""
        for layer in self.layers:
            x_ND = layer(self._locked_dropout(x_ND, layout), layout)
        return x_ND

    def _locked_dropout(self, x_ND: Tensor, layout: Layout) -> Tensor:
        if not self.training or self.dropout == 0:
            return x_ND
        # steps[0] is the number of dialogues: every dialogue has a first utterance.
        mask_BD = F.dropout(x_ND.new_ones(layout.steps[0], x_ND.shape[1]), self.dropout)
        return x_ND * mask_BD[layout.dialogue]


class BiLSTMLayer(nn.Module):
    """One layer, both directions; parameters as in `torch.nn.LSTM`, stacked over the directions."""

    def __init__(self, width_in: int, units: int, recurrent_dropout: float):
        super().__init__()
        self.recurrent_dropout = recurrent_dropout
        self.weight_ih = nn.Parameter(torch.empty(2, 4 * units, width_in))
        self.weight_hh = nn.Parameter(torch.empty(2, 4 * units, units))
        self.bias_ih = nn.Parameter(torch.empty(2, 4 * units))
        self.bias_hh = nn.Parameter(torch.empty(2, 4 * units))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(units), 1 / math.sqrt(units))

    def forward(self, x_ND: Tensor, layout: Layout) -> Tensor:
        """Map [N, D] to [N, 2 * units]: forward states beside backward states."""
        weight_hh = self.weight_hh
        if self.training and self.recurrent_dropout > 0:
            weight_hh = weight_hh * F.dropout(weight_hh.new_ones(2, 1, weight_hh.shape[2]), self.recurrent_dropout)
        if x_ND.is_cuda:
            return self._cudnn(x_ND, weight_hh, layout)
        packed_2ND = x_ND[layout.order]
        bias_2G = self.bias_ih + self.bias_hh
        gates_2NG = torch.baddbmm(bias_2G.unsqueeze(1), packed_2ND, self.weight_ih.transpose(1, 2))
        h_2NH = Recurrence.apply(gates_2NG, weight_hh, layout.steps)
        return torch.cat([h_2NH[0][layout.place[0]], h_2NH[1][layout.place[1]]], dim=-1)

    def _cudnn(self, x_ND: Tensor, weight_hh: Tensor, layout: Layout) -> Tensor:
        """The same by cuDNN (or PyTorch's own packed LSTM on the CPU: the reference in the tests)."""
        weights = [
            parameter[direction]
            for direction in (0, 1)
            for parameter in (self.weight_ih, weight_hh, self.bias_ih, self.bias_hh)
        ]
        start = x_ND.new_zeros(2, layout.steps[0], weight_hh.shape[2])
        steps = torch.tensor(layout.steps)
        packed_ND = x_ND[layout.order[0]]
        out, _, _ = torch.lstm(packed_ND, steps, (start, start), weights, True, 1, 0.0, self.training, True)
        return out[layout.place[0]]


class Recurrence(torch.autograd.Function):
    """The LSTM's recurrence over packed steps, both directions together; gate order i, f, g, o as in PyTorch.

    The products with the inputs are done by the caller, those of the weight gradient in one piece after the loop, and
    the derivatives of the gates before it, so that a backward step is one batched product and four small operations.
    """

    @staticmethod
    def forward(ctx, gates_2NG: Tensor, weight_2GH: Tensor, steps: tuple[int, ...]) -> Tensor:
        """States [2, N, H] from the gates' input shares [2, N, 4H] and the hidden-to-hidden weights [2, 4H, H]."""
        _, N, G = gates_2NG.shape
        H = G // 4
        gates, weight_2HG = torch.empty_like(gates_2NG), weight_2GH.transpose(1, 2)
        h, c, tanh_c = (gates_2NG.new_empty(2, N, H) for _ in range(3))
        before = None
        for now, size in _walk(steps):
            g = gates[:, now]
            if before is None:
                g.copy_(gates_2NG[:, now])
            else:
                torch.baddbmm(gates_2NG[:, now], h[:, before][:, :size], weight_2HG, out=g)
            g[..., : 2 * H].sigmoid_(), g[..., 2 * H : 3 * H].tanh_(), g[..., 3 * H :].sigmoid_()
            i, f, new, o = g.chunk(4, dim=-1)
            c_now = torch.mul(i, new, out=c[:, now])
            if before is not None:
                c_now.addcmul_(f, c[:, before][:, :size])
            torch.mul(o, torch.tanh(c_now, out=tanh_c[:, now]), out=h[:, now])
            before = now
        ctx.steps = steps
        ctx.save_for_backward(gates, h, c, tanh_c, weight_2GH)
        return h

    @staticmethod
    def backward(ctx, grad_2NH: Tensor) -> tuple[Tensor, Tensor, None]:
        """Back through time."""
        gates, h, c, tanh_c, weight_2GH = ctx.saved_tensors
        H = h.shape[2]
        h_before, c_before = _previous(h, ctx.steps), _previous(c, ctx.steps)
        i, f, new, o = gates.chunk(4, dim=-1)
        # What each gate's input gets from one unit of the cell's (i, f, g) or the state's (o) gradient.
        local = torch.cat([new * i * (1 - i), c_before * f * (1 - f), i * (1 - new * new), tanh_c * o * (1 - o)], -1)
        through_c = o * (1 - tanh_c * tanh_c)
        grad_gates = torch.empty_like(gates)
        dh, dc = (h.new_zeros(2, ctx.steps[0], H) for _ in range(2))
        for now, size in reversed(list(_walk(ctx.steps))):
            dh_now, dc_now = dh[:, :size], dc[:, :size]
            dh_now += grad_2NH[:, now]
            dc_now.addcmul_(dh_now, through_c[:, now])
            g, factor = grad_gates[:, now].unflatten(-1, (4, H)), local[:, now].unflatten(-1, (4, H))
            torch.mul(factor[..., :3, :], dc_now.unsqueeze(-2), out=g[..., :3, :])
            torch.mul(factor[..., 3, :], dh_now, out=g[..., 3, :])
            dc_now *= f[:, now]
            torch.bmm(grad_gates[:, now], weight_2GH, out=dh_now)
        return grad_gates, torch.bmm(grad_gates.transpose(1, 2), h_before), None


def _walk(steps: tuple[int, ...]):
    """Yield the packed rows of each step, and how many they are."""
    start = 0
    for size in steps:
        yield slice(start, start + size), size
        start += size


def _previous(x_2NH: Tensor, steps: tuple[int, ...]) -> Tensor:
    """At each packed place, the row of the same dialogue one step earlier; zero at the first step."""
    out = torch.zeros_like(x_2NH)
    before = None
    for now, size in _walk(steps):
        if before is not None:
            out[:, now] = x_2NH[:, before][:, :size]
        before = now
    return out
