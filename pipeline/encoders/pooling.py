"""Pooling of states over the valid time steps of each input (setting `pooling`), in float32.

Legend: B inputs, T time steps, D width.
"""

from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["mean", "mean_std", "first", "last"]


def pool(states_BTD: Tensor, mask_BT: Tensor, pooling: Pooling) -> Tensor:
    """Return one vector per input, [B, D], or [B, 2 D] with `mean_std`, in float32.

    Args:
        states_BTD: states of any type.
        mask_BT: nonzero at valid steps, of which every input has one at least.
        pooling: mean; mean and standard deviation (0 for one step); the first or the last valid step.
    """
    mask_BT = mask_BT.bool()
    if pooling in ("first", "last"):
        steps_BT = mask_BT.int() if pooling == "first" else mask_BT.int().cumsum(dim=1)
        rows_B = torch.arange(len(states_BTD), device=states_BTD.device)
        return states_BTD[rows_B, steps_BT.argmax(dim=1)].float()
    count_B1 = mask_BT.sum(dim=1, keepdim=True)
    valid_BT1 = mask_BT[:, :, None]
    # masked_fill, not a product: what stands in padding need not be finite
    states_BTD = states_BTD.float().masked_fill(~valid_BT1, 0.0)
    mean_BD = states_BTD.sum(dim=1) / count_B1
    if pooling == "mean":
        return mean_BD
    deviations_BTD = (states_BTD - mean_BD[:, None]).masked_fill(~valid_BT1, 0.0)
    # The gradient of a norm is finite where it is 0, that of a square root is not.
    return torch.cat([mean_BD, torch.linalg.vector_norm(deviations_BTD, dim=1) / count_B1.sqrt()], dim=1)


def pooled_width(width: int, pooling: str) -> int:
    """Return the width of a pooled vector of states of `width`."""
    return 2 * width if pooling == "mean_std" else width
