"""openSMILE functionals of generated and of real clips, against openSMILE itself."""

import errno
import os
import re
from pathlib import Path

import numpy as np
import opensmile
import pytest
from click.testing import CliRunner

from dferc.store.hdf5 import read_features
from pipeline.audio.functionals import open_smile
from pipeline.extract_audio import main
from pipeline.media import files as media
from tests.helpers.clips import SHARED, needs_media, read_audio, tone, truncate, write_clip
from tests.helpers.corpora import REPOSITORY, make_row, read_problems, run_stage, write_rows

CLIPS = {
    "mono.wav": {"sound": tone(0.5)},
    "stereo.mp4": {"sound": tone(0.5, 48000, 2), "rate_hz": 48000, "layout": "stereo"},
    "5.1.wav": {"sound": tone(0.5, 48000, 6), "rate_hz": 48000, "layout": "5.1"},
    "telephone.wav": {"sound": tone(0.5, 8000), "rate_hz": 8000},
    "quiet.wav": {"sound": 0.01 * tone(0.5)},
}


def test_settings_of_speech_encoders_that_opensmile_does_not_read_are_named(tmp_path):
    write_clip(tmp_path / "a.wav", sound=tone(0.5))
    write_rows(tmp_path, [make_row("a", "a.wav", 0.5)])
    params = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    odd = params.replace("  layer: last                  # of a speech", "  layer: 6 # of a speech")
    (tmp_path / "usual.yaml").write_text(params, encoding="utf-8")
    (tmp_path / "odd.yaml").write_text(odd.replace("  context_s: 0.0", "  context_s: 2.0"), encoding="utf-8")
    for name, said in (("odd", True), ("usual", False)):
        outcome = run_stage(main, tmp_path, workers=0, params=tmp_path / f"{name}.yaml")
        assert outcome.exit_code == 0, outcome.stderr
        told = "IS10 is openSMILE's and reads no layer, context_s" in " ".join(outcome.stderr.split())
        assert told == said, outcome.stderr


@pytest.fixture(scope="module")
def smile():
    """Load the tool as a user would, without our code."""
    return opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals)


def extract(folder, rows, **options):
    """Run the stage; returns the features and the problems."""
    write_rows(folder, rows)
    outcome = run_stage(main, folder, **{"workers": 0} | options)
    assert outcome.exit_code == 0, outcome.stderr
    return read_features(folder / "out.h5", "audio"), read_problems(folder / "problems.csv")


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """Extract a corpus of usual clips."""
    folder = tmp_path_factory.mktemp("usual")
    rows = [make_row(name, name, 0.5) for name in CLIPS]
    for name, content in CLIPS.items():
        write_clip(folder / name, **content)
    return folder, rows, *extract(folder, rows)


def test_audio_equals_opensmile_on_the_same_samples(usual, smile):
    folder, rows, made, problems = usual
    assert made.names == tuple(smile.feature_names) and made.width == 1582
    assert made.present.all() and problems == []
    for row, values in zip(rows, made.features, strict=True):
        samples = read_audio(folder / row.media, row.start_s, row.end_s)
        np.testing.assert_array_equal(values, smile.process_signal(samples, 16000).to_numpy()[0].astype(np.float32))


def test_audio_tells_what_made_it(usual):
    identity = usual[2].identity
    assert identity["extractor"] == f"opensmile {opensmile.__version__}" and identity["decoder"] == media.DECODER
    assert identity["params"] == {"feature_set": "IS10", "min_s": 0.08}
    assert "rows_hash" in identity


def test_audio_is_the_same_from_workers(usual):
    folder, *_ = usual
    before = (folder / "out.h5").read_bytes()
    outcome = run_stage(main, folder, workers=2, scratch=folder / "other.sqlite")
    assert "5 done, 0 reused" in outcome.stderr
    assert (folder / "out.h5").read_bytes() == before


