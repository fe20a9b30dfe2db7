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
from dferc.engine.dealing import Dealer


def here(function, items, initializer, initargs) -> Iterator[tuple[int, Any]]:
    """Run everything in this process, one item after the other; see `engine.run`."""
    if initializer is not None:
        initializer(*initargs)
    for index, item in enumerate(items):
        yield index, function(item)


class _Worker:
    """A process, and what it was given and has not given back."""

    def __init__(self, initargs: tuple):
        # Spawned, not forked: a forked copy of a process with threads (torch, HDF5, SQLite) can hang.
        context = multiprocessing.get_context("spawn")
        self.process = concurrent.futures.ProcessPoolExecutor(1, context, _start, initargs)
        self.at: dict[concurrent.futures.Future, Task] = {}
        self.dead = False

    def has_room(self, depth: int) -> bool:
        """Whether it takes an item beside the `depth` that it has; one that killed a worker is given alone."""
        return not self.dead and len(self.at) == depth and not any(task.deaths for task in self.at.values())


class Pool:
    """Processes that are replaced when they die.

    Nobody can say which of its items a worker died of: the result of the one before may be lost with it. So each is
    tried again by a worker that has nothing else; from then on a death has one culprit.
    """

    def __init__(self, function, dealer: Dealer, workers, initializer, initargs):
        self.function, self.dealer = function, dealer
        self.initargs = (initializer, initargs)
        self.suspects: list[Task] = []
        self.workers = [_Worker(self.initargs) for _ in range(workers)]

    def results(self) -> Iterator[tuple[int, Any]]:
        """Run everything; see `engine.run`."""
        others = multiprocessing.active_children()
        try:
            while True:
                self._give()
                owner = {future: worker for worker in self.workers for future in worker.at}
                if not owner and not self.suspects:
                    return
                for future in concurrent.futures.wait(owner, return_when="FIRST_COMPLETED").done:
                    yield from self._take(owner[future], future)
                self._replace_dead()
        finally:
            if any(worker.at for worker in self.workers):  # left early: nobody waits for these, and one may take hours
                for process in set(multiprocessing.active_children()) - set(others):
                    process.terminate()
            for wait in (False, True):  # all end at once
                for worker in self.workers:
                    worker.process.shutdown(wait, cancel_futures=True)

    def _give(self) -> None:
        """Give each worker what it can take: `AHEAD` items, or one that killed a worker."""
        for depth in range(AHEAD):  # the idle ones first
            for number, worker in enumerate(self.workers):
                if not worker.has_room(depth):
                    continue
                task = self.suspects.pop() if self.suspects and not depth else self.dealer.deal(number)
                if task is None:
                    continue
                try:
                    worker.at[worker.process.submit(_call, self.function, task.item)] = task
                except BrokenProcessPool:  # it died idle, or its death has not been told yet: not of this
                    worker.dead = True
                    self.suspects.append(task)

    def _take(self, worker: _Worker, future: concurrent.futures.Future) -> Iterator[tuple[int, Any]]:
        task = worker.at.pop(future)
        try:
            yield task.index, future.result()
        except BrokenProcessPool:
            worker.dead = True
            task.deaths += 1
            if task.deaths < MAX_DEATHS:
                self.suspects.append(task)
            else:
                yield task.index, WorkerDied(task.deaths)

    def _replace_dead(self) -> None:
        for number, worker in enumerate(self.workers):
            if worker.dead and not worker.at:
                worker.process.shutdown()
                self.workers[number] = _Worker(self.initargs)


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
