"""Which worker gets which item: the items of one file stay with one worker while the others have work of their own."""

import itertools
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

RUN = 256  # most items of one file that wait for one worker: memory stays flat, and a long file is shared out earlier


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
