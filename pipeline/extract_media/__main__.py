"""Sound and picture of a corpus in one pass over its files: stage extract_visual, and the work of extract_audio.

`dvc repro` runs the two as stages of their own, so that another setting of one repeats nothing of the other, and each
reads a file once. Where reading is slow (a network drive, a tape), this command reads it once for both: it writes the
visual features, and keeps what openSMILE makes of the sound as finished work, which `extract_audio` finds. Both stages
then give the same bytes as ever, without another look at a file whose sound was heard on the way.
"""

from pathlib import Path

import click

from dferc import engine
from dferc.core.console import console, readable_errors
from dferc.core.errors import InputError
from pipeline import extract_audio, extract_visual
from pipeline.audio.functionals import is_speech_encoder
from pipeline.extraction.loop import ExtractionTally, Listener
from pipeline.extraction.places import Places
from pipeline.extraction.scratch import Scratch
from pipeline.rows.utterances import Utterance
from pipeline.settings import load_settings


@click.command()
@extract_visual.visual_options
@readable_errors
def main(places: Places, workers: engine.Workers, **options: Path | str | None) -> ExtractionTally:
    """Extract the visual features of a corpus, and leave openSMILE's values of the same pass to extract_audio."""
    settings = load_settings(places.params).corpus(places.corpus).extract_audio
    if is_speech_encoder(settings.encoder):
        raise InputError(
            f"extract_audio.encoder is {settings.encoder}, a speech encoder, which hears groups of utterances: only "
            "openSMILE can hear the sound while the picture is read. Run extract_audio and extract_visual."
        )

    def listen(rows: list[Utterance], scratch: Scratch) -> Listener | None:
        extractor = extract_audio.make_extractor(rows, settings, places.raw, scratch, workers)
        listener = extract_audio.make_listener(rows, extractor, settings, scratch)
        console.print(f"extract_audio {places.corpus}: {len(listener.keys) if listener else 0} utterances to be heard")
        return listener

    return extract_visual.run(places, workers=workers, listen=listen, **options)


if __name__ == "__main__":
    main()
