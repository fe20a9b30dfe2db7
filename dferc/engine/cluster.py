"""The engine on Ray: how a cluster is started or joined, and left.

Ray is an extra (`pip install '.[ray]'`), imported by `engine.run` only where it is asked for; docs/cluster.md tells how
to start a cluster, and what was tested.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dferc.core.errors import InputError
from dferc.engine.common import Workers, default_workers
from dferc.engine.dealing import Dealer
from dferc.engine.job import Job, there
from dferc.engine.local import here

try:
    import ray
except ModuleNotFoundError:
    raise InputError("--engine ray needs Ray, which is not installed: pip install '.[ray]'") from None

from dferc.engine.actors import Crew

LOCAL = "local"
"""The address for which Ray is started on this machine, and ended afterwards."""

_CONNECT_S = 5.0
"""Patience with an address: Ray's own is minutes."""

_STORE_BYTES = 256 << 20
"""Ray's store of what is on its way, where it is started here (its own choice is a third of the memory)."""


def results(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    workers: Workers,
    initializer: Callable[..., None] | None,
    initargs: tuple,
    paths: Sequence[Path],
    together: Callable[[Any], Hashable] | None,
) -> Iterator[tuple[int, Any]]:
    """Run everything; see `engine.run`.

    Left early, it cancels nothing: the few items in flight end with the connection. (Ray 2.60 aborts this process
    where a result arrives for what has just been ended by force.)
    """
    with connected(workers):
        has = ray.cluster_resources()
        if workers.cpus and has.get("CPU", 0) < workers.cpus:
            raise InputError(
                f"the Ray cluster has {has.get('CPU', 0):g} CPUs, a worker takes {workers.cpus}: start it with "
                "`ray start --num-cpus`."
            )
        if not has.get("GPU"):
            workers = replace(workers, gpus=0.0)
        if workers.cpus or workers.gpus:
            job = Job(function, initializer, initargs, there(paths), 1 if workers.cpus else _threads())
            yield from Crew(job, Dealer(items, together), workers).results()
        else:  # a network, and no GPU
            yield from here(function, items, initializer, initargs)


def _threads() -> int:
    """Of a network in this process."""
    return sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 1


@contextlib.contextmanager
def connected(workers: Workers) -> Iterator[None]:
    """Be connected to Ray, by the caller's connection if there is one."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # the first is raised; others would be told besides
    with _sigterm_kept():
        _start(workers) if workers.cluster == LOCAL else _join(workers.cluster)
    try:
        yield
    finally:
        ray.shutdown()


def _start(workers: Workers) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    try:
        ray.init(
            LOCAL,
            num_cpus=max(default_workers(), workers.cpus) if workers.count is None else workers.count * workers.cpus,
            object_store_memory=_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _system_config={"worker_niceness": 0},  # Ray's own choice is 15: beside other work it would get a fraction
        )
    except Exception as error:  # Ray raises just that where it does not come up in time
        raise InputError(
            f"Ray cannot be started on this machine: {error}. Is it short of time, memory or disk? Try again, or "
            "do without: --engine local."
        ) from error


def _join(address: str) -> None:
    """Join a cluster; our own code goes with it, for machines that have none."""
    if address != "auto":
        _verify_reachable(address)
    folders = [Path(__file__).parents[2] / package for package in ("dferc", "pipeline")]
    code = [str(folder) for folder in folders if folder.is_dir()]  # dferc may be installed alone
    try:
        ray.init(address, runtime_env={"py_modules": code}, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises just that where it does not come up in time
        raise InputError(f"the Ray cluster at {address} cannot be joined: {error}. {_remedy(error)}") from error


def _remedy(error: Exception) -> str:
    if "ersion mismatch" in str(error):
        return "Install the same Python and the same Ray on every machine (constraints.txt), and start it again."
    return "If it asks for a token, set RAY_AUTH_MODE=token; see docs/cluster.md."


def _verify_reachable(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Ray cluster answers at {address} ({error}). Expected host:port as `ray start --head` tells it, or "
            "auto on a machine of the cluster; see docs/cluster.md."
        ) from None


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Keep the handler of SIGTERM: Ray sets its own, by which a command would end as if nothing had been kept."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
