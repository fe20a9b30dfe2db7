"""Results that are fetched ahead of their consumer."""

import itertools
import threading
import time

import pytest

from pipeline.extraction.loop import PREFETCHED, prefetched


def test_prefetched_hands_everything_on_in_order():
    for count in (0, 1000):
        assert list(prefetched(number for number in range(count))) == list(range(count))


def test_prefetched_goes_on_while_its_consumer_works():
    made = []
    items = prefetched(made.append(number) or number for number in range(PREFETCHED + 1))
    next(items)
    deadline = time.monotonic() + 10
    while len(made) <= PREFETCHED and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(made) == PREFETCHED + 1
    items.close()


def test_prefetched_takes_no_more_than_has_room():
    made = []
    items = prefetched(made.append(number) or number for number in range(1000))
    next(items)
    time.sleep(0.3)
    assert len(made) <= PREFETCHED + 2
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
