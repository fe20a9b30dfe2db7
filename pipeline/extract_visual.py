"""Stage extract_visual: pooled values of a network per utterance -> features/<corpus>/visual.h5.

The network is the DenseNet of train_face, of 342 values, or a published encoder (`pipeline.vision`).

Frames are sampled evenly over the utterance. Worker processes cut the speaker's face out of each frame
(`pipeline.faces.speaker_face` chooses among several people). The network runs over faces of many utterances at a time,
in this process or on the GPUs of a cluster. An utterance's vector is the mean over its frames with that face; without a
face the utterance is not present. Columns of `quality` are kept for each utterance: `frames` sampled, `face_share` of
them with the face, its mean `face_size` as a share of the picture, the number of face `tracks`, and the rule that
decided the `choice` among them.
"""

import functools
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch

from dferc import engine
from dferc.core.console import PATH, readable_errors, shown_option
from dferc.core.device import DEVICES, choose_device
from dferc.core.errors import InputError
from dferc.core.files import file_hash
from dferc.engine.options import engine_options
from pipeline.extraction.loop import ExtractionTally, Extractor, Listener, extract, media_content, prefetched
from pipeline.extraction.places import Places, stage_options
from pipeline.extraction.records import Clock, Record
from pipeline.extraction.scratch import Scratch
from pipeline.faces import finder as faces
from pipeline.faces import pooling, speaker_face
from pipeline.faces.densenet import FERPLUS, WIDTH, FaceDescription, description_path, load_face_net, read_json
from pipeline.faces.runtime import choose_runtime, runtime_identity
from pipeline.faces.speaker_face import SpeakerFaces, UtteranceMedia
from pipeline.media import files as media
from pipeline.rows.utterances import Region, Utterance, read_utterances_csv
from pipeline.settings import UNSTATED, ExtractVisual, load_settings, with_set

GROUP = 8
"""Most utterances of one file that one worker decodes in one pass. More cost less decoding, since the frames from a
keyframe to the first utterance are decoded for each group. Fewer lose less when something is killed."""

QUALITY = ("frames", "face_share", "face_size", "tracks", "choice")


def visual_options(command: Callable) -> Callable:
    """Decorate a click command with the options that `run` takes."""
    hwaccel = "Kind of device that decodes, such as cuda. Values may differ from the CPU's; the file names the device."
    declared = [
        stage_options("visual"),
        click.option("--face", type=PATH, help="Face model.  [default: models/{corpus}/face]"),
        shown_option("--device", type=click.Choice(DEVICES), default="auto", help="Of the network."),
        click.option("--hwaccel", help=hwaccel),
        engine_options,
    ]
    return functools.reduce(lambda function, option: option(function), reversed(declared), command)


@click.command()
@visual_options
@readable_errors
def main(**options) -> ExtractionTally:
    """Extract the features of the face or the frames of every utterance with a picture."""
    return run(**options)


def run(
    places: Places,
    face: Path | None,
    device: str,
    hwaccel: str | None,
    workers: engine.Workers,
    listen: Callable[[list[Utterance], Scratch], Listener | None] | None = None,
) -> ExtractionTally:
    """Run the stage; `listen` returns what makes the records of the sound on the way."""
    settings = with_set(load_settings(places.params), places.corpus, places.set).extract_visual
    rows = read_utterances_csv(places.table)
    where = choose_device(device, "float32", elsewhere=workers.cluster is not None).device
    folder = face or Path("models", places.corpus, "face")
    with Scratch(places.scratch) as scratch:
        heard = listen and listen(rows, scratch)
        extractor = make_extractor(rows, settings, folder, places.raw, scratch, where, workers, hwaccel, None, heard)
        return extract(rows, extractor, places, scratch)


