"""Which step of the work takes how long: seconds by name, measured where the work is done, added up over workers."""

import contextlib
import datetime
import importlib.metadata
import json
import platform
import queue
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dferc.core.files import write_atomically

_PACKAGES = ("dferc", "av", "h5py", "numpy", "opencv-python-headless", "opensmile", "torch", "transformers")

PREFETCHED = 8
"""Results that wait for their consumer, at most: a kill loses them."""


class Measured(NamedTuple):
    """A result from a worker, and what its steps took there."""

    result: Any
    seconds: Counter[str]


class Clock:
    """Adds up seconds by step."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count the time of a `with` block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started

    def each(self, name: str, items: Iterable) -> Iterator:
        """Hand items on, and count the time that each takes to come."""
        items = iter(items)
        while True:
            with self.step(name):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def unpacked(self, results: Iterable[tuple[int, Any]]) -> Generator[tuple[int, Any], None, None]:
        """Results of workers without their seconds, which are added up here; what is not `Measured` passes as it is."""
        for index, result in results:
            if isinstance(result, Measured):
                result, seconds = result
                self.seconds.update(seconds)
            yield index, result

    def shares(self) -> str:
        """Such as `decode 31 %, openSMILE 69 %`: the steps' shares of the time spent, the longest first."""
        total = sum(self.seconds.values())
        return ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in self.seconds.most_common() if total)


def write_log(
    path: Path, identity: Mapping[str, object], computed: int, tally: Mapping[str, object], clock: Clock
) -> None:
    """Write what a run of a stage used, did and took, as JSON beside its problems table.

    Not part of the features file, whose bytes are the same whoever made them and however fast; and no output of the
    DVC stage, whose hash would then change with every run.

    Args:
        path: of the log.
        identity: of the features.
        computed: utterances computed in this run.
        tally: what became of all of them.
        clock: what the steps took.
    """
    log = {
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "identity": dict(identity),
        "versions": _versions(),
        "computed": computed,
        **tally,
        "steps_s": {name: round(seconds, 3) for name, seconds in clock.seconds.most_common()},
    }
    text = json.dumps(log, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def prefetched(items: Generator) -> Iterator:
    """Hand items of a generator on while a thread fetches the next: neither waits for the other.

    Left early, it closes the generator and ends the thread before it returns.
    """
    waiting: queue.Queue = queue.Queue(PREFETCHED)
    ended, left = object(), threading.Event()
    failure: list[BaseException] = []

    def put(item: object) -> None:
        while not left.is_set():
            with contextlib.suppress(queue.Full):
                return waiting.put(item, timeout=0.1)

    def fetch() -> None:
        try:
            with contextlib.closing(items) as source:
                for item in source:
                    put(item)
                    if left.is_set():
                        return
        except BaseException as error:  # it is raised below, in the thread of the consumer
            failure.append(error)
        finally:
            put(ended)

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not ended:
            yield item
    finally:
        left.set()
        thread.join()
    if failure:
        raise failure[0]
