"""Where the drawn intervals of the ablation table lie: one scale for all rows, zero on it, arrows where it ends."""

import math
from collections.abc import Iterator, Sequence

from dferc.results.compare import Ablation, Difference
from dferc.results.statistics import Interval

WIDTH = 180
"""px"""
EDGE = 14
"""px left free at either end, for the numbers of the scale."""
TICKS = 5
"""At most."""
LIMIT = 0.25
"""The scale ends there on either side: a baseline that is far off must not squeeze the variants into dots."""


def drawn_intervals(ablation: Ablation, after: int) -> dict | None:
    """Differences in weighted F1 of all rows as positions in px.

    Args:
        ablation: the table.
        after: the column that the drawing follows.

    Returns:
        width, after, zero; ticks: positions with their numbers in percent; rows: by name `mean` (None beyond the
        scale), the ends of `dialogues` and `seeds` (None where there is no interval), and `beyond`: on which sides the
        row leaves the scale. None where nothing is compared.
    """
    made = {row.name: row.comparison.differences["weighted_f1"] for row in ablation.rows if row.comparison}
    if not made:
        return None
    values = [0.0, *(value for each in made.values() for value in _values(each))]
    low, high = max(min(values), -LIMIT), min(max(values), LIMIT)
    scale = (WIDTH - 2 * EDGE) / ((high - low) or 1.0)

    def place(value: float) -> float:
        return round(EDGE + (min(max(value, low), high) - low) * scale, 1)

    def ends(interval: Interval | None) -> tuple[float, float] | None:
        return interval and (place(interval.low), place(interval.high))

    def drawn(each: Difference) -> dict:
        beyond = {"left": min(_values(each)) < low, "right": max(_values(each)) > high}
        return {
            "mean": place(each.mean) if low <= each.mean <= high else None,
            "dialogues": ends(each.dialogues),
            "seeds": ends(each.seeds),
            "beyond": [side for side, is_so in beyond.items() if is_so],
        }

    return {
        "width": WIDTH,
        "after": after,
        "zero": place(0.0),
        "ticks": [(place(value / 100), _signed(value)) for value in ticks(100 * low, 100 * high)],
        "rows": {name: drawn(each) for name, each in made.items()},
    }


def _values(made: Difference) -> Iterator[float]:
    yield made.mean
    for interval in filter(None, (made.dialogues, made.seeds)):
        yield from (interval.low, interval.high)


def _signed(value: float) -> str:
    return f"{value:+g}".replace("-", "−") if value else "0"


def ticks(low: float, high: float) -> Sequence[float]:
    """Round numbers between two others, at most `TICKS`: steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    power = 10 ** math.floor(math.log10((high - low) / TICKS))
    step = next(each * power for each in (1, 2, 5, 10) if (high - low) / (each * power) < TICKS)
    return [round(at * step, 10) for at in range(math.ceil(low / step), math.floor(high / step) + 1)]
