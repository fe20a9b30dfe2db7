"""What several tests share: synthetic features folders with a signal that can be learnt, and small settings."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from dferc.settings.document import load_params
from dferc.settings.sections import Train
from dferc.store.hdf5 import write_features, write_utterances
from dferc.store.rows import UNLABELLED, Features, Utterances
from dferc.store.vocabulary import MODALITIES

REPOSITORY = Path(__file__).parents[2]
CLASSES = ("neutral", "joy", "anger")
WIDTHS = {"text": 8, "audio": 6, "visual": 5}


def left_to_long(instead: str) -> pytest.MarkDecorator:
    """Leave a test to `make test-long`; `instead` names the quick test of the same kind of fault."""
    return pytest.mark.skipif("DFERC_LONG" not in os.environ, reason=f"`make test-long` runs it; here: {instead}")


def make_utterances(
    *,
    corpus: str = "demo",
    classes: tuple[str, ...] = CLASSES,
    dialogues: Mapping[str, int] | None = None,
    unlabelled: tuple[str, ...] = (),
    seed: int = 0,
) -> Utterances:
    """Dialogues of 1 to 6 utterances with random emotions; the splits in `unlabelled` have no label at all."""
    random = np.random.default_rng(seed)
    rows = {name: [] for name in ("utterance_id", "dialogue_id", "position", "emotion", "split")}
    for split, count in (dialogues or {"train": 12, "validation": 5, "test": 5}).items():
        for dialogue in range(count):
            for position in range(1 + dialogue % 6):
                rows["utterance_id"].append(f"{split}-{dialogue}-{position}")
                rows["dialogue_id"].append(f"{split}-{dialogue}")
                rows["position"].append(position)
                rows["emotion"].append(UNLABELLED if split in unlabelled else int(random.integers(len(classes))))
                rows["split"].append(split)
    count = len(rows["split"])
    words = {name: np.array(rows[name], dtype=object) for name in ("utterance_id", "dialogue_id", "split")}
    return Utterances(
        corpus=corpus,
        classes=classes,
        protocol="synthetic",
        position=np.array(rows["position"], dtype=np.int64),
        emotion=np.array(rows["emotion"], dtype=np.int64),
        speaker=np.array(["Ann", "Bøb"] * count, dtype=object)[:count],
        text=np.array(["hello"] * count, dtype=object),
        start_s=np.zeros(count),
        end_s=np.ones(count),
        **words,
    )


def make_features(
    utterances: Utterances, modality: str, width: int, *, absent: float = 0.1, noise: float = 1.0, seed: int = 0
) -> Features:
    """Random features around one centre per class; a share of `absent` rows has no such signal."""
    random = np.random.default_rng([seed, [*MODALITIES, modality].index(modality)])
    centres = random.normal(size=(len(utterances.classes) + 1, width)) * 3  # the last one is for the unlabelled
    values = centres[utterances.emotion] + noise * random.normal(size=(len(utterances), width))
    present = random.random(len(utterances)) >= absent
    return Features(
        modality=modality,
        corpus=utterances.corpus,
        features=np.where(present[:, None], 10 + 5 * values, 0).astype(np.float32),
        present=present,
        utterance_id=utterances.utterance_id,
        identity={"rows_hash": utterances.rows_hash, "extractor": f"synthetic-{seed}"},
    )


def write_features_folder(
    folder: Path,
    *,
    widths: Mapping[str, int] = WIDTHS,
    absent: float = 0.1,
    noise: float = 1.0,
    seed: int = 0,
    **utterances,
) -> Path:
    """A whole features folder; `utterances` are the arguments of `make_utterances`."""
    rows = make_utterances(seed=seed, **utterances)
    write_utterances(folder / "utterances.h5", rows)
    for modality, width in widths.items():
        write_features(
            folder / f"{modality}.h5", make_features(rows, modality, width, absent=absent, noise=noise, seed=seed)
        )
    return folder


def small_settings(**changes) -> Train:
    """The demo's train settings, shrunk to run in a second, with `changes`."""
    small = {"hidden": 8, "align": 8, "batch_dialogues": 3, "epochs": 3, "warmup_steps": 2, "learning_rate": 0.01}
    base = load_params(REPOSITORY / "params.yaml").corpus("demo").train
    return Train.model_validate(base.model_dump() | small | changes)
