"""The small layers that all modules share.

M modalities, N utterances, D width in, O width out.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ModalityLinear(nn.Module):
    """One linear layer per modality, computed as one batched product.

    Args:
        modalities: M.
        width_in: D.
        width_out: O.
    """

    def __init__(self, *, modalities: int, width_in: int, width_out: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(modalities, width_out, width_in))
        self.bias = nn.Parameter(torch.empty(modalities, width_out))
        for weight, bias in zip(self.weight, self.bias):
            reset_linear(weight, bias)

    def forward(self, x_MND: Tensor) -> Tensor:
        """Map [M, N, D] to [M, N, O]."""
        return torch.baddbmm(self.bias.unsqueeze(1), x_MND, self.weight.transpose(1, 2))


class ModalityMLP(ModalityLinear):
    """`mlp_x` of the method, per modality: GELU(linear(dropout(x))), dropout first, exact GELU last."""

    def __init__(self, *, modalities: int, width_in: int, width_out: int, dropout: float):
        super().__init__(modalities=modalities, width_in=width_in, width_out=width_out)
        self.dropout = dropout

    def forward(self, x_MND: Tensor) -> Tensor:
        """Map [M, N, D] to [M, N, O]."""
        return F.gelu(super().forward(F.dropout(x_MND, self.dropout, self.training)))


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
