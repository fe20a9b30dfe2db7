"""Every option of every command with bad values: a usage error or one message, never a traceback or a hang."""

import os
import random
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dferc.cli.main import main
from tests.helpers.common import REPOSITORY, write_features_folder
from tests.helpers.perturbations import COUNT

SMALL = [f"--set=train.{each}" for each in ("hidden=8", "align=8", "epochs=1", "batch_dialogues=3", "warmup_steps=2")]
GOOD = {
    "train": ["--corpus=demo", "--seed=0", "--device=cpu", *SMALL],
    "ablate": ["--corpus=demo", "--seed=0", "--variant=full", "--device=cpu", "--workers=0", *SMALL],
    "evaluate": ["--corpus=demo", "--device=cpu"],
    "predict": ["--run=runs/demo/full", "--features=features/demo", "--out=out.csv", "--device=cpu"],
    "baselines": ["--corpus=demo", "--name=majority", "--seed=0", "--device=cpu", *SMALL],
    "import": ["features/demo/text.h5"],
    "check": [],
    "inspect": ["features/demo"],
    "floor": ["--corpus=demo"],
    "table": ["--corpus=demo"],
    "compare": ["runs/demo/full", "runs/demo/full"],
    "analyse": ["--corpus=demo", "--no-figures", "--device=cpu"],
    "report": ["--corpus=demo"],
}
PATHS = [
    "", ".", "/dev/null", "/dev/full", "/proc/self/mem", "pipe", "file", "file/below", "nowhere/below", "features",
    "features/demo", "x" * 300, "[/]", "\x1b[31m", "a\nb", "loop", "closed/x", "params.yaml", "-",
]  # fmt: skip
NUMBERS = ["", "-1", "2147483648", "1e3", "nan", "inf", "-inf", "x", "9" * 40, "0x10", "1.5", "0"]
TEXTS = ["", "[/]", "\x1b[31m", "x" * 5000, "../..", "a/b", ".", "=", "a=b", "train.=1", "train.hidden=", "\ud800"]
TEXTS += ["train.hidden=[" + "[" * 500, "train.hidden=0", "train.hidden=2147483647", "train.class_weights={a: 1, a: 2}"]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A small project with a run, and things that are no files."""
    root = tmp_path_factory.mktemp("options")
    write_features_folder(root / "features/demo")
    (root / "params.yaml").write_bytes((REPOSITORY / "params.yaml").read_bytes())
    (root / "file").write_text("text")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    (root / "closed").mkdir(mode=0)
    before = Path.cwd()
    os.chdir(root)
    try:
        assert CliRunner().invoke(main, ["train", *GOOD["train"]]).exit_code == 0
    finally:
        os.chdir(before)
    return root


def bad_value(parameter: click.Parameter, chance: random.Random) -> str:
    if isinstance(parameter.type, click.Path):
        # Nothing is to be written to a real device here, in case that it is not refused.
        written = parameter.opts[0] in ("--out", "--scratch", "--features")
        return chance.choice([path for path in PATHS if not (written and path.startswith(("/dev", "/proc")))])
    if isinstance(parameter.type, click.IntRange | click.FloatRange):
        return chance.choice(NUMBERS)
    return chance.choice(TEXTS)


def arguments_of(name: str, chance: random.Random) -> list[str]:
    """Return the arguments of a command, one of them bad."""
    command, given = main.get_command(click.Context(main), name), list(GOOD[name])
    parameters = [each for each in command.params if not getattr(each, "is_flag", False)]
    parameter = chance.choice(parameters)
    value = bad_value(parameter, chance)
    if isinstance(parameter, click.Argument):
        return [value, *(given[1:] if parameter.nargs == 1 else given)]
    return [each for each in given if not each.startswith(parameter.opts[0] + "=")] + [f"{parameter.opts[0]}={value}"]


@pytest.mark.parametrize("name", GOOD)
def test_option_with_a_bad_value(root, tmp_path, monkeypatch, name):
    chance = random.Random(name)
    for _ in range(max(2, COUNT // 15)):
        arguments = [name, *arguments_of(name, chance)]
        folder = tmp_path / "project"
        shutil.copytree(root, folder, symlinks=True, ignore=lambda *_: {"pipe", "closed"})
        os.mkfifo(folder / "pipe")
        (folder / "closed").mkdir(mode=0)
        monkeypatch.chdir(folder)
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code in (0, 1, 2), (arguments, result.output)
        assert result.exception is None or isinstance(result.exception, SystemExit), (arguments, result.exception)
        assert "Traceback" not in result.output and len(result.output) < 50_000, arguments
        shutil.rmtree(folder)
