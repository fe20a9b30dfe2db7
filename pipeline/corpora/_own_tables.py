"""Tables that people write: .csv, .tsv or .jsonl with named columns -> checked rows, each with its line.

Nothing is guessed: a column that resembles a missing one, a byte that is not UTF-8 and a value of the wrong type are
errors with file and line. Other unknown columns are ignored, and listed as a problem.
"""

import codecs
import csv
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dferc.core.errors import InputError, did_you_mean
from dferc.core.problems import Problem
from pipeline.corpora import refuse

TextRow = dict[str, str]  # one row by column name; "" where the table has no value
_ALIASES = {"start_s": "start", "end_s": "end"}  # other names of our columns: those of data/<corpus>/utterances.csv

_BOMS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
_BOMS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # after those of UTF-32, which begin alike

_CLOCK = re.compile(r"(?:(?P<h>\d+):)?(?P<m>[0-5]?\d):(?P<s>[0-5]?\d(?:[.,]\d+)?)")
_UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")  # characters that no later file could hold
_EXCEL = re.compile(r"sep=([,;\t])\s*")  # Excel's line above the header, which names the separator


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRow:
    """An utterance as a person wrote it down; "" and None for missing values."""

    where: str  # file and line, for messages
    dialogue_id: str
    utterance_id: str = ""
    speaker: str = ""
    text: str = ""
    emotion: str = ""
    split: str = ""
    media: str = ""
    start_s: float | None = None  # in the media file, in seconds; None = its beginning
    end_s: float | None = None  # likewise; None = its end


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, or of UTF-16 or UTF-32 with a byte order mark."""
    if not path.is_file():
        if not path.parent.is_dir():
            raise InputError(f"{path}: no such file, nor such a folder.")
        files = sorted(file.name for file in path.parent.iterdir())
        listed = ", ".join(files[:10]) or "nothing"
        raise InputError(f"{path}: no such file. {path.parent} has {listed}.{did_you_mean(path.name, files)}")
    content = path.read_bytes()
    for mark, encoding in _BOMS.items():
        if content.startswith(mark):
            try:
                return content.decode(encoding)
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}: not readable as {encoding.upper()}, which its first bytes announce: {error}. Save the "
                    "file as UTF-8."
                ) from None
    content = content.removeprefix(codecs.BOM_UTF8)
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


def read_text_rows(
    path: Path, known: Sequence[str], required: Sequence[str]
) -> tuple[list[tuple[int, TextRow]], list[Problem]]:
    """Return (line, row with every known column) per row of a .csv, .tsv or .jsonl, and the problems of the header."""
    suffix, text = path.suffix.lower(), read_text(path)
    if suffix not in (".csv", ".tsv", ".jsonl"):
        raise InputError(f"{path}: expected a .csv, .tsv or .jsonl file. Its name must say which it is.")
    rows = list(_read_jsonl(path, text) if suffix == ".jsonl" else _read_csv(path, text, suffix))
    if not rows:
        raise InputError(f"{path} has no rows.")
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    names, problems = _match_columns(path, columns, known, required)
    faults = []
    for line, column, value in ((line, *cell) for line, row in rows for cell in row.items()):
        if _UNSTORABLE.search(value):
            character = "a NUL character" if "\0" in value else "half of a character (a lone surrogate)"
            faults.append(f"line {line}: {column} holds {character}: {value!r}")
    refuse(path, faults)
    blank = dict.fromkeys(known, "")
    return [
        (line, blank | {names[name]: " ".join(value.split()) for name, value in row.items() if name in names})
        for line, row in rows
    ], problems


def _read_csv(path: Path, text: str, suffix: str) -> Iterator[tuple[int, TextRow]]:
    """Yield (line on which it begins, row) per row that is not empty; blank lines above the header are skipped."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    separator = _EXCEL.fullmatch(header)
    delimiter = separator[1] if separator else "\t" if suffix == ".tsv" else max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns, following = [], 1
    try:
        for fields in reader:
            line, following = following, reader.line_num + 1  # a text with line breaks ends on a later line
            if not any(field.strip() for field in fields) or (not columns and separator and fields == ["sep=", ""]):
                continue
            if columns:
                _verify_fields(path, line, fields, columns, delimiter)
                yield line, {name: field for name, field in zip(columns, fields) if name}
                continue
            columns = [name.strip() for name in fields]  # "" for those that a spreadsheet keeps beyond the table
            twice = min((name for name in columns if name and columns.count(name) > 1), default="")
            if twice:
                raise InputError(f"{path}, line {line}: the column {twice!r} is there twice. Rename or remove one.")
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not readable as CSV: {error}.") from None


