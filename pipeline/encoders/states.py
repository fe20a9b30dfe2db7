"""Layers of an encoder: which of its hidden states are used (setting `layer`).

Legend: B inputs, T time steps, D width.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from dferc.core.errors import InputError

LAST, ALL = "last", "all"


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
