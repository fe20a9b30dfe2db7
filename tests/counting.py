"""Stages whose workers count what they begin: for tests that kill them, and ask how much was done twice."""

import os
import sys
from pathlib import Path

from pipeline import extract_audio

_functionals = extract_audio.functionals
_LINE = "{:8}\n"


def functionals(item):
    """`extract_audio.functionals`, with a line in begun.txt beside the clip: this process's id; it outlives a kill."""
    descriptor = os.open(Path(item[0]).parent / "begun.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, _LINE.format(os.getpid()).encode())
    os.close(descriptor)
    return _functionals(item)


def begun(folder: Path) -> list[int]:
    """Process ids of what was begun, an entry for each utterance each time."""
    try:
        return [int(line) for line in (folder / "begun.txt").read_text().split()]
    except FileNotFoundError:
        return []


def main() -> None:
    """extract_audio, counting; the command line is its own."""
    extract_audio.functionals = functionals
    extract_audio.main(sys.argv[1:])
