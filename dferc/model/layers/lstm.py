"""Bidirectional LSTM over dialogues of any length, without padding: the recurrence `o` of CRM (docs/method.md §5).

    i, f, o = sigmoid(W x_t + U h_{t-1} + b),  new = tanh(W x_t + U h_{t-1} + b)     each gate with its own W, U, b
    c_t = f * c_{t-1} + i * new
    h_t = o * tanh(c_t)

Rows are packed time-major, longest dialogue first, as in PyTorch's PackedSequence: step t holds one row of each
dialogue that is longer than t. The backward direction reads each dialogue from its own last utterance, so both
directions have the same step sizes and advance together: step t holds its forward rows, then its backward rows.

On the CPU with two dialogues per batch, the time goes into reading the hidden-to-hidden weights U. Three things make
it fast: both directions in one batched product per step, one per core; contiguous steps, without which PyTorch splits
the batched product again; and everything else outside the loop. On CUDA the same weights go to cuDNN.

Shapes: N utterances, B dialogues, R = 2N packed rows, D width in, H units per direction, G = 4H gates, T longest
dialogue; a dimension of 2 is forward, backward.
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
    """Positions of the dialogues in the rows of a batch.

    Attributes:
        lengths: utterances of each dialogue, in the order of the batch.
        steps: rows per time step and direction, falling. Integers, not a tensor: they shape the computation, and
            reading them from a GPU would wait for it.
        order: [N] batch row at each packed place of the forward direction alone.
        place: [N] packed place of each batch row, the inverse of `order`.
        both_order: [R] `2 * row + direction` at each packed place of both directions.
        both_place: [R] the inverse of `both_order`.
        dialogue: [N] dialogue of each row.
        joined: [N-1] bool; True = this row and the next are of one dialogue.
    """

    lengths: tuple[int, ...]
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
        alive = time < lengths[longest_first]  # [T, B]: the dialogue has a t-th utterance
        steps = alive.sum(axis=1)
        forward = (starts[longest_first] + time)[alive]  # [N] rows, time-major
        backward = ((starts + lengths - 1)[longest_first] - time)[alive]  # the same, from each dialogue's end
        # Stable: within a step, forward rows stay before backward rows.
        by_step = np.argsort(np.tile(np.repeat(time, steps), 2), kind="stable")
        both = np.concatenate([2 * forward, 2 * backward + 1])[by_step]
        dialogue = np.repeat(np.arange(len(lengths)), lengths)
        rows = (forward, np.argsort(forward), both, np.argsort(both), dialogue, dialogue[1:] == dialogue[:-1])
        host = tuple(lengths.tolist()), tuple(steps.tolist())
        return Layout(*host, *(torch.from_numpy(row).to(device, non_blocking=True) for row in rows))

    def split(self, x: Tensor) -> list[Tensor]:
        """Return views [2, size, ...] of the steps of packed rows of both directions, [R, ...]."""
        parts = x.split([2 * size for size in self.steps])
        return [part.view(2, size, *x.shape[1:]) for part, size in zip(parts, self.steps, strict=True)]


class DialogueLSTM(nn.Module):
    """Stacked bidirectional LSTM; every layer maps [N, width] to [N, width].

    Args:
        width: input and output width; half of it per direction.
        layers: number of layers.
        dropout: variational dropout on each layer's input: one mask per dialogue, shared over time.
        recurrent_dropout: DropConnect on the columns of the hidden-to-hidden weights, one mask per batch.
        causal: whether the backward direction's states are 0, so that none knows what comes after it.
    """

    def __init__(self, *, width: int, layers: int, dropout: float, recurrent_dropout: float, causal: bool = False):
        super().__init__()
        self.dropout, self.causal = dropout, causal
        self.layers = nn.ModuleList(BiLSTMLayer(width, width // 2, recurrent_dropout) for _ in range(layers))

    def forward(self, x_ND: Tensor, layout: Layout) -> Tensor:
        """Return the states of each utterance in its dialogue, [N, width]."""
        for layer in self.layers:
            x_ND = layer(self._locked_dropout(x_ND, layout), layout)
            if self.causal:
                x_ND = past_alone(x_ND)
        return x_ND

    def _locked_dropout(self, x_ND: Tensor, layout: Layout) -> Tensor:
        """Drop the same inputs at all steps of a dialogue (variational dropout)."""
        if not self.training or self.dropout == 0:
            return x_ND
        # steps[0] = B: every dialogue has a first utterance.
        mask_BD = dropout(x_ND.new_ones(layout.steps[0], x_ND.shape[1]), self.dropout, True)
        return x_ND * mask_BD[layout.dialogue]


def past_alone(state_N2H: Tensor) -> Tensor:
    """Return the states of both directions with zeros for the backward ones, [N, 2H].

    They are computed and thrown away: one recurrence serves both.
    """
    forward_NH, backward_NH = state_N2H.chunk(2, dim=1)
    return torch.cat([forward_NH, torch.zeros_like(backward_NH)], dim=1)


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
        """Map [N, D] to [N, 2H]: forward states beside backward states."""
        weight_hh = self.weight_hh
        if self.training and self.recurrent_dropout > 0:  # DropConnect on columns: one mask over H for all gates
            weight_hh = weight_hh * dropout(weight_hh.new_ones(2, 1, weight_hh.shape[2]), self.recurrent_dropout, True)
        if x_ND.is_cuda:
            return self._cudnn(x_ND, weight_hh, layout)
        # W x_t + b of all steps and both directions in one product, [N, 2G]; the recurrence adds U h_{t-1}.
        weight, bias = self.weight_ih.flatten(0, 1), (self.bias_ih + self.bias_hh).flatten()
        return Recurrence.apply(F.linear(x_ND, weight, bias), weight_hh, layout)

    def _cudnn(self, x_ND: Tensor, weight_hh: Tensor, layout: Layout) -> Tensor:
        """Compute the same by cuDNN; on the CPU, by PyTorch's packed LSTM, the reference in the tests."""
        weights = [
            parameter[direction]
            for direction in (0, 1)
            for parameter in (self.weight_ih, weight_hh, self.bias_ih, self.bias_hh)
        ]
        start = x_ND.new_zeros(2, layout.steps[0], weight_hh.shape[2])  # h_0 and c_0
        steps = torch.tensor(layout.steps)
        out, _, _ = torch.lstm(x_ND[layout.order], steps, (start, start), weights, True, 1, 0.0, self.training, True)
        return out[layout.place]


