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
...]`, `["dict", key, value, ...]`, `["objects", shape, order, value, ...]`, `["array", dtype, shape, order, "file" |
"output", offset]`: most arrays are left where they lie in the pickle. The order is C, F, or the axes' after C.
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
from collections import namedtuple
from collections.abc import Callable

NUMBERS = {"?": "?", "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}
NUMBERS |= {"f2": "e", "f4": "f", "f8": "d"}
"""The code of `struct` for each numpy type that is a number."""

MAX_NESTING = 32  # known layouts nest 5 deep: tuple, dict, dialogue, utterance, value
SPARE_NODES, NODE_BYTES = 20_000, 16  # containers: so many, and one for so many bytes of the file
SHORTEST_RUN = 17  # from so many values on, a list of Python floats is kept as float32, in an eighth of the memory
WINDOW = 1 << 18  # bytes of the file that the unpickler gets at once: their floats fit into the processor's cache
FloatRun = namedtuple("FloatRun", "offset count")  # float32 values in the output that replace the floats of a list


class Refused(Exception):  # noqa: N818 - a verdict on the file, not an error of the program
    """Why a pickle is not opened."""


def refuse_event(event: str, arguments: tuple) -> None:
    """Refuse whatever Python reports to audit hooks, except for the events of reading itself."""
    if event not in ("builtins.id", "gc.get_objects"):
        raise Refused(f"reading it would cause {event}")


class Streams:
    """Standard input in windows, and standard output, to which values are written one after the other."""

    def __init__(self):
        self.position, self.size = 0, os.fstat(0).st_size
        self.output, self.offset = open(1, "wb", buffering=1 << 20, closefd=False), 0
        self.window, self.window_start, self.searched = b"", 0, 0

    def peek(self, count: int) -> bytes:
        """Return the next bytes without advancing. Between two windows, pack the new lists of floats."""
        # New lists are those of the youngest generation: the garbage collector is off, and `freeze` empties it.
        for item in gc.get_objects(generation=0):
            if type(item) is list and len(item) >= SHORTEST_RUN and type(item[0]) is float:
                run = self.pack(item)
                item.clear()  # assigning to `item[:]` would leave the memory in pieces
                item += run
        gc.freeze()
        self.window, self.window_start, self.searched = os.pread(0, WINDOW, self.position), self.position, 0
        return self.window

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
        return self.read(end - self.position + window.find(b"\n") + 1)

    def write(self, data: bytes) -> int:
        """Write bytes and return their offset."""
        self.output.write(data)
        self.offset += len(data)
        return self.offset - len(data)

    def store(self, data: bytes) -> tuple[str, int]:
        """Return ("file", offset) of bytes that lie in the window, else write them and return ("output", offset)."""
        place = self.window.find(data, self.searched)
        if place < 0:
            self.window = b""  # so that each window is searched in vain once at most
            return "output", self.write(data)
        self.searched = place + len(data)
        return "file", self.window_start + place

    def pack(self, items: list | tuple) -> list:
        """Return the items, their floats as one run (infinite beyond float32); one from before may precede them."""
        packed = [item for item in items[:1] if type(item) is FloatRun]
        numbers = items[len(packed) :]
        try:
            data = struct.pack(f"{len(numbers)}f", *numbers)
        except struct.error:  # not numbers alone
            return list(items)
        return [*packed, FloatRun(self.write(data), len(numbers))] if numbers else packed


class Name:
    """Stand-in for an allowed name; without a function, the name can only be an argument."""

    __slots__ = ("name", "function")

    def __init__(self, name: str, function: Callable | None):
        self.name, self.function = name, function

    def __call__(self, *arguments: object) -> object:  # noqa: D102
        if self.function is None:
            raise Refused(f"it calls {self.name}")
        return self.function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise Refused(f"it sets the state of {self.name}")


class Dtype:
    """Stand-in for a numpy type; its byte order may follow in its state."""

    __slots__ = ("name", "order", "code", "size")

    def __init__(self, code: object, align: object = False, copy: object = False):
        code = text(code)
        self.name, self.order, self.code = f"the numpy type {code!s:.40}", "=", str(code).lstrip("<>=|")
        if code != self.code:
            self.order = str(code)[0]
        if self.code in NUMBERS:
            self.size = struct.calcsize("=" + NUMBERS[self.code])
        elif re.fullmatch("[SU](0|[1-9][0-9]{0,5})", self.code):
            self.size = int(self.code[1:]) * (4 if self.code[0] == "U" else 1)
        elif self.code not in ("O", "O4", "O8"):
            raise Refused(f"{self.name}; expected plain numbers or text")

    def __setstate__(self, state: tuple) -> None:
        """Take the byte order from numpy's state: (version, order, subtype, names, fields, ...)."""
        order = text(state[1])
        if any(part is not None for part in state[2:5]) or order not in ("<", ">", "|", "="):
            raise Refused("a structured numpy type; features are plain numbers")
        self.order = self.order if order == "|" else order


class Array:
    """Stand-in for a numpy array, whose content follows in its state: a node of the answer, and objects in it."""

    __slots__ = ("name", "streams", "node", "objects")

    def __init__(self, streams: Streams):
        self.name, self.streams, self.node, self.objects = "an array without content", streams, None, []

    def __setstate__(self, state: tuple) -> None:
        """Take numpy's state: (version, shape, type, Fortran order, bytes or list), of old without the version."""
        if len(state) not in (4, 5):
            raise Refused(f"an array's state of {len(state)} parts; expected 5")
        shape, dtype, fortran, data = state[-4:]
        self.fill(data, dtype, shape, fortran)

    def fill(self, data: object, dtype: object, shape: object, order: object, axes: object = None) -> "Array":
        """Take the content, which must have exactly the size that type and shape announce; `K`: its axes follow."""
        if type(dtype) is not Dtype or dtype.code[1:] == "0" or type(shape) is not tuple or len(shape) > 8:
            raise Refused("an array whose type or shape is none")
        if any(type(length) is not int or length < 0 for length in shape):
            raise Refused("an array whose shape is not of whole numbers")
        order = "F" if order in ("F", True) else "C"
        if axes is not None:  # numpy from 2.3 on: an array that was transposed
            places = list(map(repr, range(len(shape))))
            if dtype.code[0] == "O" or type(axes) is not tuple or sorted(map(repr, axes)) != places:
                raise Refused("an array whose axes are none")
            order = axes
        unit, needed, found = "bytes", math.prod(shape), f"a {type(data).__name__}"
        if dtype.code[0] == "O":
            unit, self.node, self.objects = "objects in a list", ["objects", shape, order], data
            if type(data) is list:
                found = sum(item.count if type(item) is FloatRun else 1 for item in data)
        else:
            needed *= dtype.size
            found = len(data) if type(data) in (bytes, bytearray) else found
        if found != needed:
            raise Refused(f"an array {shape} of {dtype.code} needs {needed} {unit}; found {found}")
        if unit == "bytes":
            self.node = ["array", dtype.order + dtype.code, shape, order, *self.streams.store(data)]
        return self


def text(value: object) -> str | None:
    """Return a text of either Python, Python 2's as latin-1; None for anything else."""
    return str(value, "latin-1") if type(value) is bytes else value if type(value) is str else None


def scalar(dtype: object, data: object = None) -> object:
    """Return a numpy scalar as the Python value."""
    if type(dtype) is not Dtype or type(data) is not bytes or dtype.code[0] == "O" or len(data) != dtype.size:
        raise Refused("a numpy scalar without the bytes of a number or text")
    if dtype.code[0] == "S":
        return data.rstrip(b"\0")
    if dtype.code[0] == "U":
        decode = codecs.utf_32_be_decode if dtype.order == ">" else codecs.utf_32_le_decode
        return decode(data)[0].rstrip("\0")
    return struct.unpack(dtype.order.replace("|", "=") + NUMBERS[dtype.code], data)[0]


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

    def __init__(self, streams: Streams):
        super().__init__(streams, fix_imports=False, encoding="bytes")
        self.streams = streams
        self.names = {"numpy.ndarray": None, "numpy.dtype": Dtype, "_codecs.encode": encode}
        self.names |= dict.fromkeys(("collections.OrderedDict", "collections.defaultdict"), dictionary)
        for core in ("numpy.core", "numpy._core"):
            self.names[f"{core}.multiarray._reconstruct"] = self.new_array
            self.names[f"{core}.multiarray.scalar"] = scalar
            self.names[f"{core}.numeric._frombuffer"] = lambda *arguments: Array(streams).fill(*arguments)
        for builtins in ("builtins", "__builtin__"):
            self.names |= {f"{builtins}.set": set, f"{builtins}.frozenset": frozenset}
            self.names[f"{builtins}.bytes"] = lambda: b""  # so Python 3 writes it in protocols 0 to 2
            self.names |= {f"{builtins}.{name}": None for name in ("dict", "float", "int", "list")}  # of a defaultdict

    def find_class(self, module: str, name: str) -> Name:
        """Return the stand-in for an allowed name; refuse any other."""
        if f"{module}.{name}" not in self.names:
            raise Refused(
                f"it names {module:.200}.{name:.200}, and what a pickle names can run programs; features need only "
                "numbers, text and numpy arrays, so it is not opened"
            )
        return Name(f"{module}.{name}", self.names[f"{module}.{name}"])

    def persistent_load(self, pid: object) -> None:
        """Refuse."""
        raise Refused("it refers to an object outside the file (persistent id); features need none: it is not opened")

    def new_array(self, kind: object, shape: object, code: object) -> Array:
        """Return an array to be filled; its shape comes with its content."""
        if getattr(kind, "name", "") != "numpy.ndarray":
            raise Refused(f"an array of the class {getattr(kind, 'name', type(kind).__name__)}")
        return Array(self.streams)


def to_nodes(content: object, streams: Streams) -> dict:
    """Return plain data as the answer that the module's docstring describes. Refuse anything else."""
    nodes: list[list] = []
    most = SPARE_NODES + streams.size // NODE_BYTES
    numbers: dict[int, int] = {}  # of nodes, by id: an object that stands in several places is one node

    def to_value(item: object, depth: int) -> object:
        kind = type(item)
        if kind is int and not -(1 << 63) <= item < 1 << 64:
            raise Refused(f"an integer of {item.bit_length()} bits; expected at most 64")
        if item is None or kind in (bool, int, float, str, FloatRun):
            return item
        if kind in (bytes, bytearray):
            return [str(item, "latin-1")]
        if id(item) not in numbers:
            if depth == MAX_NESTING:
                raise Refused(f"nested more than {MAX_NESTING} deep, or a container that holds itself")
            node = to_node(item, depth + 1)  # which appends the nodes in it first
            if len(nodes) > most:
                raise Refused(f"more than {most} containers in {streams.size} bytes; features are in arrays")
            numbers[id(item)] = len(nodes)
            nodes.append(node)
        return [numbers[id(item)]]

    def to_node(item: object, depth: int) -> list:
        kind, head = type(item), [type(item).__name__]
        if kind in (list, tuple):
            is_run = item and (type(item[0]) is FloatRun or len(item) >= SHORTEST_RUN and type(item[0]) is float)
            parts = streams.pack(item) if is_run else item
        elif kind in (dict, set, frozenset):
            for key in item:
                if key is not None and type(key) not in (str, bytes, int, bool):
                    raise Refused(f"a {type(key).__name__} as a key; expected text or a whole number")
            parts = (part for pair in item.items() for part in pair) if kind is dict else item
        elif kind is Array and item.node:
            head, parts = item.node, item.objects
        else:
            raise Refused(f"it holds {getattr(item, 'name', kind.__name__)}, not data")
        return [*head, *(to_value(part, depth) for part in parts)]

    return {"content": to_value(content, 0), "nodes": nodes}


def answer(streams: Streams) -> str:
    """Return the answer to the pickle on standard input, as JSON."""
    try:
        content = RestrictedUnpickler(streams).load()
        if streams.position < streams.size:
            raise Refused(f"{streams.size - streams.position} bytes follow the end of the pickle")
        nodes = json.dumps(to_nodes(content, streams))
        streams.output.flush()
        return nodes
    except Refused as refusal:
        reason = str(refusal)
    except (MemoryError, OSError):  # OSError: the output reached its limit
        reason = f"it needs more memory than a file of {streams.size} bytes can honestly need: damaged or a pickle bomb"
    except Exception as error:
        reason = f"damaged, or not a pickle ({type(error).__name__}: {str(error)[:100]})"
        if isinstance(error, EOFError) or "truncated" in reason:
            reason = f"the file ends after {streams.size} bytes, inside the pickle: it is truncated, or damaged"
    return json.dumps({"refused": reason})


def main() -> None:
    """Give up every right but to read standard input, then answer."""
    memory, seconds, size = map(int, sys.argv[1:])
    limits = {resource.RLIMIT_AS: memory, resource.RLIMIT_CPU: seconds, resource.RLIMIT_FSIZE: size}
    limits |= dict.fromkeys((resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE), 0)
    streams, report = Streams(), open(2, "wb", closefd=False)
    for limit, most in limits.items():
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    gc.disable()
    gc.freeze()
    sys.addaudithook(refuse_event)
    report.write(answer(streams).encode())
    report.flush()
    os._exit(0)  # without the interpreter's own closing events


if __name__ == "__main__":
    main()
