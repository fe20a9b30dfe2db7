"""A bidirectional LSTM over dialogues of any lengths, without padding.

Rows are packed time-major, longest dialogue first, as PyTorch's PackedSequence does: step t holds one row of each
dialogue that is longer than t. The backward direction reads each dialogue from its own last utterance, so both
directions have the same step sizes and advance together: step t holds its forward rows, then its backward rows.

On the CPU at two dialogues a batch the recurrence is bound by reading the hidden-to-hidden weights. What makes it fast:
both directions in one batched product per step, one per core; steps that are contiguous, without which PyTorch takes
the batch apart again; and everything else kept out of the loop. On CUDA the same weights go to cuDNN.

N utterances, B dialogues, R = 2N packed rows, D width in, H units each way, T longest dialogue; 2: forward, backward.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dferc.model.layers import dropout

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the dialogues of a batch lie in its rows.

    Attributes:
        steps: rows per time step and direction, falling; on the CPU, since they shape the computation.
        order: [N] row of the batch at each place of the forward direction, packed alone.
        place: [N] place of each row: the inverse of `order`.
        both_order: [R] `2 * row + direction` at each packed place of both directions.
        both_place: [R] the inverse of `both_order`.
        dialogue: [N] dialogue of each row.
        joined: [N-1] bool, True = this row and the next are of one dialogue.
    """

    steps: tuple[int, ...]
    order: Tensor
    place: Tensor
    both_order: Tensor
    both_place: Tensor
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
        steps = alive.sum(axis=1)
        forward = (starts[longest_first] + time)[alive]
        backward = ((starts + lengths - 1)[longest_first] - time)[alive]
        by_step = np.argsort(np.tile(np.repeat(time, steps), 2), kind="stable")
        both = np.concatenate([2 * forward, 2 * backward + 1])[by_step]
        dialogue = np.repeat(np.arange(len(lengths)), lengths)
        rows = (forward, np.argsort(forward), both, np.argsort(both), dialogue, dialogue[1:] == dialogue[:-1])
        return Layout(tuple(steps.tolist()), *(torch.from_numpy(each).to(device, non_blocking=True) for each in rows))


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
        packed_ND = x_ND[layout.order]
        out, _, _ = torch.lstm(packed_ND, steps, (start, start), weights, True, 1, 0.0, self.training, True)
        return out[layout.place]


class Recurrence(torch.autograd.Function):
    """The LSTM's recurrence, both directions together; gate order i, f, g, o as in PyTorch.

    The products with the inputs are the caller's, and those of the weight gradient are done in one piece after the
    loop; what remains in a step works on a few kilobytes and reads the weights once. G is 4H.
    """

    @staticmethod
    def forward(ctx, gates_N2G: Tensor, weight_2GH: Tensor, layout: Layout) -> Tensor:
        """States [N, 2H] from the gates' input shares [N, 2G] and the hidden-to-hidden weights [2, G, H]."""
        _, G, H = weight_2GH.shape
        gates, weight_2HG = gates_N2G.reshape(-1, G)[layout.both_order], weight_2GH.transpose(1, 2)
        h, c, tanh_c = (gates.new_empty(len(gates), H) for _ in range(3))
        # Views of every step, made once: in the loop they would cost as much as the arithmetic.
        step, h_at, c_at, tanh_at = (_steps(x, layout) for x in (gates, h, c, tanh_c))
        i, f, new, o = (_steps(gate, layout) for gate in gates.chunk(4, dim=1))
        i_and_f = _steps(gates[:, : 2 * H], layout)
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
        return h[layout.both_place].view(-1, 2 * H)

    @staticmethod
    def backward(ctx, grad_NF: Tensor) -> tuple[Tensor, Tensor, None]:
        """Back through time; `dh` of a step is completed by the step after it.

        All that does not depend on later steps is computed for all steps at once; what remains in a step is five calls.
        """
        gates, h, c, tanh_c, weight_2GH = ctx.saved_tensors
        layout, (R, H) = ctx.layout, h.shape
        c_before = _state_before(c, layout).view(R, H)[layout.both_order]
        slopes, slope_c = _slopes(gates, c_before, tanh_c)
        grad_gates, dh = torch.empty_like(gates), grad_NF.reshape(R, H)[layout.both_order]
        # A dimension for the gates, over which dc and dh broadcast: c feeds i, f and g, h feeds o.
        four_gates = (x.view(R, 4, H).split((3, 1), dim=1) for x in (grad_gates, slopes))
        (d_ifg, d_o), (slope_ifg, slope_o) = ([_steps(x, layout) for x in gates] for gates in four_gates)
        f, to_c, dh_at = (_steps(x.unsqueeze(1), layout) for x in (gates[:, H : 2 * H], slope_c, dh))
        step, dh_sum = _steps(grad_gates, layout), _steps(dh, layout)
        dc = h.new_zeros(2, layout.steps[0], 1, H)
        for t in range(len(layout.steps) - 1, -1, -1):
            dc_now = dc[:, : layout.steps[t]].addcmul_(dh_at[t], to_c[t])
            torch.mul(dc_now, slope_ifg[t], out=d_ifg[t])
            torch.mul(dh_at[t], slope_o[t], out=d_o[t])
            if t > 0:
                dc_now *= f[t]
                earlier = dh_sum[t - 1][:, : layout.steps[t]]
                torch.baddbmm(earlier, step[t], weight_2GH, out=earlier)
        grad_N2G = grad_gates[layout.both_place].view(R // 2, 2, 4 * H)
        grad_weight = torch.bmm(grad_N2G.permute(1, 2, 0), _state_before(h, layout).transpose(0, 1))
        return grad_N2G.flatten(1), grad_weight, None


def _slopes(gates: Tensor, c_before: Tensor, tanh_c: Tensor) -> tuple[Tensor, Tensor]:
    """Of every step, what the gates' gradients are per unit of dc (i, f, g) or dh (o), and dc per unit of dh.

    Returns:
        [R, 4H] before the gates' nonlinearities, and [R, H].
    """
    i, f, new, o = gates.chunk(4, dim=1)
    slopes = torch.empty_like(gates)
    slope_i, slope_f, slope_new, slope_o = slopes.chunk(4, dim=1)
    aten.sigmoid_backward(new, i, grad_input=slope_i)
    aten.sigmoid_backward(c_before, f, grad_input=slope_f)
    aten.tanh_backward(i, new, grad_input=slope_new)
    aten.sigmoid_backward(tanh_c, o, grad_input=slope_o)
    return slopes, aten.tanh_backward(o, tanh_c)


def _steps(x: Tensor, layout: Layout) -> list[Tensor]:
    """Views [2, size, ...] of the steps of packed rows [R, ...]."""
    parts = x.split([2 * size for size in layout.steps])
    return [part.view(2, size, *x.shape[1:]) for part, size in zip(parts, layout.steps, strict=True)]


def _state_before(x_RH: Tensor, layout: Layout) -> Tensor:
    """Of packed states, what each row was reached from, [N, 2, H] in the order of the batch; 0 where reading begins."""
    x_N2H = x_RH[layout.both_place].view(-1, 2, x_RH.shape[1])
    joined = layout.joined.unsqueeze(1)
    before = torch.zeros_like(x_N2H)
    torch.mul(x_N2H[:-1, 0], joined, out=before[1:, 0])
    torch.mul(x_N2H[1:, 1], joined, out=before[:-1, 1])
    return before
