"""Votes of annotators, perturbed: cells of text and matrices, each with the shares that are right.

A share of None = to be refused or listed as a problem; NOTHING = a row without votes.
"""

import random
from collections.abc import Callable, Sequence

CLASSES = ("anger", "joy", "très triste")
NOTHING = (float("nan"),) * len(CLASSES)

Shares = tuple[float, ...] | None


def shares_of(counts: Sequence[float]) -> Shares:
    return tuple(count / sum(counts) for count in counts)


def written(counts: Sequence[object], names: Sequence[str] = CLASSES) -> str:
    return " ".join(f"{name}:{count}" for name, count in zip(names, counts, strict=True))


def _good(chance: random.Random, counts: list[int]) -> tuple[str, Shares]:
    return written(counts), shares_of(counts)


def _without_zeros(chance: random.Random, counts: list[int]) -> tuple[str, Shares]:
    pairs = [(name, count) for name, count in zip(CLASSES, counts, strict=True) if count]
    chance.shuffle(pairs)
    return " ".join(f"{name}:{count}" for name, count in pairs), shares_of(counts)


def _otherwise(chance: random.Random, counts: list[int]) -> tuple[str, Shares]:
    names = [chance.choice([str.upper, str.title, lambda name: f" {name}\u200b"])(name) for name in CLASSES]
    text = chance.choice([written(counts, names), written(counts).replace(":", " : "), written(counts) + " ;"])
    return text, shares_of(counts)


def _as_numbers(chance: random.Random, counts: list[int]) -> tuple[str, Shares]:
    write = chance.choice([float, "{:.1e}".format, "+{}".format, lambda count: f"{count},0"])
    return written([write(count) for count in counts]), shares_of(counts)


def _as_shares(chance: random.Random, counts: list[int]) -> tuple[str, Shares]:
    rounded = [round(share, 2) for share in shares_of(counts)]
    return written(rounded), shares_of(rounded)


def _nothing(chance: random.Random, counts: list[int]) -> tuple[str, Shares]:
    return chance.choice(["", " ", "NA", "nan", "None", "null", "<NA>"]), NOTHING


def _wrong(chance: random.Random, counts: list[int]) -> tuple[str, Shares]:
    a, b, c = counts
    wrong = [
        f"anger:{a} joy:-1", f"anger:{a} jyo:{b}", f"anger:{a} anger:{b}", f"anger={a} joy={b}", f"anger {a} joy {b}",
        f"anger:{a}, joy:{b}", f"anger:{a} joy", "anger:0 joy:0", "anger:0.5 joy:0.2", "anger:nan joy:1",
        "anger:inf joy:1", "anger:1e308 joy:1e308", "anger:" + "9" * 400, f"anger:{a}:{b}", f"{a},{b},{c}",
        f"[{a}, {b}, {c}]", "anger", "anger:½ joy:½", "{'anger': 2}", "anger:1e400 joy:1", ":1", "anger:",
    ]  # fmt: skip
    return chance.choice(wrong), None


CELLS: list[Callable[[random.Random, list[int]], tuple[str, Shares]]] = [
    _good, _without_zeros, _otherwise, _as_numbers, _as_shares, _nothing, _wrong,
]  # fmt: skip


def counts_for(chance: random.Random, label: str) -> list[int]:
    """Return counts of which most are for the label."""
    counts = [chance.randint(0, 2) for _ in CLASSES]
    counts[CLASSES.index(label)] = chance.randint(3, 6)
    return counts
