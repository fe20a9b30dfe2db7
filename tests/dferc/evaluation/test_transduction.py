"""Normalisation per speaker: stored with the model, recomputed for new speakers, marked where scores are shown."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dferc.cli.main import main
from dferc.core.device import choose_device
from dferc.evaluation.evaluate import evaluate
from dferc.evaluation.files import write_evaluation
from dferc.evaluation.predict import load
from dferc.store.hdf5 import read_corpus
from dferc.store.rows import CachedCorpus, Features
from dferc.training.run import train
from dferc.training.task import make_task
from tests.helpers.common import REPOSITORY, small_settings, write_features_folder


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Features of `demo`; runs `corpus` and `speaker` on them, one seed each, which differ in the normalisation."""
    root, device = tmp_path_factory.mktemp("speaker"), choose_device("cpu", "float32")
    corpus = read_corpus(write_features_folder(root / "features/demo", absent=0.0))
    for normalisation in ("corpus", "speaker"):
        folder = root / "runs/demo" / normalisation
        task = make_task(corpus, "full", small_settings(normalisation=normalisation), device)
        folders = train(task, (0,), folder=folder / "train", scratch=root / "scratch")
        write_evaluation(folder, corpus, evaluate(corpus, folders, device.device))
    return root


def moved(features: Features, speaks: np.ndarray) -> Features:
    """Return the features with other values for the rows of a speaker: another microphone."""
    return replace(features, features=np.where(speaks[:, None], 4 * features.features + 50, features.features))


def test_a_new_speaker_with_another_microphone_is_predicted_alike(root):
    """Rows of many of one speaker, moved and scaled, give nearly the same emotions by speaker, and others by corpus."""
    write_features_folder(root / "features/mine", corpus="mine", absent=0.0, dialogues={"test": 120})
    corpus = read_corpus(root / "features/mine")
    renamed = replace(corpus.utterances, speaker=np.where(corpus.utterances.speaker == "Ann", "New", "Bøb"))
    speaks = renamed.speaker == "New"
    others = {name: moved(features, speaks) for name, features in corpus.modalities.items()}

    def emotions(run: str, modalities: dict) -> np.ndarray:
        table = load(root / "runs/demo" / run).predict(CachedCorpus(utterances=renamed, modalities=modalities))
        assert any("transductive" in note for note in table.notes) == (run == "speaker")
        return np.array([[row["p_neutral"], row["p_joy"], row["p_anger"]] for row in table.rows])[speaks]

    shift = {
        run: np.abs(emotions(run, others) - emotions(run, corpus.modalities)).mean() for run in ("corpus", "speaker")
    }
    assert shift["speaker"] < 0.1 * shift["corpus"]


def test_the_card_the_table_and_the_comparison_mark_transductive_scores(root):
    cards = [
        json.loads((root / f"runs/demo/{run}/evaluate/protocol.json").read_text()) for run in ("corpus", "speaker")
    ]
    assert "transductive" not in cards[0] and "statistics of the rows that are scored" in cards[1]["transductive"]
    assert cards[0]["card"] == cards[1]["card"]
    runs, out = f"--runs={root / 'runs'}", f"--out={root / 'reports'}"
    table = CliRunner().invoke(main, ["table", "--corpus=demo", runs, out, "--against=corpus"])
    assert table.exit_code == 0 and "speaker is transductive" in table.stderr
    assert "speaker is transductive" in (root / "reports/demo/ablation.md").read_text(encoding="utf-8")
    pair = [str(root / "runs/demo" / run) for run in ("speaker", "corpus")]
    compared = CliRunner().invoke(main, ["compare", *pair])
    assert compared.exit_code == 0 and "transductive" in compared.stderr
    assert "transductive" not in CliRunner().invoke(main, ["compare", pair[1], pair[1]]).stderr


def test_recurrent_baselines_are_marked_and_the_others_are_not(root):
    params = REPOSITORY / "params.yaml"
    settings = ("--set=train.normalisation=speaker", "--set=train.epochs=1", "--set=train.hidden=4")
    places = (f"--features={root / 'features'}", f"--out={root / 'base'}", f"--params={params}", "--seed=0")
    names = ("--name=majority", "--name=late_fusion")
    result = CliRunner().invoke(main, ["baselines", "--corpus=demo", *places, *settings, *names])
    assert result.exit_code == 0, result.output
    cards = [
        json.loads((root / f"base/demo/{n}/evaluate/protocol.json").read_text()) for n in ("majority", "late_fusion")
    ]
    assert ["transductive" in card for card in cards] == [False, True]
