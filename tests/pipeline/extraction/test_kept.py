"""Finished models are made once, and a kill leaves no half of one."""

import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dferc.core.errors import InputError
from dferc.training.resume import claim
from pipeline.extraction import kept
from pipeline.extraction.kept import KEPT_DAYS, make_or_reuse, state_folder


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
    (tmp_path / "out/inner").mkdir(parents=True)
    (tmp_path / "out/old.txt").write_text("old")
    make_or_reuse(tmp_path / "out", "a", tmp_path / "scratch", maker([]))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["inner"]


def test_folder_of_other_things_is_not_replaced(tmp_path):
    """`--out models/mine`, in place of models/mine/text."""
    (tmp_path / "mine/face").mkdir(parents=True)
    for _ in range(2):  # the second time the model is there already
        with pytest.raises(InputError, match="mine holds no model but face"):
            make_or_reuse(tmp_path / "mine", "a", tmp_path / "scratch", maker([]))
    assert (tmp_path / "mine/face").is_dir()


def test_git_in_a_model_s_folder_and_a_run_stay(tmp_path):
    def make(folder):
        for name in ("face.json", "metrics.json"):
            (folder / name).write_text("{}")

    out, run = tmp_path / "out", tmp_path / "runs/demo/full"
    for file in (out / ".git/HEAD", out / "face.json", run / "metrics.json", run / "predictions.csv"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("years")
    make_or_reuse(out, "a", tmp_path / "scratch", make)
    assert (out / ".git/HEAD").read_text() == "years" and (out / "face.json").read_text() == "{}"
    with pytest.raises(InputError, match="full holds no model but metrics.json, predictions.csv"):
        make_or_reuse(run, "a", tmp_path / "scratch", make)
    assert (run / "predictions.csv").read_text() == "years"


@pytest.mark.parametrize("linked", [False, True])
def test_a_kill_while_a_model_is_replaced_deletes_no_git(tmp_path, monkeypatch, linked):
    """A kill; and a link to another disk, which cannot be replaced by a folder."""
    folder = tmp_path / "disk" if linked else tmp_path / "out"
    for file in (folder / ".git/HEAD", folder / "inner/model.txt"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("years")
    if linked:
        (tmp_path / "out").symlink_to(folder)
    rmtree = shutil.rmtree

    def killed(path, **options):
        if path.name == f".{folder.name}.old":
            raise KeyboardInterrupt
        rmtree(path, **options)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", killed)
        make_or_reuse(tmp_path / "out", "a", tmp_path / "scratch", maker([]))
    make_or_reuse(tmp_path / "out", "a", tmp_path / "scratch", maker([]))
    assert (tmp_path / "out/.git/HEAD").read_text() == "years"
    assert (tmp_path / "out/inner/model.txt").read_text() == "weights"


def test_a_kill_while_the_old_model_goes_leaves_no_folder_that_is_refused(tmp_path, monkeypatch):
    def make(folder):
        for name in ("config.json", "model.safetensors", "tokenizer_config.json"):
            (folder / name).write_text("encoder")

    out, rmtree = tmp_path / "out", shutil.rmtree
    make_or_reuse(out, "a", tmp_path / "scratch", make)

    def killed(path, **options):
        if (path / "tokenizer_config.json").exists():
            (path / "tokenizer_config.json").unlink()
            raise KeyboardInterrupt
        rmtree(path, **options)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", killed)
        make_or_reuse(out, "a", tmp_path / "scratch", make)
    make_or_reuse(out, "a", tmp_path / "scratch", make)
    assert len([*out.iterdir()]) == 3 and [path.name for path in tmp_path.glob(".*")] == []


def test_a_seed_of_a_run_is_not_replaced_by_a_text_encoder(tmp_path):
    def make(folder):
        for name in ("config.json", "model.safetensors", "classifier.safetensors", "metrics.json", "history.csv"):
            (folder / name).write_text("encoder")

    seed = tmp_path / "runs/demo/full/train/seed-0"
    seed.mkdir(parents=True)
    for name in ("model.safetensors", "settings.json", "history.csv"):
        (seed / name).write_text("years")
    with pytest.raises(InputError, match="seed-0 holds no model but history.csv"):
        make_or_reuse(seed, "a", tmp_path / "scratch", make)
    assert (seed / "model.safetensors").read_text() == "years"


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


def test_what_is_no_model_of_ours_stays(tmp_path):
    """`--scratch /scratch/me` is a folder of everything."""
    long_ago, others = time.time() - (KEPT_DAYS + 1) * 86400, [tmp_path / "thesis", tmp_path / ".git"]
    unfinished = state_folder(tmp_path, "a" * 64)
    for folder in (*others, unfinished):
        folder.mkdir()
        os.utime(folder, (long_ago, long_ago))
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    make_or_reuse(tmp_path / "out", "b", tmp_path, maker([]))
    assert all(folder.is_dir() for folder in others) and not unfinished.exists()


def test_what_a_kill_left_of_this_model_is_removed(tmp_path):
    (tmp_path / "scratch/.a.123.part").mkdir(parents=True)
    make_or_reuse(tmp_path / "out", "a", tmp_path / "scratch", maker([]))
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["a"]


def test_a_state_to_resume_from_outlives_a_failure_and_goes_with_the_finished_model(tmp_path):
    state = state_folder(tmp_path / "scratch", "a") / "face.pt"

    def fail(folder):
        state.write_text("epoch 3")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_or_reuse(tmp_path / "out", "a", tmp_path / "scratch", fail)
    assert state.read_text() == "epoch 3" and not (tmp_path / "out").exists()
    make_or_reuse(tmp_path / "out", "a", tmp_path / "scratch", maker([]))
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["a"]


def test_a_model_that_another_process_makes_is_waited_for_and_taken(tmp_path):
    """The other one holds it, and finishes while this one waits: nothing is made twice."""
    scratch, calls = tmp_path / "scratch", []
    state = state_folder(scratch, "a") / "state.pt"
    began, made = threading.Event(), threading.Event()

    def other():
        with claim(state, None):
            began.set()
            made.wait(10)
            (scratch / "a").mkdir()
            (scratch / "a/model.txt").write_text("theirs")

    thread = threading.Thread(target=other)
    thread.start()
    began.wait(10)
    threading.Timer(0.2, made.set).start()
    make_or_reuse(tmp_path / "out", "a", scratch, maker(calls))
    thread.join()
    assert calls == [] and (tmp_path / "out/model.txt").read_text() == "theirs"


def test_a_model_that_was_edited_in_place_is_made_again(tmp_path, capsys):
    """What is kept and what is handed out are the same files, by hard links."""
    calls = []
    make_or_reuse(tmp_path / "out", "a", tmp_path / "scratch", maker(calls))
    (tmp_path / "out/inner/model.txt").write_text("edited")
    make_or_reuse(tmp_path / "out", "a", tmp_path / "scratch", maker(calls))
    assert (tmp_path / "out/inner/model.txt").read_text() == "weights" and len(calls) == 2
    assert "was changed since it was made" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["model.txt"]


def test_two_that_finish_at_once_leave_a_whole_model(tmp_path, monkeypatch):
    """Who waited for the training begins to copy as the other does; a copy takes long where there are no hard links."""
    started = threading.Event()

    def link(source, target):
        started.set()
        time.sleep(0.02)
        shutil.copy2(source, target)

    def make(part):
        for number in range(8):
            (part / f"{number}.json").write_text("{}", encoding="utf-8")

    monkeypatch.setattr(kept, "_link", link)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(make_or_reuse, tmp_path / "out", "a" * 64, tmp_path / "scratch", make)
        started.wait()
        time.sleep(0.1)
        second = pool.submit(make_or_reuse, tmp_path / "out", "a" * 64, tmp_path / "scratch", make)
        first.result()
        second.result()
    assert len(list((tmp_path / "out").glob("*.json"))) == 8


def test_who_comes_as_another_places_what_it_waited_for_waits_too(tmp_path, monkeypatch):
    """The first removes the folder of the lock that the second waits for; the third would find none."""
    held, most, one, two = [], [], threading.Event(), threading.Event()
    place = kept._place

    def placed(*paths):
        (two if one.is_set() else one).set()
        held.append(1)
        most.append(len(held))
        time.sleep(0.3)
        place(*paths)
        held.pop()

    monkeypatch.setattr(kept, "_place", placed)
    arguments = (tmp_path / "out", "a" * 64, tmp_path / "scratch", maker([]))
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(make_or_reuse, *arguments)
        one.wait()
        second = pool.submit(make_or_reuse, *arguments)
        first.result()
        two.wait()
        third = pool.submit(make_or_reuse, *arguments)
        second.result()
        third.result()
    assert most == [1, 1, 1]
