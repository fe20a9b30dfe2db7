"""Where networks compute, and in which precision. Used by both stages."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import torch

from dferc.core.errors import InputError

DEVICES = ("auto", "cpu", "cuda")


class Device(NamedTuple):
    """A device, the type of its autocast (float32 = none), and why these."""

    device: torch.device
    dtype: torch.dtype
    why: str


def choose_device(wanted: str, precision: str, elsewhere: bool = False) -> Device:
    """Choose the device and the precision.

    Args:
        wanted: auto (CUDA where there is one), cpu or cuda.
        precision: the stage's setting; it applies to CUDA only.
        elsewhere: CUDA is taken at its word where this machine has none: a cluster's machines compute, and choose anew.

    Raises:
        InputError: CUDA is asked for and there is none, or it cannot compute in this precision.
    """
    found = torch.cuda.is_available()
    if wanted == "cuda" and not found and elsewhere:
        return Device(torch.device("cuda"), getattr(torch, precision), "of the cluster's machines")
    if wanted == "cuda" and not found:
        raise InputError(
            f"--device cuda: this PyTorch ({torch.__version__}) sees no CUDA device. "
            "Is a GPU there (nvidia-smi), and is this not a CPU build? Otherwise use --device cpu."
        )
    if wanted == "cpu" or not found:
        why = "asked for" if wanted == "cpu" else "no CUDA device found"
        return Device(torch.device("cpu"), torch.float32, f"{why}; the CPU computes in float32")
    if precision == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError(
            f"{torch.cuda.get_device_name()} has no bfloat16; set this stage's precision to float16 (or float32)."
        )
    why = f"{torch.cuda.get_device_name()}; precision is {precision}"
    return Device(torch.device("cuda"), getattr(torch, precision), why)


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Compute with this many threads, whatever the machine and its environment offer: rounding depends on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
