"""Tables as CSV, written atomically."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from dferc.core.files import write_atomically


def read_numbers(path: Path) -> list[dict[str, float]]:
    """Read a CSV whose cells are all numbers, such as history.csv, a dictionary per row."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a table; floats with 6 significant digits, so that noise in the last bits is no difference."""

    def shorten(value: object) -> object:
        return f"{value:.6g}" if isinstance(value, float) else value

    _write(path, columns, ({name: shorten(row[name]) for name in columns} for row in rows), csv.QUOTE_MINIMAL)


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
    write_atomically(path, lambda temporary: temporary.write_text(text.getvalue(), encoding="utf-8", newline=""))


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
