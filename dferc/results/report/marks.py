"""What the figures of the analyses share: colours, marks, axes, captions; numbers over seeds as points with bars."""

from collections.abc import Mapping, Sequence

from dferc.results.report.figures import plain
from dferc.results.report.summary import Basis

LOOKS = {"text": ("--c1", ""), "audio": ("--c2", "/"), "visual": ("--c3", ".")}
"""Colour and pattern of a modality."""
SCORES = {"accuracy": ("--c1", "circle"), "weighted_f1": ("--c2", "diamond")}
WORDS = {"weighted_f1": "weighted F1", "by_modality": "by modality", "by_utterance": "by utterance"}
SHARE = {"range": [0, 1.02], "tickformat": ".0%"}


def caption_of(found: Mapping, analysis: str, basis: Basis, run: str, more: str = "") -> str:
    """How an analysis was made, then the run, n, seeds and what is simulated."""
    said = " ".join(filter(None, (found[analysis]["how"], more)))
    return f"{said} {basis.sentence(len(found['runs'][run]['seeds']), run)}"


def column(cells: Sequence[Mapping], key: str, of: str = "mean") -> list:
    """One number of every cell; None where there is none."""
    return [cell[key][of] for cell in cells]


def points(name: str, x: Sequence, cells: Sequence[Mapping], key: str, **more) -> dict:
    """Means over the seeds with standard deviations as bars; n on hovering."""
    colour, symbol = SCORES.get(key, ("--c3", "square"))
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": plain(name),
        "x": list(x),
        "y": column(cells, key),
        "error_y": {"type": "data", "array": column(cells, key, "std"), "thickness": 1.5, "width": 4},
        "text": [f"n = {n:g}" for n in column(cells, key, "n")],
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "symbol": symbol, "size": 9},
        "offsetgroup": plain(name),
    } | more


def lying(trace: dict) -> dict:
    """The same along the horizontal axis, for names that are long."""
    lying = trace | {"x": trace["y"], "y": trace["x"], "error_x": trace["error_y"], "orientation": "h"}
    del lying["error_y"]
    return lying


def quantity(title: str, **more) -> dict:
    """An axis with its title."""
    return {"title": {"text": title}} | more
