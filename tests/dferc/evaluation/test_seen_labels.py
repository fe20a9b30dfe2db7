"""Features that have seen the labels are found; clean ones, of shifted splits too, raise no alarm."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from dferc.cli.main import main
from dferc.evaluation import seen_labels
from dferc.evaluation.seen_labels import Honesty, check_honesty
from dferc.store.hdf5 import write_features, write_utterances
from dferc.store.rows import CachedCorpus, Features, Utterances
from tests.helpers.common import make_features, make_utterances

WIDTH = 12
SPLITS = {"train": 90, "validation": 40, "test": 40}

Change = Callable[[Utterances, np.ndarray, np.random.Generator], np.ndarray]


def corpus_of(change: Change | None = None, seed: int = 0, dialogues: dict | None = None) -> CachedCorpus:
    """A corpus whose text features depend weakly on the label everywhere, then changed."""
    rows, random = make_utterances(dialogues=dialogues or SPLITS, seed=seed), np.random.default_rng(seed)
    centres = random.normal(size=(len(rows.classes), WIDTH))
    values = 0.3 * centres[rows.emotion] + random.normal(size=(len(rows), WIDTH))
    values = change(rows, values, random) if change else values
    features = make_features(rows, "text", WIDTH, absent=0.0)
    return CachedCorpus(utterances=rows, modalities={"text": replace(features, features=values.astype(np.float32))})


def leak(*splits: str, strength: float = 2.0) -> Change:
    """Write the label into the features of these splits, as an encoder does that was trained on them."""

    def change(rows: Utterances, values: np.ndarray, random: np.random.Generator) -> np.ndarray:
        direction = random.normal(size=(len(rows.classes), WIDTH))
        return values + strength * direction[rows.emotion] * np.isin(rows.split, splits)[:, None]

    return change


@pytest.mark.parametrize(("few", "seed"), [("test", 0), ("validation", 1)])
def test_a_split_of_few_dialogues_is_not_said_to_be_seen(few, seed):
    dialogues = {"train": 300, "validation": 120, "test": 120} | {few: 10}
    found = honesty_of(corpus_of(leak("train"), seed, dialogues))
    assert found.splits[few] < found.held_out - 0.4
    assert (found.verdict, found.seen) == ("seen", ("train",)) and "mean nothing" not in found.detail


def other_microphone(rows: Utterances, values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Mix and move the columns of test: a model of training rows fails there, and nobody saw a label."""
    turned = np.linalg.qr(random.normal(size=(WIDTH, WIDTH)))[0]
    return np.where((rows.split == "test")[:, None], 3 + values @ turned, values)


def honesty_of(corpus: CachedCorpus) -> Honesty:
    return check_honesty(corpus.utterances, corpus.modalities)["text"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("splits", [("train",), ("train", "validation")])
def test_features_that_saw_labels_are_found(splits, seed):
    found = honesty_of(corpus_of(leak(*splits), seed))
    assert (found.verdict, found.seen) == ("seen", splits)
    assert found.held_out > 0.85 > 0.7 > found.splits["test"]
    assert all(split in found.detail for split in splits) and f"{found.held_out:.2f}" in found.detail


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "change", [None, leak("train", "validation", "test"), other_microphone], ids=["weak", "strong", "shifted"]
)
def test_clean_features_raise_no_alarm(change, seed):
    found = honesty_of(corpus_of(change, seed))
    assert (found.verdict, found.seen) == ("not seen", ())
    assert found.train >= found.held_out


