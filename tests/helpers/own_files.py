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


def cues(*texts: str, numbers: list[int] | None = None, first_s: float = 1) -> str:
    """Return an .srt of cues of 1.5 s, one every 2 s."""
    number_of = numbers or range(1, len(texts) + 1)
    spans = [(first_s + 2 * place, first_s + 2 * place + 1.5) for place in range(len(texts))]
    blocks = [
        f"{number}\n00:00:{start:06.3f} --> 00:00:{end:06.3f}\n{text}\n".replace(".", ",", 2)
        for number, text, (start, end) in zip(number_of, texts, spans, strict=True)
    ]
    return "\n".join(blocks)


def clock(time_s: float) -> str:
    """Return a time as an .srt has it."""
    seconds, milliseconds = divmod(round(time_s * 1000), 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{milliseconds:03d}"


def spoken(corpus: RawCorpus) -> list[tuple[str, str]]:
    """Return speaker and text of each utterance."""
    return [(row.speaker, row.text) for row in corpus.utterances]


def problems_of(corpus: RawCorpus, kind: str) -> list[str]:
    """Return the problems of a kind, each with its place and consequence."""
    return [f"{each.where}: {each.problem}; {each.consequence}" for each in corpus.problems if each.kind == kind]
