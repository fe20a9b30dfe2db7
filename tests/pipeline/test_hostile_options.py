"""Every option of the commands of stage 1 with bad values: one message each, never a traceback or a hang."""

import importlib
import os

import click
import pytest
from click.testing import CliRunner

import pipeline.make_demo
from pipeline.demo.face_set import make_image
from tests.helpers.clips import tone, write_clip
from tests.helpers.common import REPOSITORY
from tests.helpers.projects import edit

COMMANDS = {
    "prepare": ["--corpus=demo"],
    "finetune_text": ["--corpus=demo"],
    "train_face": ["--corpus=demo"],
    "extract_text": ["--corpus=demo"],
    "extract_audio": ["--corpus=demo"],
    "extract_visual": ["--corpus=demo"],
    "link_files": ["--corpus=demo"],
    "check": [],
    "verify": ["--corpus=demo", "--modality=audio"],
    "verify:verify_folder": ["folder"],  # `dferc verify`
    "make_demo": ["--workers=1"],
    "encoders.convert": ["folder"],
}
PATHS = ("", "nowhere", ".", "pipe", "file", "file/below", "/dev/full", "x" * 300, "[/]\x1b[31m")
NUMBERS = ("", "-1", "x", "1.5", "nan", "9" * 40)
TEXTS = ("", "nowhere", "../..", "x" * 5000, "[/]\x1b[31m")
WRITTEN = ("--out", "--problems", "--log", "--scratch", "--faces")  # no device is written to, should one not be refused


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project without data, with things that are no files; the demo that is made there has no clips."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    (tmp_path / "params.yaml").write_bytes((REPOSITORY / "params.yaml").read_bytes())
    monkeypatch.setattr(pipeline.make_demo, "plan_corpus", lambda seed: [])
    monkeypatch.setattr(pipeline.make_demo, "SIZES", {"Training": 1})
    monkeypatch.setattr(pipeline.make_demo, "make_image", lambda seed, number, usage: make_image(0, number, usage))
    return tmp_path


def bad_values(option):
    if isinstance(option.type, click.Path):
        return [path for path in PATHS if not (option.opts[0] in WRITTEN and path.startswith("/dev"))]
    return NUMBERS if isinstance(option.type, click.IntRange | click.FloatRange) else TEXTS


def command_of(name):
    """Return the command of a module, `main` where the name has no other."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(f"pipeline.{module}"), function or "main")


def run(name, arguments):
    """Run a command; check that it ends with a message, or well."""
    result = CliRunner().invoke(command_of(name), arguments)
    assert result.exit_code in (0, 1, 2), (arguments, result.output)
    assert result.exception is None or isinstance(result.exception, SystemExit), (arguments, result.exception)
    assert "\x1b" not in result.stderr or "Usage" in result.stderr, arguments
    return result


@pytest.mark.parametrize("name", COMMANDS)
def test_option_with_a_bad_value(folder, name):
    for option in command_of(name).params:
        for value in bad_values(option) if not getattr(option, "is_flag", False) else ():
            given = [value] if isinstance(option, click.Argument) else [f"{option.opts[0]}={value}"]
            others = [each for each in COMMANDS[name] if not each.startswith(f"{option.opts[0]}=")]
            run(name, given if isinstance(option, click.Argument) else [*others, *given])


def test_output_that_cannot_be_written(folder):
    """Two stages with all that they read: the files that they write are folders, below files, or have long names."""
    (folder / "data/raw/mine").mkdir(parents=True)
    write_clip(folder / "data/raw/mine/a.wav", sound=tone(1.0))
    (folder / "data/raw/mine/utterances.csv").write_text(
        "dialogue_id,text,media,emotion,split\na,Hi,a.wav,joy,train\nb,No,a.wav,anger,train\n"
    )
    edit(folder / "params.yaml", lambda params: params["mine"]["extract_audio"].update(encoder="eGeMAPSv02"))
    for name in ("prepare", "extract_audio"):
        good = ["--corpus=mine", "--workers=0"]
        result = run(name, good)
        assert result.exit_code == 0, result.output
        options = [option.opts[0] for option in command_of(name).params]
        for option in (option for option in options if option in WRITTEN):
            for value in (".", "file/below", "x" * 300):
                assert run(name, [*good, f"{option}={value}"]).exit_code == 1 or (option, value) == ("--log", "."), (
                    name,
                    option,
                    value,
                )
