"""What params.yaml asks of stage 1 is checked before anything runs."""

import re
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from dferc.core.errors import InputError
from pipeline.check import (
    check_classes,
    check_corpora,
    check_needs,
    check_repository,
    expected_times,
    main,
    print_times,
    unlink_missing,
)
from pipeline.settings import load_settings
from tests.helpers.clips import tone, write_clip
from tests.helpers.common import REPOSITORY

PARAMS = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")


def run(tmp_path, **changes):
    """Check params.yaml with other values in all sections that have them."""
    text = PARAMS
    for key, value in changes.items():
        text, count = re.subn(rf"(?m)^( +){key}: \S+", rf"\g<1>{key}: {value}", text)
        assert count, key
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    return CliRunner().invoke(main, [f"--params={tmp_path / 'params.yaml'}"])


def test_check_of_the_shipped_params_passes(tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 0 and "of demo are there" in result.stderr


def test_check_tells_every_fault_of_the_corpora_that_run_together(tmp_path):
    changes = {
        "encoder: IS10": "encoder: IS99",
        "finder: haar": "finder: harr",
        "source: ferplus": "source: faces.safetensors",
    }
    text = PARAMS
    for old, new in changes.items():
        text = text.replace(old, new)
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(main, [f"--params={tmp_path / 'params.yaml'}"])
    assert result.exit_code == 1 and "Traceback" not in result.output
    for part in (
        "3 fault(s)",
        "demo.extract_audio.encoder: 'IS99' is neither a file nor one of",
        "demo.extract_visual.finder: no file harr. Expected yunet, haar, whole_frame",
        "demo.train_face.source: no file faces.safetensors. Expected ferplus, none",
    ):
        assert part in " ".join(result.stderr.split())


def test_check_knows_the_encoders_of_further_sets(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.create_connection", no_network)
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    lines = {
        "  audio: []": "  audio: [{<<: *extract_audio, corpus: demo, name: other, encoder: someone/no-such-voice}]",
        "  visual: []": "  visual: [{<<: *extract_visual, corpus: demo, name: eye, encoder: someone/no-such-eye}]",
    }
    text = PARAMS
    for old, new in lines.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(main, [f"--params={tmp_path / 'params.yaml'}"])
    message = " ".join(result.stderr.split())
    assert result.exit_code == 1 and "someone/no-such-voice" in message and "someone/no-such-eye" in message, message


def test_check_knows_the_folders_of_further_text_sets(tmp_path, monkeypatch):
    """One that finetune_text will make is no fault."""
    monkeypatch.chdir(tmp_path)
    for encoder, code in {"models/no-such-folder": 1, "models/demo/text": 0, "./models/demo/text/": 0}.items():
        one = f"  text: [{{<<: *extract_text, corpus: demo, name: other, encoder: {encoder}}}]"
        (tmp_path / "params.yaml").write_text(PARAMS.replace("  text: []", one), encoding="utf-8")
        result = CliRunner().invoke(main, [f"--params={tmp_path / 'params.yaml'}"])
        assert result.exit_code == code and (encoder in result.stderr) == bool(code), result.stderr


def test_check_knows_the_adapters_by_their_files(tmp_path):
    block = load_settings(REPOSITORY / "params.yaml").corpus("demo")
    mine = block.model_copy(update={"prepare": block.prepare.model_copy(update={"adapter": "mned"})})
    with pytest.raises(
        InputError, match=r"mine\.prepare\.adapter: no adapter 'mned': pipeline/corpora/mned\.py does not"
    ):
        check_corpora({"mine": mine})


def test_corpus_whose_features_are_imported_cannot_be_prepared():
    with pytest.raises(InputError, match=r"m3ed\.prepare\.adapter: this corpus has no media .* `dferc import FILE…`"):
        check_corpora({"m3ed": load_settings(REPOSITORY / "params.yaml").corpus("m3ed")})


def test_check_asks_nothing_of_a_corpus_that_does_not_run(tmp_path):
    block = PARAMS[PARAMS.index("\nmeld:") : PARAMS.index("\niemocap:")].replace("meld", "own")
    (tmp_path / "params.yaml").write_text(PARAMS + re.sub(r"options:\n.*\n.*\n", "options: {}\n", block))
    result = CliRunner().invoke(main, [f"--params={tmp_path / 'params.yaml'}"])
    assert result.exit_code == 0, result.output


def test_class_weights_of_a_class_that_is_none_are_refused():
    block = load_settings(REPOSITORY / "params.yaml").corpus("demo")
    check_classes("demo", block, ("neutral", "joy"))
    with pytest.raises(
        InputError, match=r"demo\.train\.class_weights: not a class: neutral; .* The classes are calm, joy"
    ):
        check_classes("demo", block, ("calm", "joy"))


# ---------------------------------------------------------------------------------------------------- needs


def mine(encoder="scratch", source="none"):
    """Return the settings of a corpus of one's own."""
    block = load_settings(REPOSITORY / "params.yaml").corpus("mine")
    text = block.finetune_text.model_copy(update={"encoder": str(encoder)})
    face = block.train_face.model_copy(update={"source": source})
    return block.model_copy(update={"finetune_text": text, "train_face": face})


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with two clips of one second with pictures and sound."""
    for name in ("a.mp4", "deep/b.mp4"):
        path = tmp_path / "data/raw/mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, pictures=[np.zeros((32, 32), np.uint8)] * 10, sound=tone(1))
    (tmp_path / "data/faces/mine").mkdir(parents=True)
    monkeypatch.setattr("socket.create_connection", no_network)
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def no_network(*_, **__):
    raise OSError("no route")


def needs(project, *arguments):
    return list(check_needs("mine", mine(*arguments), project))


def test_nothing_is_missing_of_a_run_that_can_be_done(project):
    assert needs(project) == []


def test_folder_of_faces_on_which_dvc_depends_is_named_also_where_no_face_is_learnt(project):
    (project / "data/faces/mine").rmdir()
    (fault,) = needs(project)
    assert "data/faces/mine is missing" in fault and "mkdir -p" in fault


def test_missing_faces_media_and_encoder_are_named_with_the_remedy(project):
    (fault,) = needs(project, "scratch", "ferplus")
    assert "fer2013.csv and fer2013new.csv not found" in fault and "train_face.source to none" in fault
    (fault,) = needs(project, "someone/no-such-model")
    assert "does not answer (no route)" in fault and "hf download someone/no-such-model" in fault
    (project / "empty").mkdir()
    (fault,) = needs(project, project / "empty")
    assert "no config.json" in fault
    heard = mine().extract_audio.model_copy(update={"encoder": "someone/no-such-voice"})
    (fault,) = check_needs("mine", mine().model_copy(update={"extract_audio": heard}), project)
    assert "speech encoder 'someone/no-such-voice' (extract_audio.encoder)" in fault and "hf download" in fault
    seen = mine().extract_visual.model_copy(update={"encoder": "someone/no-such-eye"})
    (fault,) = check_needs("mine", mine().model_copy(update={"extract_visual": seen}), project)
    assert "visual encoder 'someone/no-such-eye' (extract_visual.encoder)" in fault and "hf download" in fault
    for name in ("ferplus", "torchvision:resnet50", "timm:resnet50"):
        known = mine().extract_visual.model_copy(update={"encoder": name})
        assert list(check_needs("mine", mine().model_copy(update={"extract_visual": known}), project)) == []
    shutil.rmtree(project / "data/raw/mine")
    (fault,) = needs(project)
    assert "data/raw/mine is missing or empty" in fault and "dvc pull" in fault
    (project / "data/raw/mine.dvc").touch()
    assert needs(project) == []  # DVC can bring it


def test_corpus_without_pictures_needs_no_faces(project):
    for path in list((project / "data/raw/mine").rglob("*.mp4")):
        write_clip(path.with_suffix(".wav"), sound=tone(1))
        path.unlink()
    assert needs(project, "scratch", "ferplus") == []


def test_transcripts_alone_are_a_corpus_and_a_readme_is_none(project):
    shutil.rmtree(project / "data/raw/mine/deep")
    (project / "data/raw/mine/a.mp4").rename(project / "data/raw/mine/README.md")
    assert "missing or empty" in needs(project)[0]
    (project / "data/raw/mine/lines.csv").write_text("dialogue_id,text\n", encoding="utf-8")
    assert needs(project, "scratch", "ferplus") == []


def test_folders_that_are_linked_to_are_of_the_corpus(project):
    raw = project / "data/raw/mine"
    raw.rename(project / "elsewhere")
    raw.mkdir()
    (raw / "linked").symlink_to(project / "elsewhere")
    (raw / "circle").symlink_to(raw)
    (fault,) = needs(project, "scratch", "ferplus")
    assert "fer2013.csv and fer2013new.csv not found" in fault
    assert expected_times(mine(), load_settings(REPOSITORY / "params.yaml"), raw, speed=1.0)


def test_full_disk_is_seen_before_the_run(project, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    (fault,) = needs(project)
    assert "GB are needed, 0.0 GB are free" in fault


def test_every_slow_stage_has_an_expected_time(project):
    params = load_settings(REPOSITORY / "params.yaml")
    times = expected_times(mine(source="ferplus"), params, project / "data/raw/mine", speed=1.0)
    stages = {"prepare", "finetune_text", "extract_text", "train_face", "extract_audio", "extract_visual", "train"}
    assert set(times) == stages and all(seconds > 0 for seconds in times.values())
    twice = expected_times(mine(source="ferplus"), params, project / "data/raw/mine", speed=2.0)
    assert all(twice[stage] == pytest.approx(seconds / 2) for stage, seconds in times.items())
    assert expected_times(mine(), params, project / "nowhere", speed=1.0) == {}


def test_printed_times_are_called_estimates_with_their_grounds(project, capsys):
    print_times("mine", mine(), load_settings(REPOSITORY / "params.yaml"), project)
    printed = capsys.readouterr().err
    assert "prepare" in printed and "under a minute" in printed
    assert "estimates" in printed and "GFLOP/s" in printed and "docs/scale.md" in printed


def test_folder_without_git_is_told_how_to_do_without(tmp_path):
    (tmp_path / ".dvc").mkdir()
    (fault,) = check_repository(tmp_path)
    assert "dvc config --local core.no_scm true" in fault and "dvc init --no-scm" in fault
    (tmp_path / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    assert list(check_repository(tmp_path)) == []
    (tmp_path / ".dvc/config.local").unlink()
    (tmp_path / ".git").touch()  # a file, in a worktree
    assert list(check_repository(tmp_path)) == []


def test_corpus_without_a_block_is_refused_with_the_nearest_name(tmp_path):
    text = PARAMS.replace("corpora: [demo]", "corpora: [mled]")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(main, [f"--params={tmp_path / 'params.yaml'}", f"--out={tmp_path / 'out'}"])
    assert result.exit_code == 1 and "mled" in result.stderr and "meld" in result.stderr
    assert not (tmp_path / "out").exists()


def test_links_to_files_that_are_gone_are_removed_and_their_settings_named(tmp_path, capsys):
    (tmp_path / "there").write_text("1")
    encoder, table = tmp_path / "data/mine/files/finetune_text", tmp_path / "data/mine/files/prepare/0-labels.csv"
    kept = table.with_name("1-there")
    table.parent.mkdir(parents=True)
    for path, target in ((encoder, "my encoder"), (table, "labels.csv"), (kept, "there")):
        path.symlink_to(tmp_path / target)
    unlink_missing(tmp_path / "data")
    assert not encoder.is_symlink() and not table.is_symlink() and kept.read_text() == "1"
    printed = capsys.readouterr().err
    assert f"{tmp_path / 'my encoder'} is gone, which mine.finetune_text.encoder" in printed
    assert (
        f"{tmp_path / 'labels.csv'} is gone, which mine.prepare.options" in printed and "there is gone" not in printed
    )
