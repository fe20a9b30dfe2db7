"""Device and precision of networks, in both stages."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import torch

from dferc.core.errors import InputError

DEVICES = ("auto", "cpu", "cuda")


class Device(NamedTuple):
    """A device, the type of its autocast (float32 = none), and the reason for both."""

    device: torch.device
    dtype: torch.dtype
    why: str


def choose_device(wanted: str, precision: str, elsewhere: bool = False) -> Device:
    """Choose the device and the precision.

    Args:
        wanted: auto (CUDA where there is one), cpu or cuda.
        precision: the stage's setting; it applies to CUDA only.
        elsewhere: a cluster's machines compute and choose for themselves: CUDA is accepted though this one has none.

    Raises:
        InputError: CUDA is asked for and there is none, or it cannot compute in this precision.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        if elsewhere:
            return Device(torch.device("cuda"), getattr(torch, precision), "of the cluster's machines")
        raise InputError(
            f"--device cuda: this PyTorch ({torch.__version__}) sees no CUDA device. "
            "Is a GPU there (nvidia-smi), and is this not a CPU build? Otherwise use --device cpu."
        )
    if wanted == "cpu" or not available:
        why = "asked for" if wanted == "cpu" else "no CUDA device found"
        return Device(torch.device("cpu"), torch.float32, f"{why}; the CPU computes in float32")
    name = torch.cuda.get_device_name()
    if precision == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError(f"{name} has no bfloat16; set this stage's precision to float16 (or float32).")
    return Device(torch.device("cuda"), getattr(torch, precision), f"{name}; precision is {precision}")


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Compute with this many threads, whatever the machine's default: rounding depends on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
