"""extract_visual, counting: see `tests.helpers.counting`."""

import sys

from pipeline import extract_visual
from pipeline.faces import speaker_face
from tests.helpers import counting


class CountedFaceWorker(speaker_face.FaceWorker):
    """The stage's worker, counted."""

    def __call__(self, parts):
        for part in parts:
            counting.note(part.path)
        return super().__call__(parts)


def main() -> None:
    """Run the stage; the command line is its own."""
    speaker_face.FaceWorker = CountedFaceWorker
    extract_visual.main(sys.argv[1:])
