"""EmoryNLP (Zahiri and Choi, 2018) as the authors of MELD publish it: a CSV per split, and clips of Friends.

CSVs and clips are found by name anywhere below the raw folder; the CSVs alone give a text-only corpus.
data/raw/emorynlp/README.md lists the files, docs/data.md the facts of the corpus.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from dferc.core.console import console
from dferc.core.errors import Problem
from dferc.store.rows import Note
from pipeline.corpora import RawCorpus
from pipeline.corpora import _published_csv as csvs
from pipeline.corpora._files import first_clip
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
_CLIP, _SUFFIX = re.compile(r"sea(\d+)_ep(\d+)_sc(\d+)_utt(\d+)", re.IGNORECASE), ".mp4"
_LONGEST_LIST = 1000  # most characters of a list of speakers; longer ones are not given to Python's parser


def read(raw: Path, settings: Prepare) -> RawCorpus:
    """Read EmoryNLP's transcripts, labels, splits, and the paths of its clips."""
    files = csvs.list_files(raw, "EmoryNLP")
    paths = csvs.find_tables(raw, files, "emorynlp_{}_final.csv", "EmoryNLP")
    columns = ("Utterance", "Speaker", "Emotion")
    tables = {split: csvs.read_published(path, columns, _KEY, _fault) for split, path in paths.items()}
    clips, problems = _find_clips(raw, files)
    utterances = [row for split, table in tables.items() for row in _utterances(split, table, clips)]
    named = {key for table in tables.values() for key in table.rows}
    unused = [path for key, path in clips.items() if key not in named]
    problems += csvs.grouped_problem("clips", unused, "no CSV row", "the clip is ignored")
    counts = csvs.count_labels(tables, 3, "Emotion", CLASSES)
    names = {split: str(path.relative_to(raw)) for split, path in paths.items()}
    named_clips = [sum(key in clips for key in table.rows) for table in tables.values()]
    splits, differing = csvs.compare_counts("EmoryNLP", counts, PUBLISHED, names, {"clips": named_clips})
    empty = [row.utterance_id for row in utterances if not row.text]
    problems += differing + [Problem(name, "", "empty transcript", "kept, text empty") for name in empty]
    if not clips:
        console.print("No clips: a text-only corpus.")
    several = sum(len(speakers(row["Speaker"])) > 1 for table in tables.values() for row in table.rows.values())
    what, why = "utterances of several speakers", "their names together count as one speaker"
    return RawCorpus(
        classes=CLASSES,
        protocol=f"EmoryNLP, 7 emotions, {splits}",
        utterances=utterances,
        problems=problems,
        tables=paths.values(),
        notes=csvs.nonzero_notes(tables, len(unused), Note(action="merged", what=what, count=several, why=why)),
    )


def _fault(row: Mapping[str, str]) -> str | None:
    """Describe an unknown emotion, or a list of speakers that is none."""
    written = row["Speaker"]
    no_list = f"Speaker is {written[:80]!r}, expected a list of names such as \"['Ross Geller']\""
    return csvs.label_fault(row, "Emotion", CLASSES) or (None if speakers(written) else no_list)


def speakers(written: str) -> list[str]:
    """Return the names in a list in Python's notation, "['Ross Geller']", never executed; none for anything else."""
    try:
        names = ast.literal_eval(written.strip()) if len(written) <= _LONGEST_LIST else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        names = None
    valid = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return [name.strip() for name in names] if valid else []


def _utterances(split: str, table: csvs.PublishedTable, clips: Mapping[csvs.Key, PurePath]) -> Iterator[Utterance]:
    """Yield the utterances of one split."""
    for (season, episode, scene, position), row in table.rows.items():
        dialogue = f"{split}_s{season}e{episode}_sc{scene}"
        expected = PurePath(f"emorynlp_{split}_splits", f"sea{season}_ep{episode}_sc{scene}_utt{position}{_SUFFIX}")
        yield Utterance(
            utterance_id=f"{dialogue}_utt{position}",
            dialogue_id=dialogue,
            position=position,
            speaker=", ".join(speakers(row["Speaker"])),
            emotion=csvs.label_of(row, "Emotion"),
            split=csvs.NAMES[split],
            text=row["Utterance"].strip(),
            media=clips.get((season, episode, scene, position), expected).as_posix() if clips else "",
        )


def _find_clips(raw: Path, files: Sequence[Path]) -> tuple[dict[csvs.Key, PurePath], list[Problem]]:
    """Return the clip of each utterance, relative to `raw`; clip names are unique in the whole corpus."""
    candidates = defaultdict(list)
    for path in files:
        if match := _CLIP.fullmatch(path.stem):
            candidates[tuple(map(int, match.groups()))].append(path)
    clips, repeated = {}, []
    for key, paths in candidates.items():
        if (best := first_clip(sorted(paths, key=lambda path: (len(path.parts), path)), _SUFFIX)) is not None:
            clips[key] = best.relative_to(raw)
            repeated += [path for path in paths if path != best and path.suffix.lower() == best.suffix.lower()]
    return clips, csvs.grouped_problem("clips", repeated, "clip found twice", "the copy nearest to the top is used")
