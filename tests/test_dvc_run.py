"""DVC itself, on a corpus of six synthetic dialogues: what runs after which change, and what is not computed again.

DVC and its stages start as forks of a process that has loaded PyTorch and the like. `make repro` starts them as usual.
"""

import contextlib
import csv
import io
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from dferc.settings.yaml import read_yaml
from dferc.store.vocabulary import SPLITS
from pipeline.check import LINKED
from pipeline.check import main as check
from tests.helpers.clips import SHARED
from tests.helpers.common import REPOSITORY
from tests.helpers.forked import forked_commands
from tests.helpers.projects import copy_project, dvc, dvc_messages, edit, ran

pytestmark = pytest.mark.slow

FURTHER = {"extract_text_set", "extract_audio_set", "extract_visual_set"}
"""Stages of further feature sets, of which params.yaml names none."""
STAGES = set(read_yaml((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]) - FURTHER
SMALL = {
    "prepare": {"max_unreadable": 1.0},
    "finetune_text": {"epochs": 1, "scratch_layers": 1, "scratch_width": 32, "scratch_vocabulary": 300},
    "train_face": {"image_size": 16, "epochs": 1},
    "extract_visual": {"frames_per_s": 1.0},
    "train": {"hidden": 8, "align": 8, "epochs": 2},
}


@pytest.fixture(scope="module", autouse=True)
def commands() -> Iterator[None]:
    """Put commands that start in a moment at the front of the path, and let them start no workers."""
    with forked_commands() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder), prepend=os.pathsep)
        patch.setenv("DFERC_WORKERS", "0")
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The repository's own stages over the first dialogues of the demo, with two variants and one seed, reproduced."""
    from pipeline.demo.face_set import make_image
    from pipeline.demo.plan import plan_corpus
    from pipeline.make_demo import write_clip, write_faces, write_tables

    folder = copy_project(tmp_path_factory.mktemp("project"))
    rows = plan_corpus(0)
    first = [sorted({row.dialogue for row in rows if row.split == split})[:2] for split in SPLITS]
    keep = [row for row in rows if row.dialogue in sum(first, []) and row.position < 4]
    for row in keep:
        write_clip(folder / "data/raw/demo", 0, row)
    write_tables(folder / "data/raw/demo", 0, keep)
    usages = ["Training"] * 40 + ["PublicTest"] * 12 + ["PrivateTest"] * 12
    write_faces(folder / "data/faces/demo", [make_image(0, number, usage) for number, usage in enumerate(usages)])
    (folder / "pipeline/dvc.yaml").unlink()  # it would make the whole demo
    edit(folder / "params.yaml", shrink)
    edit(folder / "dvc.yaml", lambda plan: plan["stages"]["baselines"]["matrix"].update(name=["majority", "bc_lstm"]))
    assert {name.split("@")[0] for name in ran(dvc(folder, "repro"))} == STAGES
    return folder


def shrink(params) -> None:
    params["ablate"].update(variants=["full", "t"], seeds=[0])
    for section, changes in SMALL.items():
        params["demo"][section].update(changes)


def set_train(**changes):
    return lambda params: params["demo"]["train"].update(changes)


def states(project: Path) -> dict[Path, int]:
    """Return when each run's state was last written."""
    return {path: path.stat().st_mtime_ns for path in (project / ".scratch/train").glob("*/state.pt")}


@contextlib.contextmanager
def changed(project: Path, changes: Mapping[str, tuple[str, str]]) -> Iterator[None]:
    """Files of the project in which a text is replaced, for a while: DVC restores afterwards what was made before."""
    before = {name: (project / name).read_text(encoding="utf-8") for name in changes}
    for name, (old, new) in changes.items():
        assert old in before[name]
        (project / name).write_text(before[name].replace(old, new, 1), encoding="utf-8")
    yield
    for name, text in before.items():
        (project / name).write_text(text, encoding="utf-8")


def table(project: Path) -> list[str]:
    with open(project / "reports/demo/ablation.csv", newline="", encoding="utf-8") as file:
        return [row["name"] for row in csv.DictReader(file)]


