"""Tiny corpora for tests of the stages: rows as `prepare` leaves them, without running it."""

import csv
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result
from pydantic import TypeAdapter

from dferc.core.tables import write_table
from dferc.store.hdf5 import write_utterances
from dferc.store.rows import UNLABELLED, Utterances
from pipeline.rows.utterances import Utterance
from pipeline.settings import AnyPrepare, Prepare, load_settings

REPOSITORY = Path(__file__).parents[2]


def prepare_settings(block: str, adapter: str | None = None, **options) -> Prepare:
    """Return the `prepare` section of a block of params.yaml, with another adapter or other options."""
    settings = load_settings(REPOSITORY / "params.yaml").corpus(block).prepare.model_dump()
    settings |= {"adapter": adapter or settings["adapter"], "options": settings["options"] | options}
    return TypeAdapter(AnyPrepare).validate_python(settings)


def make_row(name: str, media: str = "", end_s: float = 0.0, **values) -> Utterance:
    """Return an utterance of a dialogue of its own; `values` override."""
    row = {
        "utterance_id": name,
        "dialogue_id": name,
        "position": 0,
        "speaker": "Ann",
        "emotion": "",
        "split": "train",
        "text": "hello",
        "media": media,
        "end_s": end_s,
        "has_audio": bool(media),
        "has_video": bool(media),
    }
    return Utterance(**row | values)


def write_rows(folder: Path, rows: list[Utterance], corpus: str = "demo") -> None:
    """Write what the extractors read, at the paths of `stage_arguments`."""
    write_table(folder / "utterances.csv", rows, Utterance)
    words = ("utterance_id", "dialogue_id", "speaker", "split", "text")
    utterances = Utterances(
        corpus=corpus,
        classes=("neutral", "joy"),
        protocol="test",
        emotion=np.full(len(rows), UNLABELLED),
        **{name: np.array([getattr(row, name) for row in rows], dtype=object) for name in words},
        **{name: np.array([getattr(row, name) for row in rows]) for name in ("position", "start_s", "end_s")},
    )
    write_utterances(folder / "utterances.h5", utterances)


def stage_arguments(folder: Path, **changes: object) -> list[str]:
    """Command line of an extractor on the corpus in `folder`; everything it writes goes there too."""
    options = {
        "corpus": "demo",
        "params": REPOSITORY / "params.yaml",
        "raw": folder,
        "table": folder / "utterances.csv",
        "utterances": folder / "utterances.h5",
        "out": folder / "out.h5",
        "problems": folder / "problems.csv",
        "log": folder / "log.json",
        "scratch": folder / "scratch.sqlite",
    }
    return [str(part) for name, value in (options | changes).items() for part in (f"--{name}", value)]


def run_stage(command, folder: Path, **changes: object) -> Result:
    """Run a stage in this process (`workers` apart); see `stage_arguments`."""
    return CliRunner().invoke(command, stage_arguments(folder, **changes))


def read_problems(path: Path) -> list[tuple[str, ...]]:
    """Read the rows of a problems table: (where, file, problem, consequence)."""
    with open(path, encoding="utf-8", newline="") as file:
        header, *rows = map(tuple, csv.reader(file))
    assert header == ("where", "file", "problem", "consequence")
    return rows
