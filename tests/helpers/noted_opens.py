"""Workers of the stages that note which media files they open: each process imports this, and with it the notes."""

import os
from pathlib import Path

from pipeline.audio import functionals
from pipeline.faces import speaker_face
from pipeline.media import files as media
from pipeline.media import pictures, sound

_open_media = media.open_media


def _noting(path, *device):
    descriptor = os.open(Path(path).parent / "opened.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{Path(path).name}\n".encode())
    os.close(descriptor)
    return _open_media(path, *device)


pictures.open_media = sound.open_media = _noting


class AudioWorker(functionals.AudioWorker):
    """The stage's own."""


class FaceWorker(speaker_face.FaceWorker):
    """The stage's own."""
