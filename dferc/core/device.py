"""Networks of both stages: their device and precision, and their weights in safetensors files."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from dferc.core.errors import InputError, brief
from dferc.core.files import regular_file

DEVICES = ("auto", "cpu", "cuda")

_NAMES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.int32: "I32", torch.bool: "BOOL"}
"""Names of types in safetensors; networks of ours have no others."""

_SHOWN = 3  # faults of a file of weights that a message lists


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
    if wanted not in DEVICES:
        raise InputError(f"device {wanted!r}: expected one of {', '.join(DEVICES)}.")
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


@contextlib.contextmanager
def open_weights(path: Path, remedy: str) -> Iterator[Any]:
    """Open a safetensors file; an error of the library becomes an InputError."""
    try:
        with safe_open(regular_file(path), framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        reason = brief(str(error))
        raise InputError(f"{path} is not a readable safetensors file (truncated?): {reason}. {remedy}") from None


def read_weights(file: Any, expected: Mapping[str, torch.Tensor], where: Path, remedy: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a file from `open_weights` by name, once all are known to fit.

    Args:
        file: the open file.
        expected: tensors of these names, types and shapes, on any device.
        where: the file's path, for messages.
        remedy: last sentence of a message.

    Raises:
        InputError: names, types or shapes differ, or a value is not finite.
    """
    found = {name: (file.get_slice(name).get_dtype(), file.get_slice(name).get_shape()) for name in file.keys()}
    kinds = {name: (_NAMES[tensor.dtype], list(tensor.shape)) for name, tensor in expected.items()}
    faults = [f"{name} is missing" for name in kinds.keys() - found.keys()]
    faults += [f"{brief(name)[1:-1]} is not known here" for name in found.keys() - kinds.keys()]
    faults += [
        f"{name} is {_describe(found[name])}, expected {_describe(kinds[name])}"
        for name in kinds.keys() & found.keys()
        if found[name] != kinds[name]
    ]
    if not faults:  # only now is anything read: a file may claim any size
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        odd = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
        faults = [f"{name} has values that are not finite" for name in odd]
        if not faults:
            return tensors
    more = f" and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
    listed = "; ".join(sorted(faults)[:_SHOWN])
    raise InputError(f"{where}: {len(faults):,} weight(s) do not fit the model: {listed}{more}. {remedy}")


def _describe(kind: tuple[str, list[int]]) -> str:
    return f"{kind[0]} of shape {brief(tuple(kind[1]))}"
