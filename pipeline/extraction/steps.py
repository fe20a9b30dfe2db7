"""Time of each step of the work, by name, measured where the work is done and added up over workers."""

import contextlib
import datetime
import importlib.metadata
import json
import platform
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from dferc.core.files import write_atomically

_PACKAGES = ("dferc", "av", "h5py", "numpy", "opencv-python-headless", "opensmile", "torch", "transformers")

PREFETCHED = 8
"""Most results that wait for their consumer: a kill loses them."""


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


def write_log(
    path: Path, identity: Mapping[str, object], computed: int, tally: Mapping[str, object], clock: Clock
) -> None:
    """Write versions, counts and times of a run as JSON beside its problems table.

    The log is not part of the features file, whose bytes do not depend on the run, and no output of the DVC stage,
    whose hash would change with every run. `computed` counts the utterances of this run, `tally` all by outcome.
    """
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    log = {
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "identity": dict(identity),
        "versions": versions,
        "computed": computed,
        **tally,
        "steps_s": {name: round(seconds, 3) for name, seconds in clock.seconds.most_common()},
    }
    text = json.dumps(log, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def prefetched(items: Generator) -> Iterator:
    """Yield items while a thread fetches the next ones; if closed early, end the thread and close the generator."""
    end = object()
    with contextlib.closing(items), ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, items, end) for _ in range(PREFETCHED))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(thread.submit(next, items, end))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
