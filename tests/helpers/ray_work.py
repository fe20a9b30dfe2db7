"""What Ray's workers do in tests of the engine; apart from the tests, since each worker imports this as it starts."""

import os
import signal
import time

import ray

from dferc.core.errors import InputError


class Squarer:
    """Squares numbers, and returns what it was made with and its number of threads beside them."""

    def __init__(self, value: str):
        self.value = value

    def __call__(self, number):
        return self.value, number * number, os.environ["OMP_NUM_THREADS"]


def fail(number):
    raise ValueError(f"number {number}")


def refuse(reason):
    raise InputError(reason)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def leave_mark(item):
    """Note that this item was begun; negative ones kill, 99 finds no memory."""
    number, folder = item
    with open(folder / "begun", "a") as file:
        file.write(f"{number}\n")
    if number < 0:
        die()
    if number == 99:
        raise MemoryError
    return number


def hold(item):
    """Leave a mark of this item, node and process, then wait for the file `go`."""
    number, folder = item
    (folder / f"{number}-{ray.get_runtime_context().get_node_id()}-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.05)
    return number


def meet(item):
    """Return the GPU of this worker, once another worker is at work as well."""
    number, folder = item
    [gpu] = ray.get_gpu_ids()
    (folder / f"gpu{gpu}").touch()
    while not ((folder / "gpu0").exists() and (folder / "gpu1").exists()):
        time.sleep(0.05)
    import torch

    return gpu, os.environ["CUDA_VISIBLE_DEVICES"], torch.get_num_threads()


def file_and_worker(item):
    """Return the file and this process, once another is at work as well."""
    file, _, folder = item
    (folder / str(os.getpid())).touch()
    while len(os.listdir(folder)) < 2:
        time.sleep(0.05)
    time.sleep(0.01)
    return file, os.getpid()


def process(_):
    return os.getpid()


def marks(folder):
    """Return (item, node, process id) of everything that was begun."""
    return [mark.name.split("-") for mark in folder.iterdir() if "-" in mark.name]


def wait_until(condition, patience_s=60):
    deadline = time.monotonic() + patience_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


def hoard(item):
    """99 takes more and more memory, 20 GiB at most; others take none."""
    number, folder = item
    leave_mark((number % 99, folder))
    kept = []
    while number == 99 and len(kept) < 80:
        kept.append(b"\1" * (256 << 20))
        time.sleep(0.05)
    return number
