"""Files below a raw folder: which are media, and which are not used."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dferc.core.problems import Problem
from pipeline.media.files import MEDIA_SUFFIXES, holds_media

_LISTED = 20  # files that a problem names; the others are counted
_LINK = "links to folders, which are not followed; put the files there"
_OTHERS = frozenset(
    ".srt .vtt .ass .ssa .sub .idx .txt .csv .tsv .jsonl .json .xml .html .md .pdf .nfo .url .log .dvc "
    ".jpg .jpeg .png .gif .webp .bmp .heic .parquet .npz .npy .h5 .pkl .zip .xlsx .docx .part".split()
)
"""Suffixes of files that accompany media."""


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
            yield Problem(raw.name, names[0], f"{kind}: {len(names)} ({', '.join(names[:_LISTED])}{more})", "not used")
