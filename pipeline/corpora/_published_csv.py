"""CSVs that authors publish, one per split: found by name, checked, their encoding mended, their counts compared."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from rich.text import Text

from dferc.core.console import print_note, print_table
from dferc.core.errors import InputError, Problem
from dferc.core.files import file_hash
from dferc.core.tables import swallowed_rows
from dferc.store.cells import CP1252
from dferc.store.rows import Note
from dferc.store.vocabulary import SPLITS
from pipeline.corpora import refuse
from pipeline.corpora._files import walk

NAMES = dict(zip(("train", "dev", "test"), SPLITS, strict=True))  # the authors' name of each split, and ours
Key = tuple[int, ...]  # the numbers that name a row, unique within a split
SplitCounts = Mapping[str, Mapping[str, int]]  # counts by name, per split (the authors' name)

# What an apostrophe, quotes, dashes and dots become: UTF-8 decoded as cp1252; MacRoman and GBK decoded as Latin-1.
_FOREIGN = re.compile("â€|Ã[\x80-\xbf]|[¡¢£]\xad|¡[¯®°±\xad\xaa]|(?<=[A-Za-z])[ÐÑÒÓÔÕ](?=[a-z]|$)|\ufffd")


class PublishedTable(NamedTuple):
    """Rows of one split's CSV in order of their keys, and the number of lines whose encoding was mended."""

    rows: dict[Key, dict[str, str]]
    mended: int


def list_files(raw: Path, corpus: str) -> list[Path]:
    """List all files below `raw`, sorted, without macOS's `._*`; linked folders are followed."""
    if not raw.is_dir():
        readme = f"data/raw/{corpus.lower()}/README.md"
        raise InputError(f"{raw}: no such folder. Put {corpus} there ({readme} says what), or name it with --raw.")
    return sorted(Path(folder, name) for folder, _, names in walk(raw) for name in names if not name.startswith("._"))


def find_tables(
    raw: Path, files: Sequence[Path], pattern: str, corpus: str, hashes: Collection[str] = ()
) -> dict[str, Path]:
    """Return the CSV of each split, named by a pattern; of several, one with a known hash, or any if all are equal."""
    tables = {}
    for split in NAMES:
        wanted = pattern.format(split)
        named = [path for path in files if path.name.lower() == wanted]
        if not named:
            present = ", ".join(str(path.relative_to(raw)) for path in files[:5]) or "nothing"
            raise InputError(
                f"{raw}: no {wanted} anywhere below it (found {len(files)} file(s): {present}). {corpus}'s three CSVs "
                f"are needed; data/raw/{corpus.lower()}/README.md says where to get them."
            )
        contents = {path: file_hash(path) for path in named}
        known = [path for path in named if contents[path] in hashes]
        if not known and len(set(contents.values())) > 1:
            paths = ", ".join(str(path.relative_to(raw)) for path in named)
            raise InputError(f"{raw}: {len(named)} files of the name {wanted} that differ: {paths}. Leave one of them.")
        tables[split] = (known or named)[0]
    return tables


def read_published(
    path: Path, columns: Sequence[str], key: Sequence[str], fault_of: Callable[[dict[str, str]], str | None]
) -> PublishedTable:
    """Read and check one CSV: its columns, the whole numbers of its key, and what `fault_of` finds in a row."""
    text, mended = _decode(path)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows, faults = {}, []
    try:
        missing = [column for column in dict.fromkeys((*columns, *key)) if column not in (reader.fieldnames or ())]
        if missing:
            header = ", ".join(reader.fieldnames or ()) or "an empty file"
            raise InputError(f"{path}: lacks the column(s) {', '.join(missing)}; found {header}.")
        if twice := [name for name, count in Counter(reader.fieldnames).items() if name and count > 1]:
            raise InputError(f"{path}, line 1: the column {twice[0]!r:.60} is there twice. Rename or remove one.")
        for row in reader:
            fault = "more or fewer fields than the header has" if None in row or None in row.values() else None
            fault = fault or swallowed_rows(row.values(), len(row), ",") or number_fault(row, key) or fault_of(row)
            numbers = None if fault else tuple(int(row[column]) for column in key)
            if numbers in rows:
                fault = f"{', '.join(f'{column} {row[column]}' for column in key)} is there twice"
            if fault:
                faults.append(f"line {reader.line_num}: {fault}")
            else:
                rows[numbers] = row
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.reader.line_num}: not readable as CSV: {error}.") from None
    refuse(path, faults)
    if not rows:
        raise InputError(f"{path} has a header and no rows.")
    return PublishedTable(dict(sorted(rows.items())), mended)


def number_fault(row: Mapping[str, str], columns: Sequence[str]) -> str | None:
    """Describe the first of these columns that holds no whole number; None if all do."""
    wrong = [column for column in columns if not re.fullmatch(r"[0-9]+", row[column].strip())]
    return f"{wrong[0]} is {row[wrong[0]]!r}, expected a whole number" if wrong else None


