"""The engine on this machine: in this process, or in a pool of processes that outlives the death of any of them."""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from dferc.engine.common import AHEAD, MAX_DEATHS, Task, WorkerDied, call, single_thread


def here(function, items, initializer, initargs) -> Iterator[tuple[int, Any]]:
    """Run everything in this process, one item after the other; see `engine.run`."""
    if initializer is not None:
        initializer(*initargs)
    for index, item in enumerate(items):
        yield index, function(item)


class Pool:
    """A pool of processes that is replaced when one of them dies.

    The pool cannot say which item killed a worker. So those in flight at the time are tried again one at a time; from
    then on a death has one culprit.
    """

    def __init__(self, function, items, workers, initializer, initargs):
        self.function = function
        self.fresh = (Task(index, item) for index, item in enumerate(items))
        self.workers = workers
        self.initargs = (initializer, initargs)
        self.suspects: list[Task] = []
        self.in_flight: dict[concurrent.futures.Future, Task] = {}

    def results(self) -> Iterator[tuple[int, Any]]:
        """Run everything; see `engine.run`."""
        others = multiprocessing.active_children()
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
            if self.in_flight:  # left early: nobody waits for these, and an item may take hours
                for worker in set(multiprocessing.active_children()) - set(others):
                    worker.terminate()
            pool.shutdown(cancel_futures=True)

    def _fill(self, pool: concurrent.futures.Executor) -> bool:
        """Submit what may run now: `AHEAD` items per worker, or one suspect alone. False where the pool is broken."""
        room = 1 if self.suspects else AHEAD * self.workers
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

    def _collect(self, future: concurrent.futures.Future, task: Task) -> Iterator[tuple[int, Any]]:
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
    return call(function, item)


def _leave_with_parent() -> None:
    """End this process when its parent is killed: the pool's own pipes would keep it waiting for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)
