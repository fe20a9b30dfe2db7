"""Oddities of MELD's published rows: one span of an episode under several labels, or in several splits."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dferc.core.problems import Problem
from dferc.store.rows import Note
from dferc.store.vocabulary import SPLITS
from pipeline.corpora._published_csv import NAMES, Key
from pipeline.rows.utterances import Utterance


class MeldRow(NamedTuple):
    """A row of the CSVs."""

    utterance: Utterance  # the row as `prepare` needs it
    clip: Key  # dialogue and utterance in its clip's name; rows of the dyadic variant share clips
    span: tuple[str, ...] | None  # season, episode, begin and end; None where the CSV lacks them


def check_rows(rows: Sequence[MeldRow], files: Mapping[str, str]) -> tuple[list[Problem], list[Note]]:
    """List empty transcripts, repeated rows, and spans of an episode that several clips share; `files` has the CSVs."""
    spans = defaultdict(dict)
    for utterance, clip, span in rows:
        if span is not None:
            spans[span].setdefault((utterance.split, clip), utterance)  # once, if in several dyadic dialogues
    groups = [list(clips.values()) for clips in spans.values()]
    parts = [[row for row in group if row.split == split] for split in SPLITS for group in groups]
    within = [part for part in parts if len(part) > 1]
    across = [group for group in groups if len({row.split for row in group}) > 1]  # the scenes themselves overlap

    empty = [row.utterance for row in rows if not row.utterance.text]
    faults = [(row, "empty transcript", "kept, text empty") for row in empty]
    for kind, shared in (("same times", within), ("same times in two splits", across)):
        for first, *others in shared:
            labels = ", ".join(row.emotion for row in (first, *others))
            ids = ", ".join(row.utterance_id for row in others)
            faults.append((first, f"{kind}: as {ids}", f"kept, labelled {labels}"))
    file_of = {split: files[name] for name, split in NAMES.items()}
    problems = [Problem(row.utterance_id, file_of[row.split], *fault) for row, *fault in faults]

    conflicting = sum(len({row.emotion for row in part}) > 1 for part in within)
    overlap = "the two-speaker dialogues are cut out of longer ones and overlap"
    repeated = len(rows) - len({(row.utterance.split, row.clip) for row in rows})
    differing = f"as published; {conflicting} of {len(within)} such spans carry different labels"
    scenes = "; ".join(" = ".join(row.utterance_id for row in group) for group in across[:5])
    kept = (
        ("rows that repeat an utterance of another dialogue", repeated, overlap),
        ("rows that share their time span with another of their split", sum(map(len, within)), differing),
        ("time spans that stand in two splits", len(across), f"as published; {scenes}"),
    )
    return problems, [Note(action="kept", what=what, count=count, why=why) for what, count, why in kept]
