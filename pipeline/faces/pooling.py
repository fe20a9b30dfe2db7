"""One record per utterance from its faces or frames: batches of many utterances through the network, then means.

B inputs of a batch, S side of a face in pixels, D pooled values of an input.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dferc.core.device import choose_device
from dferc.engine.common import WorkerDied
from pipeline.extraction.records import Clock, Measured, Record
from pipeline.faces.densenet import WIDTH, FoldedFaceNet, load_face_net
from pipeline.faces.runtime import PYTORCH, OpenVinoFaceNet
from pipeline.faces.speaker_face import SpeakerFaces

BATCH = 32  # most faces, frames or clips that are sent to a worker at a time

_PIXELS = 8192
"""Pixels of a forward pass on a CPU, whose maps then fit into its caches: two faces of 64 pixels, 32 of 16."""


class Sight(NamedTuple):
    """What a network sees of an utterance, and how its vectors are pooled over the frames."""

    view: str = "face"  # face, frame, or both, whose vectors are concatenated
    clip: int = 0  # frames that the network sees at once; 0 = one by one
    pooling: str = "mean"  # or mean_std

    @property
    def factor(self) -> int:
        """Width of an utterance's vector, in widths of the network's."""
        return (2 if self.view == "both" else 1) * (2 if self.pooling == "mean_std" else 1)

    def inputs(self, cut: SpeakerFaces) -> list[list[np.ndarray]]:
        """Return the inputs of the network from the face, the frames, or both; none where one of them is missing."""
        seen = {"face": [cut.faces], "frame": [cut.pictures], "both": [cut.faces, cut.pictures]}[self.view]
        parts = [clips(part, self.clip) if self.clip else list(part) for part in seen]
        return parts if all(parts) else []

    def pooled(self, vectors: list[np.ndarray], counts: Sequence[int]) -> np.ndarray:
        """Return the vector of an utterance from those of its inputs, so many of the face and of the frames."""
        columns = []
        for part_ND in np.split(np.asarray(vectors), np.cumsum(counts)[:-1]):
            columns.append(np.mean(part_ND, axis=0, dtype=np.float64))
            if self.pooling == "mean_std":
                columns.append(np.std(part_ND, axis=0, dtype=np.float64))
        return np.concatenate(columns).astype(np.float32)


FACES = Sight()


def clips(pictures: Sequence[np.ndarray], length: int) -> list[np.ndarray]:
    """Cut a sequence into as few clips as cover it, each of `length` pictures [T, H, W, 3]; short ones repeat some.

    A clip has pictures of one size: a call or a stream may change it within an utterance.
    """
    runs = [list(run) for _, run in itertools.groupby(pictures, np.shape)]
    if len(runs) > 1:
        return [clip for run in runs for clip in clips(run, length)]
    count = -(-len(pictures) // length)
    parts = np.array_split(np.arange(len(pictures)), count) if count else []
    chosen = [part[np.linspace(0, len(part) - 1, length).round().astype(int)] for part in parts]
    return [np.stack([pictures[index] for index in part]) for part in chosen]


class _Pending(NamedTuple):
    """An utterance whose faces or frames are on their way through the network; `vectors`, by input, are back."""

    number: int
    cut: SpeakerFaces
    inputs: list[np.ndarray]  # of the face, then of the frames
    counts: list[int]  # of each
    firsts: list[int]  # by input: the first that has the same pixels, whose vector is also this one's
    vectors: dict[int, np.ndarray | WorkerDied]


def pooled(
    cuts: Iterable[tuple[int, SpeakerFaces | WorkerDied]],
    network: Callable[[Iterator[list[np.ndarray]]], Iterable[tuple[int, np.ndarray | WorkerDied]]],
    sight: Sight = FACES,
) -> Iterator[tuple[int, Record | WorkerDied]]:
    """Send what is seen of utterances through the network, pool within each, and yield (number, record).

    A record is the same to the bit whatever comes before, beside and after it. `network` makes batches of at most
    `BATCH` inputs into (index of the batch, vectors [B, D]). All come in any order.
    """
    owners: dict[int, list[tuple[_Pending, int]]] = {}  # of a batch's inputs, by its number
    faceless: list[tuple[int, Record | WorkerDied]] = []

    def batches() -> Iterator[list[np.ndarray]]:
        for number, batch in enumerate(_dealt(cuts, sight, faceless)):
            owners[number] = batch
            yield [pending.inputs[face] for pending, face in batch]

    for index, vectors_BD in network(batches()):
        yield from faceless
        faceless.clear()
        for position, (pending, face) in enumerate(owners.pop(index)):
            pending.vectors[face] = vectors_BD if isinstance(vectors_BD, WorkerDied) else vectors_BD[position]
            if len(pending.vectors) == len(set(pending.firsts)):
                vectors = [pending.vectors[first] for first in pending.firsts]
                yield pending.number, _record(pending.cut, sight, vectors, pending.counts)
    yield from faceless


def _dealt(cuts, sight, faceless) -> Iterator[list[tuple[_Pending, int]]]:
    """Yield full batches, then the remainder. Note records of utterances without inputs in `faceless`."""
    waiting: list[tuple[_Pending, int]] = []
    most = max(1, BATCH // sight.clip) if sight.clip else BATCH
    for number, cut in cuts:
        parts = [] if isinstance(cut, WorkerDied) else sight.inputs(cut)
        if not parts:
            faceless.append((number, cut if isinstance(cut, WorkerDied) else _record(cut, sight, [], [])))
            yield []  # an empty batch: a record without a face is kept now, not after the next full batch
            continue
        inputs, seen = list(itertools.chain(*parts)), {}
        firsts = [seen.setdefault(pixels.tobytes(), face) for face, pixels in enumerate(inputs)]
        pending = _Pending(number, cut, inputs, [len(part) for part in parts], firsts, {})
        waiting += [(pending, face) for face in seen.values()]
        while len(waiting) >= most:
            yield waiting[:most]
            waiting = waiting[most:]
    if waiting:
        yield waiting


def _record(cut: SpeakerFaces, sight: Sight, vectors: list, counts: Sequence[int]) -> Record | WorkerDied:
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
        problem = cut.problem or f"no face: none in {cut.frames} sampled frame(s)"  # no frame is a problem already
        return Record(arrays, "; ".join(filter(None, (problem, cut.remark))))
    features = sight.pooled(vectors, counts)
    if not np.isfinite(features).all():
        return Record(arrays, "values not finite: the network on this picture")
    return Record(arrays | {"features": features}, "; ".join(filter(None, (cut.problem, cut.remark))))


class FaceNetWorker:
    """Computes the pooled values of batches of faces with a file of weights, on cpu or cuda, by a runtime."""

    def __init__(self, weights: str, device: str, runtime: str = PYTORCH):
        net = load_face_net(Path(weights))
        if runtime == PYTORCH:
            self._net = FoldedFaceNet(net.to(choose_device(device, "float32").device))
        else:
            self._net = OpenVinoFaceNet(net, runtime, _at_once(net.image_size), torch.get_num_threads())

    def __call__(self, faces: Sequence[np.ndarray]) -> Measured:
        """Return the pooled values [B, D] float32 of a batch of faces [S, S]."""
        clock = Clock()
        with clock.step("network"):
            vectors_BD = face_vectors(self._net, faces)
        return Measured(vectors_BD, clock.seconds)


def _at_once(side: int) -> int:
    """Return the number of faces of a forward pass on a CPU."""
    return max(1, min(BATCH, _PIXELS // side**2))


def face_vectors(net: FoldedFaceNet | OpenVinoFaceNet, faces: Sequence[np.ndarray]) -> np.ndarray:
    """Compute pooled values [B, D] float32 of at most `BATCH` faces [S, S] uint8.

    Forward passes always have the same number of faces, and the last is padded. Convolutions may round otherwise in
    another batch size, and a rerun after a kill, which batches otherwise, must give the same bytes.
    """
    if not len(faces):
        return np.zeros((0, WIDTH), np.float32)
    openvino = isinstance(net, OpenVinoFaceNet)
    at_once = net.at_once if openvino else BATCH if net.mean.is_cuda else _at_once(len(faces[0]))
    padded = np.zeros((-(-len(faces) // at_once) * at_once, *faces[0].shape), np.uint8)
    padded[: len(faces)] = faces
    if openvino:
        return net(padded)[: len(faces)]
    # TF32, PyTorch's default for convolutions, has three digits: a GPU should give what a CPU gives.
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        vectors = [net(part.to(net.mean.device)).cpu() for part in torch.from_numpy(padded).split(at_once)]
    return torch.cat(vectors)[: len(faces)].numpy()
