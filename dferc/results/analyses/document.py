"""The document of all analyses, reports/<corpus>/analyses.json: writing and reading."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from dferc.core.errors import InputError
from dferc.core.files import write_text
from dferc.core.records import StoredRecord, Text, read_record

SCHEMA = 2
"""Version of analyses.json; raised when a reader of an older one could misread it."""


class AnalysesRecord(StoredRecord):
    """Schema of the head of analyses.json; the digest vouches for all that is below it."""

    schema_: Literal[SCHEMA] = Field(alias="schema")
    card: Text
    split: Text
    digest: Text


def _dump(analyses: Mapping) -> str:
    return json.dumps(analyses, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _digest(analyses: Mapping) -> str:
    """Hash the document: hundreds of nested numbers are drawn from it, and a changed one is not to be seen."""
    return hashlib.sha256(_dump(analyses).encode()).hexdigest()[:16]


def write_analyses(folder: Path, analyses: Mapping) -> Path:
    """Write analyses.json; return its path."""
    path = folder / "analyses.json"
    write_text(path, _dump({**analyses, "digest": _digest(analyses)}) + "\n")
    return path


def read_analyses(path: Path, split: str, card: str, files: Mapping[str, str] | None = None) -> dict | None:
    """Read analyses.json; None where there is none of this split.

    Raises:
        InputError: it is damaged, of another version, of another protocol than the runs, or of other predictions (of
            which `files` has the digests, by run).
    """
    if not path.exists():
        return None
    again = f"Make it again: `dferc analyse --corpus {path.parent.name}`."
    analyses = read_record(path, AnalysesRecord, again)
    if analyses.pop("digest") != _digest(analyses):
        raise InputError(f"{path} is not as it was written (its digest differs). {again}")
    if analyses["card"] != card:
        raise InputError(f"{path} is of protocol card {analyses['card']}, the runs are of {card}. {again}")
    if analyses["split"] != split:
        return None
    for name, now in (files or {}).items():
        if analyses["runs"].get(name, {}).get("files", now) != now:  # older analyses have no digest
            raise InputError(f"{path} is of other predictions of {name} than those that are there now. {again}")
    return analyses


def limits(analyses: Mapping) -> list[str]:
    """Return what was left out, and the questions that the analyses cannot answer."""
    names = ("contributions", "context", "dialogues", "calibration", "geometry", "missing")
    statements = [f"{name}: {sentence}" for name in names for sentence in analyses[name]["statements"]]
    return [*analyses["notes"], *statements]
