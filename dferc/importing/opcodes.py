"""The opcodes of the pickle format, protocols 0 to 5, each as a function of the machine; those that act are refused."""

import codecs
import struct
from collections.abc import Callable

import numpy as np

from dferc.importing.machine import MAX_NESTING, Machine
from dferc.importing.rebuild import Floats, Global, PendingArray, PendingDtype, RefusedError, find_global, is_key

SHORTEST_RUN = 16
LONG_BYTES = 1024
"""Byte strings from here on stay views of the file: an array's values are not copied."""

# ---------------------------------------------------------------------------------------------------- numbers, strings


def refuse_opcode(machine: Machine) -> None:
    """For every byte that is no operation of plain data.

    Raises:
        RefusedError: always, saying what it is.
    """
    code = machine.data[machine.position - 1]
    if code in _REFUSED:
        raise RefusedError(f"{_REFUSED[code]}; features need none of that, so it is not opened")
    raise RefusedError(f"{code:#04x} is no operation of a pickle: damaged, or not a pickle")


def _push(value: object) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(value)


def _little(width: int, signed: bool = False) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(machine.number(width, signed))


def _small(value: int) -> int:
    if not -(1 << 63) <= value < 1 << 64:
        raise RefusedError(f"an integer of {value.bit_length()} bits; expected at most 64")
    return value


def _long(width: int) -> Callable[[Machine], None]:
    def push(machine: Machine) -> None:
        count = machine.number(width, signed=width == 4)
        if count > 9:
            raise RefusedError(f"an integer of {count} bytes; expected at most 64 bits")
        machine.stack.append(_small(machine.number(count, signed=True)))

    return push


def _short_line(machine: Machine) -> bytes:
    line = machine.line()
    if len(line) > 40:
        raise RefusedError(f"a number of {len(line)} digits")
    return line.strip()


def _int_line(machine: Machine) -> None:
    line = _short_line(machine)
    machine.stack.append({b"00": False, b"01": True}[line] if line in (b"00", b"01") else _small(int(line)))


def _long_line(machine: Machine) -> None:
    machine.stack.append(_small(int(_short_line(machine).removesuffix(b"L"))))


def _float_line(machine: Machine) -> None:
    machine.stack.append(float(_short_line(machine)))


def _float(machine: Machine) -> None:
    """One float, or at once all of a run of them but the last, which stays a value that can be popped or stored."""
    start, codes = machine.position - 1, machine.codes
    far = start + 9 * SHORTEST_RUN
    if far < len(codes) and codes[far] == 71 and codes[start + 9] == 71:
        run = codes[start : start + 9 * 4096 : 9] == 71
        count = len(run) if run.all() else int(run.argmin())
        if count > SHORTEST_RUN and start + 9 * count <= len(codes):
            values = np.ndarray((count - 1,), ">f8", machine.data, start + 1, (9,))
            machine.stack.append(Floats(values))
            machine.position = start + 9 * (count - 1) + 1
    machine.stack.append(struct.unpack(">d", machine.take(8))[0])


def _bytes(width: int) -> Callable[[Machine], None]:
    def push(machine: Machine) -> None:
        value = machine.take(machine.number(width))
        machine.stack.append(value if len(value) >= LONG_BYTES else bytes(value))

    return push


def _unicode(width: int) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(str(machine.take(machine.number(width)), "utf-8", "surrogatepass"))


def _string_line(machine: Machine) -> None:
    line = machine.line().strip()
    if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"'):
        raise RefusedError("a text line without quotes: damaged, or not a pickle")
    machine.stack.append(codecs.escape_decode(line[1:-1])[0])


def _unicode_line(machine: Machine) -> None:
    machine.stack.append(str(machine.line(), "raw-unicode-escape"))


# ---------------------------------------------------------------------------------------------------- containers


def _mark(machine: Machine) -> None:
    machine.outer.append(machine.stack)
    machine.stack = []
    if len(machine.outer) > MAX_NESTING:
        raise RefusedError(f"nested more than {MAX_NESTING} deep")


