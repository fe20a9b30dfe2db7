"""CPUs of this process, and how long its threads spin while they wait.

Imported by `dferc.core`, so before any module of ours imports torch.

PyTorch's OpenMP threads spin at barriers, by default for some milliseconds. Beside other work on the same cores that
can make a step many times slower: a small convolution net took 12.5 s a step with two threads on two busy cores, and
0.6 s without spinning. Alone, never to spin costs 16 %, and to spin for a thirtieth of the default 4 %. So it depends
on what runs on this machine as a process starts, and is short in any case, since other work may come later.

NumPy's and SciPy's OpenBLAS spins likewise, and rounds by its number of threads: it gets one, on any machine. (The
linear floor of the demo took 226 s beside other work with two threads, 9 s with one; alone, a second with either.)
"""

import ctypes
import os
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # options of glibc's mallopt
SPINS = 10_000  # libgomp's own default is 300,000


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def all_cores_are_busy() -> bool:
    """Return whether other processes keep as many cores busy as this one may use; false where Linux cannot be asked."""
    try:
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
        return running - 1 >= usable_cpus()
    except (OSError, ValueError, IndexError):
        return False


def keep_freed_memory(largest: int = 32 << 20) -> None:
    """Let glibc keep the memory of freed tensors of up to `largest` bytes for the next ones, where there is glibc.

    By default it is given back to the system and comes as new pages, zeroed again at every step: 47,000 of them in a
    training step of the face network, which was a fifth of its time (of DF-ERC's, up to a tenth). Values do not change.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, largest)
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)


if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:  # a user's own choice stays
    os.environ["GOMP_SPINCOUNT"] = "0" if all_cores_are_busy() else str(SPINS)  # libgomp reads it when it is loaded
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read as NumPy is loaded
