"""Corpora at the edge of what a conversation is: trained, scored and predicted by `full`, `plus` and every peer."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dferc.baselines import run as baselines
from dferc.baselines.registry import TRAINED
from dferc.core.device import choose_device
from dferc.core.errors import InputError
from dferc.evaluation import evaluate as evaluation
from dferc.evaluation.files import write_evaluation
from dferc.evaluation.predict import load_predictor
from dferc.store.rows import CachedCorpus, Utterances
from dferc.training.checkpoint import load_checkpoint
from dferc.training.data import Dialogues, Normalisation
from dferc.training.resume import Progress
from dferc.training.run import train
from dferc.training.task import Task, make_task
from tests.helpers.common import WIDTHS, make_features, make_utterances, small_settings
from tests.helpers.small_peers import small_peers

CPU = torch.device("cpu")
VARIANTS = ("full", "plus")
PEERS = [name for name, baseline in TRAINED.items() if baseline.recipes]
MASKED = {"full": (), "plus": (), "mmgcn": ("text",), "sdt": ()}
"""Models that leave an absent modality out, and modalities of which they read zeros, as the other models do."""


def names(values: object) -> np.ndarray:
    return np.array(list(values), dtype=object)


def one_dialogue(rows: Utterances) -> Utterances:
    place = [int((rows.split[:row] == split).sum()) for row, split in enumerate(rows.split)]
    return replace(rows, dialogue_id=rows.split, position=np.array(place))


def lone_utterances(rows: Utterances) -> Utterances:
    return replace(rows, dialogue_id=rows.utterance_id, position=np.zeros(len(rows), np.int64))


def class_not_trained(rows: Utterances) -> Utterances:
    return replace(rows, emotion=np.where((rows.split == "train") & (rows.emotion == 2), 0, rows.emotion))


def without_speakers(rows: Utterances) -> Utterances:
    return replace(rows, speaker=names([""] * len(rows)))


def one_speaker_each(rows: Utterances) -> Utterances:
    return replace(rows, speaker=rows.dialogue_id)


def more_speakers_in_test(rows: Utterances) -> Utterances:
    crowd = (f"{row % 5}" if split == "test" else "Ann" for row, split in enumerate(rows.split))
    return replace(rows, speaker=names(crowd))


ROWS: dict[str, Callable[[Utterances], Utterances]] = {
    "one dialogue a split": one_dialogue,
    "one utterance a dialogue": lone_utterances,
    "a class that training lacks": class_not_trained,
    "no speakers": without_speakers,
    "one speaker a dialogue": one_speaker_each,
    "more speakers than in training": more_speakers_in_test,
}
ABSENT: dict[str, Callable[[Utterances, str], np.ndarray]] = {  # which rows lack the modality
    "a modality that is nowhere": lambda rows, name: np.full(len(rows), name == "audio"),
    "a modality in training alone": lambda rows, name: (rows.split != "train") & (name == "audio"),
    "a modality in one training row": lambda rows, name: (np.arange(len(rows)) > 0) & (name == "audio"),
    "utterances that have nothing": lambda rows, name: rows.position % 3 == 1,
}


@pytest.fixture(scope="module", autouse=True)
def quick_peers() -> Iterator[None]:
    with small_peers(epochs=1):
        yield


def make_corpus(case: str) -> CachedCorpus:
    """Return a corpus of one of the cases."""
    rows = make_utterances(dialogues={"train": 6, "validation": 4, "test": 4})
    rows = ROWS.get(case, lambda rows: rows)(replace(rows, emotion=np.arange(len(rows)) % 3))
    modalities = {}
    for name, width in WIDTHS.items():
        made = make_features(rows, name, width, absent=0.1)
        present = made.present & ~ABSENT[case](rows, name) if case in ABSENT else made.present
        modalities[name] = replace(made, present=present, features=made.features * present[:, None])
    return CachedCorpus(utterances=rows, modalities=modalities)


def with_noise_where_absent(corpus: CachedCorpus, but: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let models see large values in place of the zeros of absent modalities, where an utterance has another one."""
    something_N = np.any([each.present for each in corpus.modalities.values()], axis=0)
    plain = Normalisation.apply

    def noisy(self, modality, rows=slice(None), speaker_N=None):
        x_ND = plain(self, modality, rows, speaker_N)
        if modality.modality not in but:
            x_ND[torch.from_numpy((something_N & ~modality.present)[rows])] = 1e3
        return x_ND

    monkeypatch.setattr(Normalisation, "apply", noisy)


