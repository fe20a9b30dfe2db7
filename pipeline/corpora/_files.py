"""Files of a published corpus that nothing is taken from: counted by suffix, in one problem."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from dferc.core.errors import listed
from dferc.core.problems import NOT_USED, Problem

_SUFFIXES = 8  # kinds that the problem names; the others are counted


def remaining_files(raw: Path, used: Iterable[Path]) -> Iterator[Problem]:
    """Yield one problem for all files below a folder that are not used, hidden ones too: README, .DS_Store and others.

    Links to folders are followed, each folder once. No file is opened.
    """
    used, seen, found = set(used), set(), []
    for folder, folders, names in os.walk(raw, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        found += [path for name in names if (path := Path(folder, name)) not in used]
    if found:
        kinds = Counter("hidden" if path.name.startswith(".") else path.suffix.lower() or path.name for path in found)
        ordered = sorted(kinds, key=lambda kind: (-kinds[kind], kind))
        counts = listed([f"{kind} {kinds[kind]}" for kind in ordered], _SUFFIXES)
        where = min(found).relative_to(raw).as_posix()
        yield Problem(raw.name, where, f"files not used: {len(found)} ({counts})", NOT_USED)
