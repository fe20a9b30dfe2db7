"""The rows that run through stage 1: data/<corpus>/utterances.csv and the problems tables.

Plain CSV, so that a person can read them, a diff can show them, and DVC can hash them.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dferc.console import InputError
from dferc.files import write_atomically


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One row of utterances.csv; dialogues contiguous, utterances in order.

    Attributes:
        utterance_id: unique in the corpus.
        dialogue_id: unique in the corpus, splits included.
        position: place in the dialogue as the corpus counts it (gaps stay).
        speaker: name, or empty.
        emotion: class name, or empty = unlabelled.
        split: train, validation or test.
        text: transcript.
        media: path of the clip relative to the raw folder, or empty.
        start_s: where the utterance begins in the clip, in seconds.
        end_s: where it ends; already cut to the clip and capped at `max_utterance_s`. 0 where there is no usable media.
        has_audio: the clip has a sound track that can be read (measured by prepare).
        has_video: the clip has a picture that can be read (measured by prepare).
    """

    utterance_id: str
    dialogue_id: str
    position: int
    speaker: str
    emotion: str
    split: str
    text: str
    media: str = ""
    start_s: float = 0.0
    end_s: float = 0.0
    has_audio: bool = False
    has_video: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something found wrong, and what follows from it: never a silent drop.

    Attributes:
        where: utterance id, or file.
        file: the file at fault, relative to the raw folder, or empty.
        problem: what was found, as `kind` or `kind: detail`.
        consequence: what was done about it.
    """

    where: str
    file: str
    problem: str
    consequence: str

    @property
    def kind(self) -> str:
        """What sort of problem this is, for counting."""
        return self.problem.partition(":")[0]


def write_table(path: str | Path, rows: Iterable[Utterance] | Iterable[Problem], kind: type) -> None:
    """Write rows of one kind as CSV, atomically; the header stands even over zero rows."""
    text = io.StringIO()
    # All text is quoted: csv.writer before Python 3.13 leaves a lone carriage return bare, which breaks the row.
    names = [field.name for field in fields(kind)]
    writer = csv.DictWriter(text, names, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomically(path, lambda temporary: temporary.write_text(text.getvalue(), encoding="utf-8", newline=""))


def read_utterances_csv(path: str | Path) -> list[Utterance]:
    """Read data/<corpus>/utterances.csv.

    Raises:
        InputError: missing, lacking a column, or with a value of the wrong type (says which line).
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} is missing. Make it with `python -m pipeline.prepare --corpus {path.parent.name}`.")
    expected = [field.name for field in fields(Utterance)]
    rows = []
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            if reader.fieldnames != expected:
                raise InputError(f"{path}: expected the columns {', '.join(expected)}; found {reader.fieldnames}.")
            rows += map(_typed, reader)
        except InputError:
            raise
        except (TypeError, ValueError, csv.Error) as error:
            raise InputError(f"{path}, line {reader.reader.line_num}: {error}") from None
    if not rows:
        raise InputError(f"{path} has no utterances.")
    return rows


def _typed(row: dict[str, str]) -> Utterance:
    flags = {name: {"True": True, "False": False}.get(row[name]) for name in ("has_audio", "has_video")}
    if None in flags.values():
        raise ValueError(f"has_audio and has_video are True or False, found {row['has_audio']!r}, {row['has_video']!r}")
    numbers = {"position": int(row["position"]), "start_s": float(row["start_s"]), "end_s": float(row["end_s"])}
    return Utterance(**{**row, **numbers, **flags})
