import time
from collections import Counter

import pytest

from dferc.engine import WorkerDied
from pipeline.extraction.records import Clock, Measured


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
