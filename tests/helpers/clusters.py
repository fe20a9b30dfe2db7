"""Ray for tests: on this machine, with as many logical GPUs as a test wants, and never left running."""

import contextlib
import os

import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")
Cluster = pytest.importorskip("ray.cluster_utils").Cluster

STORE_BYTES = 80 << 20

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@contextlib.contextmanager
def ray_here(**resources):
    """Start Ray on this machine and connect: `engine.run` uses that connection."""
    ray.shutdown()
    ray.init("local", include_dashboard=False, log_to_driver=False, object_store_memory=STORE_BYTES, **resources)
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def cluster_of(*nodes, **config):
    """Start a cluster of nodes on this machine, the head first; nobody is connected to it."""
    ray.shutdown()
    head, *others = ({"object_store_memory": STORE_BYTES, **node} for node in nodes)
    cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **head, **config})
    try:
        yield cluster, [cluster.add_node(**node) for node in others]
    finally:
        ray.shutdown()
        cluster.shutdown()
