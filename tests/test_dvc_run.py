"""DVC itself, on a corpus of six synthetic dialogues: what reruns after which change, and what comes back."""

from pathlib import Path

import pytest

from dferc.core.yaml import read_yaml
from dferc.store.vocabulary import SPLITS
from tests.helpers.common import REPOSITORY
from tests.helpers.projects import copy_project, dvc, dvc_messages, edit, ran

STAGES = list(read_yaml((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"])
AFTER_FEATURES = set(STAGES[STAGES.index("train") :])
SMALL = {
    "prepare": {"max_unreadable": 1.0},
    "finetune_text": {"epochs": 1, "scratch_layers": 1, "scratch_width": 32, "scratch_vocabulary": 300},
    "train_face": {"image_size": 16, "epochs": 1},
    "extract_visual": {"frames_per_s": 1.0},
    "train": {"hidden": 8, "align": 8, "epochs": 2},
}


def kinds(output: str) -> set[str]:
    """What a `dvc repro` really ran, without which of a kind."""
    return {name.split("@")[0] for name in ran(output)}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The repository's own stages over the first dialogues of the demo, fully reproduced once."""
    from pipeline.demo.plan import plan_corpus
    from pipeline.make_demo import write_clip, write_tables

    folder = copy_project(tmp_path_factory.mktemp("project"))
    rows = plan_corpus(0)
    first = [sorted({row.dialogue for row in rows if row.split == split})[:2] for split in SPLITS]
    keep = [row for row in rows if row.dialogue in sum(first, [])]
    for row in keep:
        write_clip(folder / "data/raw/demo", 0, row)
    write_tables(folder / "data/raw/demo", 0, keep)
    write_few_faces(folder / "data/faces/demo")
    (folder / "pipeline/demo/dvc.yaml").unlink()  # it would make the whole demo
    edit(folder / "params.yaml", shrink)
    assert kinds(dvc(folder, "repro")) == set(STAGES)
    return folder


def shrink(params) -> None:
    params["ablate"]["variants"], params["ablate"]["seeds"] = ["full"], [0]
    for section, changes in SMALL.items():
        params["demo"][section].update(changes)


def write_few_faces(folder: Path) -> None:
    from pipeline.demo.face_set import make_image
    from pipeline.make_demo import write_faces

    usages = ["Training"] * 40 + ["PublicTest"] * 12 + ["PrivateTest"] * 12
    write_faces(folder, [make_image(0, number, usage) for number, usage in enumerate(usages)])


@pytest.mark.slow
def test_nothing_is_stale_after_a_full_repro(project):
    assert "up to date" in dvc(project, "status")
    assert ran(dvc(project, "repro")) == []


@pytest.mark.slow
def test_a_comment_reruns_nothing(project):
    text = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "params.yaml").write_text(f"# a remark\n{text}", encoding="utf-8")
    assert ran(dvc(project, "repro")) == []


@pytest.mark.slow
def test_a_change_in_train_reruns_what_learns_from_features_and_going_back_restores(project):
    def set_epochs(epochs):
        return lambda params: params["demo"]["train"].update(epochs=epochs)

    edit(project / "params.yaml", set_epochs(3))
    assert kinds(dvc(project, "repro")) == AFTER_FEATURES
    edit(project / "params.yaml", set_epochs(2))
    back = dvc(project, "repro")
    assert ran(back) == [] and "cached" in back


@pytest.mark.slow
def test_a_change_in_extract_audio_reruns_it_and_what_follows(project):
    edit(project / "params.yaml", lambda params: params["demo"]["extract_audio"].update(min_s=0.09))
    assert kinds(dvc(project, "repro")) == {"extract_audio"} | AFTER_FEATURES


@pytest.mark.slow
def test_a_comment_in_the_code_computes_nothing_again_and_a_constant_does(project):
    files = ("dferc/model/ddm.py", "pipeline/media/sound.py", "pipeline/text/tagger.py", "pipeline/faces/densenet.py")
    for name in files:
        text = (project / name).read_text(encoding="utf-8")
        (project / name).write_text(text.replace('"""', '"""Remark. ', 1) + "\n# a comment\n", encoding="utf-8")
    trained = set((project / ".scratch/train").glob("*/state.pt"))
    messages = dvc_messages(project, "repro")
    assert messages.count("the same model was finished earlier") == 2  # encoder and face network
    assert messages.count(": 0 done, ") == 3  # text, audio, visual
    assert set((project / ".scratch/train").glob("*/state.pt")) == trained
    for name, old, new in (
        ("dferc/model/cfm.py", "1e-13", "1e-12"),
        ("pipeline/audio/functionals.py", "_COVERED = 0.9", "_COVERED = 0.91"),
    ):
        text = (project / name).read_text(encoding="utf-8")
        assert old in text
        (project / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    messages = dvc_messages(project, "repro")
    assert messages.count(": 0 done, ") == 0 and " 0 reused" in messages  # audio alone
    assert len(set((project / ".scratch/train").glob("*/state.pt")) - trained) == 1


@pytest.mark.slow
def test_metrics_and_plots_are_shown(project):
    assert "weighted_f1" in dvc(project, "metrics", "show")
    page = dvc(project, "plots", "show", "-o", "plots").strip()
    assert "weighted F1 by epoch" in Path(page.removeprefix("file://")).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("corpus", "made"), [("demo", ["pipeline/demo/dvc.yaml:make_demo"]), ("meld", [])])
def test_demo_media_are_made_only_where_the_demo_is_asked_for(tmp_path, corpus, made):
    project = copy_project(tmp_path)
    edit(project / "params.yaml", lambda params: params.update(corpora=[corpus]))
    for folder in ("data/raw", "data/faces"):
        (project / folder / corpus).mkdir(parents=True)
    edit(project / "dvc.yaml", lambda plan: plan.update(stages={"prepare": plan["stages"]["prepare"]}, plots=[]))
    assert ran(dvc(project, "repro", "--dry")) == [*made, f"prepare@{corpus}"]
