"""Finished models are made once, and a kill leaves no half of one."""

import os
import time

import pytest

from pipeline.extraction.kept import KEPT_DAYS, make_or_reuse


def maker(calls, content="weights"):
    def make(folder):
        calls.append(folder)
        (folder / "inner").mkdir()
        (folder / "inner/model.txt").write_text(content)

    return make


def test_same_key_is_made_once_and_another_again(tmp_path):
    calls = []
    for out, key in (("one", "a"), ("two", "a"), ("three", "b")):
        make_or_reuse(tmp_path / out, key, tmp_path / "scratch", maker(calls))
        assert (tmp_path / out / "inner/model.txt").read_text() == "weights"
    assert len(calls) == 2


def test_what_was_there_is_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old.txt").write_text("old")
    make_or_reuse(tmp_path / "out", "a", tmp_path / "scratch", maker([]))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["inner"]


def test_failure_leaves_the_old_model_and_keeps_nothing(tmp_path):
    make_or_reuse(tmp_path / "out", "a", tmp_path / "scratch", maker([]))

    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        make_or_reuse(tmp_path / "out", "b", tmp_path / "scratch", fail)
    assert (tmp_path / "out/inner/model.txt").exists()
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["a"]


def test_models_that_nobody_asked_for_are_removed(tmp_path):
    make_or_reuse(tmp_path / "out", "a", tmp_path / "scratch", maker([]))
    long_ago = time.time() - (KEPT_DAYS + 1) * 86400
    os.utime(tmp_path / "scratch/a", (long_ago, long_ago))
    make_or_reuse(tmp_path / "out", "b", tmp_path / "scratch", maker([]))
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["b"]
