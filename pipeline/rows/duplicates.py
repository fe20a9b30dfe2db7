"""Identical media files under several names, as problems, notes and groups."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dferc.core.errors import Problem
from dferc.core.files import file_hash
from dferc.store.rows import Note
from pipeline.rows.utterances import Utterance


def identical_files(raw: Path, names: Iterable[str]) -> list[list[str]]:
    """Group existing files below `raw` that have the same bytes; only files of equal size are read."""
    by_size, by_content = defaultdict(list), defaultdict(list)
    for name in names:
        by_size[(raw / name).stat().st_size].append(name)
    for name in (name for group in by_size.values() if len(group) > 1 for name in group):
        by_content[file_hash(raw / name)].append(name)
    return [group for group in by_content.values() if len(group) > 1]


def identical_clips(
    groups: Iterable[Sequence[str]], utterances: Sequence[Utterance]
) -> tuple[list[Problem], list[Note]]:
    """List each copy as a problem, with the labels where they differ (MELD has such); the first file is no problem.

    The note counts copies and conflicting labels for the protocol card; there is none without copies.
    """
    labels = labels_of(utterances)
    problems, conflicts = [], 0
    for first, copy in ((first, copy) for first, *copies in groups for copy in copies):
        differ = f", labelled {labels[copy]}; the earlier one: {labels[first]}" if labels[copy] != labels[first] else ""
        problems.append(Problem(copy, copy, f"identical clips: same bytes as {first}", f"kept{differ}"))
        conflicts += bool(differ)
    why = f"{conflicts} of them under another label than the earlier one"
    note = Note(action="kept", what="clips with the bytes of an earlier one", count=len(problems), why=why)
    return problems, [note] if problems else []


def labels_of(utterances: Sequence[Utterance]) -> dict[str, str]:
    """Return the label of each file, in words; all labels where several utterances share it."""
    labels = defaultdict(dict)
    for row in utterances:
        for file in {row.media, row.sound} - {""}:
            labels[file][row.emotion or "not at all"] = None
    return {file: ", ".join(names) for file, names in labels.items()}


def media_groups(utterances: Sequence[Utterance], groups: Iterable[Sequence[str]]) -> np.ndarray | None:
    """Return a number per row [N] int64, equal for equal media, -1 for media of no other row; None without media."""
    files = [row.media or row.sound for row in utterances]
    if not any(files):
        return None
    first = {copy: group[0] for group in groups for copy in group}
    contents = [first.get(file, file) for file in files]
    several = [content for content, count in Counter(contents).items() if count > 1 and content]
    numbers = {content: number for number, content in enumerate(several)}
    return np.array([numbers.get(content, -1) for content in contents], dtype=np.int64)
