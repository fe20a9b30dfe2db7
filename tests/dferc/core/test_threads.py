"""Threads spin little while they wait, and not at all on a busy machine, unless the user chose otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dferc.core import threads
from tests.helpers.common import REPOSITORY

PROGRAM = """
import os, sys
class Finder:
    @staticmethod
    def find_spec(name, *_):  # called as the interpreter looks for torch
        if name == "torch":
            print(*(os.environ.get(variable, "-") for variable in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Finder)
import MODULE
"""


def variables_as_torch_is_imported(module: str, **chosen: str) -> list[str]:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    program = [sys.executable, "-c", PROGRAM.replace("MODULE", module)]
    result = subprocess.run(
        program, env=environment | chosen, cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return result.stdout.split()


@pytest.mark.parametrize(
    "module",
    ["dferc.training.run", "dferc.model.dferc", "pipeline.train_face", "pipeline.text.encoding"],
)
def test_threads_spin_little(module):
    spins, policy = variables_as_torch_is_imported(module)
    assert spins in ("0", str(threads.SPINS)) and policy == "-"


@pytest.mark.parametrize(
    ("loadavg", "busy"),
    [("0.1 0.1 0.1 1/95 7", False), ("9.0 9.0 9.0 2/95 7", False), ("0.1 0.1 0.1 3/95 7", True), ("", False)],
    ids=["idle", "busy a while ago", "both cores busy now", "not Linux"],
)
def test_two_cores_are_busy_where_two_others_run(monkeypatch, loadavg, busy):
    monkeypatch.setattr(Path, "read_text", lambda path: loadavg)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
    assert threads.all_cores_are_busy() is busy


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [({"GOMP_SPINCOUNT": "1000"}, ["1000", "-"]), ({"OMP_WAIT_POLICY": "ACTIVE"}, ["-", "ACTIVE"])],
    ids=["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"],
)
def test_the_user_s_own_choice_wins(chosen, expected):
    assert variables_as_torch_is_imported("dferc.training.run", **chosen) == expected
