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

from dferc.engine.common import Standby, call, use_threads
from dferc.engine.crew import Crew, CrewMember, Dealer

MakeWorker = Callable[[], Callable[[Any], Any]]  # see `engine.run`


def run_here(make_worker: MakeWorker, items: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Run everything in this process, one item after the other; see `engine.run`."""
    function = make_worker()
    for index, item in enumerate(items):
        yield index, function(item)


class ProcessCrew(Crew):
    """Worker processes of this machine, each an executor of its own: the death of one breaks no other."""

    lost = (BrokenProcessPool,)

    def __init__(self, make_worker: MakeWorker, dealer: Dealer, count: int, standby: Standby | None = None):
        super().__init__(dealer)
        self.make_worker, self.count, self.keep = pickle.dumps(make_worker), count, standby is not None
        self.standby = standby or Standby()

    def results(self) -> Iterator[tuple[int, Any]]:
        """Run everything; see `engine.run`."""
        others = set(multiprocessing.active_children()) - self.standby.processes
        try:
            yield from super().results()
        finally:
            left_early = any(member.held for member in self.members)
            self.standby.processes = set(multiprocessing.active_children()) - others
            for process in self.standby.processes if left_early else ():  # an item under way may take hours
                process.terminate()
            self.standby.idle += (member.handle for member in self.members if not member.dead)
            if left_early or not self.keep:
                self.standby.close()

    def _replenish(self) -> None:
        # Spawned, not forked: a forked copy of a process with threads (torch, HDF5, SQLite) can hang.
        context, idle = multiprocessing.get_context("spawn"), self.standby.idle
        while len(self.members) < self.count:
            waiting = idle.pop() if idle else concurrent.futures.ProcessPoolExecutor(1, context, _start)
            self.members.append(CrewMember(waiting))

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
