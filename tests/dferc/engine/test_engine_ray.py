"""The engine on Ray: a real one on this machine, and clusters of several machines' worth of processes."""

import importlib.metadata
import os
import shutil
import signal
import socket
import threading
import time
from collections import Counter
from functools import partial

import psutil
import pytest

from dferc import engine
from dferc.core.errors import InputError
from dferc.engine import WorkerDied, Workers, stateless
from tests.helpers.clusters import STORE_BYTES, cluster_of, ray, ray_here
from tests.helpers.common import REPOSITORY, left_to_long
from tests.helpers.processes import is_alive
from tests.helpers.ray_work import (
    Squarer,
    die,
    fail,
    file_and_worker,
    hoard,
    hold,
    leave_mark,
    marks,
    meet,
    process,
    refuse,
    wait_until,
)

HERE = Workers(2, cluster="local")
ONE = Workers(1, cluster="local")
"""For what needs no company: each worker is a process that takes half a second to start."""


def begun(folder):
    """Count how often each number was begun."""
    return Counter(map(int, (folder / "begun").read_text().split()))


@pytest.fixture(scope="module")
def connected():
    """Start Ray with two CPUs and two pretended GPUs."""
    with ray_here(num_cpus=2, num_gpus=2):
        yield


@pytest.fixture
def disconnected():
    """Disconnect from Ray, whatever ran before."""
    ray.shutdown()
    yield
    ray.shutdown()


def test_ray_gives_every_result_with_its_index(connected):
    results = dict(engine.run(partial(Squarer, "begun"), iter(range(20)), HERE))
    assert results == {number: ("begun", number * number, "1") for number in range(20)}
    assert list(engine.run(stateless(abs), [], HERE)) == []


def test_ray_takes_items_only_as_it_goes(connected):
    taken = []
    results = engine.run(stateless(abs), (taken.append(n) or n for n in range(10**6)), HERE)
    for _ in range(10):
        next(results)
    results.close()
    assert len(taken) <= 10 + 2 * 2


def test_files_stay_with_one_ray_worker_each(connected, tmp_path):
    items = [(file, number, tmp_path) for file in "abcdefgh" for number in range(12)]
    workers = {file: set() for file in "abcdefgh"}
    for _, (file, worker) in engine.run(stateless(file_and_worker), items, HERE, together=lambda item: item[0]):
        workers[file].add(worker)
    assert len(set.union(*workers.values())) == 2
    assert sum(len(found) > 1 for found in workers.values()) <= 1  # shared when nothing else is left


def test_queue_of_a_dead_ray_worker_goes_to_another(connected, tmp_path):
    numbers = [0, 1, -1, *range(2, 12)]
    items = [(number, tmp_path) for number in numbers]
    results = dict(engine.run(stateless(leave_mark), items, HERE, together=lambda item: item[1]))
    assert [index for index, result in results.items() if isinstance(result, WorkerDied)] == [2]
    assert [results[index] for index in range(len(items)) if index != 2] == list(range(12))


def test_ray_gives_up_what_kills_and_blames_nothing_else(connected, monkeypatch, tmp_path):
    monkeypatch.setattr("dferc.engine.crew.MAX_DEATHS", 2)
    numbers = [-1, 1, 2, 3, 99, 5, 6, 7]
    results = dict(engine.run(stateless(leave_mark), [(number, tmp_path) for number in numbers], HERE))
    assert {numbers[index] for index, result in results.items() if isinstance(result, WorkerDied)} == {-1, 99}
    assert all(results[index] == number for index, number in enumerate(numbers) if number not in (-1, 99))
    often = begun(tmp_path)
    assert often[-1] == often[99] == 2 and all(often[number] <= 2 for number in numbers if number not in (-1, 99))
    assert "worker died: 2 times" in str(results[0])


@pytest.mark.parametrize("make_worker", [stateless(fail), partial(fail, 3)], ids=["at work", "as it is made"])
def test_ray_hands_on_what_is_raised(connected, make_worker):
    with pytest.raises(ValueError, match="^number 3$") as raised:
        list(engine.run(make_worker, [3], ONE))
    assert type(raised.value) is ValueError