def train_and_predict(name: str, task: Task, folder: Path) -> Callable[[CachedCorpus], np.ndarray]:
    """Train a model and score it; return the function from a corpus to its probabilities on test, [N, C]."""
    corpus = task.corpus
    if name in VARIANTS:
        (trained,) = train(task, (0,), folder=folder / "train", scratch=folder / "scratch")
        metrics = write_evaluation(folder, corpus, evaluation.evaluate(corpus, [trained], CPU))
        table = load_predictor([trained], CPU).predict(corpus)
        assert len(table.rows) == len(corpus.utterances)
        assert all(np.isfinite(row[f"p_{emotion}"]) for row in table.rows for emotion in table.classes)
        checkpoint = load_checkpoint(trained, CPU)
        if name == "plus":  # after one epoch the floor would decide alone
            checkpoint.model.extras.blend.copy_(torch.tensor([1.0, 0.5]))
        predict = lambda corpus: evaluation.predict(checkpoint, corpus, "test", CPU).probabilities_NC  # noqa: E731
    else:
        metrics, _ = baselines.run_baseline(name, task, (0,), folder)
        fitted = baselines.adapt(name, task)
        model = baselines.fit(name, fitted, 0, Progress())

        def predict(corpus: CachedCorpus) -> np.ndarray:
            dialogues = Dialogues(corpus, "test", fitted.normalisation, fitted.variant.modalities)
            return baselines.predict_baseline(name, model, fitted, dialogues)[1].numpy()

    assert 0 <= metrics["test"]["weighted_f1"] <= 1
    with open(folder / "evaluate/predictions.csv", newline="") as file:
        written = [float(row[f"p_{emotion}"]) for row in csv.DictReader(file) for emotion in corpus.utterances.classes]
    assert np.isfinite(written).all()
    return predict


@pytest.mark.parametrize("case", [*ROWS, *ABSENT])
@pytest.mark.parametrize("name", [*VARIANTS, *PEERS])
def test_edge_corpora_are_learnt_and_predicted(name, case, tmp_path, monkeypatch):
    corpus = make_corpus(case)
    variant = name if name in VARIANTS else "full"
    task = make_task(
        corpus, variant, small_settings(epochs=1, attention_width=32, members=2), choose_device("cpu", "float32")
    )
    predict = train_and_predict(name, task, tmp_path)

    together = predict(corpus)
    assert np.isfinite(together).all() and np.abs(together.sum(axis=1) - 1).max() < 1e-5
    for module in (evaluation, baselines):
        monkeypatch.setattr(module, "BATCH_DIALOGUES", 1)
    np.testing.assert_allclose(predict(corpus), together, rtol=0, atol=1e-6)
    if name in MASKED:
        with_noise_where_absent(corpus, MASKED[name], monkeypatch)
        np.testing.assert_allclose(predict(corpus), together, rtol=0, atol=1e-6)


def test_a_single_class_has_no_floor_and_is_refused_with_the_remedy():
    corpus = make_corpus("one dialogue a split")
    rows = corpus.utterances
    lone = replace(corpus, utterances=replace(rows, emotion=np.where(rows.split == "train", 1, rows.emotion)))
    settings = small_settings()
    with pytest.raises(InputError, match="single class.*--variant full"):
        make_task(lone, "plus", settings, choose_device("cpu", "float32"))
    assert len(make_task(lone, "full", settings, choose_device("cpu", "float32")).train) == 1
