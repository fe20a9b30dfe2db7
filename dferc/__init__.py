"""Stage 2 of DF-ERC: cached features -> emotions.

Light by design: torch, numpy, h5py, click. Never imports `pipeline` (stage 1, media -> features); the HDF5 files of
`features/<corpus>/` are the only door between the two.
"""

from dferc.core import VERSION as __version__  # noqa: N811 - the usual name
from dferc.store.vocabulary import MODALITIES, SPLITS

__all__ = ["MODALITIES", "SPLITS", "__version__"]