class Recurrence(torch.autograd.Function):
    """Recurrence of both directions together; gate order i, f, new, o as in PyTorch (which calls `new` g).

    The caller multiplies the inputs, and the weight gradient is one product after the loop: what remains in a step
    works on a few kilobytes and reads the weights once.
    """

    @staticmethod
    def forward(ctx, gates_N2G: Tensor, weight_2GH: Tensor, layout: Layout) -> Tensor:
        """Compute the states [N, 2H] from the gates' input shares and the hidden-to-hidden weights."""
        _, G, H = weight_2GH.shape
        gates, weight_2HG = gates_N2G.reshape(-1, G)[layout.both_order], weight_2GH.transpose(1, 2)
        h, c, tanh_c = (gates.new_empty(len(gates), H) for _ in range(3))
        # Views of every step, made once: in the loop they would cost as much as the arithmetic. `gates` is overwritten.
        step, h_at, c_at, tanh_at = (layout.split(x) for x in (gates, h, c, tanh_c))
        i, f, new, o = (layout.split(gate) for gate in gates.chunk(4, dim=1))
        i_and_f = layout.split(gates[:, : 2 * H])
        for t, size in enumerate(layout.steps):
            if t > 0:  # += U h_{t-1}; dialogues that ended at t - 1 lie last, and are cut off
                torch.baddbmm(step[t], h_at[t - 1][:, :size], weight_2HG, out=step[t])
            i_and_f[t].sigmoid_(), new[t].tanh_(), o[t].sigmoid_()
            torch.mul(i[t], new[t], out=c_at[t])
            if t > 0:
                c_at[t].addcmul_(f[t], c_at[t - 1][:, :size])  # c_t = i * new + f * c_{t-1}
            torch.mul(o[t], torch.tanh(c_at[t], out=tanh_at[t]), out=h_at[t])  # h_t = o * tanh(c_t)
        ctx.layout = layout
        ctx.save_for_backward(gates, h, c, tanh_c, weight_2GH)
        return h[layout.both_place].view(-1, 2 * H)

    @staticmethod
    def backward(ctx, grad_NF: Tensor) -> tuple[Tensor, Tensor, None]:
        """Propagate back through time; `dh` of a step is completed by the step after it.

        Whatever does not depend on later steps is computed for all steps at once; five calls remain in a step.
        """
        gates, h, c, tanh_c, weight_2GH = ctx.saved_tensors
        layout, (R, H) = ctx.layout, h.shape
        c_before = _state_before(c, layout).view(R, H)[layout.both_order]
        slopes, slope_c = _slopes(gates, c_before, tanh_c)
        grad_gates, dh = torch.empty_like(gates), grad_NF.reshape(R, H)[layout.both_order]
        # A dimension for the gates, over which dc and dh broadcast: i, f and new act through c, o through h.
        four_gates = (x.view(R, 4, H).split((3, 1), dim=1) for x in (grad_gates, slopes))
        (d_ifn, d_o), (slope_ifn, slope_o) = ([layout.split(x) for x in gates] for gates in four_gates)
        f, to_c, dh_at = (layout.split(x.unsqueeze(1)) for x in (gates[:, H : 2 * H], slope_c, dh))
        step, dh_sum = layout.split(grad_gates), layout.split(dh)
        dc = h.new_zeros(2, layout.steps[0], 1, H)
        for t in range(len(layout.steps) - 1, -1, -1):
            dc_now = dc[:, : layout.steps[t]].addcmul_(dh_at[t], to_c[t])  # dc_t += dh_t * o (1 - tanh^2 c_t)
            torch.mul(dc_now, slope_ifn[t], out=d_ifn[t])
            torch.mul(dh_at[t], slope_o[t], out=d_o[t])
            if t > 0:
                dc_now *= f[t]  # dc_{t-1}
                # dh_{t-1} += U^T dgates_t
                earlier = dh_sum[t - 1][:, : layout.steps[t]]
                torch.baddbmm(earlier, step[t], weight_2GH, out=earlier)
        grad_N2G = grad_gates[layout.both_place].view(R // 2, 2, 4 * H)
        # dU = sum_t dgates_t^T h_{t-1}, one product per direction, [2, G, H]
        grad_weight = torch.bmm(grad_N2G.permute(1, 2, 0), _state_before(h, layout).transpose(0, 1))
        return grad_N2G.flatten(1), grad_weight, None


def _slopes(gates: Tensor, c_before: Tensor, tanh_c: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the factors of the backward pass that do not depend on later steps.

    Returns:
        Gradient of each gate before its nonlinearity, per unit of dc (i, f, new) or dh (o), [R, 4H]; and dc per unit
        of dh, [R, H].
    """
    i, f, new, o = gates.chunk(4, dim=1)
    slopes = torch.empty_like(gates)
    slope_i, slope_f, slope_new, slope_o = slopes.chunk(4, dim=1)
    aten.sigmoid_backward(new, i, grad_input=slope_i)
    aten.sigmoid_backward(c_before, f, grad_input=slope_f)
    aten.tanh_backward(i, new, grad_input=slope_new)
    aten.sigmoid_backward(tanh_c, o, grad_input=slope_o)
    return slopes, aten.tanh_backward(o, tanh_c)


def _state_before(x_RH: Tensor, layout: Layout) -> Tensor:
    """Return the previous state of each row, [N, 2, H] in batch order; 0 at the first row that a direction reads."""
    x_N2H = x_RH[layout.both_place].view(-1, 2, x_RH.shape[1])
    joined = layout.joined.unsqueeze(1)
    before = torch.zeros_like(x_N2H)
    torch.mul(x_N2H[:-1, 0], joined, out=before[1:, 0])  # forward: the row above
    torch.mul(x_N2H[1:, 1], joined, out=before[:-1, 1])  # backward: the row below
    return before
