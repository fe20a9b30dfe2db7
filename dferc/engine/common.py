"""Common parts of the engines: the choice of workers, the result of a lost item, the behaviour of a worker process."""

import concurrent.futures
import contextlib
import functools
import multiprocessing.process
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from threadpoolctl import threadpool_limits

_OUT_OF_MEMORY = 77  # exit status of a worker that could not have the memory it asked for

_PATIENCE_S = 10.0  # longest wait for the end of a process that is to end

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """The result of an item whose worker process died each time it was tried."""

    deaths: int

    def __str__(self) -> str:
        return f"worker died: {self.deaths} times on this item (a crash in a library, or out of memory)"


class Standby(contextlib.AbstractContextManager):
    """Worker processes of this machine that wait for the next run, for many short runs one after the other.

    Starting a process takes seconds, most of them imports. The context manager ends the processes.
    """

    def __init__(self):
        self.idle: list[concurrent.futures.ProcessPoolExecutor] = []  # each has one process
        self.processes: set[multiprocessing.process.BaseProcess] = set()  # that it has started

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for executor in self.idle:  # all end at once
            executor.shutdown(wait=False, cancel_futures=True)
        for process in self.processes:
            process.join(_PATIENCE_S)
        self.idle.clear()
        self.processes.clear()


@dataclass(frozen=True, slots=True)
class Workers:
    """Place where items run, and how many at a time."""

    count: int | None = None  # processes; 0 = this one, one item after the other; None = as many as there is room for
    cluster: str | None = None  # None = this machine; else Ray: `local` starts it here, `auto` or host:port joins one
    cpus: int = 1  # CPUs of a cluster that each worker takes
    gpus: float = 0.0  # GPUs, or the share of one, that each worker takes where the cluster has any
    standby: Standby | None = None  # where processes of this machine wait for the next run; None = they end

    def for_network(self) -> Self:
        """Return where a network computes while these workers decode: each GPU of a cluster, else this process."""
        return HERE if self.cluster is None else replace(self, count=None, cpus=0, gpus=1.0)


HERE = Workers(0)  # this process


def stateless(function: Callable[[Any], Any]) -> Callable[[], Callable[[Any], Any]]:
    """Return the `make_worker` of `engine.run` for a function that needs no preparation."""
    return functools.partial(_identity, function)


def _identity(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return function


def absolute(setting: str) -> str:
    """Make a setting absolute if it is the path of a file, so that every machine can read it."""
    return str(Path(setting).absolute()) if Path(setting).is_file() else setting


def use_threads(count: int) -> None:
    """Limit the numeric libraries to `count` threads; a single one also holds for libraries that are loaded later."""
    threadpool_limits(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    if count == 1:
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
        if "cv2" in sys.modules:
            sys.modules["cv2"].setNumThreads(1)


def call(function: Callable[[Any], Any], item: Any) -> Any:
    """Apply a worker's function. A lack of memory ends the process, whether Python or the kernel notices it."""
    try:
        return function(item)
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)
