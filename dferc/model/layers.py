"""The small layers that all modules share.

M modalities, N utterances, D width in, O width out.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ModalityLinear(nn.Module):
    """One linear layer per modality, computed as one batched product.

    The weights are [M, D, O], transposed against `nn.Linear`: their gradient then needs no copy.

    Args:
        modalities: M.
        width_in: D.
        width_out: O.
    """

    def __init__(self, *, modalities: int, width_in: int, width_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(modalities, width_in, width_out))
        self.bias = nn.Parameter(torch.empty(modalities, width_out))
        for weight, bias in zip(self.weight.detach(), self.bias.detach()):
            reset_linear(weight.T, bias)

    def forward(self, x_MND: Tensor) -> Tensor:
        """Map [M, N, D] to [M, N, O]."""
        return torch.baddbmm(self.bias.unsqueeze(1), x_MND, self.weight)


class ModalityMLP(ModalityLinear):
    """`mlp_x` of the method, per modality: GELU(linear(dropout(x))), dropout first, exact GELU last."""

    def __init__(self, *, modalities: int, width_in: int, width_out: int, dropout: float):
        super().__init__(modalities=modalities, width_in=width_in, width_out=width_out)
        self.dropout = dropout

    def forward(self, x_MND: Tensor) -> Tensor:
        """Map [M, N, D] to [M, N, O]."""
        return F.gelu(super().forward(dropout(x_MND, self.dropout, self.training)))


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """Inverted dropout, as `F.dropout`; on the CPU from 16 random bits per value, which is four times as fast.

    Args:
        x: any shape.
        share: of the values that become 0; the CPU rounds it to a multiple of 2**-16.
        training: False returns `x` itself.
    """
    if not training or share == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, share)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: x.numel()].view_as(x)
    kept = (bits >= round(share * 2**16) - 2**15).to(x.dtype)
    return x * kept.mul_(1 / (1 - share))


@torch.no_grad()
def reset_linear(weight: Tensor, bias: Tensor) -> None:
    """The authors' initialisation: Kaiming-uniform weight (fan-in, leaky-ReLU gain), PyTorch's default bias.

    Args:
        weight: [O, D], filled in place.
        bias: [O], filled in place.
    """
    nn.init.kaiming_uniform_(weight, mode="fan_in", nonlinearity="leaky_relu")
    bound = 1 / math.sqrt(weight.shape[1])
    nn.init.uniform_(bias, -bound, bound)