def test_nothing_is_stale_after_a_full_repro_and_results_are_shown(project):
    with changed(project, {"params.yaml": ("corpora:", "# a remark\ncorpora:")}):
        assert ran(dvc(project, "repro")) == []
        assert "up to date" in dvc(project, "status")
    assert {"full", "t", "majority", "bc_lstm"} <= set(table(project))
    metrics = dvc(project, "metrics", "show")
    assert "runs/demo/t/metrics.json" in metrics and "runs/demo/bc_lstm/metrics.json" in metrics
    page = dvc(project, "plots", "show", "-o", "plots").strip()
    assert "weighted F1 by epoch" in Path(page.removeprefix("file://")).read_text(encoding="utf-8")


def test_a_setting_reruns_the_stages_that_read_it(project):
    readers = {
        "train": {"train@demo-full", "train@demo-t", "baselines@demo-majority", "baselines@demo-bc_lstm"},
        "extract_audio": {"extract_audio@demo"},
        "prepare": {"prepare@demo"},
    }
    changes = {"train": {"epochs": 3}, "extract_audio": {"min_s": 0.09}, "prepare": {"max_utterance_s": 29.0}}
    before = (project / "params.yaml").read_text(encoding="utf-8")
    edit(project / "params.yaml", lambda params: [params["demo"][name].update(changes[name]) for name in changes])
    status = read_yaml(dvc(project, "status", "--json"))
    (project / "params.yaml").write_text(before, encoding="utf-8")
    assert {
        section: {name for name, why in status.items() if f"demo.{section}'" in str(why)} for section in readers
    } == readers


def test_a_variant_or_a_seed_more_trains_only_that_and_going_back_restores_the_result(project):
    before = states(project)
    edit(project / "params.yaml", lambda params: params["ablate"].update(variants=["full", "t", "no_crm"]))
    more = ["train@demo-no_crm", "evaluate@demo-no_crm", "table@demo"]
    assert ran(dvc(project, "repro", "table@demo")) == more
    assert len(states(project)) == len(before) + 1 and before.items() <= states(project).items()
    assert "no_crm" in table(project)

    before = states(project)
    model = project / "runs/demo/full/train/seed-0/model.safetensors"
    content = model.read_bytes()
    edit(project / "params.yaml", lambda params: params["ablate"].update(seeds=[0, 5]))
    dvc(project, "repro", "--single-item", "train@demo-full")
    assert len(states(project)) == len(before) + 1 and before.items() <= states(project).items()
    assert model.read_bytes() == content and (model.parents[1] / "seed-5/model.safetensors").exists()
    edit(project / "params.yaml", lambda params: params["ablate"].update(seeds=[0]))
    back = dvc(project, "repro", "--single-item", "train@demo-full")
    assert ran(back) == [] and "cached" in back


def test_a_comment_in_the_code_computes_nothing_again_and_a_constant_does(project):
    before = states(project)
    stages = ("repro", "--single-item", "extract_audio@demo", "train@demo-full")  # DVC itself starts them again
    models = ("finetune_text@demo", "train_face@demo")
    files = ("dferc/model/ddm.py", "pipeline/media/sound.py", "pipeline/text/tagger.py", "pipeline/faces/densenet.py")
    with changed(project, dict.fromkeys(files, ('"""', '"""Remark. '))):
        messages = dvc_messages(project, *stages, *models)
        assert messages.count("the same model was finished earlier") == len(models)
        assert ": 0 done, " in messages and " 0 reused" not in messages
        assert states(project) == before

    constants = {
        "dferc/model/cfm.py": ("EPSILON = 1e-13", "EPSILON = 1e-12"),
        "pipeline/audio/hearing.py": ("_COVERED = 0.9", "_COVERED = 0.91"),
    }
    with changed(project, constants):
        messages = dvc_messages(project, *stages)
        assert ": 0 done, " not in messages and " 0 reused" in messages
        assert len(states(project)) == len(before) + 1


MAIN = """[componentInstances:cComponentManager]
instance[dataMemory].type=cDataMemory
instance[energy].type=cEnergy
instance[framer].type=cFramer
instance[functionals].type=cFunctionals
\\{\\cm[source{?}:include external source]}
\\{parts.inc}
\\{\\cm[sink{?}:include external sink]}
"""
PARTS = """[framer:cFramer]
reader.dmLevel=wave
writer.dmLevel=frames
frameSize=0.025
frameStep=0.010
[energy:cEnergy]
reader.dmLevel=frames
writer.dmLevel=lld
[functionals:cFunctionals]
reader.dmLevel=lld
writer.dmLevel=func
frameMode=full
frameSize=0
frameStep=0
functionalsEnabled=Means
"""


