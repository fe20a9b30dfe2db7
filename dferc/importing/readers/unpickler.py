"""Restricted unpickler: reads one pickle as plain data, in a process of its own that can do nothing else.

    python -I -S unpickler.py MEMORY SECONDS OUTPUT < file.pkl > values 2> answer.json

`pickles.py` starts this script and reads what it writes. Python's C unpickler does the work, under four restrictions:

1. A name in the pickle stands for a function of this file, which checks its arguments. Any other name is refused and
   nothing is imported. numpy's own functions are not used, since they trust the types and flags that a file states.
2. The process is limited in memory (bytes), processor time (seconds) and output (bytes), and can open no descriptor.
3. An audit hook refuses every event of Python's audit table: open, import, exec, os.system, socket.connect, ...
4. Only plain data, nested at most `MAX_NESTING` deep, leave the process, as JSON and raw bytes.

The answer is `{"refused": reason}` or `{"content": value, "nodes": [...]}`. A value is null, a truth value, a number or
text; `[text]` for bytes (as latin-1); `[n]` for node n; in a list or tuple also `[offset, count]` for a run of float32.
Offsets are into the values. A node comes before those that hold it: `["list" | "tuple" | "set" | "frozenset", value,
...]`, `["dict", key, value, ...]`, `["array", dtype, shape, order, offset]`, `["objects", shape, order, value, ...]`.
"""

import codecs
import gc
import json
import math
import os
import pickle
import re
import resource
import struct
import sys
from collections.abc import Callable

DTYPE = re.compile(r"([<>=|]?)(\?|b1|[iu][1248]|f[248]|[SUa][0-9]{1,6}|O[48]?)")
"""Byte order, and code of a numpy type: truth values, whole numbers, floats, text, or objects pickled one by one."""

