"""DF-ERC, stage 2: cached features -> emotions.

    >>> import dferc
    >>> table = dferc.load("runs/meld/full").predict("features/mine")
    >>> table.to_csv("mine.csv")

Light by design: PyTorch, h5py and a few small packages, none of the media libraries. The package never imports
`pipeline` (stage 1, media -> features); the HDF5 files of `features/<corpus>/` are the only interface of the two.
"""

import importlib

from dferc.core import VERSION as __version__  # noqa: N811 - the usual name
from dferc.core.interrupts import watch_startup
from dferc.store.vocabulary import MODALITIES, SPLITS

__all__ = ["MODALITIES", "SPLITS", "__version__", "load"]

watch_startup()  # before a command imports anything that takes time


def __getattr__(name: str):
    """Import `load` when it is asked for: `dferc --help` and `import dferc` need no PyTorch."""
    if name == "load":
        return importlib.import_module("dferc.evaluation.predict").load
    raise AttributeError(f"module 'dferc' has no attribute {name!r}")
