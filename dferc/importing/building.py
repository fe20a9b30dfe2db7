"""Opcodes of the pickle format that make something of what is on the stack: containers, the memo, named things."""

from collections.abc import Callable

from dferc.importing.machine import MAX_NESTING, Machine
from dferc.importing.rebuild import (
    Floats,
    Global,
    PendingArray,
    PendingDtype,
    RefusedError,
    a_type,
    find_global,
    is_key,
)

Operation = Callable[[Machine], None]

# ---------------------------------------------------------------------------------------------------- the stack


def mark(machine: Machine) -> None:
    """Begin the items of a container."""
    machine.outer.append(machine.stack)
    machine.stack = []
    if len(machine.outer) > MAX_NESTING:
        raise RefusedError(f"nested more than {MAX_NESTING} deep")


def pop(machine: Machine) -> None:
    """Drop the top value, or a mark with nothing above it."""
    if machine.stack:
        machine.pop_plain()
    else:
        machine.pop_mark()


def duplicate(machine: Machine) -> None:
    """Push the top value once more."""
    machine.stack.append(machine.pop_plain())
    machine.stack.append(machine.stack[-1])


# ---------------------------------------------------------------------------------------------------- containers


def short_tuple(count: int) -> Operation:
    """Make a tuple of the top values, so many."""

    def push(machine: Machine) -> None:
        items = [machine.pop_plain() for _ in range(count)]
        machine.stack.append(tuple(reversed(items)))

    return push


def collect(make: Callable[[list], object]) -> Operation:
    """Make something of all values above the mark."""

    def push(machine: Machine) -> None:
        items = machine.pop_mark()  # which puts the outer stack back
        machine.stack.append(make(items))

    return push


def append(machine: Machine) -> None:
    """Add one item to a list."""
    value = machine.pop_plain()
    _target(machine, list).append(value)


def extend(machine: Machine) -> None:
    """Add all items above the mark to a list."""
    items = machine.pop_mark()
    _target(machine, list).extend(items)


def set_item(machine: Machine) -> None:
    """Add one pair to a dictionary."""
    value, key = machine.pop_plain(), machine.pop_plain()
    _fill(_target(machine, dict), [key, value])


def set_items(machine: Machine) -> None:
    """Add all pairs above the mark to a dictionary."""
    items = machine.pop_mark()
    _fill(_target(machine, dict), items)


def new_dict(machine: Machine) -> None:
    """Make a dictionary of all pairs above the mark."""
    items = machine.pop_mark()
    machine.stack.append({})
    _fill(machine.stack[-1], items)


def empty_set(machine: Machine) -> None:
    """Push a set: 216 bytes by one byte of the file, so it costs more than one operation."""
    machine.charge(4)
    machine.stack.append(set())


def add_items(machine: Machine) -> None:
    """Add all items above the mark to a set."""
    items = machine.pop_mark()
    _target(machine, set).update(keys(items))


def keys(items: list) -> list:
    """The items, if they hash in constant time: nested tuples can take exponential time."""
    for item in items:
        if not is_key(item):
            raise RefusedError(f"{a_type(item)} as a key; expected text or a whole number")
    return items


def _target(machine: Machine, kind: type):
    if type(machine.stack[-1]) is not kind:
        raise RefusedError(f"items for a {kind.__name__} are put into {a_type(machine.stack[-1])}")
    return machine.stack[-1]


def _fill(target: dict, items: list) -> None:
    if len(items) % 2 or any(type(value) is Floats for value in items):
        raise RefusedError("a dictionary whose keys and values are not pairs")
    target.update(zip(keys(items[::2]), items[1::2]))


# ---------------------------------------------------------------------------------------------------- the memo


def put(index: Callable[[Machine], int]) -> Operation:
    """Remember the top value under a number."""

    def store(machine: Machine) -> None:
        key, value = index(machine), machine.stack[-1]
        if type(value) is Floats:
            raise RefusedError("a run of floats where one value belongs")
        if type(value) is PendingArray:
            value.memo_keys.append(key)
        machine.memo[key] = value

    return store


def get(index: Callable[[Machine], int]) -> Operation:
    """Push what was remembered under a number."""

    def fetch(machine: Machine) -> None:
        key = index(machine)
        if key not in machine.memo:
            raise RefusedError(f"the entry {key} of its memory, which it never made: damaged, or not a pickle")
        machine.stack.append(machine.memo[key])

    return fetch


# ---------------------------------------------------------------------------------------------------- named things


def name(machine: Machine) -> None:
    """Push the allowed thing that two lines name."""
    machine.stack.append(find_global(*_name_lines(machine)))


def name_on_stack(machine: Machine) -> None:
    """Push the allowed thing that the two top texts name."""
    thing, module = machine.pop_plain(), machine.pop_plain()
    if not (type(module) is str and type(thing) is str):
        raise RefusedError("a name that is not text")
    machine.stack.append(find_global(module, thing))


def refuse_named_instance(machine: Machine) -> None:
    """An object of a Python-2 class: refused by its name, whatever it is."""
    raise RefusedError(
        f"it makes an object of {'.'.join(_name_lines(machine))}; features need no objects, so it is not opened"
    )


def refuse_instance(machine: Machine) -> None:
    """An object of a class: refused, by its name where that is allowed elsewhere (others are refused earlier)."""
    named = [value for value in machine.stack if type(value) is Global]
    raise RefusedError(f"it makes an object{f' of {named[-1]}' if named else ''}; features need no objects")


def call(machine: Machine) -> None:
    """Rebuild what an allowed name stands for, by our own function."""
    arguments, function = machine.pop_plain(), machine.pop_plain()
    if type(function) is not Global or function.rebuild is None or type(arguments) is not tuple:
        raise RefusedError(f"it calls {function if type(function) is Global else a_type(function)}")
    machine.charge(function.cost(arguments))
    machine.stack.append(function.rebuild(*arguments))


def set_state(machine: Machine) -> None:
    """Fill an array, or give a numpy type its byte order."""
    state, target = machine.pop_plain(), machine.stack[-1]
    if type(target) not in (PendingArray, PendingDtype) or type(state) is not tuple:
        raise RefusedError(f"it sets the state of {a_type(target)}; only arrays and their types have one")
    if type(target) is PendingDtype:
        target.set_state(state)
        return
    machine.charge(len(state[-1]) if state and type(state[-1]) is list else 0)
    array = machine.stack[-1] = target.fill(state)
    for key in target.memo_keys:
        machine.memo[key] = array


def _name_lines(machine: Machine) -> tuple[str, str]:
    module, thing = (str(machine.line()[:200], "utf-8") for _ in range(2))
    return module, thing
