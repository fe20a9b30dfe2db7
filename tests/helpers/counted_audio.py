"""extract_audio, counting: see `tests.helpers.counting`."""

import sys

from pipeline import extract_audio
from pipeline.audio import functionals as sounds
from tests.helpers import counting

_functionals = sounds.functionals


def functionals(item):
    """`extract_audio.functionals`, counted."""
    counting.note(item[0])
    return _functionals(item)


def main() -> None:
    """The command line is the stage's own."""
    sounds.functionals = functionals
    extract_audio.main(sys.argv[1:])
