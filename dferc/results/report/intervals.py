"""Drawn intervals of the ablation table: one scale for all rows, zero on it, arrows where it ends."""

import math
from collections.abc import Sequence

from dferc.results.compare import Ablation, Difference

WIDTH = 180
EDGE = 14  # pixels left free at either end, for the numbers of the scale
TICKS = 5
LIMIT = 0.25  # end of the scale on either side: a baseline that is far off must not squeeze the variants into dots


def drawn_intervals(ablation: Ablation, after: int) -> dict | None:
    """Return the differences in weighted F1 of all rows, drawn after a column; None where nothing is compared.

    Positions are in pixels. `mean` is None beyond the scale, `beyond` names the sides on which a row leaves it, and the
    ends of `dialogues` and `seeds` are None where there is no interval.
    """
    differences = {row.name: row.comparison.differences["weighted_f1"] for row in ablation.rows if row.comparison}
    if not differences:
        return None
    values = [0.0, *(value for difference in differences.values() for value in _values(difference))]
    low, high = max(min(values), -LIMIT), min(max(values), LIMIT)
    scale = (WIDTH - 2 * EDGE) / ((high - low) or 1.0)

    def place(value: float) -> float:
        return round(EDGE + (min(max(value, low), high) - low) * scale, 1)

    def draw(difference: Difference) -> dict:
        dialogues, seeds = (over and (place(over.low), place(over.high)) for over in difference[1:])
        beyond = {"left": min(_values(difference)) < low, "right": max(_values(difference)) > high}
        return {
            "mean": place(difference.mean) if low <= difference.mean <= high else None,
            "beyond": [side for side, is_beyond in beyond.items() if is_beyond],
            "dialogues": dialogues,
            "seeds": seeds,
        }

    percents = ticks(100 * low, 100 * high)
    return {
        "width": WIDTH,
        "after": after,
        "zero": place(0.0),
        "ticks": [(place(tick / 100), f"{tick:+g}".replace("-", "−") if tick else "0") for tick in percents],
        "rows": {name: draw(difference) for name, difference in differences.items()},
    }


def _values(difference: Difference) -> list[float]:
    mean, *intervals = difference
    return [mean, *(end for interval in filter(None, intervals) for end in (interval.low, interval.high))]


def ticks(low: float, high: float) -> Sequence[float]:
    """Return round numbers between two others, at most `TICKS`: steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    power = 10 ** math.floor(math.log10((high - low) / TICKS))
    step = next(factor * power for factor in (1, 2, 5, 10) if (high - low) / (factor * power) < TICKS)
    return [round(index * step, 10) for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
