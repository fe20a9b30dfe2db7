"""Ray for tests: on this machine, with as many logical GPUs as a test wants, and never left running."""

import contextlib
import os

import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")
Cluster = pytest.importorskip("ray.cluster_utils").Cluster

STORE_BYTES = 80 << 20

PATIENT = {"prestart_worker_first_driver": False, "worker_niceness": 0}
"""Ray starts a worker as it is needed, none to wait for work; and it works as hard as the tests beside it."""

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@contextlib.contextmanager
def ray_here(_system_config=None, **resources):
    """Start Ray on this machine and connect: `engine.run` uses that connection."""
    ray.shutdown()
    options = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": STORE_BYTES}
    ray.init("local", _system_config=PATIENT | (_system_config or {}), **options, **resources)
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def cluster_of(*nodes):
    """Start a cluster of nodes on this machine, the head first; nobody is connected to it."""
    ray.shutdown()
    head, *others = ({"object_store_memory": STORE_BYTES, **node} for node in nodes)
    # Neither its log monitor nor its autoscaler is asked for anything; each is a process.
    alone = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True, "_system_config": PATIENT}
    cluster = Cluster(initialize_head=True, head_node_args=head | alone)
    try:
        yield cluster, [cluster.add_node(**node) for node in others]
    finally:
        ray.shutdown()
        cluster.shutdown()
