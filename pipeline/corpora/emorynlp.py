"""EmoryNLP (Zahiri and Choi, 2018) as the authors of MELD publish it: a CSV per split, and clips of Friends.

CSVs and clips are found by name wherever below the raw folder they lie; the CSVs alone give a text-only corpus. What to
put where is in data/raw/emorynlp/README.md.
"""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from dferc.core.console import console
from dferc.core.problems import Problem
from dferc.store.rows import Note
from pipeline.corpora import RawCorpus
from pipeline.corpora._published import (
    NAMES,
    Key,
    PublishedTable,
    count_problems,
    find_table,
    list_files,
    lump,
    read_table,
    show_counts,
)
from pipeline.rows.utterances import Utterance
from pipeline.settings import Prepare

CLASSES = ("joyful", "mad", "peaceful", "neutral", "sad", "powerful", "scared")
"""Class ids are positions here, in COSMIC's order."""

PUBLISHED = {
    "train": {"dialogues": 659, "utterances": 7551}
    | dict(zip(CLASSES, (1677, 785, 638, 2485, 474, 551, 941), strict=True)),
    "dev": {"dialogues": 89, "utterances": 954},
    "test": {"dialogues": 79, "utterances": 984} | dict(zip(CLASSES, (217, 86, 111, 288, 70, 96, 116), strict=True)),
}
"""Counts of the published CSVs; a dialogue is a scene."""

_KEY = ("Season", "Episode", "Scene_ID", "Utterance_ID")
_CLIP = re.compile(r"sea(\d+)_ep(\d+)_sc(\d+)_utt(\d+)\.mp4", re.IGNORECASE)
_LONGEST = 1000
"""Characters of a list of speakers; Python's parser is for short ones."""


def read(raw: Path, settings: Prepare) -> RawCorpus:
    """Read EmoryNLP's transcripts, labels and splits, and say where the clips are.

    Raises:
        InputError: a CSV is missing or faulty.
    """
    files = list_files(raw, "EmoryNLP")
    tables = {name: _read_table(raw, files, name) for name in NAMES}
    names = {name: str(table.path.relative_to(raw)) for name, table in tables.items()}
    clips, problems = _find_clips(raw, files)
    utterances = [row for name, table in tables.items() for row in _utterances(name, table, clips)]
    named = {key for table in tables.values() for key in table.rows}
    unused = [path for key, path in clips.items() if key not in named]
    counts = {name: _count(table) for name, table in tables.items()}
    differing = count_problems(counts, PUBLISHED, names)
    problems += [*lump("clips", unused, "no CSV row", "the clip is ignored"), *differing, *_empty(utterances)]
    show_counts("EmoryNLP", counts, PUBLISHED, {"clips": _clip_counts(tables, clips)})
    if not clips:
        console.print("No clips: a text-only corpus.")
    splits = "published splits"
    if differing:
        splits = f"own selection ({', '.join(f'{name} {len(tables[name].rows)}' for name in NAMES)} utterances)"
    return RawCorpus(
        classes=CLASSES,
        protocol=f"EmoryNLP, 7 emotions, {splits}",
        utterances=utterances,
        problems=problems,
        notes=[note for note in _notes(tables, len(unused)) if note.count],
    )


# ---------------------------------------------------------------------------------------------------- transcripts


def _read_table(raw: Path, files: Sequence[Path], name: str) -> PublishedTable:
    path = find_table(raw, files, f"emorynlp_{name}_final.csv", "EmoryNLP")
    return read_table(path, ("Utterance", "Speaker", "Emotion"), _KEY, _fault)


def _fault(row: Mapping[str, str]) -> str | None:
    if row["Emotion"].strip().lower() not in CLASSES:
        return f"unknown emotion {row['Emotion']!r}, expected one of {', '.join(CLASSES)}"
    try:
        speakers(row["Speaker"])
    except ValueError as error:
        return str(error)
    return None


def speakers(written: str) -> list[str]:
    """The names in a list written as Python does, "['Ross Geller']"; read as a literal, never executed.

    Raises:
        ValueError: it is no list of names.
    """
    try:
        names = ast.literal_eval(written.strip()) if len(written) <= _LONGEST else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"Speaker is {written[:80]!r}, expected a list of names such as \"['Ross Geller']\"")
    return [name.strip() for name in names]


def _utterances(name: str, table: PublishedTable, clips: Mapping[Key, PurePath]) -> Iterator[Utterance]:
    for key, row in table.rows.items():
        season, episode, scene, position = key
        dialogue = f"{name}_s{season}e{episode}_sc{scene}"
        yield Utterance(
            utterance_id=f"{dialogue}_utt{position}",
            dialogue_id=dialogue,
            position=position,
            speaker=", ".join(speakers(row["Speaker"])),
            emotion=row["Emotion"].strip().lower(),
            split=NAMES[name],
            text=row["Utterance"].strip(),
            media=_media(name, key, clips),
        )


# ---------------------------------------------------------------------------------------------------- clips


def _find_clips(raw: Path, files: Sequence[Path]) -> tuple[dict[Key, PurePath], list[Problem]]:
    """The clip of each utterance, relative to `raw`; its name tells it in the whole corpus."""
    candidates = defaultdict(list)
    for path in files:
        match = _CLIP.fullmatch(path.name)
        if match:
            candidates[tuple(map(int, match.groups()))].append(path.relative_to(raw))
    found = {key: sorted(paths, key=lambda path: (len(path.parts), path)) for key, paths in candidates.items()}
    repeated = [path for _, *others in found.values() for path in others]
    clips = {key: paths[0] for key, paths in found.items()}
    return clips, lump("clips", repeated, "clip found twice", "the copy nearest to the top is used")


def _media(name: str, key: Key, clips: Mapping[Key, PurePath]) -> str:
    """Path of a clip, or where it should be; empty in a corpus without any clips."""
    if not clips:
        return ""
    season, episode, scene, position = key
    expected = PurePath(f"emorynlp_{name}_splits", f"sea{season}_ep{episode}_sc{scene}_utt{position}.mp4")
    return clips.get(key, expected).as_posix()


def _clip_counts(tables: Mapping[str, PublishedTable], clips: Mapping[Key, PurePath]) -> list[str]:
    return [str(sum(key in clips for key in table.rows)) for table in tables.values()]


# ---------------------------------------------------------------------------------------------------- self-check


def _count(table: PublishedTable) -> dict[str, int]:
    classes = Counter(row["Emotion"].strip().lower() for row in table.rows.values())
    return {
        "dialogues": len({key[:3] for key in table.rows}),
        "utterances": len(table.rows),
        **{name: classes[name] for name in CLASSES},
    }


def _empty(utterances: Sequence[Utterance]) -> list[Problem]:
    return [
        Problem(where=row.utterance_id, file="", problem="empty transcript", consequence="kept, text empty")
        for row in utterances
        if not row.text
    ]


def _notes(tables: Mapping[str, PublishedTable], unused: int) -> Iterator[Note]:
    rows = [row for table in tables.values() for row in table.rows.values()]
    together = sum(len(speakers(row["Speaker"])) > 1 for row in rows)
    mended = sum(table.mended for table in tables.values())
    yield Note(action="repaired", what="lines of the CSVs", count=mended, why="cp1252 punctuation, now Unicode's")
    yield Note(action="dropped", what="clips", count=unused, why="no row of the CSVs names them")
    yield Note(
        action="merged",
        what="utterances of several speakers",
        count=together,
        why="their names together count as one speaker",
    )
