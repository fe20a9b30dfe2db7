"""One pass over a medium: the bytes of stage 1, the absence of modalities with its reasons, and finished work kept."""

import dataclasses
import importlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import dferc
from dferc.core.errors import InputError, Problem
from dferc.evaluation.predict import Predictor
from dferc.store.hdf5 import read_features
from dferc.store.rows import OF_ROWS
from pipeline import Recogniser
from pipeline.bundle.command import bundle
from pipeline.speech import Transcript
from pipeline.speech.transcript import Spoken
from pipeline.text.encoder import load_encoder
from pipeline.video import recogniser as module
from pipeline.video.medium import rows_of
from tests.helpers.clips import read_audio, tone, truncate, write_clip
from tests.helpers.encoders import extract_settings, small_encoder
from tests.helpers.encoders import talk as dialogues
from tests.helpers.own_files import cues
from tests.helpers.processes import is_alive
from tests.helpers.small_models import write_model
from tests.helpers.speech_encoders import direct_states, write_speech_encoder
from tests.helpers.staged_talks import stage_commands
from tests.helpers.talks import SPOKEN, write_talk


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_model(root, variants=("full", "t", "a"))
    return root


@pytest.fixture(scope="module")
def loaded(project) -> Recogniser:
    return Recogniser.load(project / "runs/demo/full", device="cpu", cache=project / "cache")


@pytest.fixture(scope="module")
def talk(project) -> Path:
    return write_talk(project / "media/talk.mp4")


@pytest.fixture
def extracted(monkeypatch) -> dict:
    """What the extractors gave, by modality."""
    found = {}

    def spy(rows, extractor, *rest):
        found[extractor.modality] = extract(rows, extractor, *rest)
        return found[extractor.modality]

    extract = module.extract_features
    monkeypatch.setattr(module, "extract_features", spy)
    return found


# ---------------------------------------------------------------------------------------------------- as the stages do


