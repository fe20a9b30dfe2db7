"""A pickle read as data: containers, numbers, strings and numpy arrays. Nothing that it names is ever called.

Python's own loader runs whatever callable a file names. This one interprets the opcodes itself: a name is looked up in
a short table (`dferc.importing.rebuild`) of our own functions, and any other is refused before anything is built.
What a small file could blow up is bounded: operations by the file's size, which bounds memory and the memo; lengths by
the bytes that are left; nesting; and the size of integers, which are dictionary keys.

Runs of floats, opcode `G` and 8 bytes each, are not read one by one: they become one `Floats`.
"""

import mmap
import struct
from pathlib import Path

import numpy as np

from dferc.core.errors import InputError
from dferc.importing.machine import MAX_NESTING, Machine
from dferc.importing.opcodes import OPERATIONS, refuse_opcode
from dferc.importing.rebuild import Global, PendingArray, PendingDtype, RefusedError

MAX_BYTES = 1 << 34
"""16 GiB: no known feature file has a tenth of it."""

STOP = ord(".")
_FAULTS = (IndexError, KeyError, OverflowError, struct.error, TypeError, ValueError)


def read_pickle(path: str | Path) -> object:
    """Read a pickle file; see `parse_pickle`.

    Raises:
        InputError: it is refused, with the place and the reason.
    """
    size = Path(path).stat().st_size
    if not 0 < size <= MAX_BYTES:
        raise InputError(f"{path} has {size} bytes; expected a pickle of 1 byte to {MAX_BYTES >> 30} GiB.")
    with open(path, "rb") as file:  # mapped, not read: arrays stay views of it, and memory is needed once
        return parse_pickle(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), str(path))


def parse_pickle(data: bytes | mmap.mmap, name: str) -> object:
    """The content of a pickle of protocol 0 to 5, written by Python 2 or 3.

    Python-2 strings come as `bytes`, or as `memoryview` where they are long; arrays are read-only views of `data`; a
    run of floats in a list or tuple stands there as one `Floats`, in single precision.

    Args:
        data: the whole file, or a map of it.
        name: what to call it in a message.

    Raises:
        InputError: it is truncated or damaged, names anything but plain data, or is larger inside than a file of its
            size can honestly be.
    """
    machine = Machine(data)
    try:
        content = _run(machine)
        _check_whole(content)
    except RefusedError as refusal:
        raise InputError(f"{name}, byte {machine.position}: {refusal}") from None
    except _FAULTS as error:
        raise InputError(
            f"{name}, byte {machine.position}: damaged, or not a pickle ({type(error).__name__}: {str(error)[:100]})"
        ) from None
    return content


def _run(machine: Machine) -> object:
    """Interpret the file up to its STOP."""
    table = [refuse_opcode] * 256
    for code, operation in OPERATIONS.items():
        table[code] = operation
    data, end = machine.data, len(machine.data)
    while machine.position < end:
        code = data[machine.position]
        machine.position += 1
        machine.operations_left -= 1
        if code == STOP:
            return _result(machine)
        if machine.operations_left < 0:
            machine.charge(0)
        table[code](machine)
    raise RefusedError(f"the file ends after {end} bytes, inside the pickle: it is truncated")


def _result(machine: Machine) -> object:
    if machine.outer or len(machine.stack) != 1:
        raise RefusedError(f"it ends with {len(machine.stack)} values on its stack, expected 1")
    if machine.position != len(machine.data):
        raise RefusedError(f"{len(machine.data) - machine.position} bytes follow the end of the pickle")
    return machine.stack[0]


def _check_whole(content: object) -> None:
    """No half-made array, no bare name, and no deeper nesting than `MAX_NESTING`; each container is visited once."""
    level, seen = [content], set()
    for _ in range(MAX_NESTING):
        below = []
        for value in level:
            if isinstance(value, (PendingArray, PendingDtype, Global)):
                raise RefusedError(f"it holds {value}, not data")
            if id(value) not in seen:
                seen.add(id(value))
                below += _children(value)
        if not below:
            return
        level = below
    raise RefusedError(f"nested more than {MAX_NESTING} deep")


def _children(value: object) -> list:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple)):
        return list(value)
    return value.ravel().tolist() if isinstance(value, np.ndarray) and value.dtype == object else []
