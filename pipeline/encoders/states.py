"""From an encoder's hidden states to vectors: the layers that are used (`layer`), and pooling over time (`pooling`).

Legend: B inputs, T time steps, D width.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dferc.core.errors import InputError

LAST, ALL = "last", "all"
Pooling = Literal["mean", "mean_std", "first", "last"]

_WITHOUT_EMBEDDINGS = (
    "mamba mamba2 falcon_mamba rwkv cvt glpn mobilenet_v1 mobilenet_v2 mobilevit mobilevitv2 poolformer pvt pvt_v2 "
    "segformer"
).split()
"""Models whose first hidden states are those of the first layer: the numbers of `read_layer` would be off by one."""


def count_layers(output: Any, model: nn.Module) -> int:
    """Return the number of layers from a model's output with `output_hidden_states`; 0 if it numbers none as others."""
    if getattr(getattr(model, "config", None), "model_type", "") in _WITHOUT_EMBEDDINGS:
        return 0
    return max(0, len(getattr(output, "hidden_states", None) or ()) - 1)


def read_layer(setting: str, count: int, name: object) -> tuple[int, ...]:
    """Return the indices into `hidden_states` (0 = embeddings, 1 to `count` = layers) that a setting names.

    Args:
        setting: `last`; a number, negative from the end; a range such as `6-9`; or `all` (1 to `count`).
        count: number of layers.
        name: of the encoder, for messages.

    Returns:
        The indices, whose states are averaged; none for `last`, the model's own final states.

    Raises:
        InputError: there is no such layer.
    """
    if setting == LAST:
        return ()
    if setting == ALL:
        first, last = 1, count
    elif "-" in setting[1:]:
        first, last = map(int, setting.split("-"))
    else:
        first = last = int(setting) if int(setting) >= 0 else count + 1 + int(setting)
    if not 0 <= first <= last <= count or count == 0:
        has = f"{count} layers, 0 (the embeddings) to {count}" if count else "no hidden states from the embeddings on"
        raise InputError(f"layer is {setting!r}, and {name} has {has}. Set it to one of these, or to last.")
    return tuple(range(first, last + 1))


def layer_states(output: Any, layers: Sequence[int]) -> Tensor:
    """Return the mean of the chosen hidden states [B, T, D] in float32; with none chosen, the last states as they are.

    Raises:
        InputError: the layers are of different shapes, as those of Swin are.
    """
    if not layers:
        return output.last_hidden_state
    chosen = [output.hidden_states[layer] for layer in layers]
    shapes = sorted({tuple(states.shape) for states in chosen})
    if len(shapes) > 1:
        raise InputError(
            f"layer: the states of layers {layers[0]} to {layers[-1]} have the shapes {shapes} and have no mean. "
            "Choose one layer, or last."
        )
    return sum(chosen[1:], start=chosen[0].float()) / len(chosen)


def pool(states_BTD: Tensor, mask_BT: Tensor, pooling: Pooling) -> Tensor:
    """Return one vector per input over its valid time steps, [B, D], or [B, 2 D] with `mean_std`, in float32.

    Args:
        states_BTD: states of any type.
        mask_BT: nonzero at valid steps, of which every input has one at least.
        pooling: mean; mean and standard deviation (0 for one step); the first or the last valid step.
    """
    mask_BT = mask_BT.bool()
    if pooling in ("first", "last"):
        steps_BT = mask_BT.int() if pooling == "first" else mask_BT.int().cumsum(dim=1)
        return states_BTD[torch.arange(len(states_BTD), device=states_BTD.device), steps_BT.argmax(dim=1)].float()
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