def test_machine_that_cannot_begin_is_named(connected):
    with pytest.raises(InputError, match=f"machine {socket.gethostname()} .* of the cluster: no such model"):
        list(engine.run(partial(refuse, "no such model"), [1], ONE))


def test_workers_that_die_as_they_begin_end_the_run(connected, monkeypatch):
    monkeypatch.setattr("dferc.engine.crew._MAX_STILLBORN", 2)
    with pytest.raises(InputError, match="2 workers in a row died as they began"):
        list(engine.run(die, [1], ONE))


def test_machine_without_the_media_is_named(connected, monkeypatch, tmp_path):
    def gone_afterwards(paths):  # present for the command, gone for the worker: this machine plays both
        found = existing(paths)
        (tmp_path / "media").rmdir()
        return found

    from dferc.engine.cluster import existing

    (tmp_path / "media").mkdir()
    monkeypatch.setattr("dferc.engine.cluster.existing", gone_afterwards)
    with pytest.raises(InputError, match=f"machine {socket.gethostname()} .* lacks {tmp_path}/media"):
        list(engine.run(stateless(abs), [1], ONE, paths=[tmp_path / "media", tmp_path / "never"]))


def test_machine_with_other_versions_is_named(connected, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1")  # of this process only
    with pytest.raises(InputError, match=f"machine {socket.gethostname()} .* has .*ray [0-9.]+, here 0.1; .*; torch "):
        list(engine.run(partial(Squarer, "begun"), [1], ONE))


def test_each_worker_of_a_network_has_a_gpu_to_itself(connected, tmp_path):
    import torch

    torch.set_num_threads(1)
    results = dict(engine.run(stateless(meet), [(n, tmp_path) for n in range(4)], HERE.for_network()))
    assert set(results.values()) == {(0, "0", 1), (1, "1", 1)}


@pytest.fixture(scope="module")
def head():
    """Start a cluster of one machine with a CPU and a GPU, to be joined, and to which a test adds a machine."""
    with cluster_of({"num_cpus": 1, "num_gpus": 1}) as (cluster, _):
        yield cluster


@pytest.fixture
def one_node(head, disconnected):
    """Choose the workers of that cluster."""
    return Workers(cluster=head.address)


def test_cluster_without_gpus_leaves_the_network_to_this_process(one_node, monkeypatch):
    real = ray.cluster_resources
    monkeypatch.setattr(ray, "cluster_resources", lambda: {name: n for name, n in real().items() if name != "GPU"})
    assert list(engine.run(stateless(process), [0], one_node.for_network())) == [(0, os.getpid())]
    assert list(engine.run(stateless(process), [0], one_node)) != [(0, os.getpid())]


@pytest.mark.slow
def test_machine_that_joins_at_work_is_used_and_as_it_is_lost_its_items_run_elsewhere(head, one_node, tmp_path):
    """With a GPU on each machine. Workers of CPUs, and one that is killed alone: test_kill.py (`make test-long`)."""
    early = tmp_path / "early"
    early.mkdir()
    (early / "go").touch()
    results = engine.run(stateless(hold), ((n, tmp_path if n else early) for n in range(6)), one_node.for_network())
    first = next(results)
    node = head.add_node(object_store_memory=STORE_BYTES, num_cpus=0, num_gpus=1)

    def lose():
        try:
            wait_until(lambda: len({at for _, at, _ in marks(tmp_path)}) == 2)
            [worker] = [int(pid) for _, at, pid in marks(tmp_path) if at == node.node_id]
            head.remove_node(node, allow_graceful=False)
            wait_until(lambda: not is_alive(worker))
        finally:
            (tmp_path / "go").touch()

    losing = threading.Thread(target=lose)
    losing.start()
    try:
        assert dict([first, *results]) == {n: n for n in range(6)}
    finally:
        losing.join()
    assert sorted(Counter(number for number, *_ in marks(tmp_path)).values()) == [1, 1, 1, 1, 2]


def test_machine_with_other_code_of_ours_is_named(one_node, monkeypatch, tmp_path):
    for package in ("dferc", "pipeline"):
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / "dferc/engine/common.py", "a") as file:
        file.write("OLDER = True\n")
    monkeypatch.chdir(tmp_path)  # where Ray's workers look first
    with pytest.raises(InputError, match=r"has our code [0-9a-f]{16}, here [0-9a-f]{16}\. Values could"):
        list(engine.run(stateless(abs), [1], one_node))


