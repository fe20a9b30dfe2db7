"""Speakers by pyannote.audio, of which a stand-in has the documented interface: its weights cannot be had here."""

import sys
import types
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from dferc.core.errors import InputError
from pipeline.speech import Diarizer, Transcript
from pipeline.speech.diarizer import SpeakerTurn, with_speakers
from pipeline.speech.transcript import ONE_SPEAKER, Spoken, SpokenWord
from tests.helpers.clips import tone, write_clip


class Segment(NamedTuple):
    start: float
    end: float


class Annotation3:
    """pyannote.core's: tracks with labels."""

    def __init__(self, turns):
        self.turns = turns

    def itertracks(self, yield_label=False):
        assert yield_label
        return ((Segment(start, end), number, name) for number, (start, end, name) in enumerate(self.turns))


class Annotation4:
    """As version 4 documents it: pairs."""

    def __init__(self, turns):
        self.turns = turns

    def __iter__(self):
        return ((Segment(start, end), name) for start, end, name in self.turns)


TURNS = [(0.0, 1.0, "SPEAKER_00"), (1.2, 3.0, "SPEAKER_01")]
OUTPUTS = {
    3: Annotation3(TURNS),
    4: types.SimpleNamespace(speaker_diarization=Annotation3(TURNS)),
    "4, as documented": types.SimpleNamespace(speaker_diarization=Annotation4(TURNS)),
}


def stand_in(monkeypatch, output, old: bool = False, pipeline: object = "loads") -> dict:
    """Install a stand-in of pyannote.audio; return what it is called with."""
    calls = {}

    class Loaded:
        def to(self, device):
            assert isinstance(device, torch.device)

        def __call__(self, file):
            calls["file"] = file
            if isinstance(output, Exception):
                raise output
            return output

    def load(model, token):
        calls["model"], calls["token"] = model, token
        if isinstance(pipeline, Exception):
            raise pipeline
        return Loaded() if pipeline else None

    def load_old(checkpoint_path, use_auth_token=None):
        return load(checkpoint_path, use_auth_token)

    def load_new(checkpoint, hparams_file=None, token=None):
        return load(checkpoint, token)

    module = types.ModuleType("pyannote.audio")
    module.Pipeline = types.SimpleNamespace(from_pretrained=load_old if old else load_new)
    monkeypatch.setitem(sys.modules, "pyannote", types.ModuleType("pyannote"))
    monkeypatch.setitem(sys.modules, "pyannote.audio", module)
    return calls


def transcript_of(*utterances: Spoken, notes=(ONE_SPEAKER,)) -> Transcript:
    return Transcript(utterances=utterances, origin="here", language="en", speakers_from="", notes=notes)


def spoken(start_s: float | None, end_s: float | None, text: str = "Yes.", words=(), speaker: str = "") -> Spoken:
    return Spoken(utterance_id="talk_1", start_s=start_s, end_s=end_s, speaker=speaker, text=text, words=words)


def speakers(turns, *utterances: Spoken) -> list[str]:
    turns = [SpeakerTurn(*turn) for turn in turns]
    return [each.speaker for each in with_speakers(transcript_of(*utterances), turns, "it", "talk").utterances]


@pytest.mark.parametrize("version", OUTPUTS)
def test_the_output_of_each_version_names_the_speakers(monkeypatch, tmp_path, version):
    calls = stand_in(monkeypatch, OUTPUTS[version], old=version == 3)
    monkeypatch.setenv("HF_TOKEN", "a token")
    clip = write_clip(tmp_path / "talk.wav", sound=tone(3.0))
    given = Diarizer("pyannote/some", device="cpu")(clip, transcript_of(spoken(0.1, 0.9), spoken(1.1, 2.9)))
    assert [each.speaker for each in given.utterances] == ["SPEAKER_00", "SPEAKER_01"]
    assert given.speakers_from == "diarization: pyannote.audio some" and given.notes == ()
    assert (calls["model"], calls["token"]) == ("pyannote/some", "a token")
    assert calls["file"]["sample_rate"] == 16000 and calls["file"]["waveform"].dtype == torch.float32
    np.testing.assert_allclose(calls["file"]["waveform"][0].numpy(), tone(3.0)[0], atol=1e-4)


def test_who_speaks_most_of_the_time_of_equals_who_begins_first():
    turns = [(0.0, 1.0, "A"), (1.0, 3.0, "B"), (3.0, 3.9, "A")]
    assert speakers(turns, spoken(0.0, 4.0), spoken(0.5, 3.9), spoken(0.0, 2.0)) == ["B", "B", "A"]
    assert speakers([(0.0, 2.0, "A"), (0.0, 2.0, "B")], spoken(0.0, 2.0)) == ["A"]  # both at once


