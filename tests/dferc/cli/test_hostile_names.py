"""Classes, ids, speakers and protocols that look like markup or drive a terminal: every command prints them as text."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dferc.cli.main import main
from dferc.store.hdf5 import write_features, write_utterances
from dferc.store.rows import Note
from tests.helpers.common import REPOSITORY, WIDTHS, make_features, make_utterances

CLASSES = ("[/]", "[red]|joy", "[bold]anger")  # control characters are refused in names of classes
SMALL = ("hidden=8", "align=8", "epochs=1", "batch_dialogues=3", "warmup_steps=2", "class_weights=balanced")
TRAIN = [f"--set=train.{setting}" for setting in SMALL]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Features whose every text is hostile."""
    root = tmp_path_factory.mktemp("names")
    rows = make_utterances(classes=CLASSES)
    object.__setattr__(rows, "protocol", "[bold]\x1b]0;title\x07[/bold] [/]")
    object.__setattr__(rows, "speaker", np.array([f"[/]\x1b[2J{name}" for name in rows.speaker], dtype=object))
    object.__setattr__(rows, "utterance_id", np.array([f"[/]\x1b{name}" for name in rows.utterance_id], dtype=object))
    object.__setattr__(rows, "dialogue_id", np.array([f"[b]\r{name}" for name in rows.dialogue_id], dtype=object))
    object.__setattr__(rows, "notes", (Note(action="kept", what="[/]\x1b[1m", count=1, why="[/why]"),))
    write_utterances(root / "features/demo/utterances.h5", rows)
    for modality, width in WIDTHS.items():
        write_features(root / f"features/demo/{modality}.h5", make_features(rows, modality, width))
    (root / "params.yaml").write_bytes((REPOSITORY / "params.yaml").read_bytes())
    return root


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "features/demo"],
        ["inspect", "features/demo", "--json"],
        ["floor", "--corpus=demo"],
        ["train", "--corpus=demo", "--seed=0", "--device=cpu", *TRAIN],
        ["ablate", "--corpus=demo", "--seed=0", "--variant=t", "--device=cpu", "--workers=0", *TRAIN],
        ["evaluate", "--corpus=demo", "--device=cpu"],
        ["evaluate", "--corpus=demo", "--device=cpu", "--json"],
        ["baselines", "--corpus=demo", "--name=majority", "--seed=0", "--device=cpu", *TRAIN],
        ["predict", "--run=runs/demo/full", "--features=features/demo", "--out=[red].csv", "--device=cpu"],
        ["table", "--corpus=demo"],
        ["compare", "runs/demo/t", "runs/demo/full"],
        ["compare", "runs/demo/t", "runs/demo/full", "--json"],
        ["analyse", "--corpus=demo", "--no-figures", "--device=cpu"],
        ["report", "--corpus=demo"],
        ["inspect", "features/[bold]\x1b[31m"],
        ["predict", "--run=runs/[/]", "--features=features/demo", "--out=x.csv"],
        ["table", "--corpus=demo", "--against=[/]\x1b"],
        ["train", "--corpus=demo", "--variant=[/]\x1b"],
        ["baselines", "--corpus=demo", "--name=[/]\x1b"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]).replace("\x1b", "ESC"),
)
def test_command_prints_hostile_names_as_text(root, monkeypatch, arguments):
    monkeypatch.chdir(root)
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    wrong = any("[/]" in argument or "\x1b" in argument for argument in arguments)
    assert result.exit_code == int(wrong), result.output
    assert not set("\x1b\x07\x9b\r") & set(result.output)
