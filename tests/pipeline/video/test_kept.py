"""Speech recognition that was killed goes on where it was, in the pieces of a medium."""

import types
from pathlib import Path

import numpy as np
import pytest

from pipeline.speech import SpeechRecogniser, Transcript, recogniser
from pipeline.video.kept import kept_transcript
from tests.helpers.clips import tone, write_clip

PIECES = 4  # of ten seconds, a word of half a second in each


class Whisper:
    """A model that says the number of the piece, and is killed in one of them."""

    supported_languages = ("en",)

    def __init__(self, killed_in: int | None):
        self.killed_in, self.heard = killed_in, []

    def transcribe(self, samples_T, **_):
        number = round(float(samples_T[0]))
        if number == self.killed_in:
            raise KeyboardInterrupt
        self.heard.append(number)
        words = [types.SimpleNamespace(start=1.0, end=1.5, word=f" word{number}.")]
        segment = types.SimpleNamespace(start=1.0, end=1.5, text=words[0].word, compression_ratio=1.0, words=words)
        return iter([segment]), types.SimpleNamespace(language="en", language_probability=0.3 + 0.3 * (number > 0))


@pytest.fixture
def recognise(monkeypatch, tmp_path):
    def pieces(*_):
        for number in range(PIECES):
            begin_s = 10.0 * number
            yield recogniser.Piece(begin_s, np.full(160_000, number, np.float32), [(begin_s + 1.0, begin_s + 1.5)])

    monkeypatch.setattr(recogniser, "_pieces", pieces)
    clip = write_clip(tmp_path / "talk.wav", sound=tone(1.0))

    def run(killed_in: int | None = None, pause_s: float = 0.4, language: str | None = None) -> tuple[list, Transcript]:
        model = Whisper(killed_in)
        monkeypatch.setattr(recogniser, "_load", lambda *_: (model, "cpu", "int8"))
        speech = SpeechRecogniser("small", language, pause_s=pause_s)
        try:
            return model.heard, kept_transcript(
                tmp_path / "cache", "small", language, "content", (pause_s,), lambda keep: speech(clip, keep=keep)
            )
        except KeyboardInterrupt:
            return model.heard, None

    return run


def test_killed_recognition_goes_on_with_the_piece_it_was_in(recognise, tmp_path):
    assert recognise(killed_in=2) == ([0, 1], None)
    heard, transcript = recognise()
    assert heard == [2, 3]
    assert recognise() == ([], transcript)
    Path(tmp_path / "cache").rename(tmp_path / "other")
    assert recognise() == ([0, 1, 2, 3], transcript)  # as without a kill, the notes and the language included
    assert [each.text for each in transcript.utterances] == [f"word{number}." for number in range(PIECES)]


def test_words_serve_another_pause_and_not_another_language(recognise):
    whole = recognise()[1]
    assert recognise(pause_s=0.8) == ([], whole)
    assert recognise(language="en")[0] == [0, 1, 2, 3]


def test_damaged_piece_is_recognised_again(recognise, tmp_path):
    recognise(killed_in=2)
    first = min((tmp_path / "cache/transcripts").rglob("*.json"))
    first.write_text(first.read_text()[:30])
    assert recognise()[0] == [0, 2, 3]


def test_a_changed_file_of_a_models_folder_is_another_model(tmp_path):
    """A tokenizer that was repaired beside the same weights says other words."""
    folder, heard = tmp_path / "model", []
    folder.mkdir()
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (folder / name).write_text(name)

    def recognised(keep) -> Transcript:
        heard.append((folder / "tokenizer.json").read_text())
        return Transcript(utterances=(), origin="small", language="en", speakers_from="")

    def kept() -> int:
        kept_transcript(tmp_path / "cache", str(folder), None, "content", (0.4,), recognised)
        return len(heard)

    assert (kept(), kept()) == (1, 1)
    (folder / "tokenizer.json").write_text("repaired")
    assert (kept(), kept()) == (2, 2) and heard[-1] == "repaired"
