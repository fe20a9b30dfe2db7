"""Checks of processes, and processes that end with the tests."""

import ctypes
import signal
import time
from collections.abc import Iterable

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Let the kernel end this process when the one that started it dies: `preexec_fn` of a child that runs for long.

    A test that is killed ends no child itself.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a dead one that nobody has waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def all_end(pids: Iterable[int], within_s: float = 60.0) -> bool:
    """Return whether these processes end in time; that takes a moment, and longer on a busy machine."""
    deadline = time.monotonic() + within_s
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
