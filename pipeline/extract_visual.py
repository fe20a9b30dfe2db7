"""Stage extract_visual: 342 pooled DenseNet values per utterance -> features/<corpus>/visual.h5.

Frames are sampled evenly over the utterance, the largest face of each is cut out (in worker processes), the network
runs here over faces of many utterances at a time, and an utterance's vector is the mean over its frames with a face.
Without a face it is not present. `quality/frames` and `quality/face_share` tell how many frames were sampled and how
many of them show a face.

B faces of a batch, S side of a face in pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import torch

from dferc.console import InputError, readable_errors
from dferc.device import DEVICES, choose_device
from dferc.files import file_hash
from dferc.params import ExtractVisual, load_params
from pipeline import densenet, engine, faces, media
from pipeline.densenet import WIDTH, FaceNet, description_path, load_face_net, read_json
from pipeline.engine_options import engine_options
from pipeline.extraction import Extractor, Places, Tally, extract, media_content, stage_options
from pipeline.faces import Faces, cut_faces, start_worker
from pipeline.scratch import Record, Scratch
from pipeline.utterances import Utterance, read_utterances_csv

BATCH = 32
"""Faces per forward pass, always: the last batch is padded. Convolutions may round otherwise in another batch size, and
a rerun after a kill, which batches otherwise, must give the same bytes."""

QUALITY = ("frames", "face_share")


@click.command()
@stage_options("visual")
@click.option("--face", type=click.Path(path_type=Path), help="Face model.  [default: models/{corpus}/face]")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Of the network.")
@engine_options
@readable_errors
def main(places: Places, face: Path | None, device: str, workers: engine.Workers) -> Tally:
    """Extract the face features of every utterance with a picture."""
    settings = load_params(places.params).corpus(places.corpus).extract_visual
    rows = read_utterances_csv(places.table)
    where = choose_device(device, "float32").device
    folder = face or Path("models", places.corpus, "face")
    with Scratch(places.scratch) as scratch:
        extractor = make_extractor(rows, settings, folder, places.raw, scratch, where, workers)
        return extract(rows, extractor, places, scratch)


def make_extractor(
    rows: list[Utterance],
    settings: ExtractVisual,
    folder: Path,
    raw: Path,
    scratch: Scratch,
    device: torch.device,
    workers: engine.Workers,
) -> Extractor:
    """The visual extractor of a corpus.

    Args:
        rows: of utterances.csv.
        settings: of params.yaml.
        folder: written by train_face.
        raw: of the corpus.
        scratch: open.
        device: of the network.
        workers: that decode and find faces; the network runs in this process.

    Raises:
        InputError: there is no usable face model although some utterance has a picture, or no such face finder.
    """
    weights = folder / "face.safetensors"
    described = read_json(description_path(weights))
    if not described.get("trained"):
        return _without_network(rows, described, folder)
    net = load_face_net(weights).to(device)
    faces.make_finder(settings.finder, settings.min_face)  # fails here rather than in a worker

    def compute(indices: list[int]) -> Iterator[tuple[int, Record | engine.WorkerDied]]:
        seen = (rows[i].seen for i in indices)
        items = ((str(raw.absolute() / file), *within) for file, *within in seen)
        told = settings.model_copy(update={"finder": engine.absolute(settings.finder)})
        paths = (raw, *(raw / rows[i].media for i in indices[:1]), Path(settings.finder))
        cuts = engine.run(cut_faces, items, workers, start_worker, (told, net.image_size), paths)
        for number, record in pooled(net, cuts):
            yield indices[number], record

    return Extractor(
        modality="visual",
        width=WIDTH,
        identity={
            "extractor": f"densenet-bc-100-12, torch {torch.__version__.split('+')[0]}",
            "decoder": media.DECODER,
            "finder": faces.finder_identity(settings.finder),
            "params": settings.model_dump(),
            "model": file_hash(weights),
            "image_size": net.image_size,
        },
        code=(__file__, faces.__file__, densenet.__file__, media.__file__),
        wants=lambda row: row.has_video,
        content=media_content(raw, scratch, lambda row: row.seen),
        compute=compute,
        quality=QUALITY,
    )


def _without_network(rows: list[Utterance], described: dict, folder: Path) -> Extractor:
    """All absent: because no pictures are asked for, or because there are none."""
    reason, pictures = described.get("reason", "no reason given"), [row for row in rows if row.has_video]
    if pictures and described.get("source") != "none":
        raise InputError(
            f"{folder} holds no face model ({reason}), but {len(pictures)} of {len(rows)} utterances have a picture, "
            f"first {pictures[0].utterance_id} ({pictures[0].media}). Train one with pipeline.train_face, or set "
            "train_face.source to the path of a trained one, or to none to do without pictures."
        )
    return Extractor(
        modality="visual",
        width=WIDTH,
        identity={"extractor": "none", "model": None, "reason": reason},
        code=(__file__,),
        wants=lambda row: False,
        content=lambda row: None,
        compute=lambda indices: (),
        quality=QUALITY,
    )


# ------------------------------------------------------------------------------------------------- in this process


@dataclass(slots=True)
class _Pending:
    """An utterance whose faces are on their way through the network."""

    number: int
    cut: Faces
    vectors: list[np.ndarray] = field(default_factory=list)


def pooled(
    net: FaceNet, cuts: Iterable[tuple[int, Faces | engine.WorkerDied]]
) -> Iterator[tuple[int, Record | engine.WorkerDied]]:
    """Run the network over the faces of utterances as they come, and average within each utterance.

    A record is the same to the bit whatever comes before, beside and after it.

    Args:
        net: in eval mode.
        cuts: (number, faces), in any order.

    Yields:
        (number, record) as they finish.
    """
    waiting: list[tuple[_Pending, np.ndarray]] = []
    for number, cut in cuts:
        if isinstance(cut, engine.WorkerDied):
            yield number, cut
        elif not len(cut.faces):
            yield number, _record(cut, [])
        else:
            pending = _Pending(number, cut)
            waiting += [(pending, face) for face in cut.faces]
            while len(waiting) >= BATCH:
                yield from _through(net, waiting[:BATCH])
                del waiting[:BATCH]
    if waiting:
        yield from _through(net, waiting)


def _through(net: FaceNet, batch: list[tuple[_Pending, np.ndarray]]) -> Iterator[tuple[int, Record]]:
    vectors_BD = face_vectors(net, np.stack([face for _, face in batch]))
    for (pending, _), vector in zip(batch, vectors_BD, strict=True):
        pending.vectors.append(vector)
        if len(pending.vectors) == len(pending.cut.faces):
            yield pending.number, _record(pending.cut, pending.vectors)


@torch.inference_mode()
def face_vectors(net: FaceNet, faces_BSS: np.ndarray) -> np.ndarray:
    """Pooled values [B, 342] float32 of at most `BATCH` faces [B, S, S] uint8, computed in a batch of `BATCH`."""
    padded = np.zeros((BATCH, *faces_BSS.shape[1:]), np.uint8)
    padded[: len(faces_BSS)] = faces_BSS
    # TF32, PyTorch's default for convolutions, has three digits: a GPU should give what a CPU gives.
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        features_BD = net(torch.from_numpy(padded).to(net.mean.device)).features
    return features_BD[: len(faces_BSS)].cpu().numpy()


def _record(cut: Faces, vectors: list[np.ndarray]) -> Record:
    share = len(cut.faces) / cut.frames if cut.frames else 0.0
    arrays = {"frames": np.float32(cut.frames), "face_share": np.float32(share)}
    if not vectors:
        return Record(arrays, cut.problem or f"no face: none in {cut.frames} sampled frame(s)")
    mean = np.mean(vectors, axis=0, dtype=np.float64).astype(np.float32)
    if not np.isfinite(mean).all():
        return Record(arrays, "values not finite: the network on this face")
    return Record(arrays | {"features": mean}, cut.problem)


if __name__ == "__main__":
    main()
