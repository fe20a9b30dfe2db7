"""The pickle format, protocols 0 to 5: which byte is which operation, and which are refused."""

from dferc.importing import building, values
from dferc.importing.machine import Machine
from dferc.importing.rebuild import RefusedError

_ACTS = {
    ord("P"): "it refers to an object outside the file (persistent id)",
    ord("Q"): "it refers to an object outside the file (persistent id)",
    0x82: "it names a class by an extension code",
    0x83: "it names a class by an extension code",
    0x84: "it names a class by an extension code",
    0x97: "it refers to a buffer outside the file",
    0x98: "it refers to a buffer outside the file",
}


def refuse_opcode(machine: Machine) -> None:
    """For every byte that is no operation of plain data.

    Raises:
        RefusedError: always, saying what it is.
    """
    code = machine.data[machine.position - 1]
    if code in _ACTS:
        raise RefusedError(f"{_ACTS[code]}; features need none of that, so it is not opened")
    raise RefusedError(f"{code:#04x} is no operation of a pickle: damaged, or not a pickle")


def check_protocol(machine: Machine) -> None:
    """PROTO: a newer one may mean other things by the same bytes."""
    found = machine.number(1)
    if found > 5:
        raise RefusedError(f"pickle protocol {found}; the newest is 5")


def skip_frame(machine: Machine) -> None:
    """FRAME: only a hint for reading ahead."""
    machine.take(8)


def _memo_line(machine: Machine) -> int:
    return int(values.number_line(machine))


def _memo_byte(machine: Machine) -> int:
    return machine.number(1)


def _memo_four_bytes(machine: Machine) -> int:
    return machine.number(4)


def _memo_next(machine: Machine) -> int:
    return len(machine.memo)


OPERATIONS: dict[int, values.Operation] = {
    0x80: check_protocol,
    0x95: skip_frame,
    # numbers
    ord("N"): values.constant(None),
    0x88: values.constant(True),
    0x89: values.constant(False),
    ord("K"): values.integer(1),
    ord("M"): values.integer(2),
    ord("J"): values.integer(4, signed=True),
    ord("I"): values.integer_line,
    ord("L"): values.long_line,
    0x8A: values.long_integer(1),
    0x8B: values.long_integer(4),
    ord("F"): values.float_line,
    ord("G"): values.floats,
    # text
    ord("S"): values.quoted_line,
    ord("T"): values.byte_string(4),
    ord("U"): values.byte_string(1),
    ord("B"): values.byte_string(4),
    ord("C"): values.byte_string(1),
    0x8E: values.byte_string(8),
    0x96: values.byte_string(8),
    ord("V"): values.unicode_line,
    ord("X"): values.unicode_string(4),
    0x8C: values.unicode_string(1),
    0x8D: values.unicode_string(8),
    # containers
    ord("("): building.mark,
    ord("0"): building.pop,
    ord("1"): lambda machine: machine.pop_mark() and None,
    ord("2"): building.duplicate,
    ord(")"): values.constant(()),
    0x85: building.short_tuple(1),
    0x86: building.short_tuple(2),
    0x87: building.short_tuple(3),
    ord("t"): building.collect(tuple),
    ord("]"): lambda machine: machine.stack.append([]),
    ord("l"): building.collect(list),
    ord("a"): building.append,
    ord("e"): building.extend,
    ord("}"): lambda machine: machine.stack.append({}),
    ord("d"): building.new_dict,
    ord("s"): building.set_item,
    ord("u"): building.set_items,
    0x8F: building.empty_set,
    0x90: building.add_items,
    0x91: building.collect(lambda items: frozenset(building.keys(items))),
    # the memo
    ord("p"): building.put(_memo_line),
    ord("q"): building.put(_memo_byte),
    ord("r"): building.put(_memo_four_bytes),
    0x94: building.put(_memo_next),
    ord("g"): building.get(_memo_line),
    ord("h"): building.get(_memo_byte),
    ord("j"): building.get(_memo_four_bytes),
    # named things
    ord("c"): building.name,
    0x93: building.name_on_stack,
    ord("i"): building.refuse_named_instance,
    ord("o"): building.refuse_instance,
    0x81: building.refuse_instance,
    0x92: building.refuse_instance,
    ord("R"): building.call,
    ord("b"): building.set_state,
}
