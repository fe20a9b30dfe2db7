"""Ctrl-C and SIGTERM at any moment of a command's start end it by 130 and 143, without a traceback."""

import gc
import importlib
import os
import signal
import subprocess
import sys
import time

import pytest

from dferc.core.interrupts import interruptible, watch_startup
from tests.helpers.common import REPOSITORY

PROGRAM = """
import os, runpy, sys
class Finder:
    sent = False
    @staticmethod
    def find_spec(name, *_):  # called as the interpreter looks for the module
        if name == "{moment}" and not Finder.sent:
            Finder.sent = True
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Finder)
sys.argv = {argv}
{start}
"""
SCRIPT = "from dferc.cli.main import main; main()"


def start(module: str, moment: str, number: int, *arguments: str) -> subprocess.CompletedProcess:
    """Start `dferc` (as the installed script does) or `python -m module`; send a signal as `moment` is imported."""
    argv = ["/venv/bin/dferc" if module == "dferc" else "-m", *arguments]
    run = SCRIPT if module == "dferc" else f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    program = PROGRAM.format(moment=moment, number=int(number), argv=argv, start=run)
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)


PREDICT = ("predict", "--run=nowhere", "--features=nowhere", "--out=table.csv")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "module, moment, arguments",
    [
        ("dferc", "click", ()),
        ("dferc", "rich.progress", ()),
        ("dferc", "torch", PREDICT),
        ("dferc", "torch.nn", PREDICT),  # in the midst of torch
        ("dferc.__main__", "click", ()),
        ("pipeline.extract_text", "numpy", ("--corpus=demo",)),
        ("pipeline.train_face", "torch.autograd", ("--corpus=demo",)),
    ],
)
def test_signal_while_libraries_are_imported(module, moment, arguments, number):
    ended = start(module, moment, number, *arguments)
    assert ended.returncode == 128 + number
    assert ended.stderr.splitlines() == [
        "interrupted while the program was starting; finished work is kept: the same command goes on from there"
    ]


def test_import_of_the_package_elsewhere_leaves_the_handlers_alone():
    program = "import signal, dferc; print(signal.getsignal(2) is signal.default_int_handler, signal.getsignal(15))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", str(signal.SIG_DFL)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_library_that_imports_a_part_of_itself_in_the_midst_of_work_ends_that_first(tmp_path, monkeypatch, number):
    text = f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(0.2)\nwhole = True\n"
    name = f"lazy_part_{int(number)}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    whole = []
    with interruptible() as received, pytest.raises(KeyboardInterrupt):
        whole.append(importlib.import_module(name).whole)
        time.sleep(5)
    assert whole == [True] and received == [number]


def test_job_in_the_background_ignores_ctrl_c():
    """A shell starts it with SIGINT ignored; a handler would make it end at a Ctrl-C that is meant for another."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible() as received:
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert received == []


def test_garbage_is_collected_from_the_beginning_of_the_work(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["-m"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "dferc"])
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    enabled, threshold = gc.isenabled(), gc.get_threshold()
    try:
        watch_startup()
        assert not gc.isenabled()
        with interruptible():
            assert gc.isenabled() and gc.get_threshold()[0] < 100_000
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        gc.set_threshold(*threshold)
        (gc.enable if enabled else gc.disable)()


def test_importing_dferc_leaves_garbage_collection_alone(monkeypatch):
    enabled = gc.isenabled()
    for argv, original in (["my_script.py"], ["python", "my_script.py"]), (["dferc"], ["--multiprocessing-fork"]):
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(sys, "orig_argv", original)
        watch_startup()
        assert gc.isenabled() == enabled


def test_what_was_frozen_is_freed_at_the_end_of_a_command_that_has_imported_triton():
    """Else nanobind prints 30 lines of leaks behind each finetune_text and extract_text, and behind their errors."""
    program = """
import atexit, gc, sys
atexit.register(lambda: print(gc.get_freeze_count()))
from dferc.core.interrupts import begin_work
gc.disable()
begin_work()
sys.modules["triton"] = None
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["0"]
