"""One vector per utterance from a batch of windows, computed in a worker process; letters as in `encoder`."""

from collections.abc import Callable, Iterator, Sequence

import torch

from dferc.core.device import Device, choose_device
from pipeline.encoders.opening import autocast
from pipeline.extraction.records import Clock, Measured, Record
from pipeline.text.encoder import PUBLISHED, Encoder, Reading, collate, load_encoder, utterance_vectors
from pipeline.text.windows import Window


class TextWorker:
    """Encodes batches of windows of `max_tokens`; it keeps one encoder, since two need not fit into memory.

    `reading` decides how vectors are taken from states. `load` returns the encoder of a folder and `max_tokens`,
    perhaps one that is in memory already.
    """

    def __init__(
        self,
        max_tokens: int,
        device: str,
        precision: str,
        reading: Reading,
        load: Callable[[str, int], Encoder] = load_encoder,
    ):
        self._max_tokens, self._load, self._where = max_tokens, load, choose_device(device, precision)
        self._reading = reading
        self._folder: str | None = None
        self._encoder: Encoder | None = None

    def __call__(self, item: tuple[str, Sequence[Window], dict[int, str]]) -> Measured:
        """Return what `encode` gives for the folder of an encoder, windows, and problems of their text by row."""
        folder, batch, problems = item
        if self._folder != folder:
            self._folder = self._encoder = None  # the memory is free before the next one is loaded
            encoder = self._load(folder, self._max_tokens)
            encoder.model.to(self._where.device).eval()
            self._folder, self._encoder = folder, encoder
        clock = Clock()
        with clock.step("encoder"):
            records = list(encode(self._encoder, batch, problems, self._where, self._reading))
        return Measured(records, clock.seconds)


@torch.inference_mode()
def encode(
    encoder: Encoder, batch: Sequence[Window], problems: dict[int, str], where: Device, reading: Reading = PUBLISHED
) -> Iterator[tuple[int, Record]]:
    """Return the row and record of every utterance in a batch of windows; `problems` are of their text, by row."""
    padded = collate(batch, encoder.pad)
    with autocast(where):
        vectors_UW = utterance_vectors(encoder.model, padded.to(where.device), reading)
    vectors_UW = vectors_UW.float().cpu()
    finite_U = vectors_UW.isfinite().all(dim=1).tolist()
    for row, vector, finite in zip(padded.row_U.tolist(), vectors_UW.numpy(), finite_U, strict=True):
        if finite:
            yield row, Record({"features": vector}, problems.get(row, ""))
        else:
            yield row, Record(problem=f"values not finite: the encoder's states, computed in {where.dtype}")
