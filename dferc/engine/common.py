"""What the engines have in common: how workers are asked for, what a lost item is, and how a worker begins."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from threadpoolctl import threadpool_limits

MAX_DEATHS = 3
"""Workers that one item may kill before it is given up."""

AHEAD = 2
"""Items that a worker has at a time: it works on one while the next is on its way."""

_OUT_OF_MEMORY = 77
"""Exit status of a worker that could not have the memory it asked for."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """The result of an item whose worker process died each time it was tried."""

    deaths: int

    def __str__(self) -> str:
        return f"worker died: {self.deaths} times on this item (a crash in a library, or out of memory)"


@dataclass(frozen=True, slots=True)
class Workers:
    """Where items run, and how many at a time.

    Attributes:
        count: worker processes; 0 = this process, one item after the other; None = as many as there is room for.
        cluster: None = on this machine; else by Ray: `local` starts it here, `auto` or host:port joins a cluster.
        cpus: of a cluster, that a worker takes.
        gpus: that it takes, or a share of one, where the cluster has any.
    """

    count: int | None = None
    cluster: str | None = None
    cpus: int = 1
    gpus: float = 0.0

    def for_network(self) -> Self:
        """Where a network computes while these workers decode: one worker per GPU of a cluster, else this process."""
        return HERE if self.cluster is None else replace(self, count=None, cpus=0, gpus=1.0)


HERE = Workers(0)
"""This process."""


@dataclass(slots=True)
class Task:
    """An item under way, and how many workers have died of it."""

    index: int
    item: Any
    deaths: int = 0


def absolute(setting: str) -> str:
    """A setting that may be a file, as every machine can read it: a file's path is made absolute."""
    return str(Path(setting).absolute()) if Path(setting).is_file() else setting


def default_workers() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def single_thread() -> None:
    """One thread for the numeric libraries, both those already loaded and those loaded later."""
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    use_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


def use_threads(count: int) -> None:
    """So many threads for the numeric libraries that are loaded."""
    threadpool_limits(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def call(function: Callable[[Any], Any], item: Any) -> Any:
    """In a worker: the result of one item. Want of memory is a death, whether Python or the kernel notices it."""
    try:
        return function(item)
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
