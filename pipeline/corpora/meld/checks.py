"""What is odd about MELD's rows, though published so: one stretch of an episode under several labels or splits."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from dferc.core.problems import Problem
from dferc.store.rows import Note
from dferc.store.vocabulary import SPLITS
from pipeline.corpora._published import NAMES, Key
from pipeline.rows.utterances import Utterance


class Turn(NamedTuple):
    """A row of the CSVs.

    Attributes:
        utterance: as prepare wants it.
        clip: dialogue and utterance in its clip's name; rows of the dyadic variant share clips.
        span: season, episode, begin and end; None where the CSV does not say.
    """

    utterance: Utterance
    clip: Key
    span: tuple[str, ...] | None


Group = list[Utterance]
"""Utterances of different clips on one span."""


def check_turns(turns: Sequence[Turn], files: Mapping[str, str]) -> list[Problem]:
    """Empty transcripts, and spans that several clips stand for.

    Args:
        turns: all rows.
        files: the CSV of each split, in MELD's name of the split.
    """
    file_of = {split: files[name] for name, split in NAMES.items()}
    empty = [turn.utterance for turn in turns if not turn.utterance.text]
    problems = [_problem(row, file_of, "empty transcript", "kept, text empty") for row in empty]
    groups = shared_spans(turns)
    kinds = {"same times": within_splits(groups), "same times in two splits": across_splits(groups)}
    for kind, found in kinds.items():
        for first, *others in found:
            labels = ", ".join(row.emotion for row in (first, *others))
            names = ", ".join(row.utterance_id for row in others)
            problems.append(_problem(first, file_of, f"{kind}: as {names}", f"kept, labelled {labels}"))
    return problems


def _problem(row: Utterance, file_of: Mapping[str, str], problem: str, consequence: str) -> Problem:
    return Problem(where=row.utterance_id, file=file_of[row.split], problem=problem, consequence=consequence)


def shared_spans(turns: Sequence[Turn]) -> list[Group]:
    """Different clips of one and the same stretch of an episode; a clip in several dyadic dialogues counts once."""
    spans = defaultdict(dict)
    for utterance, clip, span in turns:
        if span is not None:
            spans[span].setdefault((utterance.split, clip), utterance)
    return [list(same.values()) for same in spans.values() if len(same) > 1]


def within_splits(groups: Sequence[Group]) -> list[Group]:
    """Their parts that stand in one split."""
    parts = [[row for row in same if row.split == split] for split in SPLITS for same in groups]
    return [part for part in parts if len(part) > 1]


def across_splits(groups: Sequence[Group]) -> list[Group]:
    """Those that stand in several splits: the scenes themselves overlap."""
    return [same for same in groups if len({row.split for row in same}) > 1]


def describe_turns(turns: Sequence[Turn], mended: int, unnamed: int) -> list[Note]:
    """What the protocol card says of MELD.

    Args:
        turns: all rows.
        mended: lines whose encoding was repaired.
        unnamed: clips without a row.
    """
    return [note for note in _notes(turns, mended, unnamed) if note.count]


def _notes(turns: Sequence[Turn], mended: int, unnamed: int) -> Iterator[Note]:
    groups = shared_spans(turns)
    within, across = within_splits(groups), across_splits(groups)
    conflicting = sum(len({row.emotion for row in same}) > 1 for same in within)
    repeated = len(turns) - len({(turn.utterance.split, turn.clip) for turn in turns})
    yield Note(action="repaired", what="lines of the CSVs", count=mended, why="cp1252 punctuation, now Unicode's")
    yield Note(action="dropped", what="clips", count=unnamed, why="no row of the CSVs names them")
    yield Note(
        action="kept",
        what="rows that repeat an utterance of another dialogue",
        count=repeated,
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
        why=f"as published; {'; '.join(' = '.join(row.utterance_id for row in same) for same in across[:5])}",
    )
