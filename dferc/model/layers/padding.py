"""Layout of a batch's dialogues as a rectangle, for layers that compute over pairs of utterances.

Shapes: N utterances of all dialogues of the batch, B dialogues, T the longest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Padding:
    """Places of the rows of a batch in a rectangle of dialogues.

    Attributes:
        place_N: place of each row, below B * T.
        real_BT: bool; False = behind the end of a dialogue.
    """

    place_N: Tensor
    real_BT: Tensor

    @staticmethod
    def of(lengths: Sequence[int], device: torch.device | str = "cpu") -> "Padding":
        """Lay out dialogues of these lengths, one after another; without waiting for the device."""
        real_BT = np.arange(max(lengths)) < np.asarray(lengths)[:, None]
        place_N = np.flatnonzero(real_BT)
        return Padding(*(torch.from_numpy(x).to(device, non_blocking=True) for x in (place_N, real_BT)))

    @property
    def time_N(self) -> Tensor:
        """Place of each row in its dialogue."""
        return self.place_N % self.real_BT.shape[1]

    def pad(self, x_N: Tensor, fill: float = 0) -> Tensor:
        """Lay out rows [N, ...] as [B, T, ...], with `fill` behind the end of a dialogue."""
        flat = x_N.new_full((self.real_BT.numel(), *x_N.shape[1:]), fill)
        return flat.index_copy(0, self.place_N, x_N).unflatten(0, self.real_BT.shape)

    def unpad(self, x_BT: Tensor) -> Tensor:
        """Return the rows [N, ...] of [B, T, ...]."""
        return x_BT.flatten(0, 1)[self.place_N]
