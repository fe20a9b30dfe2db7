"""extract_audio, counting: see `tests.helpers.counting`."""

import sys

from pipeline import extract_audio
from pipeline.audio import functionals
from tests.helpers import counting


class CountedAudioWorker(functionals.AudioWorker):
    """The stage's worker, counted."""

    def __call__(self, item):
        counting.note(item[0])
        return super().__call__(item)


def main() -> None:
    """Run the stage; the command line is its own."""
    functionals.AudioWorker = CountedAudioWorker
    extract_audio.main(sys.argv[1:])
