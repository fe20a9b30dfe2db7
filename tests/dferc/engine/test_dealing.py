"""Items that belong together go to one worker, and nobody is idle while something is left."""

import itertools
import os
import time
from collections import Counter, defaultdict

import pytest

from dferc import engine
from dferc.engine import crew
from dferc.engine.crew import Dealer

FILES = "aaaa bb cccccc d"


def items_of(files):
    """List (file, number), as the files follow one another."""
    return [(file, number) for file, same in itertools.groupby(files.replace(" ", "")) for number, _ in enumerate(same)]


def first(item):
    return item[0]


def dealt(dealer, workers):
    """Yield (worker, item) until nothing is left, the workers taking turns."""
    order = itertools.cycle(workers)
    while (task := dealer.deal(worker := next(order))) is not None:
        yield worker, task.item


def test_without_a_common_file_items_go_out_in_their_order():
    assert [item for _, item in dealt(Dealer("abcdefg"), "xy")] == list("abcdefg")


def test_each_worker_has_a_file_of_its_own():
    given = list(itertools.islice(dealt(Dealer(items_of(FILES), first), "xy"), 8))
    assert [(worker, *item) for worker, item in given] == [
        ("x", "a", 0),
        ("y", "b", 0),
        ("x", "a", 1),
        ("y", "b", 1),
        ("x", "a", 2),
        ("y", "c", 0),
        ("x", "a", 3),
        ("y", "c", 1),
    ]


def test_who_would_be_idle_takes_the_later_half_of_what_waits_for_another():
    dealer = Dealer(items_of("aaaaaaa"), first)
    assert dealer.deal("x").item == ("a", 0)
    assert [dealer.deal("y").item for _ in range(3)] == [("a", 4), ("a", 5), ("a", 6)]
    assert [dealer.deal("x").item for _ in range(3)] == [("a", 1), ("a", 2), ("a", 3)]
    assert dealer.deal("x") is None and dealer.deal("y") is None


def test_queue_of_a_worker_that_asks_no_more_goes_to_another():
    dealer = Dealer(items_of("aaaaab"), first)
    dealer.deal("x")
    assert sorted(item for _, item in dealt(dealer, "y")) == [("a", 1), ("a", 2), ("a", 3), ("a", 4), ("b", 0)]


@pytest.mark.parametrize("workers", ["x", "xy", "abcdefghijklmnop"])
def test_everything_is_dealt_once(workers, monkeypatch):
    monkeypatch.setattr(crew, "RUN", 4)
    items = items_of(FILES * 3)
    dealer = Dealer(items, first)
    tasks = list(iter(lambda: dealer.deal("alone"), None))
    assert [task.item for task in tasks] == items and [task.index for task in tasks] == list(range(len(items)))
    assert Counter(item for _, item in dealt(Dealer(items, first), workers)) == Counter(items)


def test_a_long_file_is_not_read_ahead_as_a_whole():
    taken = []
    items = (taken.append(number) or ("a", number) for number in range(10**6))
    Dealer(items, first).deal("x")
    assert len(taken) <= crew.RUN + 1


def file_and_worker(item):
    time.sleep(0.01)
    return item[0], os.getpid()


def test_files_are_worked_on_by_one_process_each():
    items = items_of("".join(file * 12 for file in "abcdefgh"))
    workers = defaultdict(set)
    for _, (file, worker) in engine.run(engine.stateless(file_and_worker), items, engine.Workers(2), together=first):
        workers[file].add(worker)
    assert len(set.union(*workers.values())) == 2
    # When nothing else is left, one helps the other in the file that it is at.
    assert sum(len(found) > 1 for found in workers.values()) <= 1


def test_one_file_is_worked_on_by_all():
    found = dict(engine.run(engine.stateless(file_and_worker), items_of("a" * 100), engine.Workers(2), together=first))
    assert len(found) == 100 and len({worker for _, worker in found.values()}) == 2
