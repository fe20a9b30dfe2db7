"""The engine on this machine: in this process, or in processes that are replaced when they die."""

import concurrent.futures
import functools
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from dferc.engine.common import call, use_threads
from dferc.engine.crew import Crew, CrewMember
from dferc.engine.dealing import Dealer


def run_here(make_worker: Callable[[], Callable[[Any], Any]], items: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Run everything in this process, one item after the other; see `engine.run`."""
    function = make_worker()
    for index, item in enumerate(items):
        yield index, function(item)


class ProcessCrew(Crew):
    """Worker processes of this machine, each an executor of its own: the death of one breaks no other."""

    lost = (BrokenProcessPool,)

    def __init__(self, make_worker: Callable[[], Callable[[Any], Any]], dealer: Dealer, count: int):
        super().__init__(dealer)
        self.make_worker, self.count = pickle.dumps(make_worker), count

    def results(self) -> Iterator[tuple[int, Any]]:
        """Run everything; see `engine.run`."""
        others = set(multiprocessing.active_children())
        try:
            yield from super().results()
        finally:
            if any(member.held for member in self.members):  # left early: an item under way may take hours
                for process in set(multiprocessing.active_children()) - others:
                    process.terminate()
            for wait in (False, True):  # all end at once
                for member in self.members:
                    member.handle.shutdown(wait, cancel_futures=True)

    def _replenish(self) -> None:
        # Spawned, not forked: a forked copy of a process with threads (torch, HDF5, SQLite) can hang.
        context = multiprocessing.get_context("spawn")
        while len(self.members) < self.count:
            self.members.append(CrewMember(concurrent.futures.ProcessPoolExecutor(1, context, _start)))

    def _submit(self, member: CrewMember, item: Any) -> concurrent.futures.Future:
        return member.handle.submit(_work, self.make_worker, item)

    def _wait(self, handles: Sequence[concurrent.futures.Future]) -> Iterable[concurrent.futures.Future]:
        return concurrent.futures.wait(handles, return_when="FIRST_COMPLETED").done

    def _fetch(self, handle: concurrent.futures.Future) -> Any:
        return handle.result()


def _start() -> None:
    """Begin, in a worker: one thread for the libraries, Ctrl-C left to the parent, no life after the parent's death."""

    def end_with_parent() -> None:  # the executor's own pipes would keep this process waiting for ever
        multiprocessing.parent_process().join()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    use_threads(1)


@functools.lru_cache(maxsize=1)
def _worker(make_worker: bytes) -> Callable[[Any], Any]:
    """Make the worker of this process, once."""
    return pickle.loads(make_worker)()


def _work(make_worker: bytes, item: Any) -> Any:
    return call(_worker(make_worker), item)