SCALARS = {"?": "?", "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}
SCALARS |= {"f2": "e", "f4": "f", "f8": "d"}
"""The code of `struct` for each numpy type that is a number."""

MAX_DIMENSIONS = 8
MAX_NESTING = 32
"""Known layouts nest 5 deep: tuple, dict, dialogue, utterance, value."""

SHORTEST_RUN = 17
"""From so many values on, a list of Python floats is kept as float32, in an eighth of the memory."""

WINDOW = 1 << 18
"""Bytes of the file that the unpickler gets at once."""

OWN_EVENTS = {"builtins.id", "gc.get_objects"}
"""Audit events that reading itself causes."""


class Refused(Exception):  # noqa: N818 - a verdict on the file, not an error of the program
    """Why a pickle is not opened."""


# ---------------------------------------------------------------------------------------------------- input, output


class FloatRun:
    """Float32 values that stand in the output in place of the floats of a list: offset and count."""

    __slots__ = ("offset", "count")

    def __init__(self, offset: int, count: int):
        self.offset, self.count = offset, count


class Values:
    """Standard output, to which values are written one after the other."""

    def __init__(self):
        self.file, self.offset = open(1, "wb", buffering=1 << 20, closefd=False), 0

    def write(self, data: bytes) -> int:
        """Write bytes and return their offset."""
        self.file.write(data)
        self.offset += len(data)
        return self.offset - len(data)

    def write_floats(self, numbers: list | tuple) -> FloatRun:
        """Write numbers as float32, infinite beyond its range. Raise struct.error where one is no number."""
        return FloatRun(self.write(struct.pack(f"{len(numbers)}f", *numbers)), len(numbers))


class Windows:
    """Standard input in windows; between two windows, the new lists of floats are packed."""

    def __init__(self, values: Values):
        self.values, self.position, self.size = values, 0, os.fstat(0).st_size

    def peek(self, count: int) -> bytes:
        """Return the next bytes without advancing."""
        # New lists are those of the youngest generation: the garbage collector is off, and `freeze` empties it.
        for item in gc.get_objects(generation=0):
            if type(item) is list and len(item) >= SHORTEST_RUN and type(item[0]) is float:
                try:
                    run = self.values.write_floats(item)
                except struct.error:
                    continue
                item.clear()  # assigning to `item[:]` would keep the memory in pieces
                item.append(run)
        gc.freeze()
        return os.pread(0, WINDOW, self.position)

    def read(self, count: int) -> bytes:
        """Return so many bytes, or those that are left: an announced length allocates nothing."""
        data = os.pread(0, min(count, self.size - self.position), self.position)
        self.position += len(data)
        return data

    def readline(self) -> bytes:
        """Return the bytes up to a line feed."""
        end = self.position
        while (window := os.pread(0, WINDOW, end)) and b"\n" not in window:
            end += len(window)
        return self.read(end - self.position + window.find(b"\n") + 1 if window else self.size)


# ---------------------------------------------------------------------------------------------------- allowed names


class Name:
    """Stand-in for an allowed name; without a function, the name can only be an argument."""

    __slots__ = ("name", "function")

    def __init__(self, name: str, function: Callable | None):
        self.name, self.function = name, function

    def __call__(self, *arguments: object) -> object:
        if self.function is None:
            raise Refused(f"it calls {self.name}")
        return self.function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise Refused(f"it sets the state of {self.name}")

    def __str__(self):
        return self.name


class Dtype:
    """Stand-in for a numpy type; its byte order may follow in its state."""

    __slots__ = ("order", "code", "itemsize")

    def __init__(self, code: object, align: object = False, copy: object = False):
        match = DTYPE.fullmatch(text(code) or "")
        if not match:
            raise Refused(f"the numpy type {text(code)!s:.40}; expected plain numbers or text")
        self.order, self.code = match[1] or "=", match[2].replace("a", "S")
        self.itemsize = int(self.code[1:] or 8 if self.code[0] == "O" else self.code[1:] or 1)
        self.itemsize *= 4 if self.code[0] == "U" else 1
        if not self.itemsize:
            raise Refused(f"the numpy type {self.code}, which has no size")

    def __setstate__(self, state: tuple) -> None:
        """Take the byte order from numpy's state: (version, order, subtype, names, fields, ...)."""
        if any(part is not None for part in state[2:5]) or text(state[1]) not in ("<", ">", "|", "="):
            raise Refused("a structured numpy type; features are plain numbers")
        if text(state[1]) != "|":
            self.order = text(state[1])

    def __str__(self):
        return f"the numpy type {self.code}"


class Array:
    """Stand-in for a numpy array, whose content follows in its state; the values are written to the output."""

    __slots__ = ("values", "node", "items")

    def __init__(self, values: Values):
        self.values, self.node, self.items = values, None, []

    def __setstate__(self, state: tuple) -> None:
        """Take numpy's state: (version, shape, type, Fortran order, bytes or list), of old without the version."""
        if len(state) not in (4, 5):
            raise Refused(f"an array's state of {len(state)} parts; expected 5")
        shape, dtype, fortran, data = state[-4:]
        self.fill(data, dtype, shape, "F" if fortran is True or fortran == 1 else "C")

    def fill(self, data: object, dtype: object, shape: object, order: str) -> "Array":
        """Take the content, which must have exactly the size that type and shape announce."""
        if type(dtype) is not Dtype or type(shape) is not tuple or len(shape) > MAX_DIMENSIONS:
            raise Refused("an array whose type or shape is none")
        if any(type(length) is not int or length < 0 for length in shape):
            raise Refused("an array whose shape is not of whole numbers")
        count = math.prod(shape)
        if dtype.code[0] == "O":
            found = count_items(data) if type(data) is list else f"a {type(data).__name__}"
            if found != count:
                raise Refused(f"an array {shape} of objects needs a list of {count} values; found {found}")
            self.node, self.items = ["objects", shape, order], data
            return self
        needed = count * dtype.itemsize
        if type(data) not in (bytes, bytearray) or len(data) != needed:
            found = f"{len(data)} bytes" if type(data) in (bytes, bytearray) else f"a {type(data).__name__}"
            raise Refused(f"an array {shape} of {dtype.code} needs {needed} bytes; found {found}")
        self.node = ["array", dtype.order + dtype.code, shape, order, self.values.write(data)]
        return self

    def __str__(self):
        return "an array without content"


def count_items(items: list) -> int:
    """Return the length of a list before its floats were packed."""
    return sum(item.count if type(item) is FloatRun else 1 for item in items)


def text(value: object) -> str | None:
    """Return a text of either Python, Python 2's as latin-1; None for anything else."""
    return str(value, "latin-1") if type(value) is bytes else value if type(value) is str else None


def scalar(dtype: object, data: object = None) -> object:
    """Return a numpy scalar as the Python value."""
    if type(dtype) is not Dtype or type(data) is not bytes or dtype.code[0] == "O" or len(data) != dtype.itemsize:
        raise Refused("a numpy scalar without the bytes of a number or text")
    if dtype.code[0] == "S":
        return data.rstrip(b"\0")
    if dtype.code[0] == "U":
        decode = codecs.utf_32_be_decode if dtype.order == ">" else codecs.utf_32_le_decode
        return decode(data)[0].rstrip("\0")
    return struct.unpack(dtype.order.replace("|", "=") + SCALARS[dtype.code], data)[0]


def encode(string: object, encoding: object = "latin1") -> bytes:
    """Return bytes as Python 3 writes them in protocols 0 to 2."""
    if type(string) is not str or encoding not in ("latin1", "latin-1"):
        raise Refused("text encoded in another way than latin1")
    return string.encode("latin-1")


def dictionary(factory: object = None, pairs: object = None) -> dict:
    """Return `OrderedDict()`, `OrderedDict([[key, value], ...])` or `defaultdict(list)` as a plain dictionary."""
    return dict(pairs if pairs is not None else factory if type(factory) is list else [])


class RestrictedUnpickler(pickle.Unpickler):
    """C unpickler for which only the names of plain data exist."""

    def __init__(self, windows: Windows):
        super().__init__(windows, fix_imports=False, encoding="bytes")
        self.values = windows.values
        self.names: dict[tuple[str, str], Callable | None] = {
            ("numpy", "ndarray"): None,
            ("numpy", "dtype"): Dtype,
            ("_codecs", "encode"): encode,
            ("collections", "OrderedDict"): dictionary,
            ("collections", "defaultdict"): dictionary,
        }
        for core in ("numpy.core", "numpy._core"):
            self.names[f"{core}.multiarray", "_reconstruct"] = self._reconstruct
            self.names[f"{core}.multiarray", "scalar"] = scalar
            self.names[f"{core}.numeric", "_frombuffer"] = self._frombuffer
        for builtins in ("builtins", "__builtin__"):
            self.names |= {(builtins, "set"): set, (builtins, "frozenset"): frozenset}
            self.names[builtins, "bytes"] = lambda: b""  # so Python 3 writes it in protocols 0 to 2
            self.names |= {(builtins, name): None for name in ("dict", "float", "int", "list")}  # of a defaultdict

    def find_class(self, module: str, name: str) -> Name:
        """Return the stand-in for an allowed name; refuse any other."""
        if (module, name) not in self.names:
            raise Refused(
                f"it names {module:.200}.{name:.200}, and what a pickle names can run programs; features need only "
                "numbers, text and numpy arrays, so it is not opened"
            )
        return Name(f"{module}.{name}", self.names[module, name])

    def persistent_load(self, pid: object) -> None:
        """Refuse."""
        raise Refused(
            "it refers to an object outside the file (persistent id); features need none, so it is not opened"
        )

    def _reconstruct(self, kind: object, shape: object, code: object) -> Array:
        if not (type(kind) is Name and kind.name == "numpy.ndarray"):
            raise Refused(f"an array of the class {kind if type(kind) is Name else type(kind).__name__}")
        return Array(self.values)

    def _frombuffer(self, data: object, dtype: object, shape: object, order: object) -> Array:
        return Array(self.values).fill(data, dtype, shape, "F" if order == "F" else "C")


# ---------------------------------------------------------------------------------------------------- the answer


def to_nodes(content: object, values: Values) -> dict:
    """Return plain data as the answer that the module's docstring describes. Refuse anything else."""
    nodes: list[list] = []
    numbers: dict[int, int] = {}  # of nodes, by id: an object that stands in several places is one node

    def to_value(item: object, depth: int) -> object:
        kind = type(item)
        if item is None or kind in (bool, float, str):
            return item
        if kind is int:
            if not -(1 << 63) <= item < 1 << 64:
                raise Refused(f"an integer of {item.bit_length()} bits; expected at most 64")
            return item
        if kind in (bytes, bytearray):
            return [str(item, "latin-1")]
        if kind is FloatRun:
            return [item.offset, item.count]
        if id(item) not in numbers:
            if depth == MAX_NESTING:
                raise Refused(f"nested more than {MAX_NESTING} deep, or a container that holds itself")
            node = to_node(item, depth + 1)  # which appends the nodes in it first
            numbers[id(item)] = len(nodes)
            nodes.append(node)
        return [numbers[id(item)]]

    def to_node(item: object, depth: int) -> list:
        kind = type(item)
        if kind is Array and item.node:
            return item.node + [to_value(part, depth) for part in item.items]
        if kind in (list, tuple):
            return [kind.__name__, *(to_value(part, depth) for part in pack(item, values))]
        if kind in (dict, set, frozenset):
            for key in item:
                if key is not None and type(key) not in (str, bytes, int, bool):
                    raise Refused(f"a {type(key).__name__} as a key; expected text or a whole number")
            parts = (part for pair in item.items() for part in pair) if kind is dict else item
            return [kind.__name__, *(to_value(part, depth) for part in parts)]
        raise Refused(f"it holds {item if kind in (Name, Dtype, Array) else kind.__name__}, not data")

    return {"content": to_value(content, 0), "nodes": nodes}


def pack(items: list | tuple, values: Values) -> list | tuple:
    """Return the items, the floats of a long list as one run; one that is packed already may stand at its start."""
    packed = [item for item in items[:1] if type(item) is FloatRun]
    loose = items[len(packed) :]
    if type(next(iter(loose), None)) is float and (packed or len(loose) >= SHORTEST_RUN):
        try:
            return [*packed, values.write_floats(loose)]
        except struct.error:
            pass
    return items


def answer(values: Values) -> str:
    """Return the answer to the pickle on standard input, as JSON."""
    windows = Windows(values)
    try:
        content = RestrictedUnpickler(windows).load()
        if windows.position < windows.size:
            raise Refused(f"{windows.size - windows.position} bytes follow the end of the pickle")
        nodes = json.dumps(to_nodes(content, values))
        values.file.flush()
        return nodes
    except Refused as refusal:
        reason = str(refusal)
    except (MemoryError, OSError):
        reason = (
            f"it needs more memory than a file of {windows.size} bytes can honestly need: damaged, or a pickle bomb"
        )
    except Exception as error:
        reason = f"damaged, or not a pickle ({type(error).__name__}: {str(error)[:100]})"
        if isinstance(error, EOFError) or "truncated" in reason:
            reason = f"the file ends after {windows.size} bytes, inside the pickle: it is truncated, or damaged"
    return json.dumps({"refused": reason})


def refuse_event(event: str, arguments: tuple) -> None:
    """Refuse whatever Python reports to audit hooks."""
    if event not in OWN_EVENTS:
        raise Refused(f"reading it would cause {event}")


def main() -> None:
    """Give up every right but to read standard input, then answer."""
    memory, seconds, size = map(int, sys.argv[1:])
    limits = {resource.RLIMIT_AS: memory, resource.RLIMIT_CPU: seconds, resource.RLIMIT_FSIZE: size}
    limits |= dict.fromkeys((resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE), 0)
    values, report = Values(), open(2, "wb", closefd=False)
    for limit, most in limits.items():
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    gc.disable()
    gc.freeze()
    sys.addaudithook(refuse_event)
    report.write(answer(values).encode())
    report.flush()
    os._exit(0)  # without the interpreter's own closing events


if __name__ == "__main__":
    main()