def _pop(machine: Machine) -> None:
    if machine.stack:
        machine.pop_plain()
    else:
        machine.pop_mark()


def _duplicate(machine: Machine) -> None:
    machine.stack.append(machine.pop_plain())
    machine.stack.append(machine.stack[-1])


def _tuple(count: int) -> Callable[[Machine], None]:
    def push(machine: Machine) -> None:
        items = [machine.pop_plain() for _ in range(count)]
        machine.stack.append(tuple(reversed(items)))

    return push


def _collect(make: Callable[[list], object]) -> Callable[[Machine], None]:
    def push(machine: Machine) -> None:
        items = machine.pop_mark()  # which puts the outer stack back
        machine.stack.append(make(items))

    return push


def _append(machine: Machine) -> None:
    value = machine.pop_plain()
    _target(machine, list).append(value)


def _appends(machine: Machine) -> None:
    items = machine.pop_mark()
    _target(machine, list).extend(items)


def _set_item(machine: Machine) -> None:
    value, key = machine.pop_plain(), machine.pop_plain()
    _fill_dict(_target(machine, dict), [key, value])


def _set_items(machine: Machine) -> None:
    items = machine.pop_mark()
    _fill_dict(_target(machine, dict), items)


def _empty_set(machine: Machine) -> None:
    machine.charge(4)  # 216 bytes by one byte of the file
    machine.stack.append(set())


def _add_items(machine: Machine) -> None:
    items = machine.pop_mark()
    _target(machine, set).update(_keys(items))


