"""Layers that all parts of the model share (docs/method.md, Notation and §6).

    mlp_x(v) = GELU(lin_x(Dropout_0.2(v)))          dropout first, exact (erf) GELU last

Shapes: M modalities, N utterances, D width in, O width out.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ModalityLinear(nn.Module):
    """`lin_x`: one linear layer per modality, computed as one batched product.

    The weights are [M, D, O], the transpose of `nn.Linear`'s: their gradient then needs no copy.

    Args:
        modalities: M.
        width_in: D.
        width_out: O.
    """

    def __init__(self, *, modalities: int, width_in: int, width_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(modalities, width_in, width_out))
        self.bias = nn.Parameter(torch.empty(modalities, width_out))
        for weight, bias in zip(self.weight.detach(), self.bias.detach()):  # per modality: fan-in is D, not M * D
            reset_linear(weight.T, bias)

    def forward(self, x_MND: Tensor) -> Tensor:
        """Map [M, N, D] to [M, N, O]."""
        return torch.baddbmm(self.bias.unsqueeze(1), x_MND, self.weight)  # [M, 1, O] + [M, N, D] @ [M, D, O]


class ModalityMLP(ModalityLinear):
    """`mlp_x`, one per modality."""

    def __init__(self, *, modalities: int, width_in: int, width_out: int, dropout: float):
        super().__init__(modalities=modalities, width_in=width_in, width_out=width_out)
        self.dropout = dropout

    def forward(self, x_MND: Tensor) -> Tensor:
        """Map [M, N, D] to [M, N, O]."""
        return F.gelu(super().forward(dropout(x_MND, self.dropout, self.training)))


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """Apply inverted dropout, as `F.dropout` does.

    On the CPU each value takes 16 random bits, which is four times as fast as PyTorch's one float per value.

    Args:
        x: any shape.
        share: share of the values that become 0; the CPU rounds it to a multiple of 2**-16.
        training: False returns `x` itself.
    """
    if not training or share == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, share)
    # One int64 draw holds the bits of four values; the length is rounded up.
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: x.numel()].view_as(x)  # uniform over -2**15 ... 2**15 - 1
    kept = (bits >= round(share * 2**16) - 2**15).to(x.dtype)
    return x * kept.mul_(1 / (1 - share))  # inverted: evaluation needs no factor


@torch.no_grad()
def reset_linear(weight: Tensor, bias: Tensor) -> None:
    """Initialise as the authors do: Kaiming-uniform weight (fan-in, leaky-ReLU gain), PyTorch's default bias.

    Args:
        weight: [O, D], filled in place.
        bias: [O], filled in place.
    """
    nn.init.kaiming_uniform_(weight, mode="fan_in", nonlinearity="leaky_relu")
    bound = 1 / math.sqrt(weight.shape[1])
    nn.init.uniform_(bias, -bound, bound)
