"""Random faults for files: of bytes, of JSON values, of lines; and how many of them a test tries."""

import json
import os
import random
from collections.abc import Iterator
from typing import Any

COUNT = int(os.environ.get("DFERC_PERTURBATIONS", "60"))
"""Perturbations of a property test; `DFERC_PERTURBATIONS=3000` runs more."""

VALUES = [
    None, True, False, 0, -1, 1.5, -0.0, 1e308, 10**30, 10**400, float("nan"), float("inf"), "", "text", "0", "[/]",
    "[red]x", "\x1b[31mred", "\ud800", "a\x00b", "\u202e", "x" * 5000, [], {}, [None], ["text"], [[1, 2], [3]],
    {"text": 1}, {"a": {"b": {}}}, [0] * 300,
]  # fmt: skip


def nested(levels: int) -> Any:
    """Return lists in lists, `levels` deep."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the path of every value inside a document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


def at(value: Any, path: tuple) -> Any:
    for key in path:
        value = value[key]
    return value


def perturb_json(text: str, chance: random.Random, only_wrong_types: bool = False) -> tuple[str, str]:
    """Change one value of a JSON document; return the text and what was done.

    With `only_wrong_types`, no value is replaced by another that may stand there.
    """
    document = json.loads(text)
    path = chance.choice(list(places(document)))
    parent, key = at(document, path[:-1]), path[-1]
    kinds = ("delete", "replace", "nest", "duplicate", "rename", "deep", "whole")
    kind = chance.choice(kinds if only_wrong_types else (*kinds, "swap"))
    if kind == "delete":
        del parent[key]
    elif kind == "replace":
        before = parent[key]
        others = [value for value in VALUES if not only_wrong_types or type(value) is not type(before)]
        if only_wrong_types and isinstance(before, float | int):
            others = [value for value in others if not isinstance(value, float | int)]
        parent[key] = chance.choice(others)
    elif kind == "nest":
        parent[key] = chance.choice([[parent[key]], {"value": parent[key]}])
    elif kind == "duplicate" and isinstance(parent, dict):
        part = f"{json.dumps(key)}: "
        return text.replace(part, f"{part}{json.dumps(chance.choice(VALUES[:6]))}, {part}", 1), f"duplicate {path}"
    elif kind == "rename" and isinstance(parent, dict):
        parent[chance.choice(["other", "[/]", key.upper() + "_", key + "\x1b"])] = parent.pop(key)
    elif kind == "deep":
        parent[key] = nested(chance.choice([40, 500]))
    elif kind == "whole":
        document = chance.choice([*VALUES, nested(900)])
    elif kind == "swap":
        other = chance.choice(list(places(document)))
        at(document, path[:-1])[key] = at(document, other)
    return dump(document), f"{kind} {path}"


def dump(document: Any) -> str:
    """Write JSON as hostile as it comes: NaN, lone surrogates, numbers of hundreds of digits."""
    try:
        return json.dumps(document)
    except (ValueError, RecursionError):  # a document in itself, by a swap
        return "[" * 100_000


def perturb_bytes(content: bytes, chance: random.Random) -> tuple[bytes, str]:
    """Damage the bytes of a file; return them and what was done."""
    kind = chance.choice(["truncate", "flip", "insert", "empty", "garbage", "repeat", "utf-16", "drop"])
    place = chance.randrange(len(content) + 1)
    changed = {
        "truncate": content[:place],
        "flip": content[:place] + bytes([chance.randrange(256)]) + content[place + 1 :],
        "insert": content[:place] + chance.randbytes(chance.choice([1, 8, 300])) + content[place:],
        "empty": b"",
        "garbage": chance.randbytes(200),
        "repeat": content + content,
        "utf-16": content.decode("latin-1").encode("utf-16"),
        "drop": content[:place] + content[place + chance.choice([1, 30]) :],
    }
    return changed[kind], f"{kind} at {place}"


def perturb_lines(text: str, chance: random.Random) -> tuple[str, str]:
    """Drop, swap, duplicate or damage lines of a text; return it and what was done."""
    lines = text.splitlines(keepends=True)
    one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
    kind = chance.choice(["drop", "swap", "duplicate", "cells", "value", "indent", "shorten"])
    if kind == "drop":
        del lines[one]
    elif kind == "swap":
        lines[one], lines[two] = lines[two], lines[one]
    elif kind == "duplicate":
        lines.insert(two, lines[one])
    elif kind == "cells":
        lines[one] = lines[one].replace(",", chance.choice([",,", "", ";"]), 1)
    elif kind == "value":
        words = lines[one].replace(",", " ").split() or [""]
        lines[one] = lines[one].replace(chance.choice(words), str(chance.choice(VALUES[:20])), 1)
    elif kind == "indent":
        lines[one] = chance.choice(["  ", "\t", "- ", "? "]) + lines[one]
    else:
        lines[one] = lines[one][: len(lines[one]) // 2] + "\n"
    return "".join(lines), f"{kind} line {one + 1}"
