"""Stage extract_audio: openSMILE functionals of each utterance's sound -> features/<corpus>/audio.h5."""

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import click
import opensmile

from dferc import engine
from dferc.core.console import readable_errors
from dferc.core.files import file_hash
from dferc.engine.options import engine_options
from pipeline.audio import functionals
from pipeline.extraction.loop import ExtractionTally, Extractor, extract, media_content
from pipeline.extraction.places import Places, stage_options
from pipeline.extraction.records import Clock, Record
from pipeline.extraction.scratch import Scratch
from pipeline.media import files as media
from pipeline.rows.utterances import Utterance, read_utterances_csv
from pipeline.settings import ExtractAudio, load_settings, with_set


@click.command()
@stage_options("audio")
@engine_options
@readable_errors
def main(places: Places, workers: engine.Workers) -> ExtractionTally:
    """Extract openSMILE functionals of every utterance with sound."""
    settings = with_set(load_settings(places.params), places.corpus, places.set).extract_audio
    rows = read_utterances_csv(places.table)
    with Scratch(places.scratch) as scratch:
        return extract(rows, make_extractor(rows, settings, places.raw, scratch, workers), places, scratch)


def make_extractor(
    rows: list[Utterance], settings: ExtractAudio, raw: Path, scratch: Scratch, workers: engine.Workers
) -> Extractor:
    """Make the audio extractor of a corpus; raise InputError if its feature set is neither known nor a good .conf."""
    smile = functionals.open_smile(settings.feature_set)
    clock = Clock()

    def compute(indices: list[int]) -> Iterator[tuple[int, Record | engine.WorkerDied]]:
        heard = (rows[i].heard for i in indices)
        items = ((str(raw.absolute() / file), start_s, end_s, settings.min_s) for file, start_s, end_s in heard)
        make_worker = functools.partial(functionals.AudioWorker, engine.absolute(settings.feature_set))
        paths = (raw, *(raw / rows[i].heard[0] for i in indices[:1]), Path(settings.feature_set))
        results = engine.run(make_worker, items, workers, paths, together=lambda item: item[0])
        for number, record in clock.unpacked(results):
            yield indices[number], record

    return Extractor(
        modality="audio",
        width=smile.num_features,
        identity={
            "extractor": f"opensmile {opensmile.__version__}",
            "decoder": media.DECODER,
            "params": settings.model_dump(),
            "model": configuration_hash(settings.feature_set),
        },
        code=(functionals.__name__,),
        wants=lambda row: row.has_audio,
        content=media_content(raw, scratch, lambda row: row.heard),
        compute=compute,
        names=tuple(smile.feature_names),
        file=lambda row: row.heard[0],
        length_s=lambda row: row.heard[2] - row.heard[1],
        clock=clock,
    )


def configuration_hash(feature_set: str) -> str | None:
    """Hash a .conf of the user's own with what it includes; None for a named set, known by openSMILE's version."""
    hashes = [file_hash(path) for path in functionals.named_files(feature_set)]
    return hashlib.sha256("".join(hashes).encode()).hexdigest() if len(hashes) > 1 else next(iter(hashes), None)


if __name__ == "__main__":
    main()
