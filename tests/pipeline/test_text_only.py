"""MELD's three CSVs alone, as its guide promises: from the first stage to the report, without clips or FER+."""

import json
import re
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dferc.cli.main import main as dferc
from dferc.settings.yaml import read_yaml
from pipeline import extract_audio, extract_text, extract_visual, finetune_text, prepare, train_face
from tests.helpers.common import REPOSITORY
from tests.helpers.meld_files import csv_text
from tests.helpers.projects import edit

EMOTIONS = ("neutral", "joy", "anger", "sadness")
TINY = {
    "finetune_text": {"encoder": "scratch", "epochs": 1, "scratch_layers": 1, "scratch_width": 32, "max_tokens": 32},
    "extract_text": {"max_tokens": 32},
    "train": {"hidden": 8, "align": 8, "epochs": 1, "warmup_steps": 2},
}


def run(command: click.Command, *arguments: object) -> str:
    done = CliRunner().invoke(command, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.stderr


def write_corpus(raw: Path) -> None:
    """Twelve dialogues to train on, six to validate and six to test, of three utterances."""
    raw.mkdir(parents=True)
    for split, (dialogues, episode) in {"train": (12, 1), "dev": (6, 2), "test": (6, 3)}.items():
        rows = [
            (dialogue, place, EMOTIONS[(dialogue + place) % 4], f"I say {EMOTIONS[(dialogue + place) % 4]} {dialogue}")
            for dialogue in range(dialogues)
            for place in range(3)
        ]
        (raw / f"{split}_sent_emo.csv").write_text(csv_text(rows, episode), encoding="utf-8", newline="")


def shrink(params) -> None:
    for section, changes in TINY.items():
        params["meld"][section] = {**params[section], **changes}


@pytest.mark.slow
def test_the_transcripts_alone_give_scores_tables_and_a_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "data/raw/meld")
    (tmp_path / "data/faces/meld").mkdir(parents=True)
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    edit(tmp_path / "params.yaml", shrink)
    variants = read_yaml((tmp_path / "params.yaml").read_text())["ablate"]["variants"]
    assert {"a", "v"} <= set(variants)

    run(prepare.main, "--corpus=meld")
    run(finetune_text.main, "--corpus=meld", "--device=cpu")
    run(extract_text.main, "--corpus=meld", "--device=cpu")
    run(extract_audio.main, "--corpus=meld", "--workers=0")
    assert "NO FACE MODEL WAS TRAINED" in run(train_face.main, "--corpus=meld")
    run(extract_visual.main, "--corpus=meld", "--device=cpu")
    for variant in variants:
        options = ["--corpus=meld", f"--variant={variant}", "--device=cpu"]
        run(dferc, "ablate", *options, "--seed=0", "--no-evaluate", "--workers=0")
        run(dferc, "evaluate", *options)
        metrics = json.loads(Path(f"runs/meld/{variant}/metrics.json").read_text())
        assert ("absent" in metrics) == (variant in ("a", "v"))
    for name in ("majority", "logistic", "bc_lstm", "late_fusion"):
        run(dferc, "baselines", "--corpus=meld", f"--name={name}", "--seed=0", "--device=cpu")
    run(dferc, "table", "--corpus=meld", f"--against={variants[0]}")
    run(dferc, "analyse", "--corpus=meld", f"--run={variants[0]}", "--no-figures")
    run(dferc, "report", "--corpus=meld", f"--against={variants[0]}")
    shown = run(dferc, "scores", "--corpus=meld")
    assert len(re.findall(r"^ [av] +absent", shown, re.MULTILINE)) == 2 and "SYNTHETIC" not in shown
    assert shown.rstrip().endswith("report: reports/meld/index.html")
