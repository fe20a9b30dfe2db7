"""Where the work of stage 1 runs: worker processes of this machine, this process, or a Ray cluster.

One function, `run`, is the whole interface; what it promises (results as they finish, flat memory, a dead worker costs
no more than the item that killed it) is all that a stage may rely on, wherever the work runs.
"""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from dferc.console import InputError

MAX_DEATHS = 3
"""Workers that one item may kill before it is given up."""

_MAX_LOST_IN_A_ROW = 10
"""Items given up one after the other, without a result between: then the machine is at fault, not the items."""

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
        count: worker processes; 0 = this process, one item after the other; None = one for each CPU.
        cluster: None = on this machine; else by Ray: `local` starts it here, `auto` or host:port joins a cluster.
    """

    count: int | None = None
    cluster: str | None = None


@dataclass(slots=True)
class _Task:
    index: int
    item: Any
    deaths: int = 0


def absolute(setting: str) -> str:
    """A setting that may be a file, as every machine can read it: a file's path is made absolute."""
    return str(Path(setting).absolute()) if Path(setting).is_file() else setting


def default_workers() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    workers: Workers,
    initializer: Callable[..., None] | None = None,
    initargs: tuple = (),
    paths: Sequence[Path] = (),
) -> Iterator[tuple[int, Any]]:
    """Apply a function to many items.

    Args:
        function: of one item, importable by name (processes are spawned); single-threaded there.
        items: picklable; consumed lazily, so that memory stays flat. Paths in them are absolute: a worker may have
            another working directory.
        workers: where, and how many.
        initializer: called once per process before its first item, with `initargs`.
        initargs: its arguments.
        paths: what every machine must see under the same name, of what this one sees.

    Yields:
        (index of the item, result) as they finish; the result is a `WorkerDied` where the item killed its worker
        `MAX_DEATHS` times.

    Raises:
        InputError: workers keep dying, whatever the item; or the cluster is not there, or not fit for this.
        Exception: what `function` or `initializer` raises; the run ends with it.
    """
    lost_in_a_row = 0
    with contextlib.closing(_results(function, items, workers, initializer, initargs, paths)) as results:
        for index, result in results:
            lost_in_a_row = lost_in_a_row + 1 if isinstance(result, WorkerDied) else 0
            if lost_in_a_row == _MAX_LOST_IN_A_ROW:
                raise InputError(
                    f"{lost_in_a_row} items in a row killed their worker process. Is the memory too small for so many "
                    "at a time? Try fewer with --workers."
                )
            yield index, result


def _results(function, items, workers, initializer, initargs, paths) -> Iterator[tuple[int, Any]]:
    if workers.cluster is not None:
        from pipeline import cluster  # Ray is optional, and slow to import

        return cluster.results(cluster.Job(function, initializer, initargs, paths), items, workers)
    count = default_workers() if workers.count is None else workers.count
    if count:
        return _Pool(function, items, count, initializer, initargs).results()
    return _here(function, items, initializer, initargs)


def _here(function, items, initializer, initargs) -> Iterator[tuple[int, Any]]:
    if initializer is not None:
        initializer(*initargs)
    for index, item in enumerate(items):
        yield index, function(item)


class _Pool:
    """A pool of processes that is replaced when one of them dies.

    The pool cannot say which item killed a worker. So those in flight at the time are tried again one at a time; from
    then on a death has one culprit.
    """

    def __init__(self, function, items, workers, initializer, initargs):
        self.function = function
        self.fresh = (_Task(index, item) for index, item in enumerate(items))
        self.workers = workers
        self.initargs = (initializer, initargs)
        self.suspects: list[_Task] = []
        self.in_flight: dict[concurrent.futures.Future, _Task] = {}

    def results(self) -> Iterator[tuple[int, Any]]:
        """Run everything; see `run`."""
        pool = self._new_pool()
        try:
            while True:
                broken = not self._fill(pool)
                if self.in_flight:
                    finished, _ = concurrent.futures.wait(self.in_flight, return_when="FIRST_COMPLETED")
                    for future in finished:
                        yield from self._collect(future, self.in_flight.pop(future))
                elif broken:
                    pool.shutdown()
                    pool = self._new_pool()
                else:
                    return
        finally:
            pool.shutdown(cancel_futures=True)

    def _fill(self, pool: concurrent.futures.Executor) -> bool:
        """Submit what may run now: two items per worker, or one suspect alone. False where the pool is broken."""
        room = 1 if self.suspects else 2 * self.workers
        while len(self.in_flight) < room:
            task = self.suspects.pop() if self.suspects else next(self.fresh, None)
            if task is None:
                break
            try:
                self.in_flight[pool.submit(_call, self.function, task.item)] = task
            except BrokenProcessPool:
                self.suspects.append(task)
                return False
        return True

    def _collect(self, future: concurrent.futures.Future, task: _Task) -> Iterator[tuple[int, Any]]:
        try:
            yield task.index, future.result()
        except BrokenProcessPool:
            task.deaths += 1
            if task.deaths < MAX_DEATHS:
                self.suspects.append(task)
            else:
                yield task.index, WorkerDied(task.deaths)

    def _new_pool(self) -> concurrent.futures.ProcessPoolExecutor:
        # Spawned, not forked: a forked copy of a process with threads (torch, HDF5, SQLite) can hang.
        context = multiprocessing.get_context("spawn")
        return concurrent.futures.ProcessPoolExecutor(self.workers, context, _start, self.initargs)


# ---------------------------------------------------------------------------------------------------- in a worker

_fault: Exception | None = None


def _start(initializer: Callable[..., None] | None, initargs: tuple) -> None:
    global _fault
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    single_thread()
    try:
        if initializer is not None:
            initializer(*initargs)
    except Exception as error:  # kept for the first item: raised here, it would look like a dead worker
        _fault = error


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    if _fault is not None:
        raise _fault
    return function(item)


def _leave_with_parent() -> None:
    """End this process when its parent is killed: the pool's own pipes would keep it waiting for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def single_thread() -> None:
    """One thread for the numeric libraries, both those already loaded and those loaded later."""
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)