@pytest.fixture(scope="module")
def staged(project, talk, tmp_path_factory) -> Path:
    """The features folder that the stages of stage 1 make of the talk, with its subtitles as the corpus."""
    root = tmp_path_factory.mktemp("stages")
    for name, arguments in stage_commands(root, project, talk, extract_settings().model_dump()):
        here = [] if name == "extract_text" else ["--workers", "0"]
        main = importlib.import_module(f"pipeline.{name}").main
        result = CliRunner().invoke(main, [*arguments, *here], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return root / "features"


def test_features_are_those_of_stage_1_to_the_byte(staged, project, talk, extracted):
    with Recogniser.load(project / "runs/demo/full", device="cpu", cache=staged / "other-cache") as recogniser:
        recogniser(talk)

    for modality in ("text", "audio", "visual"):
        expected, found = read_features(staged / f"{modality}.h5", modality), extracted[modality].features
        assert found.features.tobytes() == expected.features.tobytes()
        assert found.present.all() and expected.present.all()
        assert {name: column.tolist() for name, column in found.quality.items()} == {
            name: column.tolist() for name, column in expected.quality.items()
        }
        of_rows = dict.fromkeys(OF_ROWS, "")
        assert dict(found.identity) | of_rows == dict(expected.identity) | of_rows


def test_emotions_are_those_that_predict_gives_for_the_stages_features(staged, project, talk, loaded):
    expected = dferc.load(project / "runs/demo/full", device="cpu").predict(staged)
    emotions = loaded(talk)

    assert len(emotions.utterances) == len(expected) == len(SPOKEN)
    for utterance, row in zip(emotions.utterances, expected.rows, strict=True):
        assert (utterance.emotion, utterance.text, utterance.speaker) == (row["predicted"], row["text"], row["speaker"])
        for name in expected.classes:
            assert utterance.probabilities[name] == pytest.approx(row[f"p_{name}"], abs=6e-7)  # six digits are kept
        assert utterance.disagreement == pytest.approx(row["disagreement"], abs=6e-7)
        assert utterance.context_weight == pytest.approx(row["context_weight"], abs=6e-7)


def test_document_names_the_medium_the_model_and_its_training_data(loaded, talk):
    emotions = loaded(talk)

    assert emotions.media.name == "talk.mp4" and emotions.media.has_sound and emotions.media.has_picture
    assert emotions.media.length_s == pytest.approx(9.0, abs=0.1)
    assert (emotions.model.name, emotions.model.corpus, emotions.model.seeds) == ("demo/full", "demo", [0, 1])
    assert emotions.model.temperature > 0
    assert any("synthetic" in sentence for sentence in emotions.model.synthetic)
    assert sum("openSMILE" in licence for licence in emotions.model.licences) == 1
    assert emotions.transcript.origin == "talk.srt"
    assert [utterance.id for utterance in emotions.utterances] == [f"talk_{number:04d}" for number in range(4)]
    assert all(utterance.face_share == 1 and utterance.absent == {} for utterance in emotions.utterances)


def test_seeds_and_abstention(project, talk):
    one = Recogniser.load(project / "runs/demo/full", device="cpu", cache=project / "cache", seeds=[1], abstain=1.0)
    emotions = one(talk)

    assert emotions.model.seeds == [1] and emotions.abstain == 1.0
    assert {utterance.emotion for utterance in emotions.utterances} == {None}
    assert {utterance.disagreement for utterance in emotions.utterances} == {None}
    with pytest.raises(InputError, match=r"no seed 7\. Name some of 0, 1"):
        Recogniser.load(project / "runs/demo/full", device="cpu", cache=project / "cache", seeds=[1, 7])


def test_the_folder_of_one_seed_is_a_model_wherever_the_command_runs(project, talk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = project / "runs/demo/full/train/seed-1"
    assert Recogniser.load(run, device="cpu", cache=project / "cache").seeds == [1]


@pytest.mark.parametrize("name", ["bundle.json", "heads/seed-0/model.safetensors"])
def test_a_run_whose_copy_in_the_cache_is_damaged_is_packed_again(project, tmp_path, name):
    for _ in range(2):
        Recogniser.load(project / "runs/demo/full", device="cpu", cache=tmp_path)
        (packed,) = (tmp_path / "runs").iterdir()
        (packed / name).write_bytes(b"")  # as a power cut leaves it


@pytest.mark.parametrize(
    "change, found", [({"min_s": "short"}, "min_s is 'short'"), ({"other": 1}, "other"), ({"encoder": None}, "encoder")]
)
def test_a_section_that_somebody_changed_is_refused_with_its_field(loaded, tmp_path, change, found):
    manifest = loaded.bundle.manifest.model_copy(deep=True)
    manifest.settings["extract_audio"].update(change)
    with pytest.raises(InputError) as refusal:
        Recogniser(replace(loaded.bundle, manifest=manifest), "a.zip", device="cpu", cache=tmp_path)
    assert "a.zip: bundle.json, settings.extract_audio: " in str(refusal.value) and found in str(refusal.value)


# ---------------------------------------------------------------------------------------------------- what is absent


def test_sound_alone(loaded, tmp_path):
    emotions = loaded(write_talk(tmp_path / "talk.wav", picture=False))

    assert emotions.media.has_sound and not emotions.media.has_picture
    assert [utterance.absent for utterance in emotions.utterances] == [{"visual": "no picture"}] * 4
    assert [note for note in emotions.notes if "absent" in note] == [
        "There is no picture: visual is absent throughout."
    ]
    assert not [problem for problem in emotions.problems if "no picture" in problem.problem]  # not once per utterance
    assert {utterance.face_share for utterance in emotions.utterances} == {None}


def test_picture_without_sound(loaded, tmp_path):
    emotions = loaded(write_talk(tmp_path / "talk.mp4", sound=False))

    assert [utterance.absent for utterance in emotions.utterances] == [{"audio": "no sound track"}] * 4


@pytest.mark.parametrize("name", ["talk.srt", "talk.txt"])
def test_words_alone(loaded, tmp_path, name):
    path = tmp_path / name
    path.write_text(cues(*SPOKEN) if name.endswith(".srt") else "\n".join(SPOKEN), encoding="utf-8")
    emotions = loaded(path)

    assert emotions.media.length_s is None and not emotions.media.has_sound
    assert len(emotions.utterances) == 4
    for utterance in emotions.utterances:
        assert utterance.absent == dict.fromkeys(("audio", "visual"), "a transcript alone")
        assert (utterance.start_s is None) == (name == "talk.txt")


def test_face_that_is_not_there_is_absent_with_the_reason(loaded, tmp_path):
    talk = write_talk(tmp_path / "talk.mp4", pictures=[np.full((120, 160), 90, np.uint8)] * 90)
    emotions = loaded(talk)

    for utterance in emotions.utterances:
        assert utterance.face_share == 0 and "face" in utterance.absent["visual"]


def test_silent_utterance_is_absent_with_the_reason(loaded, tmp_path):
    sound = tone(9.0)
    sound[:, round(2.8 * 16000) : round(4.7 * 16000)] = 0
    emotions = loaded(write_talk(tmp_path / "talk.wav", picture=False, sound=sound, sound_codec="pcm_s16le"))

    reasons = [utterance.absent.get("audio", "") for utterance in emotions.utterances]
    assert reasons[1].startswith("silent") and reasons[0] == reasons[2] == reasons[3] == ""


def test_model_of_words_alone_opens_neither_sound_nor_picture(project, talk, extracted):
    words = Recogniser.load(project / "runs/demo/t", device="cpu", cache=project / "cache")
    emotions = words(talk)

    assert list(extracted) == ["text"]
    assert emotions.utterances[0].absent == {} and list(emotions.utterances[0].contributions) == ["text"]


# ---------------------------------------------------------------------------------------------------- rows


def transcript(*spans: tuple[float, float] | None) -> Transcript:
    spoken = [
        Spoken(utterance_id=f"u{number}", start_s=span and span[0], end_s=span and span[1], speaker="", text="yes")
        for number, span in enumerate(spans)
    ]
    return Transcript(utterances=tuple(spoken), origin="t.srt", language="", speakers_from="")


def test_what_is_odd_about_a_medium_is_told_where_no_speech_is_found(loaded, tmp_path, monkeypatch):
    nothing = Transcript(utterances=(), origin="speech recognition", language="", speakers_from="")
    monkeypatch.setattr(module, "kept_transcript", lambda *_: nothing)
    path = truncate(write_clip(tmp_path / "quiet.wav", sound=tone(2.0)), 0.5)
    assert [problem.where for problem in loaded(path).problems] == ["quiet.wav"]


def test_whole_medium_is_one_dialogue_unless_a_silence_divides_it(talk):
    info = module.measure_medium(talk)
    spans = transcript((0.0, 1.0), (1.5, 2.0), (7.0, 7.5), (7.6, 8.0))

    assert len(set(rows_of(talk, info, spans, ("joy",)).utterances.dialogue_id)) == 1
    scenes = rows_of(talk, info, spans, ("joy",), scene_s=5.0).utterances
    assert scenes.lengths.tolist() == [2, 2]
    assert len(set(rows_of(talk, info, spans, ("joy",), scene_s=5.1).utterances.dialogue_id)) == 1


def test_utterance_behind_the_end_and_one_without_times_have_words_alone(talk):
    rows = rows_of(talk, module.measure_medium(talk), transcript((1.0, 2.0), (50.0, 51.0), None), ("joy",))

    assert rows.absent[0] == {}
    assert rows.absent[1]["audio"].startswith("span outside its file: 50 s")
    assert rows.absent[2] == dict.fromkeys(("audio", "visual"), "the transcript has no times")
    assert [problem.where for problem in rows.problems] == ["talk_0001"]


def test_very_long_utterance_is_cut_and_listed(tmp_path):
    sound = write_clip(tmp_path / "long.wav", sound=tone(40.0))
    rows = rows_of(sound, module.measure_medium(sound), transcript((0.0, 40.0)), ("joy",))

    assert rows.rows[0].end_s == 30.0
    assert "too long: 40.0 s, cut at 30 s" in [problem.problem for problem in rows.problems]


# ---------------------------------------------------------------------------------------------------- finished work


def test_second_run_computes_nothing(project, talk, tmp_path, extracted):
    first = Recogniser.load(project / "runs/demo/full", device="cpu", cache=tmp_path)(talk)
    computed = {name: found.computed for name, found in extracted.items()}
    again = Recogniser.load(project / "runs/demo/full", device="cpu", cache=tmp_path)(talk)

    assert computed == {"text": 4, "audio": 0, "visual": 4}  # openSMILE hears the sound while the picture is read
    assert {name: found.computed for name, found in extracted.items()} == dict.fromkeys(computed, 0)
    assert again == first


class StopError(Exception):
    pass


def test_run_that_was_stopped_pays_only_for_the_rest(project, talk, tmp_path, extracted):
    def stop(step: str, share: float) -> None:
        if step == "visual" and share >= 0.5:
            raise StopError

    recogniser = Recogniser.load(project / "runs/demo/full", device="cpu", cache=tmp_path)
    with pytest.raises(StopError):
        recogniser(talk, progress=stop)
    recogniser(talk)

    assert {name: found.computed for name, found in extracted.items()} == {"text": 0, "audio": 0, "visual": 2}


def test_models_are_loaded_once_for_several_media(project, talk, tmp_path, monkeypatch):
    loads = []
    monkeypatch.setattr(module, "load_encoder", lambda *given: loads.append(given) or load_encoder(*given))
    recogniser = Recogniser.load(project / "runs/demo/full", device="cpu", cache=tmp_path)
    for name in ("one.srt", "two.srt"):
        shutil.copy(talk.with_suffix(".srt"), tmp_path / name)
        recogniser(tmp_path / name)

    assert len(loads) == 1


def test_progress_names_each_step_in_order_from_0_to_1(loaded, talk):
    seen: dict[str, list[float]] = {}
    loaded(talk, progress=lambda step, share: seen.setdefault(step, []).append(share))

    assert tuple(seen) == module.STEPS
    for shares in seen.values():
        assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1


def test_recognised_speech_is_kept(project, tmp_path, monkeypatch):
    heard = []

    class Listener:
        def __init__(self, *_, **__):
            pass

        def __call__(self, media, progress, keep):
            heard.append(media)
            return dataclasses.replace(transcript((1.0, 2.0)), language="en", notes=("by ear",))

    monkeypatch.setattr(module, "SpeechRecogniser", Listener)
    talk = write_talk(tmp_path / "talk.mp4", subtitles=False)
    results = [
        Recogniser.load(project / "runs/demo/full", device="cpu", cache=tmp_path / "cache", language=language)(talk)
        for language in ("en", "en", None)
    ]

    assert heard == [talk, talk]  # not the second time; another language is another transcript
    assert results[0] == results[1] and results[0].notes[0] == "by ear" and results[0].transcript.language == "en"


def test_problems_of_kept_speech_name_the_file_as_it_is_called_now(project, tmp_path, monkeypatch):
    class Listener:
        def __init__(self, *_, **__):
            pass

        def __call__(self, media, progress, keep):
            found = Problem(media.name, media.name, "text that repeats itself", "left out")
            return dataclasses.replace(transcript((1.0, 2.0)), problems=(found,))

    monkeypatch.setattr(module, "SpeechRecogniser", Listener)
    recogniser = Recogniser.load(project / "runs/demo/t", device="cpu", cache=tmp_path / "cache")
    talk = write_talk(tmp_path / "anna.mp4", subtitles=False)
    media = talk, shutil.copy(talk, tmp_path / "interview.mp4")
    named = [recogniser(each).problems[0].where for each in media]
    assert named == ["anna.mp4", "interview.mp4"]


def test_worker_processes_give_the_same_and_wait_for_the_next_medium(project, talk, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SHORT_S", 1.0)
    run, options = project / "runs/demo/a", {"device": "cpu", "workers": 1}
    with Recogniser.load(run, cache=tmp_path / "a", **options) as recogniser:
        found = recogniser(talk)
        processes = list(recogniser._standby.processes)
        assert len(processes) == len(recogniser._standby.idle) == 1
    monkeypatch.setattr(module, "_SHORT_S", 1e9)

    # Asked of the kernel: two threads wait for the process, and the one that comes second would call it alive.
    assert not is_alive(processes[0].pid)
    assert found == Recogniser.load(run, cache=tmp_path / "b", **options)(talk)


def test_model_of_two_joined_audio_sets_extracts_both_and_carries_the_encoder(tmp_path, talk, monkeypatch):
    encoder = write_speech_encoder(tmp_path / "encoder")
    run = write_model(tmp_path, seeds=(0,), variants=("a",), beside=encoder)
    packed = CliRunner().invoke(bundle, [str(run), "--out", str(tmp_path / "a.dferc")])
    assert packed.exit_code == 0, packed.output
    card = (tmp_path / "a.dferc/README.md").read_text(encoding="utf-8")
    assert "- audio: opensmile" in card and "- audio/beside: transformers" in card and "audEERING" in card
    encoder.rename(tmp_path / "moved")
    predicted, predict = [], Predictor.predict
    monkeypatch.setattr(
        Predictor, "predict", lambda self, corpus, *rest: predicted.append(corpus) or predict(self, corpus, *rest)
    )
    steps = []
    with Recogniser.load(tmp_path / "a.dferc", device="cpu", cache=tmp_path / "cache") as recogniser:
        emotions = recogniser(talk, progress=lambda step, share: steps.append((step, share)))
    audio = predicted[0].modalities["audio"]
    assert [block.columns.stop - block.columns.start for block in audio.blocks][0] == 1582 and audio.present.all()
    own = read_audio(talk, emotions.utterances[1].start_s, emotions.utterances[1].end_s)
    expected = direct_states(tmp_path / "moved", own).mean(axis=0)
    np.testing.assert_allclose(audio.features[1, 1582:], expected, atol=1e-5)
    assert audio.features[1, :1582].any() and all(utterance.emotion for utterance in emotions.utterances)
    shares = [share for step, share in steps if step == "audio"]
    assert shares == sorted(shares) and shares[-1] == 1
    assert any("openSMILE" in licence for licence in emotions.model.licences)


def test_model_of_two_joined_text_sets_extracts_both_and_carries_both_encoders(tmp_path, talk, monkeypatch):
    """Each half has the bytes of a model with that encoder alone."""
    predicted, predict = [], Predictor.predict
    monkeypatch.setattr(
        Predictor, "predict", lambda self, corpus, *rest: predicted.append(corpus) or predict(self, corpus, *rest)
    )
    other = tmp_path / "both/models/demo/minilm"
    small_encoder(dialogues(5), seed=1).save(other)
    runs = {name: {"encoder": other} if name == "other" else {} for name in ("first", "other")}
    models = [write_model(tmp_path / name, seeds=(0,), variants=("t",), **more) for name, more in runs.items()]
    run = write_model(tmp_path / "both", seeds=(0,), variants=("t",), text_beside=other)
    monkeypatch.chdir(tmp_path / "both")
    packed = CliRunner().invoke(bundle, [str(run), "--out", str(tmp_path / "t.dferc")])
    assert packed.exit_code == 0, packed.output
    (tmp_path / "both").rename(tmp_path / "moved")
    for model in (*models, tmp_path / "t.dferc"):
        with Recogniser.load(model, device="cpu", cache=tmp_path / "cache" / model.parts[-4]) as recogniser:
            recogniser(talk)
    first, second, both = (corpus.modalities["text"] for corpus in predicted)
    assert [list(np.unique(part.present)) for part in (first, second, both)] == [[True]] * 3
    np.testing.assert_array_equal(both.features, np.hstack([first.features, second.features]))


def test_model_with_a_speech_encoder_gives_its_vectors_and_carries_it(tmp_path, talk, extracted):
    encoder = write_speech_encoder(tmp_path / "encoder")
    run = write_model(tmp_path, seeds=(0,), variants=("a",), speech=encoder)
    packed = CliRunner().invoke(bundle, [str(run), "--out", str(tmp_path / "a.dferc")])
    assert packed.exit_code == 0, packed.output
    encoder.rename(tmp_path / "moved")
    with Recogniser.load(tmp_path / "a.dferc", device="cpu", cache=tmp_path / "cache") as recogniser:
        emotions = recogniser(talk)
    features = extracted["audio"].features
    assert features.present.all() and emotions.model.modalities == ["audio"]
    own = read_audio(talk, emotions.utterances[1].start_s, emotions.utterances[1].end_s)
    expected = direct_states(tmp_path / "moved", own).mean(axis=0)
    np.testing.assert_allclose(features.features[1], expected, atol=1e-5)
    assert all(utterance.emotion for utterance in emotions.utterances)
    assert not any("openSMILE" in licence for licence in emotions.model.licences)


def test_a_speech_encoder_beside_a_picture_is_opened_once(tmp_path, talk, monkeypatch):
    """It does not hear with the picture, and its weights are hashed where it is opened."""
    run = write_model(tmp_path, seeds=(0,), variants=("full",), speech=write_speech_encoder(tmp_path / "encoder"))
    made, make = [], module.extract_audio.make_extractor
    monkeypatch.setattr(
        module.extract_audio, "make_extractor", lambda *given, **more: made.append(1) or make(*given, **more)
    )
    with Recogniser.load(run, device="cpu", cache=tmp_path / "cache") as recogniser:
        assert recogniser(talk).model.modalities == ["text", "audio", "visual"]
    assert len(made) == 1


def test_a_span_that_runs_backwards_has_no_time_and_stops_nothing(loaded, talk, tmp_path):
    path = tmp_path / "back.csv"
    path.write_text("utterance_id,start,end,text\nmine,4,3,hello\nother,5,6,you\n")
    first, second = loaded(talk, path).utterances
    assert (first.id, first.start_s, first.end_s) == ("mine", None, None) and second.start_s == 5
    assert "audio" in first.absent


def test_the_language_that_is_named_is_that_of_a_transcript_too(project, talk):
    words = Recogniser.load(project / "runs/demo/t", device="cpu", cache=project / "cache", language="de")(talk)
    assert words.transcript.language == "de" and any("'de'" in note for note in words.notes)


def test_an_upload_is_read_by_its_own_names(loaded, talk, tmp_path):
    media, transcript = tmp_path / "3f2a", tmp_path / "77c1.csv"
    media.write_bytes(talk.read_bytes())
    transcript.write_text("start,end,text,media\n1,2,hello there,\n3,4,you,talk.mp4\n")
    found = loaded(media, transcript, names=("talk.mp4", "talk.de.csv"))
    assert len(found.utterances) == 2 and found.transcript.language == "de"


@pytest.mark.parametrize(
    ("option", "value"),
    [("device", "gpu"), ("abstain", 1.5), ("abstain", np.nan), ("scene_s", -5), ("pause_s", -1), ("longest_s", 0)],
)
def test_options_that_are_none_are_refused_before_any_work(project, option, value):
    options = {"device": "cpu", "cache": str(project / "cache")} | {option: value}
    with pytest.raises(InputError, match=f"{option}.*expected"):
        Recogniser.load(project / "runs/demo/full", **options)


def test_results_without_times_leave_no_subtitles_of_an_earlier_result(loaded, talk, tmp_path):
    loaded(talk).write(tmp_path, talk, ("json", "srt"), False)
    lines = tmp_path / "talk.txt"
    lines.write_text("Hello there.\nOh no.\n")
    loaded(talk, lines).write(tmp_path, talk, ("json", "srt"), False)
    assert (tmp_path / "emotions.json").exists() and not (tmp_path / "emotions.srt").exists()
