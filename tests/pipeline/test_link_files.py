"""Links to the files that settings name: what each stage depends on; the files themselves are never touched."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from dferc.core.errors import InputError
from pipeline.check import check_corpora
from pipeline.link_files import files_of, link, main
from pipeline.settings import load_settings
from tests.helpers.common import REPOSITORY
from tests.helpers.face_models import offline_hub, write_untrained

STAGES = {"prepare", "finetune_text", "train_face", "extract_audio", "extract_visual"}


def settings(**sections):
    """Return the demo's settings, or with `options` a corpus' of one's own, with changes by section."""
    block = load_settings(REPOSITORY / "params.yaml").corpus("mine" if "options" in sections else "demo")
    options = sections.pop("options", {})
    parts = {name: getattr(block, name).model_copy(update=changes) for name, changes in sections.items()}
    if options:
        changed = block.prepare.options.model_copy(update=options)
        parts["prepare"] = block.prepare.model_copy(update={"options": changed})
    return block.model_copy(update=parts)


def test_settings_of_the_demo_name_no_file_and_every_stage_has_a_note(tmp_path):
    done = CliRunner().invoke(main, ["--corpus=demo", f"--params={REPOSITORY / 'params.yaml'}", f"--out={tmp_path}"])
    assert done.exit_code == 0, done.output
    assert {path.name for path in tmp_path.iterdir()} == STAGES
    assert all([file.name for file in path.iterdir()] == ["none.txt"] for path in tmp_path.iterdir())


def test_a_folder_of_other_files_is_never_replaced(tmp_path):
    (tmp_path / "prepare").mkdir()
    (tmp_path / "prepare/notes.txt").write_text("mine")
    done = CliRunner().invoke(main, ["--corpus=demo", f"--params={REPOSITORY / 'params.yaml'}", f"--out={tmp_path}"])
    assert done.exit_code == 1 and "no links" in done.output
    assert (tmp_path / "prepare/notes.txt").read_text() == "mine"


def test_each_setting_that_names_a_file_gives_its_stage_that_file(tmp_path):
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    (tmp_path / "yunet.onnx").write_bytes(b"net")
    (tmp_path / "parts.inc").write_text("; nothing\n")
    (tmp_path / "mine.conf").write_text("\\{parts.inc}\n")
    face = write_untrained(tmp_path / "face", 16)
    block = settings(
        finetune_text={"encoder": str(encoder)},
        train_face={"source": str(face)},
        extract_audio={"encoder": str(tmp_path / "mine.conf")},
        extract_visual={"finder": str(tmp_path / "yunet.onnx")},
    )
    assert files_of(block, tmp_path) == {
        "prepare": [],
        "finetune_text": [encoder],
        "train_face": [face / "face.safetensors", face / "face.json"],
        "extract_audio": [tmp_path / "mine.conf", tmp_path / "parts.inc"],
        "extract_visual": [tmp_path / "yunet.onnx"],
    }


def test_weights_of_a_network_by_name_are_a_dependency(tmp_path):
    named = f"torchvision:resnet18@{tmp_path / 'weights.pth'}"
    block = settings(extract_visual={"encoder": named, "view": "frame"})
    with pytest.raises(InputError, match=r"extract_visual\.encoder.*no file .*weights\.pth"):
        check_corpora({"demo": block})
    (tmp_path / "weights.pth").write_bytes(b"net")
    check_corpora({"demo": block})
    assert files_of(block, tmp_path)["extract_visual"] == [tmp_path / "weights.pth"]


def test_model_of_the_hub_is_a_dependency_where_it_is_used(tmp_path, monkeypatch):
    published = offline_hub(tmp_path / "hub", monkeypatch)
    of_yunet = {"extract_visual": {"finder": "yunet"}}
    assert files_of(settings(**of_yunet), tmp_path)["extract_visual"] == []
    published.parent.mkdir(parents=True)
    published.write_bytes(b"net")
    assert files_of(settings(**of_yunet), tmp_path)["extract_visual"] == [published]
    assert files_of(settings(train_face={"source": "none"}, **of_yunet), tmp_path)["extract_visual"] == []


@pytest.mark.parametrize("absolute", [True, False])
def test_tables_outside_of_the_raw_folder_are_dependencies_of_prepare(tmp_path, absolute):
    raw = tmp_path / "raw"
    raw.mkdir()
    inside, outside = raw / "utterances.csv", tmp_path / "labels.csv"
    for path in (inside, outside):
        path.write_text("dialogue_id,text\n")
    name = str(outside) if absolute else "../labels.csv"
    files = files_of(settings(options={"table": "utterances.csv", "labels": name}), raw)["prepare"]
    assert [file.resolve() for file in files] == [outside] * len(files) and files


def test_file_that_is_not_there_is_refused(tmp_path):
    for changes in ({"train_face": {"source": "gone.safetensors"}}, {"extract_audio": {"encoder": "gone.conf"}}):
        with pytest.raises(InputError, match="gone"):
            files_of(settings(**changes), tmp_path)


def test_links_are_replaced_and_what_they_lead_to_stays(tmp_path):
    folder, file, out = tmp_path / "encoder", tmp_path / "a.conf", tmp_path / "files/stage"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/weights").write_text("1")
    file.write_text("2")
    for files in ([folder], [file], [], [file, folder / "deep/weights"], [folder], [folder]):
        link(files, out)
        linked = out.rglob("*") if out.is_dir() else [out]
        content = sorted(path.read_text() for path in linked if path.is_file())
        assert content == {0: content, 1: ["1"] if files == [folder] else ["2"], 2: ["1", "2"]}[len(files)]
    assert (folder / "deep/weights").read_text() == "1" and file.read_text() == "2" and out.is_symlink()
    assert Path(out).resolve() == folder


def test_every_file_of_two_folders_is_found_by_dvcs_walk(tmp_path):
    """DVC walks with `os.walk`, which does not look behind links to folders, and so would not see an edit."""
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep/weights").write_text(name)
    link([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    found = [Path(folder, name).read_text() for folder, _, names in os.walk(tmp_path / "out") for name in names]
    assert sorted(found) == ["one", "two"]
