"""Tables that people write: .csv, .tsv or .jsonl with named columns -> checked rows, each with its line.

Nothing is guessed: a column that resembles a missing one, a byte that is not of the encoding and a value of the wrong
type are errors with file and line. Other unknown columns are ignored, and listed as a problem. Missing values are
empty in whatever way they are spelled; `dferc.store.cells` has the rules, which hold for `dferc import` too.
"""

import codecs
import contextlib
import csv
import io
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dferc.core.errors import InputError, Problem, did_you_mean, listed
from dferc.core.records import unique_keys
from dferc.core.tables import swallowed_rows
from dferc.store import cells
from pipeline.corpora import refuse

TextRow = dict[str, str]  # one row by column name; "" where the table has no value
_ALIASES = {"start_s": "start", "end_s": "end"}  # other names of our columns: those of data/<corpus>/utterances.csv
_MEANT = {
    **dict.fromkeys(("dialogue", "dialog", "conversation", "conversation_id"), "dialogue_id"),
    **dict.fromkeys(("label", "labels", "class", "sentiment"), "emotion"),
    **dict.fromkeys(("sentence", "transcript", "utterance"), "text"),
    **dict.fromkeys(("file", "filename", "file_name", "path", "clip", "video", "audio", "wav"), "media"),
    **dict.fromkeys(("begin", "onset", "start_time", "begin_time", "starttime"), "start"),
    **dict.fromkeys(("finish", "offset", "end_time", "stop", "endtime"), "end"),
    **dict.fromkeys(("spk", "speaker_id", "speaker_name"), "speaker"),
}
"""Names that others give our columns: refused where our own is absent, since every row would lack the value."""

_BOMS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
_BOMS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # after those of UTF-32, which begin alike

_MOST_COLUMNS = 10_000  # openSMILE's largest set has 6,373
_MOST_OTHERS = 50  # columns of other names that are looked at for times
_OF_TIME = re.compile("time|begin|start|onset|from|tmin|msec")
_FASTEST = 100  # letters per second, of a whole table: speech has 10 to 20, in minutes 600
_MANY, _SHORT = 20_000, 20  # rows above which a table has at least so many characters for each

