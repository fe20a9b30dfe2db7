"""Files below a raw folder: which are media, a published corpus' clips, and what nothing is taken from."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dferc.core.errors import NOT_USED, Problem, listed
from pipeline.media.files import MEDIA_SUFFIXES, SOUND_SUFFIXES, holds_media

_SUFFIXES = 8  # kinds that the problem of a published corpus names; the others are counted
_LISTED = 20  # files that a problem of own files names; the others are counted
_LINK = "links to folders, which are not followed; put the files there"
_OTHERS = frozenset(
    ".srt .vtt .ass .ssa .sub .idx .txt .csv .tsv .jsonl .json .xml .html .md .pdf .nfo .url .log .dvc "
    ".jpg .jpeg .png .gif .webp .bmp .heic .parquet .npz .npy .h5 .pkl .zip .xlsx .docx .part".split()
)
"""Suffixes of files that accompany media."""


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


def walk(raw: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk like `os.walk` through a folder and those that it links to, but into none above or entered already."""
    for place, folders, names in os.walk(raw, followlinks=True):
        above = [Path(os.path.realpath(folder)) for folder in (place, *Path(place).parents)]
        real = {name: os.path.realpath(os.path.join(place, name)) for name in folders}
        folders[:] = [name for name in folders if not any(folder.is_relative_to(real[name]) for folder in above)]
        yield place, folders, names


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


def files_below(raw: Path) -> list[Path]:
    """Return all files below a folder in the order of their names, without hidden ones such as macOS's `._*`.

    Links to folders are among them, and not followed.
    """
    found = []
    for folder, folders, names in os.walk(raw):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
        found += [Path(folder, name) for name in folders if os.path.islink(os.path.join(folder, name))]
    return sorted(found)


def is_media(path: Path) -> bool:
    """Return whether a file is media: by its suffix in any case of letters, else by what it holds."""
    return _has_media_suffix(path) or path.suffix.lower() not in _OTHERS and holds_media(path)


def media_among(files: Sequence[Path]) -> list[Path]:
    """Return the files with a suffix of media; if none has one, those that hold media."""
    return list(filter(_has_media_suffix, files)) or list(filter(is_media, files))


def _has_media_suffix(path: Path) -> bool:
    return path.suffix.lower() in MEDIA_SUFFIXES


def unused_files(raw: Path, used: Iterable[Path], reason: str) -> Iterator[Problem]:
    """Yield one problem for all media that no row uses, for `reason`; one for what is no file, one for other files."""
    kinds: dict[str, list[str]] = {reason: [], _LINK: [], "no regular file": [], "files not used": []}
    used = set(used)
    for path in files_below(raw):
        if path.is_dir():
            kinds[_LINK].append(path.relative_to(raw).as_posix())
        elif not path.is_file():  # a FIFO, a socket, a device, a link to nothing: it is not opened
            kinds["no regular file"].append(path.relative_to(raw).as_posix())
        elif path not in used:
            kinds[reason if is_media(path) else "files not used"].append(path.relative_to(raw).as_posix())
    for kind, names in kinds.items():
        if names:
            more = f", … and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            yield Problem(raw.name, names[0], f"{kind}: {len(names)} ({', '.join(names[:_LISTED])}{more})", NOT_USED)