def easy_neutral(rows: Utterances, values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Set the first class far apart; the other two stay alike."""
    return random.normal(size=values.shape) + 5.0 * (rows.emotion == 0)[:, None]


def test_other_shares_of_the_classes_raise_no_alarm():
    """Plain accuracy falls by a third from a training split of the easy class to others of the two hard ones."""
    corpus = corpus_of(easy_neutral, dialogues={"train": 300, "validation": 150, "test": 150})
    rows, random = corpus.utterances, np.random.default_rng(0)
    dropped_NC = np.where((rows.split == "train")[:, None], [0.0, 0.8, 0.8], [0.8, 0.0, 0.0])
    dropped_N = random.random(len(rows)) < dropped_NC[np.arange(len(rows)), rows.emotion]
    shifted = replace(rows, emotion=np.where(dropped_N, -1, rows.emotion))
    assert honesty_of(_with(shifted, corpus.modalities["text"])).verdict == "not seen"


def test_the_held_out_scores_are_those_of_models_fitted_without_the_fold():
    """The closed form equals ten fits; a label of the fold that came in would show as a difference."""
    random = np.random.default_rng(0)
    x_ND, labels_N, dialogue_N = random.normal(size=(60, 5)), random.integers(3, size=60), np.repeat(np.arange(12), 5)
    x_ND[:, 0] += labels_N
    model = seen_labels._Ridge(seen_labels._Sample(x_ND, labels_N, dialogue_N, 3))
    weight_N1 = np.sqrt(1 / np.bincount(labels_N)[labels_N])[:, None]
    a_ND, y_NC = weight_N1 * model._design(x_ND), weight_N1 * np.eye(3)[labels_N]
    square_K = np.linalg.eigvalsh(a_ND.T @ a_ND)
    explicit = []
    for strength in seen_labels.STRENGTHS:
        penalty = strength * square_K.mean() * np.eye(6)
        predicted_N = np.empty(60, dtype=int)
        for fold in range(10):
            out = dialogue_N % 10 == fold
            weights = np.linalg.solve(a_ND[~out].T @ a_ND[~out] + penalty, a_ND[~out].T @ y_NC[~out])
            predicted_N[out] = (a_ND[out] @ weights).argmax(axis=1)
        explicit.append(predicted_N)
    assert any((predicted_N == model.held_out_N).all() for predicted_N in explicit)


@pytest.mark.parametrize(
    "dialogues", [{"train": 90, "validation": 2, "test": 2}, {"train": 3, "validation": 40, "test": 40}]
)
def test_too_few_dialogues_are_not_judged(dialogues):
    found = honesty_of(corpus_of(leak("train"), dialogues=dialogues))
    assert found.verdict == "not checked" and "dialogues" in found.detail and found.train is None


def test_unusual_features_are_judged_or_named():
    """Constant columns, one enormous value, an absent modality and unlabelled splits end in no error."""
    corpus = corpus_of(leak("train"))
    rows, text = corpus.utterances, corpus.modalities["text"]
    values = text.features.copy()
    values[:, 0], values[5, 1] = 7.0, 3e38
    assert honesty_of(_with(rows, replace(text, features=values))).verdict == "seen"
    nowhere = replace(text, features=np.zeros_like(values), present=np.zeros(len(rows), bool))
    assert honesty_of(_with(rows, nowhere)).verdict == "not checked"
    unlabelled = replace(rows, emotion=np.where(rows.split == "train", rows.emotion, -1))
    assert honesty_of(_with(unlabelled, text)).verdict == "not checked"


def _with(rows: Utterances, text: Features) -> CachedCorpus:
    return CachedCorpus(utterances=rows, modalities={"text": text})


def test_inspect_and_import_warn(tmp_path):
    corpus = corpus_of(leak("train"))
    rows, text = corpus.utterances, corpus.modalities["text"]
    write_utterances(tmp_path / "demo/utterances.h5", rows)
    write_features(tmp_path / "demo/text.h5", text)
    clean = replace(text, features=np.random.default_rng(0).normal(size=text.features.shape).astype(np.float32))
    write_features(tmp_path / "demo/text/clean.h5", clean)
    shown = CliRunner().invoke(main, ["inspect", str(tmp_path / "demo")])
    assert shown.exit_code == 0 and "SEEN LABELS text" in shown.output and "held out" in shown.output
    document = CliRunner().invoke(main, ["inspect", str(tmp_path / "demo"), "--json"])
    honesty = json.loads(document.stdout)["honesty"]
    assert {name: found["seen"] for name, found in honesty.items()} == {"text": ["train"], "text/clean": []}

    columns = {"dialogue": rows.dialogue_id, "utterance": rows.position, "split": rows.split, "speaker": rows.speaker}
    columns = {name: column.astype(str) if column.dtype == object else column for name, column in columns.items()}
    emotion = np.array(rows.classes)[rows.emotion]
    np.savez(tmp_path / "table.npz", text=text.features, emotion=emotion, **columns)
    arguments = ["import", str(tmp_path / "table.npz"), "--corpus", "own", "--features", str(tmp_path)]
    imported = CliRunner().invoke(main, arguments)
    assert imported.exit_code == 0 and "SEEN LABELS text" in imported.output