_EMPTIED = ("speaker", "text", "split", "media", "utterance_id")  # other columns have rules of their own
_ERROR = re.compile(r"#[^\s#a-z]+[!?]")  # what a spreadsheet makes of a text such as `-Hi` or `=)`, in any language
_CLOCK = re.compile(r"(?:(?P<h>\d+):)?(?P<m>[0-5]?\d):(?P<s>[0-5]?\d(?:[.,]\d+)?)")
_EXCEL = re.compile(r"sep=([,;\t|])\s*")  # Excel's line above the header, which names the separator


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
    votes: str = ""  # such as `anger:2 joy:1`
    media: str = ""
    start_s: float | None = None  # in the media file, in seconds; None = its beginning
    end_s: float | None = None  # likewise; None = its end


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, or of UTF-16 or UTF-32 with a byte order mark."""
    if not path.is_file():
        if not path.parent.is_dir():
            raise InputError(f"{path}: no such file, nor such a folder.")
        files = sorted(file.name for file in path.parent.iterdir())
        present = listed(files, 10) or "nothing"
        raise InputError(f"{path}: no such file. {path.parent} has {present}.{did_you_mean(path.name, files)}")
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
    if content.startswith(b"PK\3\4"):
        raise InputError(f"{path} is a workbook (or a .zip), whatever its name. Export the sheet as `CSV UTF-8`.")
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise InputError(f"{path}, line {line}: a NUL character. Is the file UTF-16, or no text? Save it as UTF-8.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        convert = f"`iconv -f WINDOWS-1252 -t UTF-8 {path.name} > new{path.suffix}`, where that was its encoding"
        is_table = path.suffix.lower() in (".csv", ".tsv")
        remedy = f"Save the file as UTF-8 ({'spreadsheets: `CSV UTF-8`' if is_table else convert})"
        raise InputError(
            f"{path}, line {line}: the byte {content[error.start]:#04x} (byte {error.start + 1} of the text) is not "
            f"UTF-8. {remedy}."
        ) from None


def read_text_rows(
    path: Path, known: Sequence[str], required: Sequence[str]
) -> tuple[list[tuple[int, TextRow]], list[Problem]]:
    """Return (line, row with every known column) per row of a .csv, .tsv or .jsonl, and the problems of the header."""
    suffix = path.suffix.lower()
    if path.is_file() and suffix not in (".csv", ".tsv", ".jsonl"):
        raise InputError(f"{path}: expected a .csv, .tsv or .jsonl file. Its name must say which it is.")
    text = read_text(path)
    rows = list(_read_jsonl(path, text, known) if suffix == ".jsonl" else _read_csv(path, text, suffix))
    if not rows:
        raise InputError(f"{path} has no rows.")
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    if len(columns) > _MOST_COLUMNS:
        raise InputError(
            f"{path}: {len(columns)} columns, such as {listed(columns, 3)}; expected at most {_MOST_COLUMNS}. Is it a "
            "table with a row for each utterance?"
        )
    if len(rows) > _MANY and len(rows) * _SHORT > len(text):
        raise InputError(
            f"{path}: {len(rows)} rows in {len(text)} characters; expected at least {_SHORT} for each. Is it a table "
            "of utterances?"
        )
    names, problems = _match_columns(path, columns, known, required)
    found = ((line, name, cells.storage_fault(value)) for line, row in rows for name, value in row.items())
    refuse(path, [f"line {line}: {name} holds {fault}" for line, name, fault in found if fault])
    if "emotion" in known and "emotion" not in names.values():
        _verify_no_scores(path, [name for name in columns if name not in names], rows)
    if "start" in known and "start" not in names.values():
        _verify_no_times(path, [name for name in columns if names.get(name, "end") == "end"], rows)
    blank = dict.fromkeys(known, "")
    tidied = [
        (line, blank | {names[name]: _tidied(names[name], value) for name, value in row.items() if name in names})
        for line, row in rows
    ]
    return tidied, problems + list(_mend(path, tidied, known))


def _tidied(column: str, value: str) -> str:
    """Return a cell with single spaces; the name of a file as it is, since it may have any."""
    return value.strip() if column == "media" else " ".join(value.split())


def _verify_no_scores(path: Path, unknown: Sequence[str], rows: Sequence[tuple[int, TextRow]]) -> None:
    """Refuse labels that are a column of numbers per class, which would leave every row unlabelled."""

    def is_scores(name: str) -> bool:
        numbers = set()
        for _, row in rows:
            number = cells.number_of(row.get(name, ""))
            if number is None or not 0 <= number <= 1:
                return False  # at the first: rows that all have other keys would take minutes
            numbers.add(number)
        return len(numbers) > 1

    scores = [name for name in unknown if is_scores(name)]
    if len(scores) > 1:
        raise InputError(
            f"{path}: no column emotion; {', '.join(scores[:12])} hold one-hot or soft scores. Write the class of each "
            "row, that of the highest score, into a column `emotion`; or remove these columns."
        )


def _verify_no_times(path: Path, unknown: Sequence[str], rows: Sequence[tuple[int, TextRow]]) -> None:
    """Refuse begins and ends under other names (`tmin`, `Begin Time - ss.msec`): every row would be the whole file."""
    columns = {}
    for name in unknown[:_MOST_OTHERS]:
        with contextlib.suppress(ValueError):
            columns[name] = [_seconds(name, row.get(name, "").strip()) for _, row in rows]
    columns = {name: times for name, times in columns.items() if None not in times}
    for (first, begins), (last, ends) in itertools.permutations(columns.items(), 2):
        if not all(begin < end for begin, end in zip(begins, ends)):
            continue  # nearly all pairs, at one of their first rows
        if not (_OF_TIME.search(cells.fold(first)) or any(time_s % 1 for time_s in (*begins, *ends))):
            continue  # whole numbers: places in a text, answers to a message
        following = sum(begin >= end for begin, end in zip(begins[1:], ends))
        if {end - begin for begin, end in zip(begins, ends)} != {1} and 0 < len(rows) - 1 <= 2 * following:
            raise InputError(
                f"{path}: no column start; {first!r} and {last!r} hold times. Rename them to start and end, in "
                "seconds, or remove them."
            )


def _mend(path: Path, rows: Sequence[tuple[int, TextRow]], known: Sequence[str]) -> Iterator[Problem]:
    """Empty missing values of names and mend ids that were kept as floats, in place; yield what was found."""
    for column in known:
        nobody = cells.speaker_names([row[column] for _, row in rows])[1] if column == "speaker" else ()
        missing = cells.NULLS.union(nobody)
        spelled = [(line, row) for line, row in rows if row[column] in missing]
        if spelled and column in _EMPTIED:
            counts = Counter(row[column] for _, row in spelled)
            spelled_so = ", ".join(f"{spelling!r} {count}" for spelling, count in counts.most_common(6))
            problem = f"missing values of {column}: {spelled_so}, first line {spelled[0][0]}"
            yield Problem(path.name, path.name, problem, "words kept" if column == "text" else "taken for empty")
            if column != "text":  # "None" can be all that was spoken
                for _, row in spelled:
                    row[column] = ""
        if column in ("dialogue_id", "utterance_id", "speaker"):
            try:
                ids, problem = cells.whole_ids([row[column] for _, row in rows])
            except InputError as error:
                raise InputError(f"{path}: {column}: {error}.") from None
            if problem:
                yield Problem(path.name, path.name, f"{column}: {problem}", "the fraction .0 left out")
                for (_, row), name in zip(rows, ids, strict=True):
                    row[column] = name
        if column == "text" and (lost := [line for line, row in rows if _ERROR.fullmatch(row[column])]):
            problem = f"errors of a spreadsheet in place of a text: {len(lost)} rows, first line {lost[0]}"
            yield Problem(path.name, path.name, problem, "kept as text; was it one that begins with = or -?")
        if formulas := [line for line, row in rows if cells.is_formula(row[column])]:
            problem = f"like a formula of a spreadsheet: {column} of {len(formulas)} rows, first line {formulas[0]}"
            yield Problem(path.name, path.name, problem, "kept as text; open our CSVs as text in a spreadsheet")


def _read_csv(path: Path, text: str, suffix: str) -> Iterator[tuple[int, TextRow]]:
    """Yield (line on which it begins, row) per row that is not empty; blank lines above the header are skipped."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    separator = _EXCEL.fullmatch(header)
    likely = "\t,;|" if suffix == ".tsv" else ",;\t|"
    delimiter = separator[1] if separator else max(likely, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    columns, following = [], 1
    try:
        for fields in reader:
            line, following = following, reader.line_num + 1  # a text with line breaks ends on a later line
            if not any(field.strip() for field in fields) or (not columns and separator and fields == ["sep=", ""]):
                continue
            if columns and {field.strip(" \t\ufeff") for field in fields} == set(columns):
                raise InputError(f"{path}, line {line}: the header again: two tables in one? Remove this line.")
            if columns:
                _verify_fields(path, line, fields, columns, delimiter)
                yield line, {name: field for name, field in zip(columns, fields) if name}
                continue
            columns = [name.strip() for name in fields]  # "" for those that a spreadsheet keeps beyond the table
            counts = Counter(columns)
            if twice := min((name for name in columns if name and counts[name] > 1), default=""):
                raise InputError(f"{path}, line {line}: the column {twice!r} is there twice. Rename or remove one.")
    except csv.Error as error:
        begun = "" if following > reader.line_num else f" The row begins on line {following}: is a quote not closed?"
        raise InputError(f"{path}, line {reader.line_num}: not readable as CSV: {error}.{begun}") from None


def _verify_fields(path: Path, line: int, fields: Sequence[str], columns: Sequence[str], delimiter: str) -> None:
    """Check that a row has a field for each column, and no value in a column without a name."""
    if len(fields) != len(columns):
        raise InputError(
            f"{path}, line {line}: {len(fields)} fields, the header has {len(columns)} "
            f"(separated by {delimiter!r}). A text that holds the separator must stand in quotes."
        )
    if swallowed := swallowed_rows(fields, len(columns), delimiter):
        raise InputError(f"{path}, line {line}: {swallowed}.")
    for number, (name, field) in enumerate(zip(columns, fields), start=1):
        if number == 1 and field.strip().isdigit():
            continue  # the number of the row, as pandas and R write it
        if not name and field.strip():
            raise InputError(
                f"{path}, line {line}: {field!r:.40} in column {number}, which has no name. Name it in the header, or "
                "empty it."
            )


def _read_jsonl(path: Path, text: str, known: Sequence[str]) -> Iterator[tuple[int, TextRow]]:
    used: dict[str, bool] = {}  # by the name of a key
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(
                content, object_pairs_hook=lambda pairs: unique_keys([(name.strip(), value) for name, value in pairs])
            )
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {line}: not readable as JSON: {error}.") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {line}: expected an object {{…}}, found {type(row).__name__}.")
        for name, value in row.items():
            if name not in used:
                written = cells.column_name(name)
                used[name] = bool({_ALIASES.get(written, written), _MEANT.get(written)} & set(known))
            if not used[name]:
                continue  # whatever it is: listed as not used
            if isinstance(value, list | dict) or type(value) is bool and cells.fold(name) not in ("emotion", "label"):
                raise InputError(f"{path}, line {line}: {name} is {value!r:.60}; expected a text, a number or null.")
        yield line, {name: "" if value is None or value != value else str(value) for name, value in row.items()}


