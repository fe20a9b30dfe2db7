"""The loop of both engines: workers are fed so that none waits for an item, and replaced when they die.

The items of one file stay with one worker while the others have work of their own.
"""

import abc
import itertools
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dferc.core.errors import InputError
from dferc.engine.common import WorkerDied

RUN = 256  # most items of one file that wait for one worker: memory stays flat, and a long file is shared out earlier
MAX_DEATHS = 3  # workers that one item may kill before it is given up
AHEAD = 2  # items that a worker has at a time: it works on one while the next is on its way

_QUICK_S = 5.0
"""A worker that needs longer for an item gets the next one when it is done: another worker may be free earlier."""

_MAX_STILLBORN = 10  # workers that may die one after the other as they start


@dataclass(slots=True)
class PendingItem:
    """An item under way, and how many workers have died of it."""

    index: int
    item: Any
    deaths: int = 0


class Dealer:
    """Deals out items in their order; items that belong together go to one worker.

    Only where nothing else is left does a worker help another: it takes half of the longest queue. A dead worker's
    queue is redistributed the same way. Arguments as of `engine.run`; items are consumed lazily.
    """

    def __init__(self, items: Iterable[Any], together: Callable[[Any], Hashable] | None = None):
        pending = itertools.starmap(PendingItem, enumerate(items))
        self._runs = ([item] for item in pending) if together is None else _runs(pending, together)
        self._queues: dict[Hashable, deque[PendingItem]] = {}

    def deal(self, worker: Hashable) -> PendingItem | None:
        """Return the next item of a worker; None if nothing is left for anybody."""
        if not self._queues.get(worker):
            run = next(self._runs, None)
            if run is None:
                longest = max(self._queues.values(), key=len, default=deque())
                run = reversed([longest.pop() for _ in range((len(longest) + 1) // 2)])
            self._queues[worker] = deque(run)
        return self._queues[worker].popleft() if self._queues[worker] else None


def _runs(pending: Iterator[PendingItem], together: Callable[[Any], Hashable]) -> Iterator[list[PendingItem]]:
    for _, same in itertools.groupby(pending, key=lambda item: together(item.item)):
        while run := list(itertools.islice(same, RUN)):
            yield run


@dataclass(eq=False, slots=True)
class CrewMember:
    """A worker as the crew sees it."""

    handle: Any  # the engine's own object for the process
    held: dict[Any, PendingItem | None] = field(default_factory=dict)
    """Items that it was given and has not given back, by the handle of the result; None stands for its start."""
    dead: bool = False  # a result was lost with it
    since_s: float = 0.0  # when it last gave something back
    quick: bool = False  # and whether that took little time

    def has_room(self, depth: int) -> bool:
        """Return whether it takes an item beside the `depth` that it has; a suspect has its worker to itself."""
        if self.dead or len(self.held) != depth:
            return False
        return not depth or self.quick and not any(item.deaths for item in self.held.values())


class Crew(abc.ABC):
    """Workers that are replaced when they die.

    It cannot be known which of its items killed a worker: the result of the one before may be lost with it. So all of
    them are suspects. Each is tried again by a worker that has nothing else; from then on a death has one culprit.
    """

    lost: tuple[type[Exception], ...]  # exceptions of `_fetch` and `_submit` that mean that the worker has died

    def __init__(self, dealer: Dealer):
        self.dealer = dealer
        self.members: list[CrewMember] = []
        self.suspects: list[PendingItem] = []
        self.stillborn = 0

    @abc.abstractmethod
    def _replenish(self) -> None:
        """Fill up `members`."""

    @abc.abstractmethod
    def _submit(self, member: CrewMember, item: Any) -> Any:
        """Give an item to a worker; return the handle of the result."""

    @abc.abstractmethod
    def _wait(self, handles: Sequence[Any]) -> Sequence[Any]:
        """Wait a while, and return those that have finished."""

    @abc.abstractmethod
    def _fetch(self, handle: Any) -> Any:
        """Return a result that has finished, or raise what the worker raised."""

    def results(self) -> Iterator[tuple[int, Any]]:
        """Run everything; see `engine.run`."""
        while True:
            self._replenish()
            if not self._give() and not any(item for member in self.members for item in member.held.values()):
                return
            owner = {handle: member for member in self.members for handle in member.held}
            for handle in self._wait(list(owner)):
                yield from self._take(owner[handle], handle)
            self.members = [member for member in self.members if member.held or not member.dead]

    def _give(self) -> bool:
        """Give each worker what it can take; return False if nothing was left to give."""
        for depth in range(AHEAD):  # the idle ones first
            for member in self.members:
                if not member.has_room(depth):
                    continue
                item = self.suspects.pop() if self.suspects and not depth else self.dealer.deal(member)
                if item is None:
                    return bool(self.suspects)
                try:
                    member.held[self._submit(member, item.item)] = item
                except self.lost:  # it died of something earlier
                    member.dead = True
                    self.suspects.append(item)
        return True

    def _take(self, member: CrewMember, handle: Any) -> Iterator[tuple[int, Any]]:
        """Take one thing back from a worker: a result, its start, or what was lost with it."""
        item, now_s = member.held.pop(handle), time.monotonic()
        try:
            result = self._fetch(handle)
        except self.lost:
            member.dead = True
            if item is None:
                self.stillborn += 1
                if self.stillborn == _MAX_STILLBORN:
                    raise InputError(
                        f"{self.stillborn} workers in a row died as they began. Is the memory too small?"
                    ) from None
                return
            item.deaths += 1
            if item.deaths < MAX_DEATHS:
                self.suspects.append(item)
            else:
                yield item.index, WorkerDied(item.deaths)
            return
        member.since_s, member.quick = now_s, item is not None and now_s - member.since_s < _QUICK_S
        if item is None:
            self.stillborn = 0
        else:
            yield item.index, result
