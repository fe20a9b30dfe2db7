"""What all tests share: Ctrl-C that arrives, and the one expensive fixture, the demo corpus, media to scores."""

import atexit
import contextlib
import copy
import functools
import gc
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before PyTorch is loaded: threads that wait for each other spin, and beside another process's they starve it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    atexit.register(os._exit, 0)  # the first that is registered is called last: to free all objects takes four seconds
os.environ.setdefault("GOMP_SPINCOUNT", "0")  # tests run beside each other, whatever runs as they start
# The commands `python`, `dvc` and `dferc` are this interpreter's, whoever starts the tests.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

import pytest

import dferc.core  # noqa: F401 - sets how threads wait, before torch is imported anywhere
from dferc.settings import document
from tests.helpers.common import REPOSITORY
from tests.helpers.projects import copy_project, dvc

gc.disable()  # until everything is imported, and stays: see `pytest_collection_finish`

LONGEST = (
    "test_dvc_run.py",
    "test_engine_ray.py",
    "test_cluster.py",
    "test_kill.py",
    "test_sweep.py",
    "test_subtitle_perturbations.py",
    "test_train.py",
    "test_perturbed_media.py",
    "test_kill_visual.py",
    "test_opened_once.py",
)
"""Files whose tests take half a minute or more. They go first, or one process would be left alone with them.

Tests on Ray mostly wait; so three processes keep two cores at work. Each more would import everything again.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, the demo's last; xdist keeps the order with `--no-loadscope-reorder`."""
    demo = dict.fromkeys(("test_demo.py", "test_demo_video.py"), len(LONGEST) + 1)
    rank = {name: number for number, name in enumerate(LONGEST)} | demo
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))


def pytest_collection_finish() -> None:
    """Let no later garbage collection go through the million objects of the packages: each would take 0.4 s.

    What tests make is collected less often than by Python's own threshold, 700 objects: that took a tenth of the time.
    """
    gc.freeze()
    gc.set_threshold(50_000)
    gc.enable()


def pytest_sessionfinish() -> None:
    """Let the interpreter free everything as it ends; nanobind reports what it does not."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell starts what it puts into the background with SIGINT ignored, and so would every command of the tests."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def parsed_once() -> Iterator[None]:
    """Parse each text of settings once: the tests read params.yaml some thousand times, for 25 ms each."""
    parse = functools.cache(document.read_yaml)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "read_yaml", lambda text: copy.deepcopy(parse(text)))
        yield


def runs(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        return process > 0 and os.kill(process, 0) is None
    return False


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """A project in which the demo is reproduced.

    It is this checkout where `make repro` has been run and nothing changed since; else `dvc repro` runs in a copy that
    shares the checkout's DVC cache, so that the next `make repro` restores what is made here. `.ci/run` runs `make
    repro` beside the tests, as the process DFERC_REPRO: its end is waited for.
    """
    while runs(int(os.environ.get("DFERC_REPRO", 0))):
        time.sleep(1)
    if (REPOSITORY / "dvc.lock").exists() and "up to date" in dvc(REPOSITORY, "status"):
        return REPOSITORY
    project = copy_project(tmp_path_factory.mktemp("demo"))
    dvc(project, "cache", "dir", "--local", str(REPOSITORY / ".dvc" / "cache"))
    dvc(project, "repro")
    return project
