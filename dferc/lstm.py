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
        bias_2G = self.bias_ih + self.bias_hh
        gates_2NG = torch.baddbmm(bias_2G.unsqueeze(1), Pack.apply(x_ND, layout), self.weight_ih.transpose(1, 2))
        return Unpack.apply(Recurrence.apply(gates_2NG, weight_hh, layout.steps), layout)

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


class Pack(torch.autograd.Function):
    """Rows of the batch [N, D] -> packed rows of both directions [2, N, D].

    The orders are permutations, so the backward pass gathers too, instead of scattering into zeros.
    """

    @staticmethod
    def forward(ctx, x_ND: Tensor, layout: Layout) -> Tensor:
        """Gather by `order`."""
        ctx.layout = layout
        return x_ND[layout.order]

    @staticmethod
    def backward(ctx, grad_2ND: Tensor) -> tuple[Tensor, None]:
        """Gather by `place`."""
        forward, backward = ctx.layout.place
        return grad_2ND[0][forward].add_(grad_2ND[1][backward]), None


class Unpack(torch.autograd.Function):
    """Packed states of both directions [2, N, H] -> rows of the batch [N, 2H]."""

    @staticmethod
    def forward(ctx, h_2NH: Tensor, layout: Layout) -> Tensor:
        """Gather by `place`."""
        ctx.layout = layout
        forward, backward = layout.place
        return torch.cat([h_2NH[0][forward], h_2NH[1][backward]], dim=-1)

    @staticmethod
    def backward(ctx, grad_NF: Tensor) -> tuple[Tensor, None]:
        """Gather by `order`."""
        (forward, backward), H = ctx.layout.order, grad_NF.shape[1] // 2
        return torch.stack([grad_NF[forward, :H], grad_NF[backward, H:]]), None


class Recurrence(torch.autograd.Function):
    """The LSTM's recurrence over packed steps, both directions together; gate order i, f, g, o as in PyTorch.

    The products with the inputs are the caller's, and those of the weight gradient are done in one piece after the
    loop; what remains in a step works on a few kilobytes and reads the weights once.
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
        steps, H = ctx.steps, h.shape[2]
        grad_gates = torch.empty_like(gates)
        dh, dc = (h.new_zeros(2, steps[0], H) for _ in range(2))
        walk = list(_walk(steps))
        for (now, size), before in zip(reversed(walk), [*(step for step, _ in reversed(walk[:-1])), None]):
            i, f, new, o = gates[:, now].chunk(4, dim=-1)
            d_i, d_f, d_new, d_o = grad_gates[:, now].chunk(4, dim=-1)
            dh_now, dc_now, tanh_now = dh[:, :size], dc[:, :size], tanh_c[:, now]
            dh_now += grad_2NH[:, now]
            dc_now += aten.tanh_backward(dh_now * o, tanh_now)
            aten.sigmoid_backward(dh_now * tanh_now, o, grad_input=d_o)
            aten.sigmoid_backward(dc_now * new, i, grad_input=d_i)
            aten.tanh_backward(dc_now * i, new, grad_input=d_new)
            if before is None:
                d_f.zero_()
            else:
                aten.sigmoid_backward(dc_now * c[:, before][:, :size], f, grad_input=d_f)
                dc_now *= f
                torch.bmm(grad_gates[:, now], weight_2GH, out=dh_now)
        first = steps[0]
        # Row p of step t follows row p - steps[t-1]; the rows of the first step follow nothing.
        sizes = torch.tensor(steps)  # sliced as a tensor: of a single step, a sliced tuple would be an empty float one
        follows = torch.arange(first, h.shape[1]) - sizes[:-1].repeat_interleave(sizes[1:])
        grad_weight = torch.bmm(grad_gates[:, first:].transpose(1, 2), h[:, follows])
        return grad_gates, grad_weight, None


def _walk(steps: tuple[int, ...]):
    """Yield the packed rows of each step, and how many they are."""
    start = 0
    for size in steps:
        yield slice(start, start + size), size
        start += size
