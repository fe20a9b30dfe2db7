"""Pickles read as data: by `unpickler.py` in a process of its own, which sends JSON and the raw bytes of arrays."""

import json
import math
import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dferc.core.errors import InputError
from dferc.importing.readers import unpickler

MAX_BYTES = 1 << 34  # 16 GiB: no known feature file has a tenth of it
PROCESS_BYTES = 128 << 20  # memory of the reading process beside what the file holds

MAX_GROWTH = 8
SPARE_BYTES = 64 << 20
"""What a file holds may fill so many times the file's size, and this: a file can name one array a million times."""

SPARE_SECONDS, BYTES_PER_SECOND = 10, 5 << 20  # processor time for reading a file: an idle core needs a tenth of it


def read_pickle(path: Path) -> object:
    """Return the content of a pickle of protocol 0 to 5, written by Python 2 or 3. No code of the file is run.

    Python-2 strings come as `bytes`. Arrays are read-only. A list or tuple of at least 17 floats comes as an array [n]
    float32. A file is refused if it names anything but plain data, or needs more memory or time than its size explains.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not 0 < size <= MAX_BYTES:
            raise InputError(f"{path} has {size} bytes; expected a pickle of 1 byte to {MAX_BYTES >> 30} GiB.")
        return _unpickle(file, size, str(path))


def parse_pickle(data: bytes, name: str) -> object:
    """Return the content of a pickle in memory, as `read_pickle` does; `name` stands for it in messages."""
    with os.fdopen(os.memfd_create("pickle"), "w+b") as file:
        file.write(data)
        file.seek(0)
        return _unpickle(file, len(data), name)


def _unpickle(file: BinaryIO, size: int, name: str) -> object:
    allowed, seconds = SPARE_BYTES + MAX_GROWTH * size, SPARE_SECONDS + size // BYTES_PER_SECOND
    command = [sys.executable, "-I", "-S", unpickler.__file__, str(PROCESS_BYTES + allowed), str(seconds), str(allowed)]
    with os.fdopen(os.memfd_create("values"), "w+b") as output:
        process = subprocess.run(command, stdin=file, stdout=output, stderr=subprocess.PIPE, check=False)
        if process.returncode == -signal.SIGXCPU:
            raise InputError(
                f"{name}: it takes more than {seconds} s of the processor for {size} bytes: a pickle bomb, or values "
                "stored one by one; save each utterance's features as one numpy array"
            )
        if process.returncode:
            raise InputError(f"{name}: damaged; its reading process ended with status {process.returncode}")
        answer = json.loads(process.stderr)
        if "refused" in answer:
            raise InputError(f"{name}: {answer['refused']}")
        buffers = {"file": _map(file), "output": _map(output)}
    return from_nodes(answer, buffers)


def _map(file: BinaryIO) -> bytes | mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""


def from_nodes(answer: dict, buffers: dict[str, bytes | mmap.mmap]) -> object:
    """Return the content of an answer of `unpickler.py`, whose docstring describes it."""
    nodes, types = [], {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}

    def to_item(value: object) -> object:
        if type(value) is not list:
            return value
        return nodes[value[0]] if type(value[0]) is int else value[0].encode("latin-1")

    def to_items(parts: list) -> list | np.ndarray:
        """Return a list, or an array [n] float32 in place of floats alone; runs of floats stand at its start."""
        runs = [part for part in parts if type(part) is list and len(part) == 2]
        items = [to_item(part) for part in parts[len(runs) :]]
        if not runs:
            return items
        floats = [np.ndarray(count, np.float32, buffers["output"], offset) for offset, count in runs]
        floats = floats[0] if len(floats) == 1 else np.concatenate(floats)
        return [*floats.tolist(), *items] if items else floats

    for kind, *parts in answer["nodes"]:
        if kind == "array":
            dtype, shape, order, stream, offset = np.dtype(parts[0]), *parts[1:]
            if dtype.hasobject:
                raise ValueError("raw bytes cannot be objects")
            axes = order if type(order) is list else range(len(shape))
            if math.prod(shape):
                order = "C" if type(order) is list else order
                nodes.append(np.ndarray(shape, dtype, buffers[stream], offset, order=order).transpose(axes))
            else:
                nodes.append(np.empty(shape, dtype).transpose(axes))
        elif kind == "objects":
            shape, order, *parts = parts
            items = np.fromiter(to_items(parts), object)  # `array` would unpack lists of equal length
            nodes.append(items.reshape(shape, order=order))
        elif kind == "dict":
            items = [to_item(part) for part in parts]
            nodes.append(dict(zip(items[::2], items[1::2])))
        else:
            items = to_items(parts)
            nodes.append(items if type(items) is np.ndarray else types[kind](items))
    return to_item(answer["content"])
