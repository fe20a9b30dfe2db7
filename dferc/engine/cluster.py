"""The engine on Ray: how a cluster is started or joined, and left, and its workers.

Ray is an extra (`pip install '.[ray]'`), imported by `engine.run` only where it is asked for. docs/cluster.md explains
how to start a cluster, and lists the tests.
"""

import contextlib
import logging
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dferc.core.errors import InputError
from dferc.core.sources import find_source, imported_modules
from dferc.core.threads import usable_cpus
from dferc.engine.common import Workers, call
from dferc.engine.crew import Crew, CrewMember, Dealer
from dferc.engine.job import Job, defining_modules
from dferc.engine.local import MakeWorker, run_here

try:
    import ray
except ModuleNotFoundError:
    raise InputError("--engine ray needs Ray, which is not installed: pip install '.[ray]'") from None

LOCAL = "local"  # the address that starts Ray on this machine, and ends it afterwards
_CONNECT_S = 5.0  # seconds until an address must answer; Ray itself would wait for minutes
_LOOK_S = 5.0  # seconds between two looks at the size of the cluster
_STORE_BYTES = 256 << 20  # size of Ray's object store where it is started here; Ray's default is a third of the memory


def run_on_cluster(
    make_worker: MakeWorker,
    items: Iterable[Any],
    workers: Workers,
    paths: Sequence[Path],
    together: Callable[[Any], Hashable] | None,
) -> Iterator[tuple[int, Any]]:
    """Run everything; see `engine.run`.

    Left early, it cancels nothing: the few items in flight end with the connection. (Ray 2.60 aborts this process
    where a result arrives for an actor that was just ended by force.)
    """
    modules = defining_modules(make_worker)
    with connected(workers, modules):
        has = ray.cluster_resources()
        if workers.cpus and has.get("CPU", 0) < workers.cpus:
            raise InputError(
                f"the Ray cluster has {has.get('CPU', 0):g} CPUs, a worker takes {workers.cpus}: start it with "
                "`ray start --num-cpus`."
            )
        if not has.get("GPU"):
            workers = replace(workers, gpus=0.0)
        if workers.cpus or workers.gpus:
            # A network on a GPU has as many CPU threads as it would have in this process.
            threads = 1 if workers.cpus or "torch" not in sys.modules else sys.modules["torch"].get_num_threads()
            job = Job(pickle.dumps(make_worker), modules, existing(paths), threads)
            yield from RayCrew(job, Dealer(items, together), workers).results()
        else:  # a network, and no GPU
            yield from run_here(make_worker, items)


def existing(paths: Sequence[Path]) -> list[str]:
    """Return the paths that exist here, absolute: every other machine must see them."""
    return [str(path.absolute()) for path in paths if path.exists()]


@contextlib.contextmanager
def connected(workers: Workers, modules: Sequence[str]) -> Iterator[None]:
    """Connect to Ray, or use the caller's connection if there is one; the code of `modules` goes with it."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # the first is raised; Ray would print the others
    before = signal.getsignal(signal.SIGTERM)
    try:
        _start(workers) if workers.cluster == LOCAL else _join(workers.cluster, modules)
    finally:  # Ray sets a handler of its own, which would end a command without a word
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
    try:
        yield
    finally:
        ray.shutdown()


def _start(workers: Workers) -> None:
    """Start Ray on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    try:
        ray.init(
            LOCAL,
            num_cpus=max(usable_cpus(), workers.cpus) if workers.count is None else workers.count * workers.cpus,
            object_store_memory=_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _system_config={"worker_niceness": 0},  # Ray's own choice is 15: beside other work it would get a fraction
        )
    except Exception as error:  # Ray raises a bare Exception where it does not come up in time
        raise InputError(
            f"Ray cannot be started on this machine: {error}. Is it short of time, memory or disk? Try again, or "
            "do without: --engine local."
        ) from error


def _join(address: str, modules: Sequence[str]) -> None:
    """Join a cluster, and take our own code there for machines that have none."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
        except (OSError, ValueError) as error:
            raise InputError(
                f"no Ray cluster answers at {address} ({error}). Expected host:port as `ray start --head` prints it, "
                "or auto on a machine of the cluster; see docs/cluster.md."
            ) from None
    packages = {module.partition(".")[0] for module in imported_modules(*modules)}
    code = [str(source.parent) for package in sorted(packages) if (source := find_source(package))]
    try:
        ray.init(address, runtime_env={"py_modules": code}, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises a bare Exception where it does not come up in time
        remedy = "If it asks for a token, set RAY_AUTH_MODE=token; see docs/cluster.md."
        if "ersion mismatch" in str(error):
            remedy = "Install the same Python and the same Ray on every machine (constraints.txt), and start it again."
        raise InputError(f"the Ray cluster at {address} cannot be joined: {error}. {remedy}") from error


class RayWorker:
    """A process of the cluster."""

    def start(self, job: Job) -> None:
        """Make the worker function."""
        self.function = job.make_worker_here()

    def work(self, item: Any) -> Any:
        """Return the result of one item."""
        return call(self.function, item)


class RayCrew(Crew):
    """Actors that are replaced when they die, as many as the cluster has room for.

    Ray's own retries (`max_task_retries`) are off: it charges each death to all items of the actor, so that the one
    that waits behind a killer is given up with it; and it counts a lost machine and a lack of memory in another way.
    `ray.util.ActorPool` gives an actor one item at a time, and neither replaces a dead one nor names what it had.
    """

    lost = (
        ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError,
        ray.exceptions.NodeDiedError, ray.exceptions.LocalRayletDiedError, ray.exceptions.ObjectLostError,
    )  # fmt: skip

    def __init__(self, job: Job, dealer: Dealer, workers: Workers):
        super().__init__(dealer)
        self.job, self.count = ray.put(job), workers.count
        self.shares = {"CPU": workers.cpus, "GPU": workers.gpus}
        options = {"num_cpus": workers.cpus, "num_gpus": workers.gpus, "max_restarts": 0, "max_task_retries": 0}
        self.actor_class = ray.remote(**options)(RayWorker)
        self.size, self.looked_s = 0, 0.0

    def _replenish(self) -> None:
        # As many workers as were asked for, or as fit. Ray starts each as soon as there is room for it.
        if len(self.members) == self.size and time.monotonic() - self.looked_s < _LOOK_S:
            return
        has = ray.cluster_resources()
        room = min(int(has.get(name, 0) // share) for name, share in self.shares.items() if share)
        for _ in range(len(self.members), room if self.count is None else min(room, self.count)):
            actor = self.actor_class.remote()
            self.members.append(CrewMember(actor, {actor.start.remote(self.job): None}))
        self.size, self.looked_s = len(self.members), time.monotonic()

    def _submit(self, member: CrewMember, item: Any) -> ray.ObjectRef:
        return member.handle.work.remote(item)

    def _wait(self, handles: Sequence[ray.ObjectRef]) -> Sequence[ray.ObjectRef]:
        if not handles:  # every machine is lost
            time.sleep(_LOOK_S)
            return ()
        finished, _ = ray.wait(handles, timeout=_LOOK_S)
        return finished

    def _fetch(self, handle: ray.ObjectRef) -> Any:
        try:
            return ray.get(handle)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None  # what the worker raised, without Ray's wrapping
        except self.lost:
            raise
        except ray.exceptions.RayError as error:
            raise InputError(f"Ray failed: {error}") from error
