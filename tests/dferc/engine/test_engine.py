"""Worker processes: everything comes back, whatever happens to them."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from dferc import engine
from dferc.core.errors import InputError
from dferc.engine import Workers, crew, stateless
from dferc.engine.job import defining_modules
from tests.helpers.processes import all_end, is_alive

REPOSITORY = Path(__file__).parents[3]


class Squarer:
    """Squares numbers above an offset; it counts what it has squared."""

    def __init__(self, offset: int):
        self.offset, self.count = offset, 0

    def __call__(self, number):
        self.count += 1
        return self.offset + number * number, self.count


def refuse(reason):
    raise InputError(reason)


def die_on_negative(number):
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.1)  # the killers are quicker: whoever is in flight with one is lost with it
    return number


def find_no_memory(number):
    if number < 0:
        raise MemoryError
    return number


def die_once(item):
    """Die the first time; a file is the sign for the next."""
    number, marker = item
    if number == 3 and not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail_on_three(number):
    if number == 3:
        raise ValueError("three")
    return number


def threads_of_worker(_):
    from threadpoolctl import threadpool_info

    return os.environ["OMP_NUM_THREADS"], [pool["num_threads"] for pool in threadpool_info()]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_run_gives_every_result_with_its_index(workers):
    results = dict(engine.run(partial(Squarer, 1000), iter(range(20)), Workers(workers)))
    assert {index: square for index, (square, _) in results.items()} == {n: 1000 + n * n for n in range(20)}
    assert sorted(count for _, count in results.values())[-1] >= 20 / max(workers, 1)  # made once in a process


@pytest.mark.parametrize("workers", [0, 1])
def test_run_of_nothing_gives_nothing(workers):
    assert list(engine.run(stateless(abs), [], Workers(workers))) == []


def test_run_takes_items_only_as_it_goes():
    taken = []
    items = (taken.append(number) or number for number in range(10**6))
    results = engine.run(stateless(abs), items, Workers(2))
    for _ in range(10):
        next(results)
    results.close()
    assert len(taken) <= 10 + 2 * 2


def test_run_survives_a_worker_that_dies_once(tmp_path):
    items = [(number, str(tmp_path / "died")) for number in range(12)]
    assert dict(engine.run(stateless(die_once), items, Workers(2))) == {number: number for number in range(12)}


def test_run_gives_up_only_the_items_that_kill():
    killers = {0, 7}
    items = [-1 if number in killers else number for number in range(12)]
    results = dict(engine.run(stateless(die_on_negative), items, Workers(2)))
    assert {index for index, result in results.items() if isinstance(result, engine.WorkerDied)} == killers
    assert all(results[number] == number for number in range(12) if number not in killers)
    assert "worker died: 3 times" in str(results[7])


def test_want_of_memory_in_a_worker_is_a_death_like_others():
    results = dict(engine.run(stateless(find_no_memory), [0, -1, 2], Workers(1)))
    assert results == {0: 0, 1: engine.WorkerDied(3), 2: 2}


def test_run_ends_where_every_item_kills(monkeypatch):
    monkeypatch.setattr(crew, "MAX_DEATHS", 1)
    monkeypatch.setattr(engine, "_MAX_LOST_IN_A_ROW", 5)
    with pytest.raises(InputError, match="5 items in a row killed their worker.*--workers"):
        list(engine.run(stateless(die_on_negative), [-1] * 100, Workers(2)))


@pytest.mark.parametrize("workers", [0, 2])
def test_run_hands_on_what_the_function_raises(workers):
    with pytest.raises(ValueError, match="three"):
        list(engine.run(stateless(fail_on_three), range(10), Workers(workers)))


@pytest.mark.parametrize("workers", [0, 2])
def test_run_hands_on_what_the_making_of_a_worker_raises(workers):
    with pytest.raises(InputError, match="no such model"):
        list(engine.run(partial(refuse, "no such model"), range(10), Workers(workers)))


def test_workers_have_one_thread_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # what a worker inherits
    [(_, (variable, pools))] = engine.run(stateless(threads_of_worker), [0], Workers(1))
    assert variable == "1" and set(pools) <= {1}


def test_workers_end_with_a_killed_parent():
    parent = subprocess.Popen(
        [sys.executable, "-c", "from tests.dferc.engine.test_engine import keep_running; keep_running()"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # its resource tracker notices the kill
        text=True,
    )
    with parent:
        worker = int(parent.stdout.readline())
        assert is_alive(worker)
        parent.kill()
    assert all_end([worker])


def keep_running():
    """In the subprocess of the test above: print the worker's process id, then wait to be killed."""
    results = engine.run(stateless(worker_pid), [0, 0], Workers(1))
    print(next(results)[1], flush=True)
    time.sleep(60)


def worker_pid(_):
    return os.getpid()


def nap(seconds):
    time.sleep(seconds)
    return os.getpid()


def test_processes_on_standby_serve_the_next_run_and_end_with_it():
    with engine.Standby() as standby:
        workers = Workers(1, standby=standby)
        pids = {next(engine.run(stateless(worker_pid), [0], workers))[1] for _ in range(2)}
        assert dict(engine.run(partial(Squarer, 0), [2], workers)) == {0: (4, 1)}
        assert len(pids) == 1 and is_alive(*pids)
    assert all_end(list(pids))


def test_standby_after_a_run_that_is_left_early_or_a_death(tmp_path):
    with engine.Standby() as standby:
        workers = Workers(1, standby=standby)
        left = engine.run(stateless(nap), [0, 60], replace(workers, count=2))
        pid = next(left)[1]
        left.close()
        assert all_end([pid]) and not standby.idle and not standby.processes  # an item under way may take hours
        assert dict(engine.run(stateless(die_once), [(3, tmp_path / "m")], workers)) == {0: 3}
        assert len(standby.idle) == 1  # not the dead one


def test_code_of_a_worker_is_found_from_what_makes_it(tmp_path):
    assert defining_modules(partial(Squarer, 0)) == ("dferc.engine.job", __name__)
    assert defining_modules(stateless(die_once)) == ("dferc.engine.common", "dferc.engine.job", __name__)
    assert defining_modules(stateless(abs)) == ("dferc.engine.common", "dferc.engine.job")  # abs is Python's own
