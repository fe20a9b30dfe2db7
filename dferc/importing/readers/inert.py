"""Keys and shapes of a pickle that is not imported: joblib's, PyTorch's, or one of another library's objects.

Python's own unpickler runs with inert stand-ins: whatever the pickle names becomes a class that does nothing, so
nothing is imported and no code of the file runs. What has been built when it ends, or when the work reaches its limit,
is described in words; it is never imported as features.
"""

import contextlib
import io
import math
import pickle
from typing import BinaryIO

from dferc.core.errors import listed

MAX_OPERATIONS = 200_000  # of the pickle: a fifth of a second


class _Spent(Exception):  # noqa: N818 - the limit of work, not an error
    """The pickle has more operations than are followed."""


class _Stream(io.RawIOBase):
    """File whose one-byte reads, one per operation of a pickle, are counted."""

    def __init__(self, file: BinaryIO):
        self.file, self.left = file, MAX_OPERATIONS

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes; end the work where the pickle is too long, or announces too much."""
        self.left -= 1
        if self.left <= 0 or size > 1 << 26:
            raise _Spent
        return self.file.read(size)

    def readline(self, size: int | None = -1) -> bytes:
        """Read a line, at most 64 kB."""
        return self.file.readline(1 << 16)


class InertObject:
    """Stand-in for whatever a pickle names: it takes arguments, state and items, and does nothing with them."""

    origin = ""

    def __new__(cls, *arguments: object, **_: object) -> "InertObject":
        """Keep the arguments."""
        made = super().__new__(cls)
        made.arguments, made.state, made.items = arguments, None, {}
        return made

    def __init__(self, *arguments: object, **_: object):
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        with contextlib.suppress(TypeError):  # a key that cannot be one
            self.items[key] = value

    def append(self, item: object) -> None:
        """Ignore an item of a list."""

    def extend(self, items: object) -> None:
        """Ignore items of a list."""


class InertUnpickler(pickle._Unpickler):
    """Unpickler for which every name is a class of its own that does nothing."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: _Stream):
        super().__init__(stream, encoding="latin-1")
        self.stream = stream

    def find_class(self, module: str, name: str) -> type:
        """Return a new inert class, or `dict` for an ordered dictionary."""
        self.stream.left -= 20  # a class takes as long as so many operations
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        return type("Inert", (InertObject,), {"origin": f"{module:.60}.{name:.60}"})

    def persistent_load(self, pid: object) -> InertObject:
        """Return a stand-in for an object outside the pickle, such as a tensor's storage."""
        return InertObject(pid)

    def load_build(self) -> None:
        """Set a state; after joblib's wrapper of an array, skip the array's bytes, which follow in the file."""
        super().load_build()
        wrapper = self.stack[-1]
        state = getattr(wrapper, "state", None)
        if isinstance(wrapper, InertObject) and wrapper.origin.endswith(".NumpyArrayWrapper") and type(state) is dict:
            if "numpy_array_alignment_bytes" in state:
                padding = self.stream.file.read(1)
                self.stream.file.seek(padding[0] if padding else 0, io.SEEK_CUR)
            if (width := _width(state.get("dtype"))) and type(state.get("shape")) is tuple:
                self.stream.file.seek(width * math.prod(state["shape"]), io.SEEK_CUR)

    def load_frame(self) -> None:
        """Skip the length of a frame: of one that is read at once, no operation would be counted."""
        self.read(8)

    dispatch |= {pickle.BUILD[0]: load_build, pickle.FRAME[0]: load_frame}


def describe_pickle(file: BinaryIO) -> str:
    """Return a pickle's keys and shapes in words; empty where nothing can be seen."""
    unpickler = InertUnpickler(_Stream(file))
    try:
        content = unpickler.load()
    except Exception:
        stacks = [stack for stack in (*getattr(unpickler, "metastack", ()), getattr(unpickler, "stack", ())) if stack]
        content = stacks[0][0] if stacks else None
        if isinstance(content, dict) and not content and len(stacks) > 1:  # its items were still being collected
            pairs = stacks[1]
            keys = [key for key in pairs[::2] if isinstance(key, (str, bytes, int))]
            content = dict(zip(keys, pairs[1::2])) if len(keys) == len(pairs[::2]) else content
    with contextlib.suppress(Exception):  # the shapes are the file's own and may be anything
        return _describe(content, top=True) if content else ""
    return ""


def _describe(value: object, top: bool = False) -> str:
    if isinstance(value, type):
        return getattr(value, "origin", "a class")
    if isinstance(value, InertObject):
        shape = _shape(value)
        items = value.items or (value.state if isinstance(value.state, dict) else {})
        name = value.origin or "an object"
        if shape is not None:
            return f"array {shape}"
        return f"{name} with {_items(items)}" if top and items else name
    if isinstance(value, dict):
        return _items(value) if top else f"dict of {len(value)}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__} of {len(value)}" + (f": {listed(map(_describe, value))}" if top else "")
    return type(value).__name__


def _items(items: dict) -> str:
    return listed(f"{key!r:.40} ({_describe(value)})" for key, value in items.items()) or "nothing"


def _shape(value: InertObject) -> tuple | None:
    """Return the shape of a numpy array, a PyTorch tensor or joblib's wrapper; None for anything else."""
    name, state = value.origin.rpartition(".")[2], value.state
    if name == "_reconstruct" and type(state) is tuple and len(state) > 2:
        return state[1] if type(state[1]) is tuple and len(state[1]) < 9 else None
    if name == "NumpyArrayWrapper" and type(state) is dict:
        return state.get("shape")
    if name.startswith("_rebuild_tensor") and len(value.arguments) > 2:
        return value.arguments[2]
    if name in ("_rebuild_parameter", "_rebuild_parameter_with_state") and value.arguments:
        return _shape(value.arguments[0]) if isinstance(value.arguments[0], InertObject) else None
    return None


def _width(dtype: object) -> int:
    """Return the bytes of one value of a numpy type, which a pickle writes as `dtype('f4', ...)`."""
    code = dtype.arguments[0] if isinstance(dtype, InertObject) and dtype.arguments else ""
    return int(code[1:]) if isinstance(code, str) and code[1:].isdecimal() and code[0] in "biufc" else 0
