"""Order and spelling of modalities and splits, in tensors, files and tables."""

MODALITIES = ("text", "audio", "visual")
SPLITS = ("train", "validation", "test")
