"""Oddities of MELD's published rows: one span of an episode under several labels, or in several splits."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from dferc.core.problems import Problem
from dferc.store.rows import Note
from dferc.store.vocabulary import SPLITS
from pipeline.corpora._published_csv import NAMES, Key
from pipeline.rows.utterances import Utterance


class MeldRow(NamedTuple):
    """A row of the CSVs.

    Attributes:
        utterance: the row as `prepare` needs it.
        clip: dialogue and utterance in its clip's name; rows of the dyadic variant share clips.
        span: season, episode, begin and end; None where the CSV lacks them.
    """

    utterance: Utterance
    clip: Key
    span: tuple[str, ...] | None


Group = list[Utterance]
"""Utterances of different clips on one span."""


def check_rows(rows: Sequence[MeldRow], files: Mapping[str, str]) -> list[Problem]:
    """List empty transcripts, and spans that several clips share; `files` has the CSV of each split (MELD's name)."""
    file_of = {split: files[name] for name, split in NAMES.items()}

    def problem_of(row: Utterance, problem: str, consequence: str) -> Problem:
        return Problem(where=row.utterance_id, file=file_of[row.split], problem=problem, consequence=consequence)

    empty = (row.utterance for row in rows if not row.utterance.text)
    problems = [problem_of(utterance, "empty transcript", "kept, text empty") for utterance in empty]
    groups = shared_spans(rows)
    kinds = {"same times": within_splits(groups), "same times in two splits": across_splits(groups)}
    for kind, spans in kinds.items():
        for first, *others in spans:
            labels = ", ".join(row.emotion for row in (first, *others))
            names = ", ".join(row.utterance_id for row in others)
            problems.append(problem_of(first, f"{kind}: as {names}", f"kept, labelled {labels}"))
    return problems


def shared_spans(rows: Sequence[MeldRow]) -> list[Group]:
    """Group different clips of the same span of an episode; a clip in several dyadic dialogues counts once."""
    spans = defaultdict(dict)
    for utterance, clip, span in rows:
        if span is not None:
            spans[span].setdefault((utterance.split, clip), utterance)
    return [list(clips.values()) for clips in spans.values() if len(clips) > 1]


def within_splits(groups: Sequence[Group]) -> list[Group]:
    """Return the parts of the groups that are in one split."""
    parts = [[row for row in group if row.split == split] for split in SPLITS for group in groups]
    return [part for part in parts if len(part) > 1]


def across_splits(groups: Sequence[Group]) -> list[Group]:
    """Return the groups that are in several splits: the scenes themselves overlap."""
    return [group for group in groups if len({row.split for row in group}) > 1]


def span_notes(rows: Sequence[MeldRow]) -> Iterator[Note]:
    """Yield notes on repeated rows and shared spans, for the protocol card."""
    groups = shared_spans(rows)
    within, across = within_splits(groups), across_splits(groups)
    conflicting = sum(len({row.emotion for row in group}) > 1 for group in within)
    yield Note(
        action="kept",
        what="rows that repeat an utterance of another dialogue",
        count=len(rows) - len({(row.utterance.split, row.clip) for row in rows}),
        why="the two-speaker dialogues are cut out of longer ones and overlap",
    )
    yield Note(
        action="kept",
        what="rows that share their time span with another of their split",
        count=sum(map(len, within)),
        why=f"as published; {conflicting} of {len(within)} such spans carry different labels",
    )
    yield Note(
        action="kept",
        what="time spans that stand in two splits",
        count=len(across),
        why=f"as published; {'; '.join(' = '.join(row.utterance_id for row in group) for group in across[:5])}",
    )
