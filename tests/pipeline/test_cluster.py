"""The engine on Ray: a real one on this machine, and a cluster of two machines' worth of processes."""

import os
import signal
import socket
import threading
import time
from collections import Counter

import pytest

from dferc.console import InputError
from pipeline import engine, extract_audio
from pipeline.engine import WorkerDied, Workers
from tests.clips import tone, write_clip
from tests.corpora import make_row, run_stage, write_rows
from tests.processes import is_alive

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")
Cluster = pytest.importorskip("ray.cluster_utils").Cluster

_started_with = None


def remember(value):
    global _started_with
    _started_with = value


def square(number):
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return _started_with, number * number, os.environ["OMP_NUM_THREADS"]


def fail(number):
    raise ValueError(f"number {number}")


def hold(item):
    """Leave a mark of this item, node and process, then wait for the word to go on."""
    number, folder = item
    (folder / f"{number}-{ray.get_runtime_context().get_node_id()}-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.05)
    return number


@pytest.fixture(scope="module")
def connected():
    """Ray with two CPUs, as the engine starts it, once for the tests here."""
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield Workers(2, cluster="local")
    ray.shutdown()


@pytest.fixture
def disconnected():
    """No Ray, whatever ran before."""
    ray.shutdown()
    yield
    ray.shutdown()


def test_ray_gives_every_result_and_gives_up_only_what_kills(connected):
    numbers = [-1 if number in (0, 7) else number for number in range(12)]
    results = dict(engine.run(square, iter(numbers), connected, remember, ("begun",)))
    assert {index for index, result in results.items() if isinstance(result, WorkerDied)} == {0, 7}
    assert all(results[n] == ("begun", n * n, "1") for n in range(12) if n not in (0, 7))
    assert "worker died: 3 times" in str(results[7])


def test_ray_takes_items_only_as_it_goes(connected):
    taken = []
    results = engine.run(square, (taken.append(n) or n for n in range(10**6)), connected)
    for _ in range(10):
        next(results)
    results.close()
    assert len(taken) <= 10 + 2 * 2


@pytest.mark.parametrize(("function", "initializer"), [(fail, None), (square, fail)])
def test_ray_hands_on_what_is_raised(connected, function, initializer):
    with pytest.raises(ValueError, match="^number 3$") as raised:
        list(engine.run(function, [3], connected, initializer, (3,) if initializer else ()))
    assert type(raised.value) is ValueError


def test_machine_without_the_media_is_named(connected, tmp_path):
    (tmp_path / "media").mkdir()
    items = ((tmp_path / "media").rmdir() or number for number in [1])  # here when asked, gone for the worker
    with pytest.raises(InputError, match=f"machine {socket.gethostname()} .* lacks {tmp_path}/media"):
        list(engine.run(square, items, connected, paths=[tmp_path / "media", tmp_path / "never"]))


def test_machine_with_other_versions_is_named(connected, monkeypatch):
    from pipeline import cluster

    monkeypatch.setattr(cluster, "_versions", lambda: {name: "0.1" for name in cluster._SAME})  # of this process only
    with pytest.raises(InputError, match=f"machine {socket.gethostname()} .* has av [0-9.]+, here 0.1;"):
        list(engine.run(square, [1], connected))


def test_features_from_ray_are_the_same_bytes(connected, tmp_path):
    rows = [make_row(name, name, 0.3) for name in ("a.wav", "b.wav", "c.wav", "gone.wav")]
    for number, row in enumerate(rows[:3]):
        write_clip(tmp_path / row.media, sound=tone(0.3, hz=200 + 100 * number))
    write_rows(tmp_path, rows)
    made = []
    for name, options in [("here", {"workers": 0}), ("ray", {"engine": "ray"})]:
        places = {key: tmp_path / f"{name}.{key}" for key in ("out", "problems", "scratch")}
        outcome = run_stage(extract_audio.main, tmp_path, **options, **places)
        assert outcome.exit_code == 0, outcome.stderr
        made.append((places["out"].read_bytes(), places["problems"].read_bytes()))
    assert made[0] == made[1]


def marks(folder):
    """(item, node, process id) of everything that was begun."""
    return [mark.name.split("-") for mark in folder.iterdir() if mark.name != "go"]


def kill_once_at_work(cluster, doomed, folder):
    """Kill a node (of two) as soon as both are at work; once its worker is gone, let the other go on."""
    deadline = time.monotonic() + 60
    while len({node for _, node, _ in marks(folder)}) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    cluster.remove_node(doomed, allow_graceful=False)
    [worker] = [int(pid) for _, node, pid in marks(folder) if node == doomed.node_id]
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    (folder / "go").touch()


def test_items_of_a_killed_node_run_elsewhere(disconnected, tmp_path):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        doomed = cluster.add_node(num_cpus=1)
        killer = threading.Thread(target=kill_once_at_work, args=(cluster, doomed, tmp_path))
        killer.start()
        items = ((number, tmp_path) for number in range(6))
        assert dict(engine.run(hold, items, Workers(cluster=cluster.address))) == {n: n for n in range(6)}
        killer.join()
        begun = Counter(number for number, *_ in marks(tmp_path))
        assert sorted(begun.values()) == [1, 1, 1, 1, 1, 2]  # what the killed node was at, and nothing else
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no.such.host.invalid:6379", "nonsense"])
def test_address_without_ray_is_refused_within_seconds(disconnected, tmp_path, address):
    (tmp_path / "a.wav").touch()
    write_rows(tmp_path, [make_row("a.wav", "a.wav", 1.0)])
    started = time.monotonic()
    outcome = run_stage(extract_audio.main, tmp_path, engine="ray", address=address)
    assert outcome.exit_code == 1 and time.monotonic() - started < 10
    assert f"no Ray cluster answers at {address}" in outcome.stderr and "docs/cluster.md" in outcome.stderr


def test_cluster_that_cannot_be_joined_is_told(disconnected, monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr(ray, "init", refuse)  # a machine may have a cluster of its own
    with pytest.raises(InputError, match="cluster at auto cannot be joined: Could not find .* RAY_AUTH_MODE=token"):
        list(engine.run(square, [1], Workers(cluster="auto")))


def test_sigterm_stays_as_it_was(disconnected):
    before = signal.getsignal(signal.SIGTERM)
    assert list(engine.run(square, [3], Workers(1, cluster="local"))) == [(0, (None, 9, "1"))]
    assert signal.getsignal(signal.SIGTERM) is before and not ray.is_initialized()
