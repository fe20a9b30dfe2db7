"""Results that are fetched ahead: workers decode while a network computes."""

import contextlib
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

PREFETCHED = 8  # most results that wait for their consumer: a kill loses them


def prefetched(items: Generator, ahead: int = PREFETCHED) -> Iterator:
    """Yield items while a thread fetches the next `ahead`; if closed early, end the thread and close the generator."""
    end = object()
    with contextlib.closing(items), ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, items, end) for _ in range(ahead))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(thread.submit(next, items, end))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
