"""The CSVs that authors publish: found by name, checked row by row, their encoding mended, their counts compared."""

import csv
import io
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from rich.table import Table

from dferc.core.console import console
from dferc.core.errors import InputError
from dferc.core.files import file_hash
from dferc.core.problems import Problem
from dferc.store.vocabulary import SPLITS
from pipeline.corpora._rows import refuse

NAMES = dict(zip(("train", "dev", "test"), SPLITS, strict=True))
"""The authors' name of each split, and ours."""

Key = tuple[int, ...]
"""The numbers that name a row, unique within a split."""

Rows = dict[Key, dict[str, str]]
"""The rows of one split's CSV, by column name, in order."""

Counts = Mapping[str, Mapping[str, int]]
"""Per split, in the authors' name: how many of what."""

# The CSVs of MELD's tar carry cp1252's punctuation as C1 control characters (0x92 for an apostrophe).
_CP1252 = {code: bytes([code]).decode("cp1252", errors="ignore") or chr(code) for code in range(0x80, 0xA0)}
_CP1252[0xA0] = " "


class PublishedTable(NamedTuple):
    """One CSV: its rows in order of their keys, and how many of its lines had to be mended."""

    path: Path
    rows: Rows
    mended: int


def list_files(raw: Path, corpus: str) -> list[Path]:
    """All files below `raw` in sorted order, macOS's `._*` left out; linked folders are followed.

    Raises:
        InputError: there is no such folder.
    """
    if not raw.is_dir():
        readme = f"data/raw/{corpus.lower()}/README.md"
        raise InputError(f"{raw}: no such folder. Put {corpus} there ({readme} says what), or name it with --raw.")
    found = []
    for folder, _, names in os.walk(raw, followlinks=True):
        found += [Path(folder, name) for name in names if not name.startswith("._")]
    return sorted(found)


def find_table(raw: Path, files: Sequence[Path], wanted: str, corpus: str, hashes: Collection[str] = ()) -> Path:
    """The CSV of this name, wherever it lies; of several, one of the known `hashes` or any of equal ones.

    Raises:
        InputError: there is none, or there are several that differ.
    """
    found = [path for path in files if path.name.lower() == wanted]
    if not found:
        seen = ", ".join(str(path.relative_to(raw)) for path in files[:5]) or "nothing"
        raise InputError(
            f"{raw}: no {wanted} anywhere below it (found {len(files)} file(s): {seen}). {corpus}'s three CSVs are "
            f"needed; data/raw/{corpus.lower()}/README.md says where to get them."
        )
    contents = {path: file_hash(path) for path in found}
    known = [path for path in found if contents[path] in hashes]
    if not known and len(set(contents.values())) > 1:
        listed = ", ".join(str(path.relative_to(raw)) for path in found)
        raise InputError(f"{raw}: {len(found)} files of the name {wanted} that differ: {listed}. Leave one of them.")
    return (known or found)[0]


def read_table(
    path: Path, columns: Sequence[str], key: Sequence[str], fault: Callable[[dict[str, str]], str | None]
) -> PublishedTable:
    """The checked rows of one CSV.

    Args:
        path: the file.
        columns: those that must be there besides the key.
        key: columns of whole numbers that name a row.
        fault: what else is wrong with a row, or None.

    Raises:
        InputError: a column is missing, a key is no number or there twice, or rows are at fault (lists them by line).
    """
    text, mended = _decode(path)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows, faults = {}, []
    try:
        missing = [column for column in dict.fromkeys((*columns, *key)) if column not in (reader.fieldnames or ())]
        if missing:
            found = ", ".join(reader.fieldnames or ()) or "an empty file"
            raise InputError(f"{path}: lacks the column(s) {', '.join(missing)}; found {found}.")
        for row in reader:
            found = "more or fewer fields than the header has" if None in row or None in row.values() else None
            found = found or number_fault(row, key) or fault(row)
            numbers = None if found else tuple(int(row[column]) for column in key)
            if numbers in rows:
                found = f"{', '.join(f'{column} {row[column]}' for column in key)} is there twice"
            if found:
                faults.append(f"line {reader.line_num}: {found}")
            else:
                rows[numbers] = row
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.reader.line_num}: not readable as CSV: {error}.") from None
    refuse(path, faults)
    if not rows:
        raise InputError(f"{path} has a header and no rows.")
    return PublishedTable(path, dict(sorted(rows.items())), mended)


def number_fault(row: Mapping[str, str], columns: Sequence[str]) -> str | None:
    """Which of these columns holds no whole number, or None."""
    for column in columns:
        if not re.fullmatch(r"[0-9]+", row[column].strip()):
            return f"{column} is {row[column]!r}, expected a whole number"
    return None


def _decode(path: Path) -> tuple[str, int]:
    """The text of a CSV in UTF-8, cp1252 or, line by line, both; cp1252 punctuation mended, and in how many lines."""
    lines, mended = [], 0
    for number, data in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            read = data.decode("utf-8")
            line = read.translate(_CP1252)
            mended += line != read
        except UnicodeDecodeError:
            line = data.decode("latin-1").translate(_CP1252)  # latin-1 maps bytes to the same code points
            mended += 1
        undefined = re.search(r"[\x80-\x9f]", line)
        if undefined:
            raise InputError(
                f"{path}, line {number}: the byte {ord(undefined[0]):#x} is neither UTF-8 nor cp1252: {line!r}"
            )
        lines.append(line)
    return "\n".join(lines), mended


def lump(where: str, paths: Sequence[PurePath], kind: str, consequence: str) -> list[Problem]:
    """One problem for many files of a kind."""
    if not paths:
        return []
    listed = ", ".join(path.name for path in paths[:20]) + (", …" if len(paths) > 20 else "")
    problem = f"{kind}: {len(paths)} ({listed})"
    return [Problem(where=where, file=paths[0].as_posix(), problem=problem, consequence=consequence)]


# ---------------------------------------------------------------------------------------------------- self-check


def published_counts(names: Sequence[str], *rows: Sequence[int]) -> Counts:
    """A table of counts as papers print them: one row per split."""
    return {split: dict(zip(names, row, strict=True)) for split, row in zip(NAMES, rows, strict=True)}


def count_problems(found: Counts, published: Counts, files: Mapping[str, str]) -> list[Problem]:
    """Where what was found differs from what was published; a count that nobody published is not compared."""
    return [
        Problem(
            where=split,
            file=files[split],
            problem=f"count differs: {what} {found[split][what]}, published {count}",
            consequence="kept as found; scores are not comparable with published ones",
        )
        for split, expected in published.items()
        for what, count in expected.items()
        if found[split][what] != count
    ]


def show_counts(corpus: str, found: Counts, published: Counts, further: Mapping[str, Sequence[str]]) -> None:
    """Print what was found beside what was published, and further cells per split."""
    shown = Table("", *found, title=f"{corpus} (where they differ: found / published)")
    differ = False
    for what in next(iter(found.values())):
        cells = []
        for split, counts in found.items():
            expected = published[split].get(what, counts[what])
            differ |= counts[what] != expected
            same = counts[what] == expected
            cells.append(str(counts[what]) if same else f"[bold red]{counts[what]} / {expected}[/]")
        shown.add_row(what, *cells)
    for what, cells in further.items():
        shown.add_row(what, *cells)
    console.print(shown)
    if differ:
        console.print(
            f"[bold yellow]note:[/] not the published {corpus}'s counts: scores are not comparable with papers."
        )