def _match_columns(
    path: Path, columns: Sequence[str], known: Sequence[str], required: Sequence[str]
) -> tuple[dict[str, str], list[Problem]]:
    """Return our name of each known column of the file (in any case), and a problem that lists the other columns."""
    names = {name: cells.column_name(name) for name in columns}
    meant = {name: _MEANT.get(written, "") for name, written in names.items()}
    if not {"start", "start_s"} & set(names.values()) and "start" not in meant.values():  # NeMo's, Azure's begin
        meant |= {name: "start" for name, written in names.items() if written == "offset"}
    names = {name: ours for name, written in names.items() if (ours := _ALIASES.get(written, written)) in known}
    absent = [name for name in known if name not in names.values()]
    faults = [f"the column {ours!r} is there twice" for ours in known if list(names.values()).count(ours) > 1]
    unknown = [name for name in columns if name not in names]
    for name in unknown:
        nearest = f" Did you mean {meant[name]!r}?" if meant[name] in absent else did_you_mean(name.lower(), absent)
        if nearest:
            faults.append(f"unknown column {name!r}.{nearest} Rename or remove it")
    if missing := [name for name in required if name in absent]:
        faults.append(f"no column {', '.join(missing)}; found {listed(columns)}; expected of {', '.join(known)}")
    refuse(path, faults)
    ignored = Problem(path.name, path.name, f"unknown column: {listed(map(repr, unknown))}", "column not used")
    return names, [ignored] if unknown else []


