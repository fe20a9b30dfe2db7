"""A small report with hostile names and texts, for tests of its data and of its page."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from dferc.core.tables import write_csv
from dferc.results.analyses.collect import analyse
from dferc.results.analyses.document import write_analyses
from dferc.results.report.page import write_page
from dferc.store.hdf5 import write_features, write_utterances
from dferc.store.vocabulary import MODALITIES
from dferc.training.seeds import CURVES
from tests.helpers.common import make_features, make_utterances
from tests.helpers.finished_runs import guess, write_run

HOSTILE = (
    "</script><script>alert(1)</script>",
    '<img src="https://example.org/x.png" onerror="alert(2)">',
    "{{ 7 * 7 }} {% raw %} ]]> <!-- <script>",
    "line\u2028separator\u2029 & \"quotes\" 'single' \\ back",
    "שלום <b>bold</b> 👋🏽 ﬀ",
    "",
)
CLASSES = ("neutral", "</script>joy", "anger")
ROWS = make_utterances(classes=CLASSES, dialogues={"train": 2, "validation": 3, "test": 30})
ROWS = replace(
    ROWS,
    text=np.array([HOSTILE[at % len(HOSTILE)] for at in range(len(ROWS))], dtype=object),
    speaker=np.array(["Ann", "<i>Bøb</i>", "Ann"] * len(ROWS), dtype=object)[: len(ROWS)],
    emotion=np.where(np.arange(len(ROWS)) % 17 == 16, -1, ROWS.emotion),
)


def write_inputs(root: Path) -> None:
    """Write features/demo and runs/demo: `full`, with curves, better than `t`; `majority`, which predicts one class."""
    write_utterances(root / "features/demo/utterances.h5", ROWS)
    for modality in MODALITIES:
        write_features(root / f"features/demo/{modality}.h5", make_features(ROWS, modality, 4))
    for at, (name, right) in enumerate({"full": 0.8, "t": 0.5}.items()):
        predicted = {seed: guess(ROWS, right, 10 * at + seed + 1).clip(0) for seed in range(3)}
        write_run(root / "runs/demo" / name, ROWS, predicted, modalities=MODALITIES if name == "full" else ("text",))
    write_run(root / "runs/demo/majority", ROWS, {seed: np.zeros(len(ROWS), dtype=int) for seed in range(3)})
    for seed in range(3):
        rows = [{"epoch": epoch, **dict.fromkeys(CURVES, epoch / (10 + seed))} for epoch in range(1, 4 + seed)]
        write_csv(root / f"runs/demo/full/train/seed-{seed}/history.csv", ["epoch", *CURVES], rows)


def make_analyses(root: Path) -> dict:
    """Return analyses.json of `write_inputs`, with made-up results of models, of which there are none."""
    found = analyse(root / "runs/demo", root / "no-features")
    number = {"mean": 0.5, "std": 0.1, "seeds": 3, "n": 90}
    place = {"x": [0.0, 1.0, 2.0], "y": [2.0, 1.0, 0.0]}
    vote = dict.fromkeys(("share", "agreement", "weight", "accuracy"), number)
    found["context"]["votes"] = [{"agreeing": agreeing} | vote for agreeing in (3, 2)]
    found["geometry"]["silhouette"] = {"projected": dict.fromkeys(("by_modality", "by_utterance"), number)}
    found["geometry"]["tsne"] = {
        "seed": 0,
        "utterance_id": ["u<1>", "u2", "u2"],
        "modality": ["text", "audio", "text"],
        "emotion": [CLASSES[1], CLASSES[0], None],
        "levels": {"projected": place},
    }
    scores = {"accuracy": number, "weighted_f1": number | {"mean": None, "std": None}}
    found["missing"] |= {
        "subsets": [{"modalities": ["text", "audio"], **scores}],
        "random": [{"rate": 0.1, "reached": 0.1, **scores}],
    }
    return found


def write_report(root: Path) -> Path:
    """Write the page of `write_inputs`, with analyses."""
    path = root / "reports/demo/index.html"
    write_analyses(path.parent, make_analyses(root))
    write_page(path, root / "features/demo", root / "runs/demo")
    return path
