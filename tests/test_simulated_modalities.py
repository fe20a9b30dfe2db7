"""The features of benchmarks/simulated_modalities.py: as strong, as often absent and as repeatable as stated."""

import numpy as np
import pytest

from benchmarks.simulated_modalities import QUALITY, simulate, simulate_beside
from dferc.store.hdf5 import read_corpus
from tests.helpers.common import make_utterances, write_features_folder


@pytest.fixture(scope="module")
def rows():
    return make_utterances(dialogues={"train": 200, "validation": 20, "test": 20})


def test_signal_is_the_stated_strength_times_each_utterances_reliability(rows):
    with_signal, noise = (simulate(rows, "audio", strength, 0.0, seed=0) for strength in (5.0, 0.0))
    signal_N = np.linalg.norm(with_signal.features - noise.features, axis=1)
    np.testing.assert_allclose(signal_N, 5.0 * with_signal.quality[QUALITY], atol=1e-4)
    assert abs(noise.features.std() - 1) < 0.02


def test_utterances_of_one_emotion_share_their_direction(rows):
    strong = simulate(rows, "visual", 1e4, 0.0, seed=0)
    unit = strong.features / np.linalg.norm(strong.features, axis=1, keepdims=True)
    same = rows.emotion[:, None] == rows.emotion
    sure = strong.quality[QUALITY] > 0.1
    assert (unit @ unit.T)[same & sure & sure[:, None]].min() > 0.99
    assert (unit @ unit.T)[~same & sure & sure[:, None]].max() < 0.9


def test_what_is_absent_is_the_stated_share_and_zero(rows):
    made = simulate(rows, "audio", 2.0, 0.3, seed=0)
    assert 0.25 < 1 - made.present.mean() < 0.35
    assert not made.features[~made.present].any()


def test_corpus_beside_which_it_was_simulated_says_so(tmp_path):
    source = write_features_folder(tmp_path / "demo")
    simulate_beside(source, tmp_path / "trial/demo", {"audio": 2.0, "visual": 1.0}, seed=3)
    corpus = read_corpus(tmp_path / "trial/demo")
    assert np.array_equal(corpus.modalities["text"].features, read_corpus(source).modalities["text"].features)
    for modality in ("audio", "visual"):
        assert "simulated" in corpus.modalities[modality].identity["extractor"]
