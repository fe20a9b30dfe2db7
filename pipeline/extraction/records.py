"""Results of the extractors' workers, and the time of each step of their work.

It imports nothing of ours: it is part of the code whose hash is in the keys of finished work.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True, slots=True)
class Record:
    """The result of one utterance."""

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    """`features` [D] float32 where there are values, and others of the extractor."""
    problem: str = ""  # the fault, or empty


class Measured(NamedTuple):
    """Result of a worker, and the seconds of its steps."""

    result: Any
    seconds: Counter[str]


class Clock:
    """Sum of seconds by step."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of a `with` block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started

    def each(self, name: str, items: Iterable) -> Iterator:
        """Yield items, and add the time that each takes to come."""
        items, end = iter(items), object()
        while True:
            with self.step(name):
                item = next(items, end)
            if item is end:
                return
            yield item

    def unpacked(self, results: Iterable[tuple[int, Any]]) -> Generator[tuple[int, Any], None, None]:
        """Yield results of workers, adding their seconds; results that are not `Measured` are passed on."""
        for index, result in results:
            if isinstance(result, Measured):
                result, seconds = result
                self.seconds.update(seconds)
            yield index, result

    def shares(self) -> str:
        """Return the steps' shares of the time, the longest first, such as `decode 31%, openSMILE 69%`."""
        total = sum(self.seconds.values())
        return ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in self.seconds.most_common() if total)
