"""Worker processes: everything comes back, whatever happens to them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from dferc import engine
from dferc.core.errors import InputError
from dferc.engine import Workers, job
from tests.helpers.processes import all_end, is_alive

REPOSITORY = Path(__file__).parents[3]

_offset = 0


def square(number):
    return _offset + number * number


def set_offset(offset):
    global _offset
    _offset = offset


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
    """Die the first time; `marker` tells the next."""
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
    results = dict(engine.run(square, iter(range(20)), Workers(workers), set_offset, (1000,)))
    set_offset(0)
    assert results == {number: 1000 + number * number for number in range(20)}


@pytest.mark.parametrize("workers", [0, 1])
def test_run_of_nothing_gives_nothing(workers):
    assert list(engine.run(square, [], Workers(workers))) == []


def test_run_takes_items_only_as_it_goes():
    taken = []
    items = (taken.append(number) or number for number in range(10**6))
    results = engine.run(square, items, Workers(2))
    for _ in range(10):
        next(results)
    results.close()
    assert len(taken) <= 10 + 2 * 2


def test_run_survives_a_worker_that_dies_once(tmp_path):
    items = [(number, str(tmp_path / "died")) for number in range(12)]
    assert dict(engine.run(die_once, items, Workers(2))) == {number: number for number in range(12)}


def test_run_gives_up_only_the_items_that_kill():
    killers = {0, 7}
    items = [-1 if number in killers else number for number in range(12)]
    results = dict(engine.run(die_on_negative, items, Workers(2)))
    assert {index for index, result in results.items() if isinstance(result, engine.WorkerDied)} == killers
    assert all(results[number] == number for number in range(12) if number not in killers)
    assert "worker died: 3 times" in str(results[7])


def test_want_of_memory_in_a_worker_is_a_death_like_others():
    results = dict(engine.run(find_no_memory, [0, -1, 2], Workers(1)))
    assert results == {0: 0, 1: engine.WorkerDied(3), 2: 2}


def test_run_ends_where_every_item_kills(monkeypatch):
    monkeypatch.setattr(engine.local, "MAX_DEATHS", 1)
    monkeypatch.setattr(engine, "_MAX_LOST_IN_A_ROW", 5)
    with pytest.raises(InputError, match="5 items in a row killed their worker.*--workers"):
        list(engine.run(die_on_negative, [-1] * 100, Workers(2)))


@pytest.mark.parametrize("workers", [0, 2])
def test_run_hands_on_what_the_function_raises(workers):
    with pytest.raises(ValueError, match="three"):
        list(engine.run(fail_on_three, range(10), Workers(workers)))


@pytest.mark.parametrize("workers", [0, 2])
def test_run_hands_on_what_the_initializer_raises(workers):
    with pytest.raises(InputError, match="no such model"):
        list(engine.run(square, range(10), Workers(workers), refuse, ("no such model",)))


def test_workers_have_one_thread_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # what a worker inherits
    [(_, (variable, pools))] = engine.run(threads_of_worker, [0], Workers(1))
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
    """In the subprocess of the test above: tell the worker's process id, then wait to be killed."""
    results = engine.run(worker_pid, [0, 0], Workers(1))
    print(next(results)[1], flush=True)
    time.sleep(60)


def worker_pid(_):
    return os.getpid()


def test_an_adapter_of_the_users_own_is_not_among_the_code_that_machines_compare(tmp_path, monkeypatch):
    own = ModuleType("dferc.own_adapter")
    own.__file__ = str(tmp_path / "own_adapter.py")
    monkeypatch.setitem(sys.modules, "dferc.own_adapter", own)

    assert "dferc/engine/job.py" in job.loaded_sources()
    assert not [source for source in job.loaded_sources() if "own_adapter" in source]
