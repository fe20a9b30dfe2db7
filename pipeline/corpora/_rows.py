"""Tables that people write: .csv, .tsv or .jsonl with named columns -> checked rows, each with its line.

Nothing is guessed: a column that looks like a slip of a missing one, a byte that is not UTF-8 and a value of the wrong
type stop the reading with file and line. Columns of another purpose are left out, and told.
"""

import csv
import difflib
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dferc.core.errors import InputError
from dferc.core.problems import Problem

Record = dict[str, str]
"""One row by column name; "" where the table says nothing."""

_ALIASES = {"start_s": "start", "end_s": "end"}
"""Other names of our columns: those of data/<corpus>/utterances.csv."""

_CLOCK = re.compile(r"(?:(?P<h>\d+):)?(?P<m>[0-5]?\d):(?P<s>[0-5]?\d(?:[.,]\d+)?)")
_EXCEL = re.compile(r"sep=([,;\t])\s*")
"""The line above the header by which Excel tells the separator."""

_SHOWN = 10
"""Faults of a file that its error message lists; the rest is counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An utterance as a person wrote it down; "" and None where nothing is said.

    Attributes:
        where: file and line, for messages.
        start_s: begin in the media file, in seconds; None = its beginning.
        end_s: end in the media file, in seconds; None = its end.
    """

    where: str
    dialogue_id: str
    utterance_id: str = ""
    speaker: str = ""
    text: str = ""
    emotion: str = ""
    split: str = ""
    media: str = ""
    start_s: float | None = None
    end_s: float | None = None


def refuse(where: object, faults: Sequence[str]) -> None:
    """Stop if there are faults, with the first of them.

    Raises:
        InputError: there are.
    """
    if faults:
        more = f"\n  … and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise InputError(f"{where}: {len(faults)} fault(s)\n  " + "\n  ".join(faults[:_SHOWN]) + more)


def nearest(name: str, known: Iterable[str]) -> str:
    """' Did you mean …?' where a known name is close, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        InputError: no such file, a byte that is not UTF-8, or a NUL (says which, and on which line).
    """
    if not path.is_file():
        if not path.parent.is_dir():
            raise InputError(f"{path}: no such file, nor such a folder.")
        here = sorted(file.name for file in path.parent.iterdir())
        listed = ", ".join(here[:_SHOWN]) or "nothing"
        raise InputError(f"{path}: no such file. {path.parent} has {listed}.{nearest(path.name, here)}")
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise InputError(f"{path}, line {line}: a NUL character. Is the file UTF-16, or no text? Save it as UTF-8.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: the byte {content[error.start]:#04x} (byte {error.start + 1} of the text) is not "
            "UTF-8. Save the file as UTF-8 (spreadsheets: `CSV UTF-8`)."
        ) from None


def read_records(
    path: Path, known: Sequence[str], required: Sequence[str]
) -> tuple[list[tuple[int, Record]], list[Problem]]:
    """Read a table.

    Args:
        path: .csv (comma, semicolon or tab), .tsv or .jsonl.
        known: columns that mean something.
        required: those of them that must be there.

    Returns:
        (line, record with every known column) per row, and the problems of the header.

    Raises:
        InputError: unreadable, a column missing, there twice or misspelt, or rows at fault.
    """
    suffix, text = path.suffix.lower(), read_text(path)
    if suffix not in (".csv", ".tsv", ".jsonl"):
        raise InputError(f"{path}: expected a .csv, .tsv or .jsonl file. Its name must say which it is.")
    rows = list(_read_jsonl(path, text) if suffix == ".jsonl" else _read_csv(path, text, suffix))
    if not rows:
        raise InputError(f"{path} has no rows.")
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    names, problems = _match_columns(path, columns, known, required)
    faults = [f"line {line}: {fault}" for line, row in rows for fault in map(_value_fault, row, row.values()) if fault]
    refuse(path, faults)
    blank = dict.fromkeys(known, "")
    return [
        (line, blank | {names[name]: " ".join(value.split()) for name, value in row.items() if name in names})
        for line, row in rows
    ], problems


