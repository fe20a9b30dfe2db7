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

from dferc.layers import dropout

aten = torch.ops.aten


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
        mask_BD = dropout(x_ND.new_ones(layout.steps[0], x_ND.shape[1]), self.dropout, True)
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
            weight_hh = weight_hh * dropout(weight_hh.new_ones(2, 1, weight_hh.shape[2]), self.recurrent_dropout, True)
        if x_ND.is_cuda:
            return self._cudnn(x_ND, weight_hh, layout)
        weight, bias = self.weight_ih.flatten(0, 1), (self.bias_ih + self.bias_hh).flatten()
        return Recurrence.apply(F.linear(x_ND, weight, bias), weight_hh, layout)

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
    """The LSTM's recurrence, both directions together; gate order i, f, g, o as in PyTorch.

    The products with the inputs are the caller's, and those of the weight gradient are done in one piece after the
    loop; what remains in a step works on a few kilobytes and reads the weights once. G is 4H.
    """

    @staticmethod
    def forward(ctx, gates_N2G: Tensor, weight_2GH: Tensor, layout: Layout) -> Tensor:
        """States [N, 2H] from the gates' input shares [N, 2G] and the hidden-to-hidden weights [2, G, H]."""
        gates = _pack(gates_N2G, layout.order)
        _, N, G = gates.shape
        H, weight_2HG = G // 4, weight_2GH.transpose(1, 2)
        h, c, tanh_c = (gates.new_empty(2, N, H) for _ in range(3))
        # Views of every step, made once: in the loop they would cost as much as the arithmetic.
        step, h_at, c_at, tanh_at = (x.split(layout.steps, dim=1) for x in (gates, h, c, tanh_c))
        i, f, new, o = (x.split(layout.steps, dim=1) for x in gates.split(H, dim=-1))
        i_and_f = gates[..., : 2 * H].split(layout.steps, dim=1)
        for t, size in enumerate(layout.steps):
            if t > 0:
                torch.baddbmm(step[t], h_at[t - 1][:, :size], weight_2HG, out=step[t])
            i_and_f[t].sigmoid_(), new[t].tanh_(), o[t].sigmoid_()
            torch.mul(i[t], new[t], out=c_at[t])
            if t > 0:
                c_at[t].addcmul_(f[t], c_at[t - 1][:, :size])
            torch.mul(o[t], torch.tanh(c_at[t], out=tanh_at[t]), out=h_at[t])
        ctx.layout = layout
        ctx.save_for_backward(gates, h, c, tanh_c, weight_2GH)
        return _unpack(h, layout.place)

    @staticmethod
    def backward(ctx, grad_NF: Tensor) -> tuple[Tensor, Tensor, None]:
        """Back through time; `dh` of a step is completed by the step after it.

        All that does not depend on later steps is computed for all steps at once; what remains in a step is five calls.
        """
        gates, h, c, tanh_c, weight_2GH = ctx.saved_tensors
        steps, H = ctx.layout.steps, h.shape[2]
        before, first = _row_before(steps), steps[0]
        slopes, slope_c = _slopes(gates, c, tanh_c, before, first)
        grad_gates, dc = torch.empty_like(gates), h.new_zeros(2, first, 1, H)
        dh = _pack(grad_NF, ctx.layout.order)
        # A dimension for the gates, over which dc and dh broadcast: c feeds i, f and g, h feeds o.
        four_gates = (x.unflatten(2, (4, H)).split((3, 1), dim=2) for x in (grad_gates, slopes))
        (d_ifg, d_o), (slope_ifg, slope_o) = ([x.split(steps, dim=1) for x in gates] for gates in four_gates)
        f, to_c, dh_at = (x.unsqueeze(2).split(steps, dim=1) for x in (gates[..., H : 2 * H], slope_c, dh))
        step, dh_sum = grad_gates.split(steps, dim=1), dh.split(steps, dim=1)
        for t in range(len(steps) - 1, -1, -1):
            dc_now = dc[:, : steps[t]].addcmul_(dh_at[t], to_c[t])
            torch.mul(dc_now, slope_ifg[t], out=d_ifg[t])
            torch.mul(dh_at[t], slope_o[t], out=d_o[t])
            if t > 0:
                dc_now *= f[t]
                earlier = dh_sum[t - 1][:, : steps[t]]
                torch.baddbmm(earlier, step[t], weight_2GH, out=earlier)
        grad_weight = torch.bmm(grad_gates[:, first:].transpose(1, 2), h[:, before])
        return _unpack(grad_gates, ctx.layout.place), grad_weight, None


def _slopes(gates: Tensor, c: Tensor, tanh_c: Tensor, before: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """Of every step, what the gates' gradients are per unit of dc (i, f, g) or dh (o), and dc per unit of dh.

    Returns:
        [2, N, 4H] before the gates' nonlinearities, and [2, N, H].
    """
    i, f, new, o = gates.chunk(4, dim=-1)
    slopes = torch.empty_like(gates)
    slope_i, slope_f, slope_new, slope_o = slopes.chunk(4, dim=-1)
    aten.sigmoid_backward(new, i, grad_input=slope_i)
    slope_f[:, :first].zero_()  # nothing to forget in a first step
    aten.sigmoid_backward(c[:, before], f[:, first:], grad_input=slope_f[:, first:])
    aten.tanh_backward(i, new, grad_input=slope_new)
    aten.sigmoid_backward(tanh_c, o, grad_input=slope_o)
    return slopes, aten.tanh_backward(o, tanh_c)


def _row_before(steps: tuple[int, ...]) -> Tensor:
    """For every packed row but those of the first step, the row of the same dialogue one step earlier."""
    sizes = torch.tensor(steps)
    return torch.arange(steps[0], sum(steps)) - sizes[:-1].repeat_interleave(sizes[1:])


def _pack(x_NF: Tensor, order: Tensor) -> Tensor:
    """Rows of the batch, forward beside backward [N, 2W], to packed rows of both directions [2, N, W]."""
    forward, backward = x_NF.chunk(2, dim=-1)
    return torch.stack([forward[order[0]], backward[order[1]]])


def _unpack(x_2NW: Tensor, place: Tensor) -> Tensor:
    """The inverse of `_pack`: the orders are permutations, so this gathers too."""
    return torch.cat([x_2NW[0][place[0]], x_2NW[1][place[1]]], dim=-1)
