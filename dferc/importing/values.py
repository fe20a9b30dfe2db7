"""Opcodes of the pickle format that put one value, or a run of floats, on the stack.

Each function is an operation, or makes one for a width; none is bounded by more than the bytes that are there.
"""

import codecs
import struct
from collections.abc import Callable

import numpy as np

from dferc.importing.machine import Machine
from dferc.importing.rebuild import Floats, RefusedError

Operation = Callable[[Machine], None]

SHORTEST_RUN = 16
LONGEST_RUN = 4096
LONG_BYTES = 1024
"""Byte strings from here on stay views of the file: an array's values are not copied."""

_FLOAT = ord("G")
_FLOAT_BYTES = 9  # the opcode and eight more

# ---------------------------------------------------------------------------------------------------- numbers


def constant(value: object) -> Operation:
    """Push the same value each time."""
    return lambda machine: machine.stack.append(value)


def integer(width: int, signed: bool = False) -> Operation:
    """Push a little-endian integer of so many bytes."""
    return lambda machine: machine.stack.append(machine.number(width, signed))


def long_integer(width: int) -> Operation:
    """Push an integer whose number of bytes stands before it, in so many bytes."""

    def push(machine: Machine) -> None:
        count = machine.number(width, signed=width == 4)
        if count > 9:
            raise RefusedError(f"an integer of {count} bytes; expected at most 64 bits")
        machine.stack.append(_at_most_64_bits(machine.number(count, signed=True)))

    return push


def number_line(machine: Machine) -> bytes:
    """The text of a number, on a line of its own; Python reads enormous ones in quadratic time."""
    line = machine.line()
    if len(line) > 40:
        raise RefusedError(f"a number of {len(line)} digits")
    return line.strip()


def integer_line(machine: Machine) -> None:
    """Push a number written out, or one of the truth values that protocol 0 writes as 00 and 01."""
    line = number_line(machine)
    machine.stack.append({b"00": False, b"01": True}[line] if line in (b"00", b"01") else _at_most_64_bits(int(line)))


def long_line(machine: Machine) -> None:
    """Push a Python-2 long written out."""
    machine.stack.append(_at_most_64_bits(int(number_line(machine).removesuffix(b"L"))))


def float_line(machine: Machine) -> None:
    """Push a float written out; it and its APPEND are free, since Python 2 wrote all features so by default."""
    machine.operations_left += 2
    machine.stack.append(float(number_line(machine)))


def floats(machine: Machine) -> None:
    """Push one float, or at once all of a run of them but the last, which stays a value to be popped or stored.

    The run is kept as float32, in less memory than it has in the file.
    """
    start, codes = machine.position - 1, machine.codes
    far = start + _FLOAT_BYTES * SHORTEST_RUN
    if far < len(codes) and codes[far] == _FLOAT and codes[start + _FLOAT_BYTES] == _FLOAT:
        run = codes[start : start + _FLOAT_BYTES * LONGEST_RUN : _FLOAT_BYTES] == _FLOAT
        count = len(run) if run.all() else int(run.argmin())
        if count > SHORTEST_RUN and start + _FLOAT_BYTES * count <= len(codes):
            values = np.ndarray((count - 1,), ">f8", machine.data, start + 1, (_FLOAT_BYTES,))
            with np.errstate(over="ignore"):  # beyond float32 is inf, which is marked as absent later
                machine.stack.append(Floats(values.astype(np.float32)))
            machine.position = start + _FLOAT_BYTES * (count - 1) + 1
    machine.stack.append(struct.unpack(">d", machine.take(8))[0])


def _at_most_64_bits(value: int) -> int:
    if not -(1 << 63) <= value < 1 << 64:
        raise RefusedError(f"an integer of {value.bit_length()} bits; expected at most 64")
    return value


# ---------------------------------------------------------------------------------------------------- text


def byte_string(width: int) -> Operation:
    """Push bytes (Python 2's text as well) whose length stands before them, in so many bytes."""

    def push(machine: Machine) -> None:
        value = machine.take(machine.number(width))
        machine.stack.append(value if len(value) >= LONG_BYTES else bytes(value))

    return push


def unicode_string(width: int) -> Operation:
    """Push text whose length stands before it, in so many bytes."""
    return lambda machine: machine.stack.append(str(machine.take(machine.number(width)), "utf-8", "surrogatepass"))


def quoted_line(machine: Machine) -> None:
    """Push a byte string written out with quotes and escapes."""
    line = machine.line().strip()
    if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"'):
        raise RefusedError("a text line without quotes: damaged, or not a pickle")
    machine.stack.append(codecs.escape_decode(line[1:-1])[0])


def unicode_line(machine: Machine) -> None:
    """Push text written out with escapes."""
    machine.stack.append(str(machine.line(), "raw-unicode-escape"))
