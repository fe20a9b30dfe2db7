"""The stages of media with bad paths: one message each, never a traceback or a hang."""

import importlib
import os

import click
import pytest
from click.testing import CliRunner

from tests.helpers.common import REPOSITORY

STAGES = ("prepare", "finetune_text", "train_face", "extract_text", "extract_audio", "extract_visual")
BAD = ("", "nowhere", ".", "pipe", "file", "file/below", "/dev/full", "x" * 300, "[/]\x1b[31m")


@pytest.mark.parametrize("stage", STAGES)
def test_stage_with_a_bad_path(tmp_path, monkeypatch, stage):
    main = importlib.import_module(f"pipeline.{stage}").main
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "file").write_text("text")
    (tmp_path / "params.yaml").write_bytes((REPOSITORY / "params.yaml").read_bytes())
    paths = [option for option in main.params if isinstance(option.type, click.Path) and option.opts[0] != "--out"]
    for option in paths:
        for value in BAD:
            result = CliRunner().invoke(main, ["--corpus=demo", f"{option.opts[0]}={value}"])
            assert result.exit_code in (0, 1, 2), (option.opts[0], value, result.output)
            assert result.exception is None or isinstance(result.exception, SystemExit), (option.opts[0], value)
            assert "\x1b" not in result.stderr or "Usage" in result.stderr