def read_table(path: Path, dialogue: str = "") -> tuple[list[TableRow], list[Problem]]:
    """Read a table of utterances (columns: the fields of `TableRow`, `start` and `end` in seconds or [h:]mm:ss).

    With `dialogue`, rows without a dialogue_id are of that conversation, and labels and splits are not read.
    """
    known = ("utterance_id", "dialogue_id", "speaker", "text", "media", "start", "end")
    known += () if dialogue else ("emotion", "split", "votes")
    text_rows, problems = read_text_rows(path, known, () if dialogue else ["dialogue_id"])
    if not any(row["text"] or row["media"] for _, row in text_rows):
        raise InputError(f"{path}: no row has a text or a media file; expected a column `text`, or `media`, or both.")
    rows, faults = [], []
    for line, row in text_rows:
        if dialogue and row["dialogue_id"] in ("", *cells.NULLS):
            row["dialogue_id"] = dialogue
        try:
            if row["dialogue_id"] in ("", *cells.NULLS):
                found = repr(row["dialogue_id"]) if row["dialogue_id"] else "empty"
                raise ValueError(f"dialogue_id is {found}; expected the name of the conversation")
            row |= {name: cells.normalise("NFC", row[name]) for name in ("dialogue_id", "speaker")}
            times = {f"{name}_s": _seconds(name, row.pop(name)) for name in ("start", "end")}
            rows.append(TableRow(where=f"{path.name}, line {line}", **row, **times))
        except ValueError as error:
            faults.append(f"line {line}: {error}")
    refuse(path, faults)
    _verify_speed(path, rows)
    first: dict[TableRow, TableRow] = {}  # of the rows that are equal in every column; with ids there are none
    repeated = [row for row in rows if first.setdefault(replace(row, where=""), row) is not row and row.text]
    if repeated:
        problem = f"row repeated word by word: {len(repeated)}, first {repeated[0].where}"
        problems.append(Problem(path.name, path.name, problem, "kept; remove it, if it was spoken once"))
    once = [row for row in first if row.text]
    if several := len(once) - len({replace(row, emotion="", votes="") for row in once}):
        problem = f"rows that differ in their emotion alone: {several}"
        then = "kept as utterances; if they are of several annotators, write one row, with a column `votes`"
        problems.append(Problem(path.name, path.name, problem, then))
    for column in ("dialogue_id", "utterance_id", "speaker"):
        for names in cells.near_duplicates(getattr(row, column) for row in rows):
            problem = f"{column} in several spellings: {', '.join(map(repr, names[:6]))}"
            problems.append(Problem(path.name, path.name, problem, f"kept as {len(names)}"))
    return rows, problems


def _verify_speed(path: Path, rows: Sequence[TableRow]) -> None:
    """Refuse times that are minutes, hours or a spreadsheet's fractions of a day: nobody speaks so fast."""
    timed = [row for row in rows if row.start_s is not None and row.end_s is not None and row.end_s > row.start_s]
    length_s, letters = sum(row.end_s - row.start_s for row in timed), sum(len(row.text) for row in timed)
    if len(timed) > 1 and letters > _FASTEST * length_s:
        first = timed[0]
        raise InputError(
            f"{path}: its {len(timed)} utterances take {length_s:.3g} s for {letters} letters, the first "
            f"{first.end_s - first.start_s:.3g} s ({first.where}). Times in a table are seconds: multiply minutes by "
            "60, and a spreadsheet's times, which are fractions of a day, by 86400."
        )


def _seconds(name: str, value: str) -> float | None:
    """Return the seconds of `12.5`, `12,5` or `1:02:03.5`; None for an empty value."""
    if not value:
        return None
    if clock := _CLOCK.fullmatch(value):
        return 3600 * int(clock["h"] or 0) + 60 * int(clock["m"]) + float(clock["s"].replace(",", "."))
    try:
        seconds = float(value.replace(",", "."))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"{name} is {value!r:.60}; expected seconds, such as 12.5, or a time, such as 1:02:03.5")
    return seconds
