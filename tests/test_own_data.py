"""docs/own-data.md, run as it is written: its shell blocks, its settings, and its commands up to predictions."""

import csv
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dferc.cli import main as cli
from dferc.settings.yaml import read_yaml
from dferc.store.hdf5 import read_utterances
from dferc.store.vocabulary import MODALITIES
from pipeline.corpora import read
from pipeline.media.files import probe
from pipeline.settings import load_settings
from tests.helpers.clips import tone, write_clip
from tests.helpers.common import REPOSITORY
from tests.helpers.drawn_faces import draw_scene, write_ferplus
from tests.helpers.projects import edit

GUIDE = (REPOSITORY / "docs/own-data.md").read_text(encoding="utf-8")
STAGES = {
    name: stage
    for name, stage in read_yaml((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items()
    if not name.endswith("_set")  # there are no further sets
}


def blocks(language: str) -> list[str]:
    """Return the guide's fenced blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def drawn_video(path: Path) -> Path:
    """Write 18 s of a drawn face and a tone: the film in $DFERC_SHARED has digital silence, which is no sound."""
    return write_clip(path, sound=tone(18), pictures=[draw_scene()[0]] * 180)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Return a folder with the files that the guide makes from a video, and with its settings in params.yaml."""
    folder = tmp_path_factory.mktemp("project")
    video = drawn_video(folder / "video.mp4")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in blocks("bash"):
        if "cat > data/" in block:
            environment = os.environ | {"VIDEO": str(video), "PATH": path}
            subprocess.run(["bash", "-ec", block], cwd=folder, env=environment, check=True, capture_output=True)
    params = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    kept, separator, _ = params.partition("\nmine:")
    assert separator
    (folder / "params.yaml").write_text(kept + "\n" + "\n".join(blocks("yaml")), encoding="utf-8")
    return folder


@pytest.fixture
def here(project, monkeypatch) -> Path:
    """Make it the working folder, and let commands use no process but this."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("DFERC_WORKERS", "0")
    return project


def perform(block: str) -> None:
    """Run a block's commands in the working folder: ours in this process, and those that DVC would run in its place."""
    for line in block.strip().splitlines():
        match shlex.split(line, comments=True):
            case ["python", "-m", module, *arguments]:
                invoke(importlib.import_module(module).main, arguments)
            case ["dferc", *arguments]:
                invoke(cli.main, arguments)
            case ["dvc", "repro", "evaluate@mine-full"]:
                stages = list(STAGES)
                for stage in stages[stages.index("prepare") : stages.index("evaluate") + 1]:
                    perform(command_of(stage, "mine"))
            case ["dvc", "metrics", "show", path]:
                assert Path(path).exists()
            case _:
                subprocess.run(["bash", "-ec", line], check=True)


def invoke(command, arguments: list[str]) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, f"{' '.join(arguments)}\n{result.output}"


def command_of(stage: str, corpus: str) -> str:
    """Return the command that DVC runs for a stage, with the variant `full`."""
    command = STAGES[stage].get("do", STAGES[stage])["cmd"]
    for item, value in {"item": corpus, "item.corpus": corpus, "item.variant": "full"}.items():
        command = command.replace(f"${{{item}}}", value)
    return command


def read_predictions() -> list[dict[str, str]]:
    with open("predictions.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def probabilities(rows: list[dict[str, str]], classes: tuple[str, ...]) -> np.ndarray:
    """Return the probabilities [N, C], after a check that no other class has any."""
    names = [f"p_{name}" for name in classes]
    assert all([name for name in row if name.startswith("p_")] == names for row in rows)
    return np.array([[float(row[name]) for name in names] for row in rows])


def test_settings_of_the_guide_are_sound(project):
    params = load_settings(project / "params.yaml")
    demo, talks = params.corpus("demo"), params.corpus("talks")
    assert (talks.extract_text, talks.extract_audio, talks.extract_visual) == (
        demo.extract_text,
        demo.extract_audio,
        demo.extract_visual,
    ), "a model trained on the demo would refuse the features"


def test_clips_and_table_of_the_guide_become_a_labelled_corpus(project):
    corpus = read(project / "data/raw/mine", load_settings(project / "params.yaml").corpus("mine").prepare)
    assert len(corpus.utterances) == 12 and corpus.classes == ("anger", "joy") and not corpus.problems
    assert {row.split for row in corpus.utterances} == {"train", "validation", "test"}
    for row in corpus.utterances:
        found = probe(project / "data/raw/mine" / row.media)
        assert (found.has_audio, found.has_video) == (True, True) and found.duration_s == pytest.approx(1, abs=0.15)


def test_subtitles_of_the_guide_become_an_unlabelled_corpus(project):
    corpus = read(project / "data/raw/talks", load_settings(project / "params.yaml").corpus("talks").prepare)
    assert [(row.speaker, row.start_s) for row in corpus.utterances] == [("ANNA", 0.5), ("BO", 2.2), ("ANNA", 4.5)]
    assert corpus.classes == () and {row.media for row in corpus.utterances} == {"talk.mp4"}


@pytest.mark.slow
def test_clips_and_table_go_from_nothing_to_predictions(here):
    perform(blocks("bash")[1])
    utterances, made = read_utterances(here / "features/mine/utterances.h5"), read_predictions()
    assert [row["utterance_id"] for row in made] == list(utterances.utterance_id) and len(made) == 12
    assert (utterances.emotion >= 0).all() and set(utterances.start_s) == {0.0}
    assert probabilities(made, ("anger", "joy")).sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert {name for name in MODALITIES if f"contribution_{name}" in made[0]} == {"text", "audio"}


@pytest.fixture
def model(here) -> None:
    """Train a model on the twelve clips in seconds, by the same commands, in place of the demo's."""

    def shrink(document) -> None:
        demo = document["demo"]
        demo["prepare"] = document["mine"]["prepare"]
        demo["finetune_text"] |= {"epochs": 1, "scratch_layers": 1, "scratch_width": 32, "scratch_vocabulary": 300}
        demo["train_face"] |= {"epochs": 1, "batch_size": 8}
        demo["train"] |= {"hidden": 8, "align": 8, "epochs": 2, "class_weights": "uniform"}

    edit(here / "params.yaml", shrink)
    shutil.copytree(here / "data/raw/mine", here / "data/raw/demo")
    write_ferplus(here / "data/faces/demo", {"Training": 12, "PublicTest": 3, "PrivateTest": 3})
    stages = list(STAGES)
    for stage in stages[stages.index("prepare") : stages.index("train")]:
        perform(command_of(stage, "demo"))
    perform("dferc train --corpus demo --seed 0 --seed 1 --no-evaluate")


@pytest.mark.slow
def test_video_and_subtitles_go_from_nothing_to_predictions(here, model):
    perform(blocks("bash")[3])
    utterances, made = read_utterances(here / "features/talks/utterances.h5"), read_predictions()
    assert [row["utterance_id"] for row in made] == list(utterances.utterance_id)
    assert [row["text"].split()[0] for row in made] == ["What", "You", "I"]
    assert (utterances.emotion < 0).all() and list(utterances.start_s) == [0.5, 2.2, 4.5]
    assert probabilities(made, ("anger", "joy")).sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert all(float(row[f"contribution_{name}"]) > 0 for row in made for name in MODALITIES)