def test_edited_file_that_a_setting_names_is_seen_and_its_stage_runs(project):
    (project / "conf").mkdir()
    (project / "conf/mine.conf").write_text(MAIN, encoding="utf-8")
    (project / "conf/parts.inc").write_text(PARTS, encoding="utf-8")
    shutil.copytree(project / "models/demo/text", project / "encoder")
    before = (project / "params.yaml").read_text(encoding="utf-8")

    def name_files(params):
        params["demo"]["extract_audio"]["encoder"] = "conf/mine.conf"
        params["demo"]["finetune_text"].update(encoder="encoder", epochs=0)

    edit(project / "params.yaml", name_files)
    targets = ("extract_audio@demo", "finetune_text@demo")
    dvc(project, "repro", *targets)
    assert "up to date" in dvc(project, "status", *targets)

    (project / "conf/parts.inc").write_text(PARTS.replace("[framer:", "; a remark\n[framer:"), encoding="utf-8")
    status = read_yaml(dvc(project, "status", "--json", "--with-deps", *targets))
    assert {"extract_audio@demo"} < set(status) and "finetune_text@demo" not in status
    (project / "encoder/notes.txt").write_text("a new file")
    assert {"link_files@demo", *targets} == set(ran(dvc(project, "repro", *targets)))
    assert (project / "encoder/model.safetensors").is_file()  # DVC removed the link, never what it leads to
    (project / "conf/parts.inc").unlink()
    with pytest.raises(AssertionError, match=r"extract_audio/1-parts\.inc"):
        dvc(project, "status", *targets)
    check = ["python", "-m", "pipeline.check"]  # as `make repro` does; it refuses, and DVC can go on
    assert subprocess.run(check, cwd=project, env=os.environ | {"PYTHONPATH": str(project)}).returncode == 1
    assert "link_files@demo" in read_yaml(dvc(project, "status", "--json", "--with-deps", *targets))
    (project / "params.yaml").write_text(before, encoding="utf-8")


def test_face_model_finder_and_table_of_labels_are_seen_by_dvc(project, monkeypatch):
    """Their edits are changes, and where they are gone, `check` names the settings; DVC then goes on."""
    before = (project / "params.yaml").read_text(encoding="utf-8")
    finder = SHARED / "media/face_detection_yunet_2026may.onnx"
    changed = {"train_face": Path("face/face.json"), "prepare": Path("labels.csv")}
    changed |= {"extract_visual": Path(finder.name)} if finder.is_file() else {}
    shutil.copytree(project / "models/demo/face", project / "face")
    for folder in ("data/raw/mine", "data/faces/mine"):
        (project / folder).mkdir(parents=True)
    (project / "data/raw/mine/utterances.csv").write_text("dialogue_id,text\na,Hello\n", encoding="utf-8")
    (project / "labels.csv").write_text("utterance_id,emotion\na_1,joy\n", encoding="utf-8")

    def name_files(params):
        params.update(corpora=["mine"])
        params["mine"]["prepare"]["options"].update(table="utterances.csv", labels="../../../labels.csv")
        params["mine"]["finetune_text"]["encoder"] = "scratch"
        params["mine"]["train_face"]["source"] = "face"
        if finder.is_file():
            shutil.copy(finder, project)
            params["mine"]["extract_visual"]["finder"] = finder.name

    edit(project / "params.yaml", name_files)
    dvc(project, "repro", "link_files@mine")
    for path in changed.values():
        with open(project / path, "ab") as file:
            file.write(b" ")
    status = str(read_yaml(dvc(project, "status", "--json", "link_files@mine")))
    assert all(f"data/mine/files/{stage}" in status for stage in changed), status
    for path in changed.values():
        (project / path).unlink()
    monkeypatch.chdir(project)
    messages = CliRunner().invoke(check, []).stderr
    assert all(f"{path} is gone, which mine.{LINKED[stage]}" in messages for stage, path in changed.items()), messages
    assert "link_files@mine" in read_yaml(dvc(project, "status", "--json", "link_files@mine"))
    (project / "params.yaml").write_text(before, encoding="utf-8")


