"""The summary that ends `prepare` and `dferc import`: one screen, nothing cut, foreign text as text."""

import io
import re

import numpy as np
import pytest

from dferc.core import console as terminal
from dferc.core.errors import NOT_USED, Problem
from dferc.store import summary
from dferc.store.rows import Utterances


def corpus(classes=("anger", "joy"), speakers=("Ann", "Bo", "", "Ann", "Bo", "Ann")):
    n = len(speakers)
    return Utterances(
        corpus="mine",
        classes=classes,
        protocol="p",
        utterance_id=np.array([f"u{row}" for row in range(n)], dtype=object),
        dialogue_id=np.array(["a"] * 3 + ["b"] * 2 + [f"c{row}" for row in range(n - 5)], dtype=object),
        position=np.array([0, 1, 3, 0, 1] + [0] * (n - 5)),
        speaker=np.array(speakers, dtype=object),
        emotion=np.array([0, 1, -1, 1, 1] + [row % len(classes) for row in range(n - 5)]),
        split=np.array(["train"] * 3 + ["validation"] * 2 + ["test"] * (n - 5), dtype=object),
        text=np.array([""] * n, dtype=object),
        start_s=np.full(n, np.nan),
        end_s=np.full(n, np.nan),
    )


def printed(monkeypatch, rows, problems=(), width=80, **more):
    output = io.StringIO()
    for module in (summary, terminal):
        monkeypatch.setattr(module, "console", terminal.PlainConsole(file=output, width=width, soft_wrap=True))
    summary.show_summary(rows, problems, **{"rows_read": len(rows)} | more)
    return output.getvalue()


def flat(text):
    return " ".join(text.split())


def test_summary_counts_rows_classes_speakers_problems_and_files(monkeypatch):
    problems = [Problem("u1", "u1.mp4", "no picture", "no visual")] * 3
    problems += [Problem("videos", "b.mp4", "no subtitles: 1 (b.mp4)", NOT_USED)]
    signals = {"with sound": np.array([True] * 4 + [False] * 2)}
    text = flat(printed(monkeypatch, corpus(), problems, rows_read=8, signals=signals))
    for line in (
        "dialogues 1 1 1 3",
        "of one utterance 0 0 1 1",
        "with gaps in positions 1 0 0 1",
        "utterances 3 2 1 6",
        "anger 1 0 1 2",
        "joy 1 2 0 3",
        "unlabelled 1 0 0 1",
        "with sound 3 1 0 4",
        "rows: 8 read, 6 used, 1 of them unlabelled",
        "speakers: 2, rows without one: 1; Ann 3; Bo 2",
        "files unused: no subtitles: 1 (b.mp4)",
        "3 no picture; first: u1: no visual",
    ):
        assert line in text, line


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_number_or_name_is_cut_at_any_width(monkeypatch, width):
    speakers = ("Ann", "Bo", "", "Ann", "Bo") + ("Cem",) * 123_456
    classes = ("joyful surprise, such as at a present, or at the end of a long journey", "喜び" * 30)
    problems = [Problem("utterance " * 9, "a.mp4", "an odd kind of a problem: its detail", "its consequence")] * 1234
    text = printed(monkeypatch, corpus(classes, speakers), problems, width=width)
    assert "…" not in text and "Cem 123456" in text and all(name in text for name in classes)
    assert str(123_456 // 2) in re.split(r"[\s:]+", text)
    assert f"1234  an odd kind of a problem; first: {'utterance ' * 9}: its detail; its consequence" in text


def test_summary_of_a_large_corpus_is_one_screen(monkeypatch):
    classes = tuple(f"class {number}" for number in range(40))
    speakers = tuple(f"speaker {row}" for row in range(500))
    problems = [Problem("x", "y", f"kind {number}", "kept") for number in range(50)]
    text = printed(monkeypatch, corpus(classes, speakers), problems, width=120)
    assert len(text.splitlines()) < 50
    assert "28 other classes" in text and "492 more" in flat(text) and "40 problems of 40 more kinds" in flat(text)


def test_foreign_text_is_printed_as_text(monkeypatch):
    evil = "[red]x[/] \x1b[31m"
    problems = [Problem(evil, evil, f"kind {evil}", evil), Problem(evil, evil, f"file unused: {evil}", NOT_USED)]
    rows = corpus(("[/]", "[bold]joy"), (evil, "Bo", "", "[/red]", "Bo", evil))
    text = printed(monkeypatch, rows, problems, width=200)
    assert "\x1b" not in text and "[/]" in text and "[bold]joy" in text and "[red]x[/] \\x1b[31m" in text
