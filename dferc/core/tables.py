"""Tables as CSV, written whole or not at all."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from dferc.core.files import write_atomically


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a table atomically; floats to 6 significant digits, so that noise in the last bits is no difference."""

    def shorten(value: object) -> object:
        return f"{value:.6g}" if isinstance(value, float) else value

    def write(temporary: Path) -> None:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: shorten(row[name]) for name in columns} for row in rows)

    write_atomically(path, write)


def write_table(path: str | Path, rows: Iterable, kind: type) -> None:
    """Write rows of one dataclass as CSV, atomically; the header stands even over zero rows."""
    text = io.StringIO()
    # All text is quoted: csv.writer before Python 3.13 leaves a lone carriage return bare, which breaks the row.
    names = [field.name for field in fields(kind)]
    writer = csv.DictWriter(text, names, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomically(path, lambda temporary: temporary.write_text(text.getvalue(), encoding="utf-8", newline=""))
