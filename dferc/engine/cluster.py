"""The engine on Ray: how a cluster is started or joined, and left.

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
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dferc.core.errors import InputError
from dferc.core.sources import find_source, imported_modules
from dferc.core.threads import usable_cpus
from dferc.engine.common import Workers
from dferc.engine.crew import Dealer
from dferc.engine.job import Job, defining_modules
from dferc.engine.local import MakeWorker, run_here

try:
    import ray
except ModuleNotFoundError:
    raise InputError("--engine ray needs Ray, which is not installed: pip install '.[ray]'") from None

from dferc.engine.actors import RayCrew

LOCAL = "local"  # the address that starts Ray on this machine, and ends it afterwards
_CONNECT_S = 5.0  # seconds until an address must answer; Ray itself would wait for minutes
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