def make_extractor(
    rows: list[Utterance],
    settings: ExtractVisual,
    folder: Path,
    raw: Path,
    scratch: Scratch,
    device: torch.device,
    workers: engine.Workers,
    hwaccel: str | None = None,
    load: Callable[[str, str, str, bool], Any] | None = None,
    listener: Listener | None = None,
) -> Extractor:
    """Make the visual extractor of a corpus.

    `folder` is train_face's. `device` is the network's, which has its own workers (`Workers.for_network`); `workers`
    decode and find faces. `hwaccel` is the kind of device that decodes for them; None = they do. `load` returns a
    published encoder, perhaps one that is in memory already. `listener` makes the records of the sound on the way.
    InputError is raised if there is no usable face model although some utterance has a picture, no such encoder, or no
    such face finder.
    """
    if settings.encoder == FERPLUS:
        weights = folder / "face.safetensors"
        described = read_json(description_path(weights), FaceDescription)
        if not described.get("trained"):
            return _without_network(rows, described, folder)
        runtime = choose_runtime(settings.runtime, device.type, workers.cluster is not None)
        seeing = _ferplus(settings, weights, device, runtime)
    else:
        seeing = _published(settings, device, load, workers.cluster is not None)
    if settings.view == "frame":
        finder = faces.WHOLE_FRAME  # no face is looked for
    else:
        finder = faces.locate_finder(settings.finder)
        faces.make_finder(finder, settings.min_face)  # fails here rather than in a worker
    if finder in (faces.HAAR, faces.WHOLE_FRAME):  # perhaps in place of YuNet: the features are those of that setting
        settings = settings.model_copy(update={"finder": finder})
    needs_sound = settings.face == "most_lip_motion"
    clock = Clock()
    seen, heard = (media_content(raw, scratch, part) for part in (lambda row: row.seen, lambda row: row.heard))

    def compute(indices: list[int]) -> Iterator[tuple[int, Record | engine.WorkerDied]]:
        portable = settings.model_copy(update={"finder": engine.absolute(finder)})
        how = (portable, seeing.side, hwaccel, seeing.colour)

        def cut(groups: list[list[int]], hears: bool) -> Iterator[tuple[int, list[SpeakerFaces] | engine.WorkerDied]]:
            make_ear, file, wanted = listener[:3] if hears else (None, finder, ())
            make_worker = functools.partial(speaker_face.FaceWorker, *how, make_ear)
            items = ([_media(rows[i], raw.absolute(), needs_sound or i in wanted) for i in group] for group in groups)
            files = (raw, *(raw / rows[i].media for i in indices[:1]), Path(finder), Path(file))
            return clock.unpacked(engine.run(make_worker, items, workers, files, together=lambda parts: parts[0].path))

        cuts = _one_by_one(cut, list(_groups(rows, indices)), bool(listener))
        # On a cluster nothing waits for this process, and two threads must not start and end Ray.
        cuts = cuts if workers.cluster else prefetched(cuts)
        yield from pooling.pooled(listener.kept(cuts) if listener else cuts, network, seeing.sight)

    def network(batches: Iterator[list[np.ndarray]]) -> Iterator[tuple[int, np.ndarray | engine.WorkerDied]]:
        return clock.unpacked(engine.run(seeing.make_worker, batches, workers.for_network(), seeing.files))

    return Extractor(
        modality="visual",
        width=seeing.width * seeing.sight.factor,
        identity={
            "decoder": media.DECODER if hwaccel is None else f"{media.DECODER}, {hwaccel}",
            "finder": faces.finder_identity(finder),
            "params": _params(settings),
            **seeing.identity,
            **speaker_face.choice_identity(settings.face),
        },
        code=(speaker_face.__name__, pooling.__name__, *seeing.code),
        wants=lambda row: row.has_video,
        # the sound as well where the choice of the face depends on it
        content=lambda row: [seen(row), heard(row)] if needs_sound and row.has_audio else seen(row),
        compute=compute,
        quality=QUALITY,
        length_s=lambda row: row.seen[2] - row.seen[1],
        clock=clock,
    )


class _Seeing(NamedTuple):
    """A network and what it sees: side of its faces in pixels, width of a vector, and its share in the identity."""

    side: int
    width: int
    colour: bool
    sight: pooling.Sight
    make_worker: Callable[[], Callable]
    files: tuple[Path, ...]
    identity: Mapping[str, object]
    code: tuple[str, ...] = ()


