import itertools
import json
import threading
import time
from collections import Counter

import pytest

from dferc.engine import WorkerDied
from pipeline.extraction import steps
from pipeline.extraction.steps import Clock, Measured, prefetched, write_log


@pytest.fixture
def ticks(monkeypatch):
    """Replace the clock by one that a test moves by hand."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_clock_adds_up_the_time_of_each_step(ticks):
    clock = Clock()
    for seconds in (1, 2):
        with clock.step("decode"):
            ticks[0] += seconds
        ticks[0] += 100
    with pytest.raises(ValueError), clock.step("write"):
        ticks[0] += 1
        raise ValueError
    assert clock.seconds == {"decode": 3, "write": 1}
    assert clock.shares() == "decode 75%, write 25%" and Clock().shares() == ""


def test_clock_counts_the_making_of_items_and_not_their_use(ticks):
    def made():
        for number in range(3):
            ticks[0] += 1
            yield number

    clock = Clock()
    for _ in clock.each("decode", made()):
        ticks[0] += 10
    assert clock.seconds == {"decode": 3}


def test_clock_takes_the_seconds_of_workers():
    clock = Clock()
    results = [(1, Measured("a", Counter(decode=2.0))), (0, WorkerDied(3)), (2, Measured("b", Counter(decode=1.0)))]
    assert list(clock.unpacked(results)) == [(1, "a"), (0, WorkerDied(3)), (2, "b")]
    assert clock.seconds == {"decode": 3.0}


def test_prefetched_hands_everything_on_in_order():
    for count in (0, 1000):
        assert list(prefetched(number for number in range(count))) == list(range(count))


def test_prefetched_goes_on_while_its_consumer_works():
    made = []
    items = prefetched(made.append(number) or number for number in range(steps.PREFETCHED + 1))
    next(items)
    deadline = time.monotonic() + 10
    while len(made) <= steps.PREFETCHED and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(made) == steps.PREFETCHED + 1
    items.close()


def test_prefetched_takes_no_more_than_has_room():
    made = []
    items = prefetched(made.append(number) or number for number in range(1000))
    next(items)
    time.sleep(0.3)
    assert len(made) <= steps.PREFETCHED + 2
    items.close()


def test_prefetched_raises_what_its_source_raises_after_what_came_before():
    def failing():
        yield 1
        raise ZeroDivisionError

    items = prefetched(failing())
    assert next(items) == 1
    with pytest.raises(ZeroDivisionError):
        next(items)


def test_prefetched_left_early_closes_its_source_and_its_thread():
    closed = []

    def endless():
        try:
            yield from itertools.count()
        finally:
            closed.append(True)

    before = threading.active_count()
    items = prefetched(endless())
    next(items)
    items.close()
    assert closed == [True] and threading.active_count() == before


def test_log_tells_versions_counts_and_times(tmp_path):
    clock = Clock()
    clock.seconds.update({"write": 0.25, "decode": 1.5})
    write_log(tmp_path / "data" / "log.json", {"extractor": "one"}, 7, {"done": 5}, clock)
    log = json.loads((tmp_path / "data" / "log.json").read_text(encoding="utf-8"))
    assert log["identity"] == {"extractor": "one"} and (log["computed"], log["done"]) == (7, 5)
    assert list(log["steps_s"].items()) == [("decode", 1.5), ("write", 0.25)]
    assert {"python", "numpy", "av"} <= log["versions"].keys() and log["finished"].endswith("+00:00")
