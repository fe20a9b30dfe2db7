"""Tables of text cells and how they are written: Markdown, LaTeX (booktabs), the terminal; numbers in percent."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.markup import escape
from rich.table import Table

from dferc.results.statistics import Interval

NONE = "–"
"""Where there is no such number."""


class Grid(NamedTuple):
    """A table of cells, all text; rows from `published` on are set apart."""

    header: list[str]
    rows: list[list[str]]
    published: int


def markdown(title: str, grids: Sequence[Grid], text: Sequence[str]) -> str:
    """GitHub's tables, below each other, then the notes."""
    parts = [f"**{title}**"]
    for grid in grids:
        lines = [grid.header, ["---"] + ["---:"] * (len(grid.header) - 1), *grid.rows]
        cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in cells))
    return "\n\n".join([*parts, *text]) + "\n"


_LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
    | {each: f"\\{each}" for each in "&%$#_{}"}
    | {"±": r"$\pm$", "Δ": r"$\Delta$", "−": "$-$", NONE: "--"}
)


def latex(title: str, grids: Sequence[Grid], text: Sequence[str]) -> str:
    r"""A table environment with a tabular per grid; needs \usepackage{booktabs}."""
    lines = [r"% needs \usepackage{booktabs}", r"\begin{table*}", r"\centering\small"]
    for grid in grids:
        rows = [" & ".join(cell.translate(_LATEX) for cell in line) + r" \\" for line in grid.rows]
        if grid.published < len(rows):
            rows.insert(grid.published, r"\midrule")
        header = " & ".join(cell.translate(_LATEX) for cell in grid.header) + r" \\"
        lines += [rf"\begin{{tabular}}{{l{'r' * (len(grid.header) - 1)}}}", r"\toprule", header, r"\midrule", *rows]
        lines += [r"\bottomrule", r"\end{tabular}", "", r"\medskip"]
    words = " ".join([f"{title}.", *text]).translate(_LATEX)
    return "\n".join([*lines, rf"\caption{{{words}}}", r"\end{table*}"]) + "\n"


def terminal(title: str, grid: Grid) -> Table:
    """For `console.print`; rows set apart are dim."""
    table = Table(title=escape(title), box=None, header_style="bold")
    for at, heading in enumerate(grid.header):
        table.add_column(escape(heading), justify="right" if at else "left")
    for at, row in enumerate(grid.rows):
        table.add_row(*map(escape, row), style="dim" if at >= grid.published else None)
    return table


def spread(values_S: np.ndarray | None) -> str:
    """Mean ± standard deviation over the seeds [S]; the mean alone for a single one."""
    if values_S is None:
        return NONE
    mean = f"{100 * values_S.mean():.2f}"
    return mean if len(values_S) < 2 else f"{mean} ± {100 * values_S.std(ddof=1):.2f}"


def interval_of(interval: Interval | None) -> str:
    """Both ends."""
    return NONE if interval is None else f"[{signed(interval.low)}, {signed(interval.high)}]"


def signed(value: float) -> str:
    """A difference, with its sign."""
    return f"{100 * value:+.2f}".replace("-", "−")


def percent(value: float | None) -> str:
    """A number that is in percent already."""
    return NONE if value is None else f"{value:.2f}"


def p_of(p: float | None) -> str:
    """A p to three decimals."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
