"""Records: JSON that is read back, checked against one schema, and where two nested records differ.

A record may come from a stranger. So its size and depth are bounded, and a wrong value becomes one message that names
the file, the field, the value found, what is expected and the remedy.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from dferc.core.errors import InputError, brief
from dferc.core.files import regular_file

MOST_BYTES = 16_000_000  # of a record; the largest, a protocol card with notes, has some kilobytes
MOST_DEPTH = 32  # levels of nesting

_SHOWN = 5  # faults of a record that a message lists
_Schema = TypeVar("_Schema", bound=BaseModel)


class StoredRecord(BaseModel):
    """Base of the schemas: no coercion of types; further keys are allowed, as newer versions may add some."""

    model_config = ConfigDict(strict=True, extra="allow")


def _different(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("the values must differ")
    return values


Text = Annotated[str, Field(min_length=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Score = Annotated[float, Field(ge=0, le=1)]
Loss = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Names = Annotated[list[Text], Field(min_length=1), AfterValidator(_different)]


def read_record(path: Path, schema: type[StoredRecord], remedy: str) -> dict:
    """Read a JSON file, and return its content as it is once it fits the schema.

    Raises:
        InputError: there is no such file, it is no JSON of reasonable size and depth, or it does not fit.
    """
    with open(regular_file(path), "rb") as file:
        content = file.read(MOST_BYTES + 1)
    return check_record(content, schema, str(path), remedy)


def check_record(
    content: bytes, schema: type[StoredRecord], where: str, remedy: str, most_bytes: int = MOST_BYTES
) -> dict:
    """Parse JSON, and return it as it is once it fits the schema; see `read_record`."""
    try:
        values = parse_json(content, most_bytes)
    except ValueError as error:
        raise InputError(f"{where} is no readable JSON: {error}. {remedy}") from None
    check_values(values, schema, where, remedy)
    return values


def check_values(values: Any, schema: type[_Schema], where: str, remedy: str) -> _Schema:
    """Return values as an instance of a schema.

    Raises:
        InputError: they do not fit it.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        faults = [_explain(fault) for fault in error.errors(include_url=False)]
        more = [f"and {len(faults) - _SHOWN:,} more"] if len(faults) > _SHOWN else []
        raise InputError(f"{where}: {'; '.join([*faults[:_SHOWN], *more])}. {remedy}") from None


def _explain(fault: Mapping) -> str:
    """Explain a fault in a line: field, value found, what is expected."""
    field = ".".join(map(str, fault["loc"])) or "the record"
    if fault["type"] == "missing":
        return f"{brief(field)[1:-1]} is missing"
    expected = fault["msg"].removeprefix("Value error, ").removeprefix("Input should ")
    expected = "be an object" if fault["type"] == "model_type" else expected
    return f"{brief(field)[1:-1]} is {brief(fault['input'])}; it should {expected}"


def parse_json(content: bytes, most_bytes: int = MOST_BYTES) -> Any:
    """Parse JSON that says one thing: UTF-8, each key once, finite numbers, texts that can be written again.

    Raises:
        ValueError: it does not, or it is too large or too deep.
    """
    if len(content) > most_bytes:
        raise ValueError(f"it has more than {most_bytes:,} bytes")
    try:
        values = json.loads(
            content.decode("utf-8"), object_pairs_hook=unique_keys, parse_constant=_refuse_number, parse_float=_finite
        )
    except RecursionError:
        raise ValueError(f"it is nested more than {MOST_DEPTH} levels deep") from None
    waiting = [(values, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MOST_DEPTH:
            raise ValueError(f"it is nested more than {MOST_DEPTH} levels deep")
        if isinstance(value, str) and not value.isascii():
            value.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, a ValueError
        children = (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting += [(child, depth + 1) for child in children]
    return values


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; a key that is there twice is an error, where Python would take the last."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {brief(key)} is there twice")
        values[key] = value
    return values


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_number(text)


def _refuse_number(text: str) -> float:
    raise ValueError(f"{brief(text)[1:-1]} is no finite number")


def differences(one: object, two: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield where two nested mappings differ: the dotted path (below `path`), and both values (None = not there)."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        for key in {**one, **two}:
            yield from differences(one.get(key), two.get(key), f"{path}.{key}" if path else str(key))
    elif one != two:
        yield path, one, two
