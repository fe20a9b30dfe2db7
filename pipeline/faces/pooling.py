"""One record per utterance from its faces: batches of many utterances through the network, then means.

B faces of a batch, S side of a face in pixels, D pooled values of a face.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dferc.core.device import choose_device
from dferc.engine.common import WorkerDied
from pipeline.extraction.records import Clock, Measured, Record
from pipeline.faces.densenet import WIDTH, FoldedFaceNet, load_face_net
from pipeline.faces.speaker_face import SpeakerFaces

BATCH = 32  # most faces that are sent to a worker at a time

_PIXELS = 8192
"""Pixels of a forward pass on a CPU, whose maps then fit into its caches: two faces of 64 pixels, 32 of 16."""


class _Pending(NamedTuple):
    """An utterance whose faces are on their way through the network; `vectors`, by face, are back."""

    number: int
    cut: SpeakerFaces
    firsts: list[int]  # by face: the first that has the same pixels, whose vector is also this one's
    vectors: dict[int, np.ndarray | WorkerDied]


def pooled(
    cuts: Iterable[tuple[int, SpeakerFaces | WorkerDied]],
    network: Callable[[Iterator[np.ndarray]], Iterable[tuple[int, np.ndarray | WorkerDied]]],
) -> Iterator[tuple[int, Record | WorkerDied]]:
    """Send the faces of utterances through the network, average within each, and yield (number, record).

    A record is the same to the bit whatever comes before, beside and after it. `network` makes batches [B, S, S] of at
    most `BATCH` faces into (index of the batch, vectors [B, D]). All come in any order.
    """
    owners: dict[int, list[tuple[_Pending, int]]] = {}
    faceless: list[tuple[int, Record | WorkerDied]] = []
    for index, vectors_BD in network(_batches(cuts, owners, faceless)):
        yield from faceless
        faceless.clear()
        for position, (pending, face) in enumerate(owners.pop(index)):
            pending.vectors[face] = vectors_BD if isinstance(vectors_BD, WorkerDied) else vectors_BD[position]
            if len(pending.vectors) == len(set(pending.firsts)):
                yield pending.number, _record(pending.cut, [pending.vectors[first] for first in pending.firsts])
    yield from faceless


def _batches(cuts, owners, faceless) -> Iterator[np.ndarray]:
    """Yield full batches, then the remainder. Note whose faces they are in `owners`, records without in `faceless`."""
    waiting: list[tuple[_Pending, int]] = []
    sent = 0
    for number, cut in cuts:
        if isinstance(cut, WorkerDied) or not len(cut.faces):
            faceless.append((number, cut if isinstance(cut, WorkerDied) else _record(cut, [])))
            ready = [[]]  # an empty batch: a record without a face is kept now, not after the next full batch
        else:
            seen: dict[bytes, int] = {}
            firsts = [seen.setdefault(pixels.tobytes(), face) for face, pixels in enumerate(cut.faces)]
            pending = _Pending(number, cut, firsts, {})
            waiting += [(pending, face) for face in seen.values()]
            full = len(waiting) - len(waiting) % BATCH
            ready, waiting = [waiting[first : first + BATCH] for first in range(0, full, BATCH)], waiting[full:]
        for batch in ready:
            owners[sent] = batch
            sent += 1
            yield _stack(batch)
    if waiting:
        owners[sent] = waiting
        yield _stack(waiting)


def _stack(batch: list[tuple[_Pending, int]]) -> np.ndarray:
    return np.stack([pending.cut.faces[face] for pending, face in batch]) if batch else np.zeros((0, 0, 0), np.uint8)


def _record(cut: SpeakerFaces, vectors: list) -> Record | WorkerDied:
    died = next((vector for vector in vectors if isinstance(vector, WorkerDied)), None)
    if died is not None:
        return died
    figures = {
        "frames": cut.frames,
        "face_share": len(cut.faces) / cut.frames if cut.frames else 0.0,
        "face_size": cut.size,
        "tracks": cut.tracks,
        "choice": cut.choice,
    }
    arrays = {name: np.float32(figure) for name, figure in figures.items()}
    if not vectors:
        problem = cut.problem or f"no face: none in {cut.frames} sampled frame(s)"
        return Record(arrays, "; ".join(filter(None, (problem, cut.remark))))
    mean = np.mean(vectors, axis=0, dtype=np.float64).astype(np.float32)
    if not np.isfinite(mean).all():
        return Record(arrays, "values not finite: the network on this face")
    return Record(arrays | {"features": mean}, "; ".join(filter(None, (cut.problem, cut.remark))))


class FaceNetWorker:
    """Computes the pooled values of batches of faces with a file of weights, on cpu or cuda."""

    def __init__(self, weights: str, device: str):
        self._net = FoldedFaceNet(load_face_net(Path(weights)).to(choose_device(device, "float32").device))

    def __call__(self, faces_BSS: np.ndarray) -> Measured:
        """Return the pooled values [B, D] float32 of a batch."""
        clock = Clock()
        with clock.step("network"):
            vectors_BD = face_vectors(self._net, faces_BSS)
        return Measured(vectors_BD, clock.seconds)


def face_vectors(net: FoldedFaceNet, faces_BSS: np.ndarray) -> np.ndarray:
    """Compute pooled values [B, D] float32 of at most `BATCH` faces [B, S, S] uint8.

    Forward passes always have the same number of faces, and the last is padded. Convolutions may round otherwise in
    another batch size, and a rerun after a kill, which batches otherwise, must give the same bytes.
    """
    if not len(faces_BSS):
        return np.zeros((0, WIDTH), np.float32)
    at_once = BATCH if net.mean.is_cuda else max(1, min(BATCH, _PIXELS // faces_BSS[0].size))
    padded = np.zeros((-(-len(faces_BSS) // at_once) * at_once, *faces_BSS.shape[1:]), np.uint8)
    padded[: len(faces_BSS)] = faces_BSS
    # TF32, PyTorch's default for convolutions, has three digits: a GPU should give what a CPU gives.
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        vectors = [net(part.to(net.mean.device)).cpu() for part in torch.from_numpy(padded).split(at_once)]
    return torch.cat(vectors)[: len(faces_BSS)].numpy()
