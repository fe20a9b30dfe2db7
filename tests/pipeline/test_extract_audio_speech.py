"""Stage extract_audio with a speech encoder, over clips made on the spot."""

import pickle
import re
import shutil

import numpy as np
import pytest

from dferc.engine import HERE, Workers
from dferc.engine.local import run_here
from dferc.store.hdf5 import read_features
from pipeline.audio.speech import SpeechEncoder, load_speech_encoder
from pipeline.extract_audio import main, make_extractor
from pipeline.extraction.scratch import Scratch
from pipeline.settings import load_settings
from tests.helpers.clips import read_audio, tone, write_clip
from tests.helpers.corpora import REPOSITORY, make_row, read_problems, run_stage, write_rows
from tests.helpers.speech_encoders import WIDTH, direct_states, write_speech_encoder, write_speech_params

PARAMS = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")


def extract(folder, **options):
    """Run the stage on the CPU; return features, problems and what it printed."""
    options = {"params": folder / "params.yaml", "workers": 0, "device": "cpu"} | options
    outcome = run_stage(main, folder, **options)
    assert outcome.exit_code == 0, outcome.output
    return read_features(folder / "out.h5", "audio"), read_problems(folder / "problems.csv"), outcome.stderr


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Write clips of many lengths, some that are absent, and a long file of several utterances; return it extracted."""
    folder = tmp_path_factory.mktemp("corpus")
    clips = {f"{n}.wav": {"sound": tone(0.4 + 0.11 * n, hz=150 + 20 * n)} for n in range(6)}
    clips |= {
        "stereo.mp4": {"sound": tone(0.9, 48000, 2), "rate_hz": 48000, "layout": "stereo"},
        "telephone.wav": {"sound": tone(0.9, 8000), "rate_hz": 8000},
        "silence.wav": {"sound": 0 * tone(0.9)},
        "tiny.wav": {"sound": tone(0.05)},
    }
    for name, content in clips.items():
        write_clip(folder / name, **content)
    swept = np.concatenate([tone(1.0, hz=hz) for hz in (150, 250, 350, 450)], axis=1)
    write_clip(folder / "long.wav", sound=swept)
    rows = [make_row(name, name, 0.4 + 0.11 * n if n < 6 else 0.9) for n, name in enumerate(clips)]
    rows += [make_row(f"long {n}", "long.wav", n + 1.0, start_s=float(n)) for n in range(4)]
    rows += [make_row("gone.wav", "gone.wav", 1.0), make_row("no media")]
    write_rows(folder, rows)
    encoder = write_speech_encoder(folder / "encoder")
    write_speech_params(folder / "params.yaml", encoder)
    return folder, rows, *extract(folder)


def test_features_are_those_of_the_class_on_the_same_samples(corpus):
    folder, rows, made, problems, _ = corpus
    absent = {"silence.wav", "tiny.wav", "gone.wav", "no media"}
    assert made.width == WIDTH
    for row, values, present in zip(rows, made.features, made.present, strict=True):
        assert present == (row.utterance_id not in absent), row.utterance_id
        if present:
            expected = direct_states(folder / "encoder", read_audio(folder / row.media, row.start_s, row.end_s))
            np.testing.assert_allclose(values, expected.mean(axis=0), atol=1e-5, err_msg=row.utterance_id)
    reasons = {where: problem for where, _, problem, _ in problems}
    assert reasons["silence.wav"].startswith("silent: ") and reasons["tiny.wav"].startswith("too short: 0.050 s")
    assert reasons["gone.wav"].startswith("unreadable: ") and set(reasons) == absent - {"no media"}


def test_identity_holds_the_model_and_the_settings(corpus):
    identity = corpus[2].identity
    assert identity["extractor"].startswith("transformers ") and len(identity["model"]) == 64
    assert identity["params"]["layer"] == "last" and identity["params"]["encoder"] == str(corpus[0] / "encoder")
    assert identity["computed_in"] == "float32"


def test_batches_and_workers_give_the_same_vectors(corpus, tmp_path):
    folder, _, made, *_ = corpus
    options = {"out": tmp_path / "out.h5", "scratch": tmp_path / "s.sqlite", "params": folder / "params.yaml"}
    outcome = run_stage(main, folder, **options, **{"batch-s": 3, "workers": 1, "device": "cpu"})
    assert "12 done, 0 reused" in outcome.stderr, outcome.output
    batched = read_features(tmp_path / "out.h5", "audio")
    np.testing.assert_array_equal(batched.present, made.present)
    np.testing.assert_allclose(batched.features, made.features, atol=1e-5)


def test_an_utterance_is_computed_again_in_the_batch_that_it_was_in(corpus, monkeypatch):
    """A rerun after a kill computes some of the utterances only, and rounding may depend on the batch."""
    folder, rows, *_ = corpus
    vectors, batches = SpeechEncoder.vectors, []

    def noted(self, pieces, *rest):
        batches.append(tuple(len(piece.samples_S) for piece in pieces))
        return vectors(self, pieces, *rest)

    monkeypatch.setattr(SpeechEncoder, "vectors", noted)
    settings = load_settings(folder / "params.yaml").corpus("demo").extract_audio
    with Scratch(folder / "unused.sqlite") as scratch:
        extractor = make_extractor(rows, settings, folder, scratch, HERE, "cpu", 3.0)
        all_ = dict(extractor.compute([i for i, row in enumerate(rows) if row.has_audio]))
        of_all = set(batches)
        assert max(map(len, of_all)) > 1
        for index in (2, 11):
            [(row, record)] = extractor.compute([index])
            assert row == index
            np.testing.assert_array_equal(record.arrays["features"], all_[index].arrays["features"])
        assert set(batches) == of_all


def test_workers_of_a_cluster_load_the_encoder_themselves_and_give_the_same_bits(corpus, monkeypatch):
    folder, rows, *_ = corpus
    settings = load_settings(folder / "params.yaml").corpus("demo").extract_audio
    paths = []

    def run_elsewhere(make_worker, items, workers, seen, together=None):
        paths.extend(seen)
        return run_here(pickle.loads(pickle.dumps(make_worker)), (pickle.loads(pickle.dumps(item)) for item in items))

    with Scratch(folder / "unused.sqlite") as scratch:
        here = dict(make_extractor(rows, settings, folder, scratch, HERE, "cpu", 3.0).compute([1, 3]))
        monkeypatch.setattr("dferc.engine.run", run_elsewhere)
        cluster = Workers(cluster="local")
        there = dict(make_extractor(rows, settings, folder, scratch, cluster, "cpu", 3.0).compute([1, 3]))
    for index in (1, 3):
        np.testing.assert_array_equal(here[index].arrays["features"], there[index].arrays["features"])
    assert folder / "encoder" in paths  # every machine must see it


def test_finished_work_is_reused_until_the_folder_changes(corpus):
    folder, _, made, *_ = corpus
    assert "0 done, 12 reused" in extract(folder)[2]
    kept = folder / "encoder.kept"
    shutil.copytree(folder / "encoder", kept)
    write_speech_encoder(folder / "encoder", seed=1)
    changed, _, printed = extract(folder)
    shutil.rmtree(folder / "encoder")
    kept.rename(folder / "encoder")
    assert "12 done, 0 reused" in printed and changed.identity["model"] != made.identity["model"]
    assert np.abs(changed.features - made.features).max() > 1e-3


def test_context_is_heard_and_not_pooled(corpus, tmp_path):
    folder, rows, made, *_ = corpus
    params = write_speech_params(tmp_path / "params.yaml", folder / "encoder", context_s=0.5)
    with_context = extract(folder, params=params, out=folder / "out.h5")[0]
    index = next(n for n, row in enumerate(rows) if row.utterance_id == "long 1")
    states_TD = direct_states(folder / "encoder", read_audio(folder / "long.wav", 0.5, 2.5))
    own = states_TD[25:75].mean(axis=0)  # within a frame or two at the edges
    assert np.abs(with_context.features[index] - own).max() < 0.05 * np.abs(own).max()
    assert np.abs(with_context.features[index] - made.features[index]).max() > 1e-3
    whole_files = [n for n, row in enumerate(rows) if made.present[n] and row.media not in ("long.wav", "stereo.mp4")]
    np.testing.assert_allclose(with_context.features[whole_files], made.features[whole_files], atol=1e-5)


def test_an_utterance_of_forty_seconds_is_heard_in_pieces(corpus, tmp_path):
    """With `chunk_s` 30, in two, each with a margin: nearly the mean of what the class gives of the whole."""
    folder = corpus[0]
    swept = np.concatenate([tone(4.0, hz=hz) for hz in range(150, 550, 40)], axis=1)
    write_clip(tmp_path / "forty.wav", sound=swept)
    write_rows(tmp_path, [make_row("forty", "forty.wav", 40.0)])
    made, problems, _ = extract(tmp_path, params=folder / "params.yaml")
    expected = direct_states(folder / "encoder", read_audio(tmp_path / "forty.wav", 0.0, 40.0)).mean(axis=0)
    assert made.present.all() and not problems
    assert np.abs(made.features[0] - expected).max() < 0.02 * np.abs(expected).max()
    assert np.abs(made.features[0] - expected).max() > 0  # two pieces, not one


def test_layers_and_pooling_are_settings(corpus, tmp_path):
    folder, rows, *_ = corpus
    params = write_speech_params(tmp_path / "params.yaml", folder / "encoder", layer=1, pooling="mean_std")
    made = extract(folder, params=params)[0]
    states_TD = direct_states(folder / "encoder", read_audio(folder / "3.wav", 0, rows[3].end_s), layer=1)
    expected = np.concatenate([states_TD.mean(axis=0), states_TD.std(axis=0)])
    np.testing.assert_allclose(made.features[3], expected, atol=1e-5)


def test_sound_comes_at_the_rate_of_the_feature_extractor(corpus, tmp_path):
    folder, rows, *_ = corpus
    encoder = write_speech_encoder(tmp_path / "encoder", rate_hz=8000)
    made = extract(folder, params=write_speech_params(tmp_path / "params.yaml", encoder))[0]
    index = next(n for n, row in enumerate(rows) if row.utterance_id == "telephone.wav")
    samples = tone(0.9, 8000)[0]  # at the file's own rate, with the rounding of its 16 bits
    expected = direct_states(encoder, samples).mean(axis=0)
    np.testing.assert_allclose(made.features[index], expected, atol=2e-2)
    assert load_speech_encoder(str(encoder), "last").rate_hz == 8000


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"layer": 7}, "layer is '7', and .* has 2 layers"),
        ({"context_s": 20.0}, r"context_s is 20.0 and .* hears 30.0 s .* Set context_s below 15.0"),
        ({"encoder": "gone/encoder"}, "could not be loaded. There is no such folder"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(corpus, tmp_path, monkeypatch, changes, match):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = corpus[0]
    params = write_speech_params(tmp_path / "params.yaml", **{"encoder": folder / "encoder"} | changes)
    outcome = run_stage(main, folder, params=params, workers=0, device="cpu", out=tmp_path / "out.h5")
    assert outcome.exit_code == 1 and re.search(match, " ".join(outcome.stderr.split())), outcome.output
    assert not (tmp_path / "out.h5").exists()


def test_old_name_of_the_setting_is_refused_with_the_new_one(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS.replace("encoder: IS10 ", "feature_set: IS10 "), encoding="utf-8")
    write_rows(tmp_path, [make_row("a")])
    outcome = run_stage(main, tmp_path, params=tmp_path / "params.yaml", workers=0)
    assert outcome.exit_code == 1 and "feature_set is now called encoder: rename the key" in outcome.stderr
