"""The engine on Ray: one task per item; placing them, trying them again and replacing workers is Ray's business.

Ray is an extra (`pip install '.[ray]'`), imported by `engine.run` only where it is asked for; docs/cluster.md tells how
to start a cluster, and what was tested.
"""

import contextlib
import importlib.metadata
import itertools
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dferc.console import InputError
from pipeline.engine import MAX_DEATHS, WorkerDied, Workers, default_workers, single_thread

try:
    import ray
except ModuleNotFoundError:
    raise InputError("--engine ray needs Ray, which is not installed: pip install '.[ray]'") from None

LOCAL = "local"
"""The address for which Ray is started on this machine, and ended afterwards."""

_CONNECT_S = 5.0
"""Patience with an address: Ray's own is minutes."""

_SAME = ("av", "numpy", "opencv-python-headless", "opensmile", "torch")
"""Packages on which values may depend. (Python and Ray itself are compared by Ray.)"""

_LOST = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.LocalRayletDiedError,
    ray.exceptions.ObjectLostError,
)


class Job:
    """What the workers need; it travels to each process once, within the Ray function, and keeps its state there.

    Attributes:
        function: of one item.
        initializer: called once in each process, with `initargs`.
        initargs: its arguments.
        paths: that every machine must see, absolute.
        versions: of the packages here.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        initializer: Callable[..., None] | None = None,
        initargs: tuple = (),
        paths: Sequence[Path] = (),
    ):
        self.function, self.initializer, self.initargs = function, initializer, initargs
        self.paths = [str(path.absolute()) for path in paths if path.exists()]
        self.versions = _versions()
        self._started = False

    def __call__(self, item: Any) -> Any:
        """The result of one item, in a worker."""
        if not self._started:
            self.verify_machine()
            single_thread()
            if self.initializer is not None:
                self.initializer(*self.initargs)
            self._started = True
        return self.function(item)

    def verify_machine(self) -> None:
        """Check that this machine can give the same results as the one that asks for them.

        Raises:
            InputError: it lacks a path, or has another version of a package; it names the machine.
        """
        machine = f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"
        for path in self.paths:
            if not os.path.exists(path):
                raise InputError(
                    f"machine {machine} of the cluster lacks {path}. Every machine needs the same files under the same "
                    "path: share the folder, or copy it there."
                )
        found = _versions()
        other = [
            f"{name} {found[name] or 'missing'}, here {asked}"
            for name, asked in self.versions.items()
            if found[name] != asked
        ]
        if other:
            raise InputError(
                f"machine {machine} of the cluster has {'; '.join(other)}. Values could depend on where they were "
                "computed: install the same versions everywhere (constraints.txt)."
            )


def results(job: Job, items: Iterable[Any], workers: Workers) -> Iterator[tuple[int, Any]]:
    """Run everything; see `engine.run`.

    Left early, it cancels nothing: the few items in flight end with the connection. (Ray 2.60 aborts this process
    where a result arrives for a task that `ray.cancel(force=True)` has just ended.)
    """
    fresh = enumerate(items)
    in_flight: dict[ray.ObjectRef, int] = {}
    with _connected(workers) as room:

        @ray.remote(num_cpus=1, max_retries=MAX_DEATHS - 1)
        def task(item):
            return job(item)

        while True:
            for index, item in itertools.islice(fresh, room - len(in_flight)):
                in_flight[task.remote(item)] = index
            if not in_flight:
                return
            finished, _ = ray.wait(list(in_flight))
            for reference in finished:
                yield in_flight.pop(reference), _result(reference)


def _result(reference: "ray.ObjectRef") -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except _LOST:
        return WorkerDied(MAX_DEATHS)
    except ray.exceptions.RayError as error:
        raise InputError(f"Ray failed: {error}") from error


@contextlib.contextmanager
def _connected(workers: Workers) -> Iterator[int]:
    """Be connected to Ray, by the caller's connection if there is one; yields how many items may be in flight."""
    if ray.is_initialized():
        yield _room(workers)
        return
    with _sigterm_kept():
        _start(workers) if workers.cluster == LOCAL else _join(workers.cluster)
    try:
        yield _room(workers)
    finally:
        ray.shutdown()


def _start(workers: Workers) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    count = default_workers() if workers.count is None else workers.count
    ray.init(LOCAL, num_cpus=count, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def _join(address: str) -> None:
    """Join a cluster; our own code goes with it, so that every machine runs the same."""
    if address != "auto":
        _verify_reachable(address)
    code = [str(Path(__file__).parents[1] / package) for package in ("dferc", "pipeline")]
    try:
        ray.init(address, runtime_env={"py_modules": code}, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"the Ray cluster at {address} cannot be joined: {error}. If it asks for a token, set RAY_AUTH_MODE=token; "
            "see docs/cluster.md."
        ) from error


def _verify_reachable(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Ray cluster answers at {address} ({error}). Expected host:port as `ray start --head` tells it, or "
            "auto on a machine of the cluster; see docs/cluster.md."
        ) from None


def _room(workers: Workers) -> int:
    """As many items as asked for at a time, else two for each CPU: the next must not wait for this process."""
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if not cpus:
        raise InputError("the Ray cluster has no CPUs: start it with `ray start --num-cpus`.")
    return workers.count if workers.count is not None and workers.count < cpus else 2 * cpus


def _versions() -> dict[str, str | None]:
    found = {}
    for name in _SAME:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Keep the handler of SIGTERM: Ray sets its own, by which a command would end as if nothing had been kept."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