def _decode(path: Path) -> tuple[str, int]:
    """Decode UTF-8, cp1252 or, line by line, both, and mend cp1252 punctuation; return the number of mended lines."""
    lines, mended = [], 0
    for number, data in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            decoded = data.decode("utf-8")
            line = decoded.translate(CP1252)
            mended += line != decoded
        except UnicodeDecodeError:
            line = data.decode("latin-1").translate(CP1252)  # latin-1 maps bytes to the same code points
            mended += 1
        if undefined := re.search(r"[\x80-\x9f]", line):
            code = f"{ord(undefined[0]):#x}"
            raise InputError(f"{path}, line {number}: the byte {code} is neither UTF-8 nor cp1252: {line!r}")
        if foreign := _FOREIGN.search(line):
            raise InputError(
                f"{path}, line {number}: {foreign[0]!r} is text of another encoding (MacRoman, GBK, or UTF-8 that was "
                f"decoded as cp1252 and saved again): {line!r:.120}. Save the CSV as UTF-8, from the published copy."
            )
        lines.append(line)
    return "\n".join(lines), mended


def label_of(row: Mapping[str, str], column: str) -> str:
    """Return the class that a row names in a column."""
    return row[column].strip().lower()


def label_fault(row: Mapping[str, str], column: str, classes: Sequence[str]) -> str | None:
    """Describe a label that is none of the classes."""
    if label_of(row, column) in classes:
        return None
    return f"unknown {column.lower()} {row[column]!r}, expected one of {', '.join(classes)}"


def grouped_problem(where: str, paths: Sequence[PurePath], kind: str, consequence: str) -> list[Problem]:
    """Return one problem for many files of a kind; none without files."""
    if not paths:
        return []
    listed = ", ".join(path.name for path in paths[:20]) + (", …" if len(paths) > 20 else "")
    return [Problem(where, paths[0].as_posix(), f"{kind}: {len(paths)} ({listed})", consequence)]


def nonzero_notes(tables: Mapping[str, PublishedTable], unused_clips: int, *further: Note) -> list[Note]:
    """Return the notes that all published CSVs share, and further ones, without those that count nothing."""
    mended = sum(table.mended for table in tables.values())
    notes = (
        Note(action="repaired", what="lines of the CSVs", count=mended, why="cp1252 punctuation, now Unicode's"),
        Note(action="dropped", what="clips", count=unused_clips, why="no row of the CSVs names them"),
        *further,
    )
    return [note for note in notes if note.count]


def published_counts(names: Sequence[str], *rows: Sequence[int]) -> SplitCounts:
    """Return counts by split from a table as papers print it: one row per split."""
    return {split: dict(zip(names, row, strict=True)) for split, row in zip(NAMES, rows, strict=True)}


def count_labels(
    tables: Mapping[str, PublishedTable], dialogue_numbers: int, column: str, classes: Sequence[str]
) -> SplitCounts:
    """Count dialogues (the first `dialogue_numbers` of a row's key), utterances and classes of each split."""
    counts = {}
    for split, table in tables.items():
        labels = Counter(label_of(row, column) for row in table.rows.values())
        sizes = {"dialogues": len({key[:dialogue_numbers] for key in table.rows}), "utterances": len(table.rows)}
        counts[split] = sizes | {name: labels[name] for name in classes}
    return counts


def found_and_published(count: int, published: int) -> str | Text:
    """Return a count as a cell; beside the published one, in red, where they differ."""
    return str(count) if count == published else Text(f"{count} / {published}", style="bold red")


def compare_counts(
    corpus: str, counts: SplitCounts, published: SplitCounts, files: Mapping[str, str], further: Mapping[str, Sequence]
) -> tuple[str, list[Problem]]:
    """Print the counts beside the published ones; return the splits for the protocol, and the counts that differ."""
    rows = []
    for name in counts["train"]:  # counts that nobody published are not compared
        pairs = [(of_split[name], published[split].get(name, of_split[name])) for split, of_split in counts.items()]
        rows.append([name, *(found_and_published(*pair) for pair in pairs)])
    rows += [[name, *map(str, cells)] for name, cells in further.items()]
    print_table(["", *counts], rows, f"{corpus} (where they differ: found / published)")
    kept = "kept as found; scores are not comparable with published ones"
    problems = [
        Problem(split, files[split], f"count differs: {name} {counts[split][name]}, published {count}", kept)
        for split, expected in published.items()
        for name, count in expected.items()
        if counts[split][name] != count
    ]
    if not problems:
        return "published splits", []
    print_note(f"not the published {corpus}'s counts: scores are not comparable with papers.")
    sizes = ", ".join(f"{split} {of_split['utterances']}" for split, of_split in counts.items())
    return f"own selection ({sizes} utterances)", problems
