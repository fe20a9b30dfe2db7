"""Tables of text cells: numbers as cells, and tables as Markdown, as LaTeX (booktabs) and for the terminal."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dferc.core.console import print_table
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
        cells = ([_one_line(cell).replace("|", "\\|") for cell in line] for line in lines)
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in cells))
    return "\n\n".join([*parts, *notes]) + "\n"


def _one_line(cell: str) -> str:
    """Return a cell without line breaks, which would end its row."""
    return " ".join(cell.splitlines())


_LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}
    | {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {"±": r"$\pm$", "Δ": r"$\Delta$", "−": "$-$", NONE: "--"}
)


def latex(title: str, tables: Sequence[TextTable], notes: Sequence[str]) -> str:
    r"""Return a table environment with a tabular per table, none wider than the text."""
    lines = [r"% needs \usepackage{adjustbox,booktabs}", r"\begin{table*}", r"\centering\small"]
    for table in tables:
        cells = ([_one_line(cell).translate(_LATEX) for cell in line] for line in (table.header, *table.rows))
        header, *rows = (" & ".join(line) + r" \\" for line in cells)
        if table.published < len(rows):
            rows.insert(table.published, r"\midrule")
        lines += [r"\begin{adjustbox}{max width=\textwidth}"]
        lines += [rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}", r"\toprule", header, r"\midrule", *rows]
        lines += [r"\bottomrule", r"\end{tabular}", r"\end{adjustbox}", "", r"\medskip"]
    caption = " ".join([f"{title}.", *notes]).translate(_LATEX)
    return "\n".join([*lines, rf"\caption{{{caption}}}", r"\end{table*}"]) + "\n"


def show(title: str, table: TextTable) -> None:
    """Print a table on the terminal; rows that are set apart follow in a table of the columns that they fill."""
    print_table(table.header, table.rows[: table.published], title)
    apart = table.rows[table.published :]
    filled = [column for column in range(len(table.header)) if any(row[column] != NONE for row in apart)]
    if apart:
        header, *rows = ([line[column] for column in filled] for line in (table.header, *apart))
        print_table(header, rows)


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