def test_experiments_elsewhere_and_clones_without_media(project, tmp_path):
    """`dvc add` of raw data, `exp run --temp`, `exp show`, a remote, a clone with features alone: docs/dvc.md."""
    shutil.copy(REPOSITORY / ".gitignore", project)
    dvc(project, "add", "data/raw/demo", "data/faces/demo")
    git(project, "add", "-A")
    git(project, "commit", "--allow-empty", "-qm", "raw data by DVC")
    assert {"data/raw/demo.dvc", "data/faces/demo.dvc"} <= set(git(project, "ls-files").split())
    dvc(project, "repro", "evaluate@demo-t")
    git(project, "commit", "--allow-empty", "-qam", "before")
    dvc(project, "exp", "run", "--temp", "-n", "elsewhere", "-S", "demo.train.hidden=4", "evaluate@demo-t")
    rows = list(csv.DictReader(io.StringIO(dvc(project, "exp", "show", "--csv"))))
    (trial,) = [row for row in rows if row["Experiment"] == "elsewhere"]
    assert trial["demo.train.hidden"] == "4"
    assert 0 <= float(trial["runs/demo/t/metrics.json:test.weighted_f1"]) <= 1
    assert "epochs: 2" in (project / "params.yaml").read_text(encoding="utf-8")

    dvc(project, "remote", "add", "--default", "store", str(tmp_path / "remote"))
    features = [f"{stage}@demo" for stage in ("prepare", "extract_text", "extract_audio", "extract_visual")]
    dvc(project, "repro", *features)
    dvc(project, "push", *features)
    git(project, "add", "-A")
    git(project, "commit", "--allow-empty", "-qm", "remote")
    clone = tmp_path / "clone"
    git(project, "clone", "-q", str(project), str(clone))
    dvc(clone, "pull", *features)
    edit(clone / "params.yaml", set_train(hidden=6))
    stages = ran(dvc(clone, "repro", "--allow-missing", "evaluate@demo-t"))
    assert stages == ["train@demo-t", "evaluate@demo-t"] and not (clone / "data/raw/demo").exists()


def test_corpus_that_is_misspelt_and_a_folder_without_git_are_told(tmp_path):
    project = copy_project(tmp_path / "project")
    (project / "pipeline/dvc.yaml").unlink()
    edit(project / "params.yaml", lambda params: params.update(corpora=["mled"]))
    with pytest.raises(AssertionError, match="meld"):
        dvc(project, "repro")
    shutil.rmtree(project / ".git")
    with pytest.raises(AssertionError, match="not a git repository"):
        dvc(project, "repro", "--dry")
    dvc(project, "config", "--local", "core.no_scm", "true")
    dvc(project, "repro", "--dry", "check")


def git(project: Path, *arguments: str) -> str:
    """Run git with an author, whoever runs the tests; return what it prints."""
    author = {f"GIT_{who}_{what}": f"test@{who}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return subprocess.run(
        ["git", *arguments], cwd=project, env=os.environ | author, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@pytest.mark.parametrize(("corpus", "made"), [("demo", ["pipeline/dvc.yaml:make_demo"]), ("meld", [])])
def test_demo_media_are_made_only_where_the_demo_is_asked_for(tmp_path, corpus, made):
    project = copy_project(tmp_path)
    edit(project / "params.yaml", lambda params: params.update(corpora=[corpus]))
    for folder in ("data/raw", "data/faces"):
        (project / folder / corpus).mkdir(parents=True)
    (project / "data" / corpus / "files/prepare").mkdir(parents=True)  # of link_files, which is left out below
    edit(project / "dvc.yaml", lambda plan: plan.update(stages={"prepare": plan["stages"]["prepare"]}, plots=[]))
    assert ran(dvc(project, "repro", "--dry")) == [*made, f"prepare@{corpus}"]


def test_a_further_set_is_extracted_beside_and_trains_nothing_again(project):
    readers = ("evaluate@demo-full", "baselines@demo-bc_lstm")
    dvc(project, "repro", *readers)
    item, before = "{<<: *extract_audio, corpus: demo, name: egemaps, encoder: eGeMAPSv02}", states(project)
    with changed(project, {"params.yaml": ("  audio: []", f"  audio: [{item}]")}):
        assert "extract_audio_set@0" in read_yaml(dvc(project, "status", "--json"))
        done = ran(dvc(project, "repro", "extract_audio_set@0", *readers))
        assert {"extract_audio_set@0", *readers} < set(done) and not {"extract_audio@demo", "prepare@demo"} & set(done)
        assert (project / "features/demo/audio/egemaps.h5").exists() and states(project) == before
        assert ran(dvc(project, "repro", "extract_audio_set@0", *readers)) == []
    shutil.rmtree(project / "features/demo/audio")