@pytest.fixture(scope="module")
def short_of_memory():
    """Start a Ray whose own memory monitor kills what takes 3 GiB more than is in use."""
    memory = psutil.virtual_memory()
    limit = {"memory_usage_threshold": 1 - (memory.available - (3 << 30)) / memory.total}
    with ray_here(num_cpus=1, _system_config=limit | {"memory_monitor_refresh_ms": 50}):
        yield


@pytest.mark.slow
def test_worker_that_ray_kills_at_work_for_want_of_memory_costs_that_item_alone(short_of_memory, monkeypatch, tmp_path):
    monkeypatch.setattr("dferc.engine.crew.MAX_DEATHS", 2)
    items = [(number, tmp_path) for number in (1, 2, 99, 3, 4)]
    results = dict(engine.run(stateless(hoard), items, ONE))
    assert results == {0: 1, 1: 2, 2: WorkerDied(2), 3: 3, 4: 4}
    assert begun(tmp_path)[0] == 2


@left_to_long("the test above, and test_workers_that_die_as_they_begin_end_the_run")
@pytest.mark.slow
def test_workers_that_ray_kills_for_want_of_memory_end_the_run(short_of_memory, monkeypatch, tmp_path):
    monkeypatch.setattr("dferc.engine.crew._MAX_STILLBORN", 1)
    with pytest.raises(InputError, match="1 workers in a row died as they began. Is the memory too small"):
        list(engine.run(partial(hoard, (99, tmp_path)), [1], ONE))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no.such.host.invalid:6379", "nonsense"])
def test_address_without_ray_is_refused_within_seconds(disconnected, address):
    started = time.monotonic()
    with pytest.raises(InputError, match=f"no Ray cluster answers at {address} .*docs/cluster.md"):
        list(engine.run(stateless(abs), [1], Workers(cluster=address)))
    assert time.monotonic() - started < 10


def test_cluster_that_cannot_be_joined_is_reported(disconnected, monkeypatch):
    def refused(*_, **__):
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr(ray, "init", refused)  # a machine may have a cluster of its own
    with pytest.raises(InputError, match="cluster at auto cannot be joined: Could not find .* RAY_AUTH_MODE=token"):
        list(engine.run(stateless(abs), [1], Workers(cluster="auto")))


@pytest.mark.parametrize("raised", [Exception, TimeoutError])
@pytest.mark.parametrize(
    ("address", "message"), [("local", "cannot be started .* --engine local"), ("auto", "at auto")]
)
def test_ray_that_does_not_come_up_in_time_is_reported(disconnected, monkeypatch, raised, address, message):
    def late(*_, **__):
        raise raised("The node timed out during startup.")

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(InputError, match=message):
        list(engine.run(stateless(abs), [1], Workers(1, cluster=address)))


@pytest.mark.parametrize(("changed", "found"), [("ray", "Ray: 0.1"), ("python", "Python: 3.0.0")])
def test_cluster_of_another_version_is_refused(one_node, monkeypatch, changed, found):
    mine = ray._private.utils.compute_version_info()
    other = ("0.1", mine[1]) if changed == "ray" else (mine[0], "3.0.0")
    monkeypatch.setattr("ray._private.utils.compute_version_info", lambda: other)  # of this process only
    with pytest.raises(InputError, match=rf"(?s)joined: Version mismatch.*{found}.*the same Ray on every"):
        list(engine.run(stateless(abs), [1], one_node))


def test_ray_started_here_changes_nothing_here_and_works_as_hard_as_a_process(disconnected):
    before = signal.getsignal(signal.SIGTERM)
    assert list(engine.run(stateless(os.nice), [0], Workers(1, cluster="local"))) == [(0, os.nice(0))]
    assert signal.getsignal(signal.SIGTERM) is before and not ray.is_initialized()