def _verify_fields(path: Path, line: int, fields: Sequence[str], columns: Sequence[str], delimiter: str) -> None:
    """Check that a row has a field for each column, and no value in a column without a name."""
    if len(fields) != len(columns):
        raise InputError(
            f"{path}, line {line}: {len(fields)} fields, the header has {len(columns)} "
            f"(separated by {delimiter!r}). A text that holds the separator must stand in quotes."
        )
    for number, (name, field) in enumerate(zip(columns, fields), start=1):
        if not name and field.strip():
            raise InputError(
                f"{path}, line {line}: {field!r:.40} in column {number}, which has no name. Name it in the header, or "
                "empty it."
            )


def _read_jsonl(path: Path, text: str) -> Iterator[tuple[int, TextRow]]:
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
    """Return our name of each known column of the file (in any case), and a problem that lists the other columns."""
    names = {name: _ALIASES.get(name.lower(), name.lower()) for name in columns}
    names = {name: ours for name, ours in names.items() if ours in known}
    absent = [name for name in known if name not in names.values()]
    faults = [f"the column {ours!r} is there twice" for ours in known if list(names.values()).count(ours) > 1]
    unknown = [name for name in columns if name not in names]
    for name in unknown:
        if nearest := did_you_mean(name.lower(), absent):
            faults.append(f"unknown column {name!r}.{nearest} Rename or remove it")
    missing = [name for name in required if name in absent]
    if missing:
        faults.append(f"no column {', '.join(missing)}; found {', '.join(columns)}; expected of {', '.join(known)}")
    refuse(path, faults)
    ignored = Problem(path.name, path.name, f"unknown column: {', '.join(map(repr, unknown))}", "not used")
    return names, [ignored] if unknown else []


def read_table(path: Path) -> tuple[list[TableRow], list[Problem]]:
    """Read a table of utterances (columns: the fields of `TableRow`, `start` and `end` in seconds or [h:]mm:ss)."""
    known = ("utterance_id", "dialogue_id", "speaker", "text", "emotion", "media", "start", "end", "split")
    text_rows, problems = read_text_rows(path, known, ["dialogue_id"])
    if not any(row["text"] or row["media"] for _, row in text_rows):
        raise InputError(f"{path}: no row has a text or a media file; expected a column `text`, or `media`, or both.")
    rows, faults = [], []
    for line, row in text_rows:
        try:
            if not row["dialogue_id"]:
                raise ValueError("dialogue_id is empty; expected the name of the conversation")
            times = {f"{name}_s": _seconds(name, row.pop(name)) for name in ("start", "end")}
            rows.append(TableRow(where=f"{path.name}, line {line}", **row, **times))
        except ValueError as error:
            faults.append(f"line {line}: {error}")
    refuse(path, faults)
    return rows, problems


def _seconds(name: str, value: str) -> float | None:
    """Return the seconds of `12.5`, `12,5` or `1:02:03.5`; None for an empty value."""
    if not value:
        return None
    clock = _CLOCK.fullmatch(value)
    if clock:
        return 3600 * int(clock["h"] or 0) + 60 * int(clock["m"]) + float(clock["s"].replace(",", "."))
    try:
        seconds = float(value.replace(",", "."))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"{name} is {value!r}; expected seconds, such as 12.5, or a time, such as 1:02:03.5")
    return seconds
