"""Tables of text cells: numbers as cells, and tables as Markdown, as LaTeX (booktabs) and for the terminal."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rich.table import Table

from dferc.results.statistics import Interval

NONE = "–"  # cell without a number


class TextTable(NamedTuple):
    """Table of text cells; rows from `published` on are set apart."""

    header: list[str]
    rows: list[list[str]]
    published: int


def markdown(title: str, tables: Sequence[TextTable], notes: Sequence[str]) -> str:
    """Return GitHub's tables, below each other, then the notes."""
    parts = [f"**{title}**"]
    for table in tables:
        lines = [table.header, ["---"] + ["---:"] * (len(table.header) - 1), *table.rows]
        cells = ([" ".join(cell.replace("|", "\\|").splitlines()) for cell in line] for line in lines)
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in cells))
    return "\n\n".join([*parts, *notes]) + "\n"


_LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
    | {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {"±": r"$\pm$", "Δ": r"$\Delta$", "−": "$-$", NONE: "--"}
)


def latex(title: str, tables: Sequence[TextTable], notes: Sequence[str]) -> str:
    r"""Return a table environment with a tabular per table; needs \usepackage{booktabs}."""
    lines = [r"% needs \usepackage{booktabs}", r"\begin{table*}", r"\centering\small"]
    for table in tables:
        lines_of_cells = (table.header, *table.rows)
        header, *rows = (" & ".join(cell.translate(_LATEX) for cell in line) + r" \\" for line in lines_of_cells)
        if table.published < len(rows):
            rows.insert(table.published, r"\midrule")
        lines += [rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}", r"\toprule", header, r"\midrule", *rows]
        lines += [r"\bottomrule", r"\end{tabular}", "", r"\medskip"]
    caption = " ".join([f"{title}.", *notes]).translate(_LATEX)
    return "\n".join([*lines, rf"\caption{{{caption}}}", r"\end{table*}"]) + "\n"


def terminal(title: str, table: TextTable) -> Table:
    """Return a table for `console.print`; rows that are set apart are dim."""
    printed = Table(title=title, box=None, header_style="bold")
    for column, heading in enumerate(table.header):
        printed.add_column(heading, justify="right" if column else "left")
    for number, row in enumerate(table.rows):
        printed.add_row(*row, style="dim" if number >= table.published else None)
    return printed


def mean_cell(values_S: np.ndarray | None) -> str:
    """Return mean ± standard deviation over the seeds [S] in percent; the mean alone for a single seed."""
    if values_S is None:
        return NONE
    mean = f"{100 * values_S.mean():.2f}"
    return mean if len(values_S) < 2 else f"{mean} ± {100 * values_S.std(ddof=1):.2f}"


def interval_cell(interval: Interval | None) -> str:
    """Return both ends of an interval, in percent."""
    return NONE if interval is None else f"[{difference_cell(interval.low)}, {difference_cell(interval.high)}]"


def difference_cell(value: float) -> str:
    """Return a difference with its sign, in percent."""
    return f"{100 * value:+.2f}".replace("-", "−")


def p_cell(p: float | None) -> str:
    """Return a p to three decimals."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
