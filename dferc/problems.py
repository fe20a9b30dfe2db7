"""What was found wrong with somebody's files: the rows of every problems.csv, of an import and of stage 1.

Plain CSV, so that a person can read them, a diff can show them, and DVC can hash them.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dferc.files import write_atomically


@dataclass(frozen=True, slots=True)
class Problem:
    """Something found wrong, and what follows from it: never a silent drop.

    Attributes:
        where: utterance id, dialogue, file, or what else it is about.
        file: the file at fault (of a corpus relative to its raw folder), or empty.
        problem: what was found, as `kind` or `kind: detail`.
        consequence: what was done about it.
    """

    where: str
    file: str
    problem: str
    consequence: str

    @property
    def kind(self) -> str:
        """The problem without its detail, by which problems are counted."""
        return self.problem.partition(": ")[0]


def write_table(path: str | Path, rows: Iterable, kind: type) -> None:
    """Write rows of one dataclass as CSV, atomically; the header stands even over zero rows."""
    text = io.StringIO()
    # All text is quoted: csv.writer before Python 3.13 leaves a lone carriage return bare, which breaks the row.
    names = [field.name for field in fields(kind)]
    writer = csv.DictWriter(text, names, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomically(path, lambda temporary: temporary.write_text(text.getvalue(), encoding="utf-8", newline=""))
