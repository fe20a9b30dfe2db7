"""Order and spelling of modalities and splits, in tensors, files and tables."""

from collections.abc import Iterable

MODALITIES = ("text", "audio", "visual")  # those of the paper; a corpus may have others
SPLITS = ("train", "validation", "test")

SPLIT_NAMES = (
    {"train": "train"}
    | dict.fromkeys(("dev", "val", "valid", "validation"), "validation")
    | {"test": "test", "training": "train", "testing": "test", "eval": "test"}
)
"""Splits as people write them, in lower case, and ours."""


def in_order(modalities: Iterable[str]) -> tuple[str, ...]:
    """Return modalities in the order of tensors, files and tables: the paper's three, then others by name."""
    return tuple(sorted(modalities, key=lambda name: ([*MODALITIES, name].index(name), name)))
