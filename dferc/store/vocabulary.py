"""Order and spelling of modalities and splits, in tensors, files and tables."""

MODALITIES = ("text", "audio", "visual")
SPLITS = ("train", "validation", "test")

SPLIT_NAMES = (
    {"train": "train"}
    | dict.fromkeys(("dev", "val", "valid", "validation"), "validation")
    | {"test": "test", "training": "train", "testing": "test", "eval": "test"}
)
"""Splits as people write them, in lower case, and ours."""
