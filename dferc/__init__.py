"""Stage 2 of DF-ERC: cached features -> emotions.

Light by design: torch, numpy, h5py, click. Never imports `pipeline` (stage 1, media -> features); the HDF5 files of
`features/<corpus>/` are the only door between the two.
"""

__version__ = "0.1.0"

MODALITIES = ("text", "audio", "visual")
"""The one order of modalities, everywhere: tensors, files, tables."""

SPLITS = ("train", "validation", "test")
"""The one order and spelling of splits."""
