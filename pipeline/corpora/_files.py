"""Files of a published corpus: its clips, converted ones too, and what nothing is taken from."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dferc.core.errors import listed
from dferc.core.problems import NOT_USED, Problem
from pipeline.media.files import MEDIA_SUFFIXES, SOUND_SUFFIXES, holds_media

_SUFFIXES = 8  # kinds that the problem names; the others are counted


def first_clip(paths: Sequence[Path], suffix: str) -> Path | None:
    """Return the first of some files that is a clip: of the published suffix, else one of another that holds media.

    So a conversion (.mkv, or the sound alone as .wav) stands for a published clip that is not there. Other suffixes are
    not looked into: among thousands of arrays FFmpeg takes some for raw H.263.
    """
    published = [path for path in paths if path.suffix.lower() == suffix]
    paths = sorted(paths, key=lambda path: path.suffix.lower() in SOUND_SUFFIXES)  # pictures have sound as well
    converted = (path for path in paths if path.suffix.lower() in MEDIA_SUFFIXES and holds_media(path))
    return next(iter(published or converted), None)


def all_files(raw: Path) -> Iterator[Path]:
    """Yield what is no folder below a folder and below those that it links to, each folder once; nothing is opened."""
    walked = set()
    for place, folders, names in os.walk(raw, followlinks=True):
        if (real := os.path.realpath(place)) in walked:
            folders.clear()  # a link to a folder above
            continue
        walked.add(real)
        yield from (Path(place, name) for name in names)


def remaining_files(raw: Path, used: Iterable[Path]) -> Iterator[Problem]:
    """Yield one problem for all files below a folder that are not used, hidden ones too: README, .DS_Store and others.

    Links to folders are followed, each folder once. No file is opened.
    """
    used = set(used)
    if found := [path for path in all_files(raw) if path not in used]:
        kinds = Counter("hidden" if path.name.startswith(".") else path.suffix.lower() or path.name for path in found)
        ordered = sorted(kinds, key=lambda kind: (-kinds[kind], kind))
        counts = listed([f"{kind} {kinds[kind]}" for kind in ordered], _SUFFIXES)
        where = min(found).relative_to(raw).as_posix()
        yield Problem(raw.name, where, f"files not used: {len(found)} ({counts})", NOT_USED)
