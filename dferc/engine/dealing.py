"""Which worker gets which item: those of one file stay with one worker, while the others have work of their own."""

import itertools
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

from dferc.engine.common import Task

RUN = 256
"""Items of one file that wait for one worker, at most: memory stays flat, and a long file is shared out earlier."""


class Dealer:
    """Deals out items in their order; what belongs together goes to one worker.

    Only where nothing else is left does a worker help another: it takes half of what waits for the busiest. So does
    what waits for one that died and asks no more find its way.

    Args:
        items: consumed lazily.
        together: of an item, what it has in common with those that belong to it; they follow one another. None: each
            belongs to itself.
    """

    def __init__(self, items: Iterable[Any], together: Callable[[Any], Hashable] | None = None):
        tasks = (Task(index, item) for index, item in enumerate(items))
        self._runs = ([task] for task in tasks) if together is None else _runs(tasks, together)
        self._waiting: dict[Hashable, deque[Task]] = {}

    def deal(self, worker: Hashable) -> Task | None:
        """The next task of a worker; None: nothing is left for anybody."""
        if not self._waiting.get(worker):
            self._waiting[worker] = self._next_run()
        return self._waiting[worker].popleft() if self._waiting[worker] else None

    def _next_run(self) -> deque[Task]:
        run = next(self._runs, None)
        return self._half_of_the_longest() if run is None else deque(run)

    def _half_of_the_longest(self) -> deque[Task]:
        longest = max(self._waiting.values(), key=len, default=deque())
        return deque(reversed([longest.pop() for _ in range((len(longest) + 1) // 2)]))


def _runs(tasks: Iterator[Task], together: Callable[[Any], Hashable]) -> Iterator[list[Task]]:
    for _, same in itertools.groupby(tasks, key=lambda task: together(task.item)):
        while run := list(itertools.islice(same, RUN)):
            yield run
