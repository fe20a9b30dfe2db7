"""A video made of three dialogues of the demo, with subtitles: the emotions that the corpus itself has, to the digit.

The video is lossless, so that an utterance has the very frames and samples of its clip (other dialogues have clips in
which sound and picture end at different times, which one video cannot have). The dialogues are kept apart by a silence:
context of one would change the emotions of the next, as it should within one conversation.
"""

from pathlib import Path

import numpy as np
import pytest

import dferc
from dferc.store.hdf5 import read_corpus
from pipeline import Recogniser
from pipeline.rows.utterances import read_utterances_csv
from pipeline.video import recogniser
from tests.helpers.joined_clips import join_clips

pytestmark = pytest.mark.slow

DIALOGUES = ("d47", "d51", "d56")


def test_video_of_three_dialogues_has_the_emotions_of_the_corpus(demo: Path, tmp_path, monkeypatch):
    rows = [row for row in read_utterances_csv(demo / "data/demo/utterances.csv") if row.dialogue_id in DIALOGUES]
    join_clips(demo / "data/raw/demo", rows, tmp_path / "three.mkv", pause_s=0.5, scene_s=8.0)
    extracted = {}

    def spy(rows, extractor, *rest):
        extracted[extractor.modality] = extract(rows, extractor, *rest).features
        return extract(rows, extractor, *rest)

    extract = recogniser.extract_features
    monkeypatch.setattr(recogniser, "extract_features", spy)
    recognise = Recogniser.load(demo / "runs/demo/full", device="cpu", cache=tmp_path / "cache", scene_s=5.0)
    emotions = recognise(tmp_path / "three.mkv")

    corpus = read_corpus(demo / "features/demo")
    numbers = {name: number for number, name in enumerate(corpus.utterances.utterance_id)}
    at = [numbers[row.utterance_id] for row in rows]
    for modality in ("audio", "visual"):
        assert extracted[modality].features.tobytes() == corpus.modalities[modality].features[at].tobytes()
    # The encoder's batches are others, and it rounds by batch.
    np.testing.assert_allclose(extracted["text"].features, corpus.modalities["text"].features[at], atol=1e-5)
    predicted = dferc.load(demo / "runs/demo/full", device="cpu").predict(corpus).rows
    assert len(emotions.utterances) == len(rows) == 30
    for row, number, found in zip(rows, at, emotions.utterances, strict=True):
        assert (found.text, found.speaker) == (row.text, row.speaker)
        assert found.emotion == predicted[number]["predicted"]
        for name, probability in found.probabilities.items():
            assert probability == pytest.approx(predicted[number][f"p_{name}"], abs=2e-6)  # six digits are written
