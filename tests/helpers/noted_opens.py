"""Media files that are opened, noted: a worker of a stage is made with `noting`, in whatever process it is made."""

import functools
import importlib
import os
from collections.abc import Callable
from pathlib import Path

from pipeline.media import files as media
from pipeline.media import pictures, sound


def noting(module: str, worker: str, *arguments: object) -> Callable:
    """Return a worker of a stage, whose process from now on notes in opened.txt beside a file that it opens it."""

    @functools.wraps(media.open_media)
    def open_media(path, *device):
        descriptor = os.open(Path(path).parent / "opened.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{Path(path).name}\n".encode())
        os.close(descriptor)
        return media.open_media(path, *device)

    pictures.open_media = sound.open_media = open_media
    return getattr(importlib.import_module(module), worker)(*arguments)