def test_audio_of_awkward_clips_is_absent_and_listed(tmp_path):
    write_clip(tmp_path / "tiny.wav", sound=tone(0.05))
    write_clip(tmp_path / "mute.mp4", pictures=[np.zeros((32, 32), np.uint8)] * 5)
    truncate(write_clip(tmp_path / "cut.mp4", sound=tone(1)), 0.5)
    (tmp_path / "corrupt.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    names = ["tiny.wav", "mute.mp4", "cut.mp4", "corrupt.mp4", "gone.mp4"]
    rows = [make_row(name, name, 0.5) for name in names]
    rows += [make_row("no media"), make_row("known mute", "mute.mp4", 0.5, has_audio=False)]
    made, problems = extract(tmp_path, rows)
    assert not made.present.any() and made.features.shape == (7, 1582)
    invalid = "unreadable: Invalid data found when processing input"
    assert problems == [
        ("tiny.wav", "tiny.wav", "too short: 0.050 s of sound, expected 0.08 s at least (min_s)", "audio not present"),
        ("mute.mp4", "mute.mp4", "no sound track", "audio not present"),
        ("cut.mp4", "cut.mp4", invalid, "audio not present"),
        ("corrupt.mp4", "corrupt.mp4", invalid, "audio not present"),
        ("gone.mp4", "gone.mp4", "unreadable: No such file or directory", "audio not present"),
    ]


LEVELS = {"silence": 0.0, "offset": 0.2, "dither": 1 / 32768}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["a.wav", "a.mp4", "a.mp3", "a.ogg"])
def test_sound_without_a_signal_is_absent_and_listed(tmp_path, level, name):
    """Equal vectors of silent clips would count as a modality that is present."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], 48000) if level == "dither" else np.ones(48000)
    sound = (signs * LEVELS[level])[None].astype(np.float32)
    codec = {"a.mp3": "libmp3lame", "a.ogg": "libopus"}.get(name)
    write_clip(tmp_path / name, sound=sound, rate_hz=48000, sound_codec=codec)
    made, [problem] = extract(tmp_path, [make_row("a", name, 1.0)])
    assert not made.present.any() and problem[2].startswith("silent: ") and problem[3] == "audio not present"


def test_samples_that_are_no_numbers_are_absent_and_listed(tmp_path):
    sound = tone(1)
    sound[0, 8000] = np.nan
    write_clip(tmp_path / "a.wav", sound=sound, sound_codec="pcm_f32le")
    made, [problem] = extract(tmp_path, [make_row("a", "a.wav", 1.0)])
    assert not made.present.any() and problem[2].startswith("samples not finite: 1 of ")


def test_audio_that_gives_no_values_is_absent_and_listed(tmp_path):
    write_clip(tmp_path / "tiny.wav", sound=tone(0.05))
    settings = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    changed = re.sub(r"min_s: 0.08", "min_s: 0.0", settings)
    (tmp_path / "params.yaml").write_text(changed, encoding="utf-8")
    made, [problem] = extract(tmp_path, [make_row("a", "tiny.wav", 0.05)], params=tmp_path / "params.yaml")
    assert not made.present.any() and problem[2] == "values not finite: openSMILE on 0.050 s of sound"


def test_audio_of_a_clip_that_breaks_off_is_used_and_listed(tmp_path):
    truncate(write_clip(tmp_path / "cut.wav", sound=tone(1)), 0.5)
    made, [problem] = extract(tmp_path, [make_row("a", "cut.wav", 1.0)])
    assert made.present.all()
    assert problem == ("a", "cut.wav", "sound incomplete: 0.50 s of 1.00 s", "what there is was used")


def test_audio_is_of_the_span_alone(tmp_path, smile):
    sound = np.concatenate([tone(1.0), tone(1.0, hz=300), np.zeros((1, 100 * 16000), np.float32)], axis=1)
    write_clip(tmp_path / "long.wav", sound=sound)
    made, _ = extract(tmp_path, [make_row("a", "long.wav", 2.0, start_s=1.0)])
    samples = read_audio(tmp_path / "long.wav", 1.0, 2.0)
    np.testing.assert_array_equal(made.features[0], smile.process_signal(samples, 16000).to_numpy()[0])


@pytest.mark.parametrize("order", [str, lambda name: name[::-1]], ids=["file by file", "taking turns"])
def test_utterances_of_one_file_open_it_once(tmp_path, monkeypatch, order):
    opened, open_media = [], media.open_media
    monkeypatch.setattr(
        "pipeline.media.sound.open_media", lambda path: opened.append(Path(path).name) or open_media(path)
    )
    for name, hz in (("a.mp4", 200), ("b.mp4", 300)):
        write_clip(tmp_path / name, sound=tone(4, hz=hz))
    rows = [make_row(f"{name} {n}", name, n + 0.5, start_s=n) for name in ("a.mp4", "b.mp4") for n in (0, 1.5, 3)]
    rows.sort(key=lambda row: order(row.utterance_id))
    extract(tmp_path, rows)
    assert opened == ["a.mp4", "b.mp4"]
    write_clip(tmp_path / "b.mp4", sound=0 * tone(4))
    before = (tmp_path / "out.h5").read_bytes()
    extract(tmp_path, rows)  # another run in this process sees another file of that name
    assert (tmp_path / "out.h5").read_bytes() != before


def test_audio_of_a_corpus_of_text_alone_is_all_absent(tmp_path):
    made, problems = extract(tmp_path, [make_row("a"), make_row("b")], raw=tmp_path / "nowhere")
    assert made.features.shape == (2, 1582) and not made.present.any() and problems == []


def test_feature_set_may_be_a_file(tmp_path):
    by_name = open_smile("IS09")
    by_path = open_smile(by_name.config_path)
    assert by_path.feature_names == by_name.feature_names
    np.testing.assert_array_equal(by_path(tone(0.5), 16000), by_name(tone(0.5), 16000))


@pytest.mark.parametrize(
    ("content", "match"), [(None, "neither a file nor one of .*IS10"), ("rubbish", "cannot use this")]
)
def test_feature_set_that_is_none_is_refused(tmp_path, content, match):
    settings = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(
        settings.replace("encoder: IS10", f"encoder: {tmp_path / 'own.conf'}"), encoding="utf-8"
    )
    if content:
        (tmp_path / "own.conf").write_text(content)
    write_rows(tmp_path, [make_row("a")])
    outcome = run_stage(main, tmp_path, params=tmp_path / "params.yaml", workers=0)
    assert outcome.exit_code == 1 and re.search(match, outcome.stderr)


@needs_media
def test_audio_of_real_clips_equals_opensmile(tmp_path, smile):
    names = ["speech.wav", "single_face.mp4", "no_face.mp4", "face_noface.mov"]
    rows = [make_row(name, name, media.probe(SHARED / "media" / name).duration_s) for name in names]
    made, problems = extract(tmp_path, rows, raw=SHARED / "media")
    assert made.present.all() and made.features.shape == (4, 1582) and np.isfinite(made.features).all()
    assert [problem[2] for problem in problems] == ["sound incomplete: 3.97 s of 6.42 s"]
    for row, values in zip(rows, made.features, strict=True):
        samples = read_audio(SHARED / "media" / row.media, 0, row.end_s)
        np.testing.assert_array_equal(values, smile.process_signal(samples, 16000).to_numpy()[0].astype(np.float32))


def test_a_further_set_is_written_beside_by_its_own_settings(tmp_path, monkeypatch):
    """Defaults of all paths; the first set is not touched."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path, [make_row("a", "mono.wav", 0.5)])
    write_clip(tmp_path / "mono.wav", **CLIPS["mono.wav"])
    text = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    sets = "[{<<: *extract_audio, corpus: demo, name: egemaps, encoder: eGeMAPSv02}]"
    (tmp_path / "params.yaml").write_text(text.replace("  audio: []", f"  audio: {sets}"), encoding="utf-8")
    there = [f"--{name}={tmp_path / file}" for name, file in (("raw", ""), ("table", "utterances.csv"))]
    there += [f"--utterances={tmp_path / 'utterances.h5'}", "--corpus=demo", "--workers=0"]
    done = CliRunner().invoke(main, [*there, "--set=audio/egemaps"])
    assert done.exit_code == 0 and "extract_audio demo, audio/egemaps: 1 utterances: 1 done" in done.stderr, done.output
    made = read_features(tmp_path / "features/demo/audio/egemaps.h5", "audio")
    assert made.width == 88 and made.identity["params"]["feature_set"] == "eGeMAPSv02"
    assert (tmp_path / "data/demo/extract_audio_egemaps.json").exists()
    assert not (tmp_path / "features/demo/audio.h5").exists()
    assert "expected audio/NAME" in CliRunner().invoke(main, [*there, "--set=text/egemaps"]).stderr


