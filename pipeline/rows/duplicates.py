"""Media files that are one and the same under several names: listed as problems, and kept for the protocol card."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dferc.core.problems import Problem
from dferc.store.rows import Note
from pipeline.rows.utterances import Utterance


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


def identical_clips(groups: Iterable[Sequence[str]], utterances: Sequence[Utterance]) -> list[Problem]:
    """One problem per copy, with the labels where they differ (MELD has such); the first of a group is not at fault."""
    labels = labels_of(utterances)
    return [
        Problem(where=copy, file=copy, problem=f"identical clips: same bytes as {first}", consequence=consequence)
        for first, *copies in groups
        for copy in copies
        for consequence in [_kept(labels[copy], labels[first])]
    ]


def _kept(label: str, earlier: str) -> str:
    return "kept" if label == earlier else f"kept, labelled {label}; the earlier one: {earlier}"


def labels_of(utterances: Sequence[Utterance]) -> dict[str, str]:
    """The label of each file, in words; of several utterances in one file, all of them."""
    labels = defaultdict(dict)
    for row in utterances:
        for file in {row.media, row.sound} - {""}:
            labels[file][row.emotion or "not at all"] = None
    return {file: ", ".join(names) for file, names in labels.items()}


def identical_note(groups: Sequence[Sequence[str]], utterances: Sequence[Utterance]) -> list[Note]:
    """The same for the protocol card: how many copies, and how many conflict; empty without copies."""
    labels = labels_of(utterances)
    copies = [(copy, first) for first, *others in groups for copy in others]
    conflicts = sum(labels[copy] != labels[first] for copy, first in copies)
    why = f"{conflicts} of them under another label than the earlier one"
    note = Note(action="kept", what="clips with the bytes of an earlier one", count=len(copies), why=why)
    return [note] if copies else []


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
