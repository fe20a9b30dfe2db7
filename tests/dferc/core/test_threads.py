"""Threads spin little while they wait, and not at all on a busy machine, unless the user chose otherwise."""

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dferc.core import threads
from dferc.core.threads import keep_freed_memory
from tests.helpers.common import REPOSITORY

VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS")
PROGRAM = """
import os, sys
class Finder:
    @staticmethod
    def find_spec(name, *_):  # called as the interpreter looks for torch
        if name == "PACKAGE":
            print(*(os.environ.get(variable, "-") for variable in VARIABLES), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Finder)
import MODULE
"""


def variables_at_import(package: str, module: str, **chosen: str) -> list[str]:
    """Return the values of VARIABLES as `module` first imports `package`."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    program = PROGRAM.replace("MODULE", module).replace("PACKAGE", package).replace("VARIABLES", repr(VARIABLES))
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | chosen,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.split()


@pytest.mark.parametrize(
    "module",
    ["dferc.training.run", "dferc.model.dferc", "pipeline.train_face", "pipeline.text.encoding"],
)
def test_threads_spin_little(module):
    spins, policy, _ = variables_at_import("torch", module)
    assert spins in ("0", str(threads.SPINS)) and policy == "-"


@pytest.mark.parametrize("module", ["dferc.evaluation.floor", "dferc.store.hdf5", "pipeline.make_demo"])
def test_numpy_has_one_thread(module):
    assert variables_at_import("numpy", module)[2] == "1"


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
    [
        ({"GOMP_SPINCOUNT": "1000"}, ["1000", "-", "1"]),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ["-", "ACTIVE", "1"]),
        ({"GOMP_SPINCOUNT": "1", "OPENBLAS_NUM_THREADS": "2"}, ["1", "-", "2"]),
    ],
    ids=VARIABLES,
)
def test_the_user_s_own_choice_wins(chosen, expected):
    assert variables_at_import("torch", "dferc.training.run", **chosen) == expected


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone keeps freed memory by a setting")
def test_freed_memory_is_kept_for_the_next_tensors():
    """Forty MB are 10,240 pages, which come anew at each tensor where memory is given back."""
    keep_freed_memory(1 << 30)
    for _ in range(10):  # the heap moves up by a tensor some times, whatever the number of threads
        torch.ones(10 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(10 << 20)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 3 * 10240
