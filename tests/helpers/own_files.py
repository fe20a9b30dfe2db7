"""Folders of one's own for tests of the `table` adapter: a table, or subtitles, as a person would write them."""

from pathlib import Path

import pytest

from dferc.core.errors import InputError
from pipeline.corpora import RawCorpus, table
from tests.helpers.corpora import prepare_settings

HEADER = "dialogue_id,speaker,text,emotion,media,start,end,split\n"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    """Write a file below `folder`; text as UTF-8."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read_own(folder: Path, **options: object) -> RawCorpus:
    """Read a folder with the adapter."""
    return table.read(folder, prepare_settings("mine", **options))


def read_subtitles(folder: Path, **options: object) -> RawCorpus:
    """Read a folder of subtitles with the adapter."""
    return read_own(folder, table="subtitles", **options)


def expect_refusal(folder: Path, *parts: str, **options: object) -> None:
    """Check that the adapter refuses the folder with a message that holds all these parts."""
    with pytest.raises(InputError) as refused:
        read_own(folder, **options)
    for part in parts:
        assert part in str(refused.value), str(refused.value)


def kinds(corpus: RawCorpus) -> list[str]:
    """Return the kinds of the problems, in order."""
    return [problem.kind for problem in corpus.problems]