def _read_csv(path: Path, text: str, suffix: str) -> Iterator[tuple[int, Record]]:
    """(line on which it begins, record) per row that is not empty; blank lines above the header are passed over."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    told = _EXCEL.fullmatch(header)
    delimiter = told[1] if told else "\t" if suffix == ".tsv" else max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    following = 1
    try:
        for fields in reader:
            line, following = following, reader.line_num + 1  # a text with line breaks ends on a later line
            if not any(field.strip() for field in fields) or (not columns and told and fields == ["sep=", ""]):
                continue
            if not columns:
                columns = _header(path, line, fields)
            else:
                _verify_fields(path, line, fields, columns, delimiter)
                yield line, {name: field for name, field in zip(columns, fields) if name}
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not readable as CSV: {error}.") from None


def _header(path: Path, line: int, fields: Sequence[str]) -> list[str]:
    """The names of the columns; "" for those that a spreadsheet keeps beyond the table."""
    columns = [name.strip() for name in fields]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise InputError(f"{path}, line {line}: the column {twice[0]!r} is there twice. Rename or remove one.")
    return columns


def _verify_fields(path: Path, line: int, fields: Sequence[str], columns: Sequence[str], delimiter: str) -> None:
    """Check that a row has a field for each column, and none that no column names."""
    if len(fields) != len(columns):
        raise InputError(
            f"{path}, line {line}: {len(fields)} fields, the header has {len(columns)} "
            f"(separated by {delimiter!r}). A text that holds the separator must stand in quotes."
        )
    for place, (name, field) in enumerate(zip(columns, fields), start=1):
        if not name and field.strip():
            raise InputError(
                f"{path}, line {line}: {field!r:.40} in column {place}, which has no name. Name it in the header, or "
                "empty it."
            )


def _read_jsonl(path: Path, text: str) -> Iterator[tuple[int, Record]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"{path}, line {line}: not readable as JSON: {error}.") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {line}: expected an object {{…}}, found {type(row).__name__}.")
        for name, value in row.items():
            if isinstance(value, (bool, list, dict)):
                raise InputError(f"{path}, line {line}: {name} is {value!r}; expected a text, a number or null.")
        yield line, {name.strip(): "" if value is None else str(value) for name, value in row.items()}


def _match_columns(
    path: Path, columns: Sequence[str], known: Sequence[str], required: Sequence[str]
) -> tuple[dict[str, str], list[Problem]]:
    """Which column of the file is which of ours (whatever the case), and what is left out."""
    names = {name: _ALIASES.get(name.lower(), name.lower()) for name in columns}
    names = {name: ours for name, ours in names.items() if ours in known}
    absent = [name for name in known if name not in names.values()]
    faults = [f"the column {ours!r} is there twice" for ours in known if list(names.values()).count(ours) > 1]
    strange = [name for name in columns if name not in names]
    slips = [name for name in strange if nearest(name.lower(), absent)]
    faults += [f"unknown column {name!r}.{nearest(name.lower(), absent)} Rename or remove it" for name in slips]
    lacking = [name for name in required if name in absent]
    if lacking:
        faults.append(f"no column {', '.join(lacking)}; found {', '.join(columns)}; expected of {', '.join(known)}")
    refuse(path, faults)
    problem = f"unknown column: {', '.join(map(repr, strange))}"
    ignored = Problem(where=path.name, file=path.name, problem=problem, consequence="not used")
    return names, [ignored] if strange else []


def _value_fault(column: str, value: str) -> str | None:
    """What no later file could hold."""
    if "\0" in value:
        return f"{column} holds a NUL character: {value!r}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"{column} holds half of a character (a lone surrogate): {value!r}"
    return None


def read_table(path: Path) -> tuple[list[Row], list[Problem]]:
    """Read a table of utterances (columns: the fields of `Row`, `start` and `end` in seconds or [h:]mm:ss).

    Raises:
        InputError: unreadable, or faulty rows, the first ten named by their line.
    """
    known = ("utterance_id", "dialogue_id", "speaker", "text", "emotion", "media", "start", "end", "split")
    records, problems = read_records(path, known, ["dialogue_id"])
    if not any(record["text"] or record["media"] for _, record in records):
        raise InputError(f"{path}: no row has a text or a media file; expected a column `text`, or `media`, or both.")
    rows, faults = [], []
    for line, record in records:
        try:
            rows.append(_row(f"{path.name}, line {line}", record))
        except ValueError as error:
            faults.append(f"line {line}: {error}")
    refuse(path, faults)
    return rows, problems


def _row(where: str, record: Record) -> Row:
    """A row, or a ValueError that says what is wrong with it."""
    if not record["dialogue_id"]:
        raise ValueError("dialogue_id is empty; expected the name of the conversation")
    times = {f"{name}_s": _seconds(name, record.pop(name)) for name in ("start", "end")}
    return Row(where=where, **record, **times)


def _seconds(name: str, value: str) -> float | None:
    """Seconds of `12.5`, `12,5` or `1:02:03.5`; None where nothing is said."""
    if not value:
        return None
    clock = _CLOCK.fullmatch(value)
    if clock:
        hours, minutes = int(clock["h"] or 0), int(clock["m"])
        return 3600 * hours + 60 * minutes + float(clock["s"].replace(",", "."))
    try:
        seconds = float(value.replace(",", "."))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"{name} is {value!r}; expected seconds, such as 12.5, or a time, such as 1:02:03.5")
    return seconds
