"""Tables as CSV, written atomically."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from dferc.core.errors import InputError, brief
from dferc.core.files import regular_file, write_text


def read_numbers(path: Path, needed: Iterable[str] = ()) -> list[dict[str, float]]:
    """Read a CSV whose cells are all numbers, such as history.csv, a dictionary per row.

    Raises:
        InputError: there is none, it has no row, lacks a column that is needed, or a cell is no finite number.
    """
    rows: list[dict[str, float]] = []
    path = regular_file(path)
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file, strict=True)
        if missing := set(needed) - set(header):
            raise ValueError(f"no column {', '.join(sorted(missing))}")
        if len(set(header)) < len(header):
            raise ValueError("two columns have the same name")
        for line in lines:
            rows.append({name: float(cell) for name, cell in zip(header, line, strict=True)})
            if not all(map(math.isfinite, rows[-1].values())):
                raise ValueError("a cell is no finite number")
        if not rows:
            raise ValueError("no row")
    except (ValueError, csv.Error) as error:
        where = f"{path}, row {len(rows) or 1}" if rows else path
        raise InputError(f"{where}: no table of numbers: {brief(str(error))[1:-1]}. Make its run again.") from None
    return rows


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a table; floats with 6 significant digits, so that noise in the last bits is no difference."""

    def shorten(value: object) -> object:
        return f"{value:.6g}" if isinstance(value, float) else value

    shortened = [{name: shorten(row[name]) for name in columns} for row in rows]
    # csv.writer before Python 3.13 leaves a lone carriage return bare, which breaks the row.
    bare = any("\r" in str(cell) for row in ({name: name for name in columns}, *shortened) for cell in row.values())
    _write(path, columns, shortened, csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL)


def write_table(path: str | Path, rows: Iterable, kind: type) -> None:
    """Write rows of one dataclass; zero rows have their header."""
    # All text is quoted: csv.writer before Python 3.13 leaves a lone carriage return bare, which breaks the row.
    names = [field.name for field in fields(kind)]
    _write(path, names, ({name: getattr(row, name) for name in names} for row in rows), csv.QUOTE_NONNUMERIC)


def _write(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]], quoting: int) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def swallowed_rows(fields: Iterable[str], columns: int, delimiter: str) -> str:
    """Describe a field that holds at least one further row, as after a quote that is not closed; empty without one.

    A field that swallowed the end of its own row, a line break and the beginning of another holds at least as many
    separators as a row.
    """
    for field in fields:
        separators = field.count(delimiter)
        if columns > 1 and separators >= columns - 1 and ("\n" in field or "\r" in field):
            return (
                f"a field holds line breaks and {separators} separators, as if a quote is not closed: {field[:50]!r}. "
                "Correct the quotes, or write the text on one line"
            )
    return ""
