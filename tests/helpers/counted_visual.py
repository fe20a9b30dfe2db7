"""extract_visual, counting: see `tests.helpers.counting`."""

import sys

from pipeline import extract_visual
from pipeline.faces import speaker_face
from tests.helpers import counting

_cut_faces = speaker_face.cut_faces


def cut_faces(looks):
    """`speaker_face.cut_faces`, counted."""
    for look in looks:
        counting.note(look.path)
    return _cut_faces(looks)


def main() -> None:
    """The command line is the stage's own."""
    extract_visual.cut_faces = cut_faces
    extract_visual.main(sys.argv[1:])