def _new_dict(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.stack.append({})
    _fill_dict(machine.stack[-1], items)


def _target(machine: Machine, kind: type):
    if type(machine.stack[-1]) is not kind:
        raise RefusedError(f"items for a {kind.__name__} are put into a {type(machine.stack[-1]).__name__}")
    return machine.stack[-1]


def _fill_dict(target: dict, items: list) -> None:
    if len(items) % 2 or any(type(value) is Floats for value in items):
        raise RefusedError("a dictionary whose keys and values are not pairs")
    target.update(zip(_keys(items[::2]), items[1::2]))


def _keys(items: list) -> list:
    """Only what hashes in constant time: nested tuples can take exponential time."""
    for item in items:
        if not is_key(item):
            raise RefusedError(f"a {type(item).__name__} as a key; expected text or a whole number")
    return items


# ---------------------------------------------------------------------------------------------------- memo, names


def _put(index: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def store(machine: Machine) -> None:
        key, value = index(machine), machine.stack[-1]
        if type(value) is Floats:
            raise RefusedError("a run of floats where one value belongs")
        if type(value) is PendingArray:
            value.memo_keys.append(key)
        machine.memo[key] = value

    return store


def _get(index: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def fetch(machine: Machine) -> None:
        key = index(machine)
        if key not in machine.memo:
            raise RefusedError(f"the entry {key} of its memory, which it never made: damaged, or not a pickle")
        machine.stack.append(machine.memo[key])

    return fetch


def _name(machine: Machine) -> None:
    module, name = (str(machine.line()[:200], "utf-8") for _ in range(2))
    machine.stack.append(find_global(module, name))


def _name_on_stack(machine: Machine) -> None:
    name, module = machine.pop_plain(), machine.pop_plain()
    if not (type(module) is str and type(name) is str):
        raise RefusedError("a name that is not text")
    machine.stack.append(find_global(module, name))


def _instance_line(machine: Machine) -> None:
    """An object of a Python-2 class: refused by its name, whatever it is."""
    module, name = (str(machine.line()[:200], "utf-8") for _ in range(2))
    raise RefusedError(f"it makes an object of {module}.{name}; features need no objects, so it is not opened")


def _instance(machine: Machine) -> None:
    """An object of a class: refused, by its name where that is allowed elsewhere (others are refused earlier)."""
    named = [value for value in machine.stack if type(value) is Global]
    raise RefusedError(f"it makes an object{f' of {named[-1]}' if named else ''}; features need no objects")


def _rebuild(machine: Machine) -> None:
    arguments, function = machine.pop_plain(), machine.pop_plain()
    if type(function) is not Global or function.rebuild is None or type(arguments) is not tuple:
        raise RefusedError(f"it calls {function if type(function) is Global else type(function).__name__}")
    machine.charge(function.cost(arguments))
    machine.stack.append(function.rebuild(*arguments))


def _set_state(machine: Machine) -> None:
    state, target = machine.pop_plain(), machine.stack[-1]
    if type(target) not in (PendingArray, PendingDtype) or type(state) is not tuple:
        raise RefusedError(f"it sets the state of a {type(target).__name__}; only arrays and their types have one")
    if type(target) is PendingDtype:
        target.set_state(state)
        return
    machine.charge(len(state[-1]) if state and type(state[-1]) is list else 0)
    array = machine.stack[-1] = target.fill(state)
    for key in target.memo_keys:
        machine.memo[key] = array


def _protocol(machine: Machine) -> None:
    if machine.number(1) > 5:
        raise RefusedError(f"pickle protocol {machine.data[machine.position - 1]}; the newest is 5")


_REFUSED = {
    ord("P"): "it refers to an object outside the file (persistent id)",
    ord("Q"): "it refers to an object outside the file (persistent id)",
    0x82: "it names a class by an extension code",
    0x83: "it names a class by an extension code",
    0x84: "it names a class by an extension code",
    0x97: "it refers to a buffer outside the file",
    0x98: "it refers to a buffer outside the file",
}

OPERATIONS: dict[int, Callable[[Machine], None]] = {
    0x80: _protocol,
    0x95: lambda machine: machine.take(8) and None,  # FRAME: only a hint for reading ahead
    ord("N"): _push(None),
    0x88: _push(True),
    0x89: _push(False),
    ord("K"): _little(1),
    ord("M"): _little(2),
    ord("J"): _little(4, signed=True),
    ord("I"): _int_line,
    ord("L"): _long_line,
    0x8A: _long(1),
    0x8B: _long(4),
    ord("F"): _float_line,
    ord("G"): _float,
    ord("S"): _string_line,
    ord("T"): _bytes(4),
    ord("U"): _bytes(1),
    ord("B"): _bytes(4),
    ord("C"): _bytes(1),
    0x8E: _bytes(8),
    0x96: _bytes(8),
    ord("V"): _unicode_line,
    ord("X"): _unicode(4),
    0x8C: _unicode(1),
    0x8D: _unicode(8),
    ord("("): _mark,
    ord("0"): _pop,
    ord("1"): lambda machine: machine.pop_mark() and None,
    ord("2"): _duplicate,
    ord(")"): _push(()),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("t"): _collect(tuple),
    ord("]"): lambda machine: machine.stack.append([]),
    ord("l"): _collect(list),
    ord("a"): _append,
    ord("e"): _appends,
    ord("}"): lambda machine: machine.stack.append({}),
    ord("d"): _new_dict,
    ord("s"): _set_item,
    ord("u"): _set_items,
    0x8F: _empty_set,
    0x90: _add_items,
    0x91: _collect(lambda items: frozenset(_keys(items))),
    ord("p"): _put(lambda machine: int(_short_line(machine))),
    ord("q"): _put(lambda machine: machine.number(1)),
    ord("r"): _put(lambda machine: machine.number(4)),
    0x94: _put(lambda machine: len(machine.memo)),
    ord("g"): _get(lambda machine: int(_short_line(machine))),
    ord("h"): _get(lambda machine: machine.number(1)),
    ord("j"): _get(lambda machine: machine.number(4)),
    ord("c"): _name,
    0x93: _name_on_stack,
    ord("i"): _instance_line,
    ord("o"): _instance,
    0x81: _instance,
    0x92: _instance,
    ord("R"): _rebuild,
    ord("b"): _set_state,
}
