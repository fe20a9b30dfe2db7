"""docs/own-data.md, word by word: its shell blocks make what the adapter reads, its settings are sound."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dferc.params import load_params
from dferc.store import read_utterances
from pipeline import prepare
from pipeline.corpora import read
from pipeline.media import probe
from tests.clips import tone, write_clip
from tests.helpers import REPOSITORY

GUIDE = (REPOSITORY / "docs/own-data.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The guide's fenced blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder in which the guide's files were made, from a video of 18 s, and its settings put into params.yaml."""
    folder = tmp_path_factory.mktemp("project")
    pictures = (np.full((32, 48), number, np.uint8) for number in range(180))
    video = write_clip(folder / "video.mp4", sound=tone(18), pictures=pictures)
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


def test_settings_of_the_guide_are_sound(project):
    params = load_params(project / "params.yaml")
    demo, talks = params.corpus("demo"), params.corpus("talks")
    assert (talks.extract_text, talks.extract_audio, talks.extract_visual) == (
        demo.extract_text,
        demo.extract_audio,
        demo.extract_visual,
    ), "a model trained on the demo would refuse the features"


def test_clips_and_table_of_the_guide_become_a_labelled_corpus(project):
    corpus = read(project / "data/raw/mine", load_params(project / "params.yaml").corpus("mine").prepare)
    assert len(corpus.utterances) == 12 and corpus.classes == ("anger", "joy") and not corpus.problems
    assert {row.split for row in corpus.utterances} == {"train", "validation", "test"}
    for row in corpus.utterances:
        found = probe(project / "data/raw/mine" / row.media)
        assert (found.has_audio, found.has_video) == (True, True) and found.duration_s == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(("corpus", "labels", "spans"), [("mine", 12, {0.0}), ("talks", 0, {0.5, 2.2, 4.5})])
def test_corpora_of_the_guide_can_be_prepared(project, monkeypatch, corpus, labels, spans):
    monkeypatch.chdir(project)
    result = CliRunner().invoke(prepare.main, [f"--corpus={corpus}", "--workers=0"])
    assert result.exit_code == 0, result.output
    rows = read_utterances(project / f"features/{corpus}/utterances.h5")
    assert (rows.emotion >= 0).sum() == labels and set(rows.start_s) == spans


def test_subtitles_of_the_guide_become_an_unlabelled_corpus(project):
    corpus = read(project / "data/raw/talks", load_params(project / "params.yaml").corpus("talks").prepare)
    assert [(row.speaker, row.start_s) for row in corpus.utterances] == [("ANNA", 0.5), ("BO", 2.2), ("ANNA", 4.5)]
    assert corpus.classes == () and {row.media for row in corpus.utterances} == {"talk.mp4"}