def _ferplus(settings: ExtractVisual, weights: Path, device: torch.device, runtime: str) -> _Seeing:
    image_size = load_face_net(weights).image_size
    return _Seeing(
        side=image_size,
        width=WIDTH,
        colour=False,
        sight=pooling.Sight(pooling=settings.pooling),
        make_worker=functools.partial(pooling.FaceNetWorker, str(weights.absolute()), device.type, runtime),
        files=(weights,),
        identity={**runtime_identity(runtime), "model": file_hash(weights), "image_size": image_size},
    )


def _published(settings: ExtractVisual, device: torch.device, load: Callable | None, cluster: bool) -> _Seeing:
    from pipeline.vision import encoder as vision  # with transformers, seconds: not for those who do without

    where = choose_device(device.type, settings.precision, elsewhere=cluster)
    trust = settings.trust_remote_code
    encoder = (load or vision.load_picture_encoder)(settings.encoder, settings.layer, settings.tokens, trust)
    portable = (encoder.portable, settings.layer, settings.tokens, trust)
    return _Seeing(
        side=encoder.side,
        width=encoder.width,
        colour=True,
        sight=pooling.Sight(settings.view, encoder.clip, settings.pooling),
        make_worker=functools.partial(
            vision.PictureEncoderWorker, portable if cluster else encoder, where.device.type, settings.precision
        ),
        files=tuple(path for path in [Path(encoder.portable)] if path.is_dir()),
        identity={
            "extractor": encoder.library,
            "model": encoder.hash,
            "image_size": encoder.side,
            "computed_in": str(where.dtype).removeprefix("torch."),
            **encoder.code,
        },
        code=(vision.__name__,),
    )


def _params(settings: ExtractVisual) -> dict[str, object]:
    """Return the settings that decide values; those that are as before they existed are left out (`UNSTATED`)."""
    values = settings.model_dump(exclude={"face", "runtime"}).items()
    return {name: value for name, value in values if UNSTATED["visual"].get(name) != value}


def _groups(rows: Sequence[Utterance], indices: Sequence[int]) -> Iterator[list[int]]:
    """Yield consecutive rows of one file, at most `GROUP` at a time, all in its whole picture or all in regions."""
    for _, same in itertools.groupby(indices, key=lambda index: (rows[index].media, rows[index].region == Region())):
        same = list(same)
        yield from (same[first : first + GROUP] for first in range(0, len(same), GROUP))


def _one_by_one(
    cut: Callable[[list[list[int]], bool], Iterable[tuple[int, list[SpeakerFaces] | engine.WorkerDied]]],
    groups: list[list[int]],
    hears: bool,
) -> Generator[tuple[int, SpeakerFaces | engine.WorkerDied], None, None]:
    """Yield row and faces of all groups; the rows of a group that killed its worker are tried alone, and unheard."""
    while groups:
        alone = []
        for number, faces_of_group in cut(groups, hears):
            if not isinstance(faces_of_group, engine.WorkerDied):
                yield from zip(groups[number], faces_of_group, strict=True)
            elif len(groups[number]) == 1 and not hears:
                yield groups[number][0], faces_of_group
            else:
                alone += groups[number]
        groups, hears = [[row] for row in alone], False


def _media(row: Utterance, raw: Path, needs_sound: bool) -> UtteranceMedia:
    """Return the item of a worker for an utterance; `raw` is absolute."""
    (picture, *seen), (recording, *heard) = row.seen, row.heard
    sound = (str(raw / recording), *heard) if needs_sound and row.has_audio else None
    return UtteranceMedia(str(raw / picture), *seen, sound)


def _without_network(rows: list[Utterance], described: dict, folder: Path) -> Extractor:
    """Make the extractor of a corpus without pictures, by request or because there are none: all rows are absent."""
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
        code=(),
        wants=lambda row: False,
        content=lambda row: None,
        compute=lambda indices: (),
        quality=QUALITY,
    )


if __name__ == "__main__":
    main()
