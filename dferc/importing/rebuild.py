"""The few names a feature pickle may contain, each rebuilt by a function of our own.

numpy's reconstructors take types, shapes and callables from the file; these take plain values, check each against the
bytes that are really there, and know plain number and text types only.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

DTYPE = re.compile(r"[<>=|]?(\?|b1|[iu][1248]|f[248]|[SUa][0-9]{1,6}|O[48]?)")
"""Booleans, whole numbers, floats, text, and objects (whose values are pickled one by one)."""

MAX_DIMENSIONS = 8


class RefusedError(Exception):
    """Why a pickle is not opened; its reader adds the file and the place."""


@dataclass(frozen=True, slots=True, eq=False)
class Floats:
    """Several neighbouring values of a list or tuple: [n] float32."""

    values: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Global:
    """A name that is allowed: `rebuild` makes what it stands for, or is None where it is only an argument."""

    name: str
    rebuild: Callable | None
    cost: Callable[[tuple], int] = lambda arguments: 0
    """Operations that rebuilding from these arguments counts as."""

    def __str__(self):
        return self.name


class PendingArray:
    """A numpy array whose content follows; knows where the memo holds it, to be replaced there."""

    __slots__ = ("memo_keys",)

    def __init__(self):
        self.memo_keys: list[int] = []

    def __str__(self):
        return "an array without content"

    def fill(self, state: tuple) -> np.ndarray:
        """The array from numpy's state: (version, shape, type, Fortran order, bytes or list)."""
        if len(state) not in (4, 5):
            raise RefusedError(f"an array's state of {len(state)} parts; expected 5")
        shape, dtype, fortran, data = state[-4:]
        return make_array(data, dtype, shape, "F" if fortran is True or fortran == 1 else "C")


class PendingDtype:
    """A numpy type; its byte order follows in its state."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype

    def __str__(self):
        return f"the numpy type {self.dtype}"

    def set_state(self, state: tuple) -> None:
        """Take the byte order from numpy's state: (version, order, subtype, names, fields, …)."""
        order = text_of(state[1])
        if any(part is not None for part in state[2:5]) or order not in ("<", ">", "|", "="):
            raise RefusedError("a structured numpy type; features are plain numbers")
        self.dtype = self.dtype if order == "|" else self.dtype.newbyteorder(order)


def make_array(data: object, dtype: object, shape: object, order: str) -> np.ndarray:
    """An array over exactly the bytes (or, of objects, the list) that are there.

    Raises:
        RefusedError: the shape announces another size than the data have, or the type is none of `DTYPE`.
    """
    if type(dtype) is not PendingDtype or type(shape) is not tuple or len(shape) > MAX_DIMENSIONS:
        raise RefusedError("an array whose type or shape is none")
    if any(type(length) is not int or length < 0 for length in shape):
        raise RefusedError("an array whose shape is not of whole numbers")
    count = math.prod(shape)
    if dtype.dtype == object:
        return _make_object_array(data, count, shape, order)
    if not isinstance(data, (bytes, memoryview)) or len(data) != count * dtype.dtype.itemsize:
        found = f"{len(data)} bytes" if isinstance(data, (bytes, memoryview)) else a_type(data)
        raise RefusedError(
            f"an array {shape} of {dtype.dtype} needs {count * dtype.dtype.itemsize} bytes; found {found}"
        )
    return np.ndarray(shape, dtype.dtype, data, order=order) if count else np.empty(shape, dtype.dtype)


def _make_object_array(data: object, count: int, shape: tuple, order: str) -> np.ndarray:
    if type(data) is not list:
        raise RefusedError(f"an array of objects needs a list; found {a_type(data)}")
    values = expand(data)
    if len(values) != count:
        raise RefusedError(f"an array {shape} of objects needs {count} values; found {len(values)}")
    array = np.empty(count, dtype=object)
    for place, value in enumerate(values):  # assigning the list at once would unpack lists of equal lengths
        array[place] = value
    return array.reshape(shape, order=order)


def expand(items: Iterable) -> list:
    """The items of a list, runs of floats taken apart."""
    expanded = []
    for item in items:
        if type(item) is Floats:
            expanded += item.values.tolist()
        else:
            expanded.append(item)
    return expanded


