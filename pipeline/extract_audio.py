"""Stage extract_audio: openSMILE functionals of each utterance's sound -> features/<corpus>/audio.h5.

`extract_audio.encoder` may name a speech encoder instead, whose pooled states are written: `pipeline.audio.encoding`.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import opensmile

from dferc import engine
from dferc.core.console import print_note, readable_errors, shown_option
from dferc.core.files import file_hash
from dferc.engine.options import engine_options
from pipeline.audio import functionals
from pipeline.extraction.loop import ExtractionTally, Extractor, Listener, extract, listener_of, media_content
from pipeline.extraction.places import Places, stage_options
from pipeline.extraction.records import Clock, Record
from pipeline.extraction.scratch import Scratch
from pipeline.media import files as media
from pipeline.media import pictures
from pipeline.rows.utterances import Utterance, read_utterances_csv
from pipeline.settings import UNSTATED, ExtractAudio, load_settings, with_set


@click.command()
@stage_options("audio")
@shown_option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),  # `dferc.core.device` imports torch, which openSMILE does without
    default="auto",
    help="Of a speech encoder.",
)
@click.option(
    "--batch-s",
    type=click.FloatRange(min=0),
    help="Seconds of sound that a speech encoder hears at once: memory and speed; moves results by rounding at most. "
    "0 = one utterance at a time.  [default: 60 on a GPU, else 0]",
)
@engine_options
@readable_errors
def main(places: Places, device: str, batch_s: float | None, workers: engine.Workers) -> ExtractionTally:
    """Extract openSMILE functionals, or the vector of a speech encoder, of every utterance with sound."""
    settings = with_set(load_settings(places.params), places.corpus, places.set).extract_audio
    rows = read_utterances_csv(places.table)
    with Scratch(places.scratch) as scratch:
        extractor = make_extractor(rows, settings, places.raw, scratch, workers, device, batch_s)
        return extract(rows, extractor, places, scratch)


def make_extractor(
    rows: list[Utterance],
    settings: ExtractAudio,
    raw: Path,
    scratch: Scratch,
    workers: engine.Workers,
    device: str = "auto",
    batch_s: float | None = None,
    load: Callable[[str, str, bool], Any] | None = None,
) -> Extractor:
    """Make the audio extractor of a corpus; raise InputError if there is no such feature set, .conf or encoder.

    `device`, `batch_s` and `load` are for a speech encoder: see `pipeline.audio.encoding.make_speech_extractor`.
    """
    if functionals.is_speech_encoder(settings.encoder):
        from dferc.core.device import choose_device
        from pipeline.audio.encoding import make_speech_extractor

        where = choose_device(device, settings.precision, elsewhere=workers.cluster is not None)
        return make_speech_extractor(rows, settings, raw, scratch, workers, where, batch_s, load)
    smile = functionals.open_smile(settings.encoder)
    of_speech = {name: usual for name, usual in UNSTATED["audio"].items() if name in ("layer", "pooling", "context_s")}
    if unread := [name for name, usual in of_speech.items() if getattr(settings, name) != usual]:
        print_note(
            f"extract_audio: {settings.encoder} is openSMILE's and reads no {', '.join(unread)}, which stay unused."
        )
    clock = Clock()

    def compute(indices: list[int]) -> Iterator[tuple[int, Record | engine.WorkerDied]]:
        heard = (rows[i].heard for i in indices)
        items = ((str(raw.absolute() / file), start_s, end_s, settings.min_s) for file, start_s, end_s in heard)
        make_worker = functools.partial(functionals.AudioWorker, engine.absolute(settings.encoder))
        paths = (raw, *(raw / rows[i].heard[0] for i in indices[:1]), Path(settings.encoder))
        results = engine.run(make_worker, items, workers, paths, together=lambda item: item[0])
        for number, record in clock.unpacked(results):
            yield indices[number], record

    return Extractor(
        modality="audio",
        width=smile.num_features,
        identity={
            "extractor": f"opensmile {opensmile.__version__}",
            "decoder": media.DECODER,
            "params": {"feature_set": settings.encoder, "min_s": settings.min_s},  # the others do not apply
            "model": configuration_hash(settings.encoder),
        },
        code=(functionals.__name__, pictures.__name__),  # which may read the sound, too: `make_listener`
        wants=lambda row: row.has_audio,
        content=media_content(raw, scratch, lambda row: row.heard),
        compute=compute,
        names=tuple(smile.feature_names),
        file=lambda row: row.heard[0],
        length_s=lambda row: row.heard[2] - row.heard[1],
        clock=clock,
    )


def make_listener(
    rows: Sequence[Utterance], extractor: Extractor, settings: ExtractAudio, scratch: Scratch
) -> Listener | None:
    """Return what makes openSMILE's unfinished records while the picture is read; None if there are none."""
    encoder = engine.absolute(settings.encoder)
    make_ear = functools.partial(functionals.make_ear, encoder, settings.min_s)
    return listener_of(rows, extractor, scratch, make_ear, encoder)


def configuration_hash(feature_set: str) -> str | None:
    """Hash a .conf of the user's own with what it includes; None for a named set, known by openSMILE's version."""
    hashes = [file_hash(path) for path in functionals.named_files(feature_set)]
    return hashlib.sha256("".join(hashes).encode()).hexdigest() if len(hashes) > 1 else next(iter(hashes), None)


if __name__ == "__main__":
    main()
