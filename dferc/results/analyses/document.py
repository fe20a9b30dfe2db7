"""The document of all analyses, reports/<corpus>/analyses.json: writing and reading."""

import json
from collections.abc import Mapping
from pathlib import Path

from dferc.core.errors import InputError
from dferc.core.files import write_atomically

SCHEMA = 1
"""Version of analyses.json; raised when a reader of an older one could misread it."""


def write_analyses(folder: Path, analyses: Mapping) -> Path:
    """Write analyses.json; return its path."""
    text = json.dumps(analyses, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
    path = folder / "analyses.json"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return path


def read_analyses(path: Path, split: str, card: str) -> dict | None:
    """Read analyses.json; None where there is none of this split.

    Raises:
        InputError: it is damaged, of another version, or of another protocol than the runs.
    """
    if not path.exists():
        return None
    again = f"Make it again: `dferc analyse --corpus {path.parent.name}`."
    try:
        analyses = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no readable JSON ({error}). {again}") from error
    if not isinstance(analyses, dict) or analyses.get("schema") != SCHEMA:
        raise InputError(f"{path}: expected analyses of schema {SCHEMA}, found another layout. {again}")
    if analyses["card"] != card:
        raise InputError(f"{path} is of protocol card {analyses['card']}, the runs are of {card}. {again}")
    return analyses if analyses["split"] == split else None


def limits(analyses: Mapping) -> list[str]:
    """Return what was left out, and the questions that the analyses cannot answer."""
    names = ("contributions", "context", "dialogues", "calibration", "geometry", "missing")
    statements = [f"{name}: {sentence}" for name in names for sentence in analyses[name]["statements"]]
    return [*analyses["notes"], *statements]
