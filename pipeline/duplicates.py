"""Media files that are one and the same under several names: listed as problems, and kept for the protocol card."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pipeline.utterances import Problem, Utterance


def identical_files(raw: Path, names: Iterable[str]) -> list[list[str]]:
    """Groups of files with the same bytes, each in the order given; only files of one size are read.

    Args:
        raw: folder that the names are relative to.
        names: existing files.
    """
    by_size, by_content = defaultdict(list), defaultdict(list)
    for name in names:
        by_size[(raw / name).stat().st_size].append(name)
    for name in (name for same in by_size.values() if len(same) > 1 for name in same):
        with open(raw / name, "rb") as file:
            by_content[hashlib.file_digest(file, "sha256").digest()].append(name)
    return [same for same in by_content.values() if len(same) > 1]


def identical_clips(groups: Iterable[Sequence[str]]) -> list[Problem]:
    """One problem per copy (MELD has some, under different labels); the first of a group is not at fault."""
    return [
        Problem(where=copy, file=copy, problem=f"identical clips: same bytes as {first}", consequence="kept")
        for first, *copies in groups
        for copy in copies
    ]


def media_groups(utterances: Sequence[Utterance], groups: Iterable[Sequence[str]]) -> np.ndarray | None:
    """`media_group` of the store: rows of one file, or of files with the same bytes, share a number; -1 = no other row.

    Returns:
        [N] int64; None where no row has media.
    """
    files = [row.media or row.sound for row in utterances]
    if not any(files):
        return None
    first = {copy: group[0] for group in groups for copy in group}
    contents = [first.get(file, file) for file in files]
    several = [content for content, count in Counter(contents).items() if count > 1 and content]
    numbers = {content: number for number, content in enumerate(several)}
    return np.array([numbers.get(content, -1) for content in contents], dtype=np.int64)
