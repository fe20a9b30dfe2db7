"""Encoders of pictures in batches."""

from collections.abc import Sequence

import numpy as np

from dferc.core.device import choose_device
from pipeline.vision.encoder import PictureEncoder


def assert_alike_in_batches(encoder: PictureEncoder, shown: Sequence[np.ndarray]) -> None:
    """Compare the vectors of inputs alone with those in batches of 8 and of 32."""
    cpu = choose_device("cpu", "float32")
    alone = np.concatenate([encoder.vectors([each], cpu) for each in shown])
    for count in (8, 32):
        parts = [encoder.vectors(shown[first : first + count], cpu) for first in range(0, len(shown), count)]
        np.testing.assert_allclose(np.concatenate(parts), alone, rtol=0, atol=1e-5)