def a_type(value: object) -> str:
    """The name of a value's type with its article; never its content, which may be enormous."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def text_of(value: object) -> str | None:
    """A text of either Python as `str` (Python 2's as latin-1), or None."""
    if isinstance(value, str):
        return value
    return str(value, "latin-1") if isinstance(value, (bytes, memoryview)) else None


def is_key(value: object) -> bool:
    """Whether a value may be a dictionary key or in a set: it hashes in constant time."""
    return value is None or type(value) in (str, bytes, int, bool)


# ---------------------------------------------------------------------------------------------------- the names


def _array(kind: object, shape: object, code: object) -> PendingArray:
    if not (type(kind) is Global and kind.name == "numpy.ndarray"):
        raise RefusedError(f"an array of the class {kind if type(kind) is Global else type(kind).__name__}")
    return PendingArray()


def _array_of_buffer(data: object, dtype: object, shape: object, order: object) -> np.ndarray:
    return make_array(data, dtype, shape, "F" if order == "F" else "C")


def _dtype(code: object, align: object = False, copy: object = False) -> PendingDtype:
    code = text_of(code)
    if code is None or not DTYPE.fullmatch(code):
        raise RefusedError(f"the numpy type {code!s:.40}; expected plain numbers or text")
    dtype = np.dtype(code)
    if dtype.itemsize == 0:
        raise RefusedError(f"the numpy type {code}, which has no size")
    return PendingDtype(dtype)


def _scalar(dtype: object, data: object = None) -> object:
    if type(dtype) is PendingDtype and dtype.dtype == object:
        raise RefusedError("a numpy scalar of any object")
    return make_array(data, dtype, (1,), "C")[0].item()


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """How Python 3 writes bytes in protocols 0 to 2."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise RefusedError("text encoded in another way than latin1")
    return text.encode("latin-1")


def _empty_bytes(*arguments: object) -> bytes:
    """How Python 3 writes `b""` in protocols 0 to 2."""
    if arguments:
        raise RefusedError("bytes made of something else")
    return b""


def _set(items: object = ()) -> set:
    if type(items) not in (list, tuple) or not all(map(is_key, items)):
        raise RefusedError("a set of something else than text and whole numbers")
    return set(items)


def _dict(first: object = None, pairs: object = None) -> dict:
    """`OrderedDict()`, `OrderedDict([[key, value], …])` or `defaultdict(list)`: a plain dictionary."""
    made = {}
    given = pairs if pairs is not None else first if type(first) is list else []
    for pair in given:
        if type(pair) not in (list, tuple) or len(pair) != 2 or not is_key(pair[0]):
            raise RefusedError("a dictionary of something else than pairs")
        made[pair[0]] = pair[1]
    return made


def _length(arguments: tuple) -> int:
    """What rebuilding copies: the longest argument, which the memo can repeat in two bytes; text is copied quickly."""
    texts = (len(part) // 64 for part in arguments if isinstance(part, str))
    return max((*texts, *(len(part) for part in arguments if isinstance(part, (list, tuple)))), default=0)


def _table() -> dict[tuple[str, str], Global]:
    allowed = {
        ("numpy", "ndarray"): None,
        ("numpy", "dtype"): _dtype,
        ("_codecs", "encode"): _encode,
        ("collections", "OrderedDict"): _dict,
        ("collections", "defaultdict"): _dict,
    }
    for core in ("numpy.core", "numpy._core"):
        allowed[f"{core}.multiarray", "_reconstruct"] = _array
        allowed[f"{core}.multiarray", "scalar"] = _scalar
        allowed[f"{core}.numeric", "_frombuffer"] = _array_of_buffer
    for builtins in ("builtins", "__builtin__"):
        allowed |= {(builtins, "set"): _set, (builtins, "frozenset"): _set, (builtins, "bytes"): _empty_bytes}
        allowed |= {(builtins, name): None for name in ("dict", "float", "int", "list")}  # of a defaultdict
    return {key: Global(".".join(key), rebuild, _length) for key, rebuild in allowed.items()}


_ALLOWED = _table()


def find_global(module: str, name: str) -> Global:
    """The allowed name.

    Raises:
        RefusedError: any other; nothing is imported to find out what it is.
    """
    found = _ALLOWED.get((module, name))
    if found is None:
        raise RefusedError(
            f"it names {module:.200}.{name:.200}, and what a pickle names can run programs; features need only "
            "numbers, text and numpy arrays, so it is not opened"
        )
    return found
