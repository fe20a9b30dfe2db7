"""Sound and picture of a corpus in one pass over its files: stage extract_visual, and the work of extract_audio.

`dvc repro` runs the two as stages of their own, so that another setting of one repeats nothing of the other, and each
reads a file once. Where reading is slow (a network drive), this command reads it once for both: it writes the visual
features, and keeps what openSMILE makes of the sound as finished work, which `extract_audio` finds. Sound that is not
heard with a picture (the picture was finished before, or one pass would give other bytes) is read after it.
"""

from pathlib import Path

import click

from dferc import engine
from dferc.core.console import console, readable_errors
from dferc.core.errors import InputError
from dferc.store.hdf5 import read_utterances
from pipeline import extract_audio, extract_visual
from pipeline.audio.functionals import is_speech_encoder
from pipeline.extraction.loop import ExtractionTally, Listener, extract_features
from pipeline.extraction.places import Places
from pipeline.extraction.scratch import Scratch
from pipeline.rows.utterances import Utterance, read_utterances_csv
from pipeline.settings import load_settings


@click.command()
@extract_visual.visual_options
@readable_errors
def main(places: Places, workers: engine.Workers, **options: Path | str | None) -> ExtractionTally:
    """Extract the visual features of a corpus, and do the work of extract_audio in the same pass over the files."""
    settings = load_settings(places.params).corpus(places.corpus).extract_audio
    if is_speech_encoder(settings.encoder):
        raise InputError(
            f"extract_audio.encoder is {settings.encoder}, a speech encoder, which hears groups of utterances: only "
            "openSMILE can hear the sound while the picture is read. Run extract_audio and extract_visual."
        )

    def listen(rows: list[Utterance], scratch: Scratch) -> Listener | None:
        extractor = extract_audio.make_extractor(rows, settings, places.raw, scratch, workers)
        return extract_audio.make_listener(rows, extractor, settings, scratch)

    tally = extract_visual.run(places, workers=workers, listen=listen, **options)
    rows = read_utterances_csv(places.table)
    with Scratch(places.scratch) as scratch:
        extractor = extract_audio.make_extractor(rows, settings, places.raw, scratch, workers)
        sound = extract_features(rows, extractor, read_utterances(places.utterances), scratch).tally
    console.print(
        f"extract_audio {places.corpus}: {sound.reused} heard with their picture or before, {sound.done} on their own, "
        f"{sound.failed} failed, {sound.absent} absent; kept for the stage"
    )
    return tally


if __name__ == "__main__":
    main()