def test_where_nobody_speaks_the_nearest_counts_or_none():
    turns = [(0.0, 1.0, "A"), (2.0, 3.0, "B")]
    given = speakers(turns, spoken(1.1, 1.4), spoken(1.6, 1.9), spoken(3.5, 3.7), spoken(3.6, 3.7), spoken(None, None))
    assert given == ["A", "B", "B", "", ""]


def test_what_has_no_speaker_is_counted():
    turns = [SpeakerTurn(0.0, 1.0, "A")]
    given = with_speakers(transcript_of(spoken(0.0, 1.0), spoken(8.0, 9.0)), turns, "it", "talk")
    assert [note for note in given.notes if "1 of 2" in note] and given.speakers_from == "it"
    nobody = with_speakers(transcript_of(spoken(8.0, 9.0)), [], "it", "talk")
    assert ONE_SPEAKER in nobody.notes and nobody.speakers_from == ""


def words_of(*timed: tuple[str, float, float]) -> tuple[SpokenWord, ...]:
    return tuple(SpokenWord(text=f" {text}", start_s=start_s, end_s=end_s) for text, start_s, end_s in timed)


WORDS = words_of(("Are", 0.0, 0.5), ("you", 0.5, 1.1), ("Yes", 1.1, 1.6), ("I", 1.6, 2.0), ("am", 2.0, 2.5))


def test_recognised_words_are_cut_where_the_speaker_changes():
    before, after = spoken(0.0, 2.5, "Are you Yes I am", WORDS), spoken(3.0, 4.0, "Oh", words_of(("Oh", 3.0, 4.0)))
    turns = [SpeakerTurn(0.0, 1.0, "A"), SpeakerTurn(1.2, 4.0, "B")]
    given = with_speakers(transcript_of(before, after), turns, "it", "talk").utterances
    assert [(each.utterance_id, each.start_s, each.end_s, each.speaker, each.text) for each in given] == [
        ("talk_1", 0.0, 1.1, "A", "Are you"),
        ("talk_2", 1.1, 2.5, "B", "Yes I am"),
        ("talk_3", 3.0, 4.0, "B", "Oh"),
    ]
    assert given[0].words + given[1].words == WORDS


def test_a_short_turn_and_silence_cut_nothing():
    for turns in ([(0.0, 1.6, "A"), (1.65, 1.9, "B"), (1.95, 3.0, "A")], [(1.0, 2.5, "A")], []):
        turns = [SpeakerTurn(*turn) for turn in turns]
        assert len(with_speakers(transcript_of(spoken(0.0, 2.5, words=WORDS)), turns, "it", "talk").utterances) == 1


def test_a_transcript_that_was_read_is_never_cut():
    assert len(speakers([(0.0, 1.0, "A"), (1.0, 9.0, "B")], spoken(0.0, 2.5, "Are you? Yes I am."))) == 1


def test_speakers_of_the_transcript_are_kept(monkeypatch, tmp_path):
    stand_in(monkeypatch, AssertionError("called"))
    given = Diarizer("x/y", device="cpu")(tmp_path / "none.mp4", transcript_of(spoken(0.0, 1.0, speaker="Anna")))
    assert given.utterances[0].speaker == "Anna" and "kept" in given.notes[-1]


@pytest.mark.parametrize(
    ("pipeline", "parts"),
    [
        (None, ("x/y", "HF_TOKEN", "config.yaml")),
        (OSError("401 Client Error\nlong"), ("x/y", "401 Client Error", "HF_TOKEN")),
    ],
)
def test_a_model_that_cannot_be_loaded_is_an_error_with_the_remedy(monkeypatch, pipeline, parts):
    stand_in(monkeypatch, None, pipeline=pipeline)
    with pytest.raises(InputError) as error:
        Diarizer("x/y", device="cpu")
    assert all(part in str(error.value) for part in parts) and "long" not in str(error.value)


def test_a_pipeline_that_fails_is_an_error(monkeypatch, tmp_path):
    stand_in(monkeypatch, RuntimeError("out of memory"))
    clip = write_clip(tmp_path / "talk.wav", sound=tone(1.0))
    with pytest.raises(InputError, match=r"talk\.wav.*out of memory.*--diarize"):
        Diarizer("x/y", device="cpu")(clip, transcript_of(spoken(0.0, 1.0)))


def test_without_pyannote_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyannote.audio", None)
    with pytest.raises(InputError, match=r"pip install '\.\[diarize\]'"):
        Diarizer(str(Path("x/y")))
