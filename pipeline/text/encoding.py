"""One vector per utterance from a batch of windows, by the encoder of this process.

U utterances of the batch, W width of the encoder.
"""

from collections.abc import Iterator, Sequence

import torch

from dferc.core.device import Device, choose_device
from pipeline.extraction.scratch import Record
from pipeline.extraction.steps import Clock, Measured
from pipeline.text.encoder import Encoder, collate, load_encoder, utterance_vectors
from pipeline.text.windows import Window

_asked: tuple[int, Device] | None = None
_loaded: tuple[str, Encoder] | None = None


def start_encoding(max_tokens: int, device: str, precision: str) -> None:
    """Prepare a process for `encode_batch`: the window size, cpu or cuda, and the precision there."""
    global _asked, _loaded
    _asked, _loaded = (max_tokens, choose_device(device, precision)), None


def encode_batch(item: tuple[str, Sequence[Window], dict[int, str]]) -> Measured:
    """Row and record of every utterance in a batch of windows.

    Args:
        item: folder of the encoder, the windows, and problems of their text by row.
    """
    global _loaded
    folder, batch, problems = item
    max_tokens, where = _asked
    if _loaded is None or _loaded[0] != folder:
        _loaded = None  # the one before goes first: two need not fit
        encoder = load_encoder(folder, max_tokens)
        encoder.model.to(where.device).eval()
        _loaded = folder, encoder
    clock = Clock()
    with clock.step("encoder"):
        made = list(encode(_loaded[1], batch, problems, where))
    return Measured(made, clock.seconds)


@torch.inference_mode()
def encode(
    encoder: Encoder, batch: Sequence[Window], problems: dict[int, str], where: Device
) -> Iterator[tuple[int, Record]]:
    """Row and record of every utterance in a batch of windows; `problems` are of their text, by row."""
    padded = collate(batch, encoder.tokenizer.pad_token_id)
    with torch.autocast(where.device.type, where.dtype, enabled=where.dtype != torch.float32):
        vectors_UW = utterance_vectors(encoder.model, padded.to(where.device))
    vectors_UW = vectors_UW.float().cpu()
    finite_U = vectors_UW.isfinite().all(dim=1).tolist()
    for row, vector, finite in zip(padded.row_U.tolist(), vectors_UW.numpy(), finite_U, strict=True):
        if finite:
            yield row, Record({"features": vector}, problems.get(row, ""))
        else:
            yield row, Record(problem=f"values not finite: the encoder's states, computed in {where.dtype}")
