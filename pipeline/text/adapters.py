"""LoRA: low-rank adapters that are trained in place of an encoder's own weights, and merged into them afterwards.

Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, https://arxiv.org/abs/2106.09685.
"""

import warnings
from collections.abc import Callable

from transformers import PreTrainedModel

from dferc.core.errors import InputError


def add_adapters(model: PreTrainedModel, rank: int, alpha: float) -> Callable[[], object]:
    """Add adapters to all linear layers of a model, in place, and freeze its own weights.

    A layer's weight W becomes W + (alpha / rank) B A, with A and B of `rank`; B is 0 at first, so that the model is the
    same. A comes from torch's global generator.

    Args:
        model: the encoder.
        rank: rank of the adapters.
        alpha: scale of their product.

    Returns:
        A function that merges the adapters into the weights, in place: afterwards the model is one of transformers.

    Raises:
        InputError: the package peft is not installed, or the model has no layer that it can adapt.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise InputError(
            f"finetune_text.lora_rank is {rank}, which needs the package peft: `pip install peft`, or set it to 0 to "
            "train all weights."
        ) from None
    try:
        with warnings.catch_warnings(action="ignore"):  # on GPT-2's transposed layers, which it adapts correctly
            adapted = get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear"))
    except ValueError as error:
        raise InputError(
            f"finetune_text.lora_rank is {rank}, and peft cannot adapt the {type(model).__name__} ({error}). Set it to "
            "0 to train all weights, or choose another encoder."
        ) from error
    return adapted.merge_and_unload