def test_constant_offset_of_a_sound_is_taken_out_and_told(tmp_path):
    """A sound card's: at 0.1, openSMILE's loudness would be six times that of the voice."""
    voice, offsets = 0.3 * tone(1), {"none.wav": 0.0, "less.wav": -0.3, "more.wav": 0.1}
    for name, offset in offsets.items():
        write_clip(tmp_path / name, sound=voice + np.float32(offset))
    made, problems = extract(tmp_path, [make_row(name, name, 1.0) for name in offsets])
    loudness = made.features[:, made.names.index("pcm_loudness_sma_amean")]
    np.testing.assert_allclose(loudness, loudness[0], rtol=0.01)
    told = [(name, f"constant offset of {offset:.3f} of full scale: taken out") for name, offset in offsets.items()]
    assert [(where, problem) for where, _, problem, _ in problems] == told[1:]


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.ENOMEM])
def test_fault_of_the_machine_is_not_kept(tmp_path, monkeypatch, code):
    """A network drive that hangs up, too many open files: the next run may read the file."""
    write_clip(tmp_path / "a.wav", sound=tone(0.5))
    opened = os.open

    def fail(path, *how, **options):
        if str(path).endswith(".wav"):
            raise OSError(code, os.strerror(code))
        return opened(path, *how, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        made, [(*_, problem, _)] = extract(tmp_path, [make_row("a", "a.wav", 0.5)])
    assert not made.present.any() and os.strerror(code) in problem
    made, problems = extract(tmp_path, [make_row("a", "a.wav", 0.5)])
    assert made.present.all() and problems == []
