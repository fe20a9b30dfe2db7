"""Threads wait without spinning, in every process of ours, unless the user chose otherwise."""

import os
import subprocess
import sys

import pytest

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
def test_threads_do_not_spin(module):
    assert variables_as_torch_is_imported(module) == ["0", "-"]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [({"GOMP_SPINCOUNT": "1000"}, ["1000", "-"]), ({"OMP_WAIT_POLICY": "ACTIVE"}, ["-", "ACTIVE"])],
    ids=["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"],
)
def test_the_user_s_own_choice_wins(chosen, expected):
    assert variables_as_torch_is_imported("dferc.training.run", **chosen) == expected
