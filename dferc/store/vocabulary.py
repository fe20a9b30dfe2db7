"""The one order and spelling of modalities and of splits: in tensors, files and tables."""

MODALITIES = ("text", "audio", "visual")

SPLITS = ("train", "validation", "test")
