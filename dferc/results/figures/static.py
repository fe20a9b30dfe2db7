"""Figures of the analyses as PDF and PNG for papers: reports/<corpus>/figures/<name> (extra `report`, matplotlib).

Widths are those of a column and of a page of two columns. Beneath each figure stand corpus, run, n, seeds and what is
simulated.
"""

import importlib.util
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dferc.core.errors import InputError
from dferc.core.files import write_atomically
from dferc.results.figures.description import COLOURS, MARKERS, Axis, Panel, Series, View
from dferc.results.figures.of_analyses import analysis_figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLUMN_IN, PAGE_IN = 3.4, 7.0

HEX = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#767676")
SYMBOLS = dict(zip(MARKERS, "oDs^PX*v", strict=True)) | {"": "none"}
DASHES = {"solid": "-", "dash": "--", "dot": ":", "": "none"}
BOX = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
"""Behind text on a colour."""
STYLE = {
    "font.family": "sans-serif",
    "font.size": 7.5,
    "axes.titlesize": 7,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "grid.color": "#d9d9d9",
    "grid.linewidth": 0.5,
    "errorbar.capsize": 2,
    "pdf.fonttype": 42,  # letters as text, as publishers want them
    "svg.hashsalt": "dferc",
}


class Sheet(NamedTuple):
    """Figures side by side in one file; without data for `needed` there is no file."""

    needed: str
    figures: tuple[str, ...]
    width_in: float
    height_in: float


SHEETS = {
    "contributions_by_class": Sheet("contributions", ("contributions",), COLUMN_IN, 2.7),
    "contributions_by_run": Sheet("contributions-runs", ("contributions-runs",), COLUMN_IN, 2.7),
    "context": Sheet("context-scores", ("context-scores", "votes"), PAGE_IN, 2.4),
    "dialogues": Sheet("by-length", ("by-length", "by-position", "by-shift"), PAGE_IN, 2.5),
    "geometry": Sheet("tsne", ("tsne",), PAGE_IN, 3.0),
    "missing": Sheet("random", ("subsets", "random"), PAGE_IN, 2.5),
    "calibration": Sheet("calibration", ("calibration",), COLUMN_IN, 3.2),
}
"""Name of the files -> what is in them."""


def verify_matplotlib() -> None:
    """Check that figures can be drawn, before anything is computed.

    Raises:
        InputError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(
            "Figures are drawn by matplotlib, which is not installed: pip install 'dferc[report]' (from a checkout: "
            "pip install -e '.[report]'), or write the numbers alone with --no-figures."
        )


def write_figures(folder: Path, analyses: Mapping) -> list[Path]:
    """Draw every analysis that has data; remove the figures of those that have none (any more).

    Args:
        folder: reports/<corpus>/figures.
        analyses: contents of analyses.json.

    Returns:
        The files written.
    """
    from matplotlib import rc_context

    printed = {figure.key: [view for view in figure.views if view.printed] for figure in analysis_figures(analyses)}
    written = []
    for name, sheet in SHEETS.items():
        paths = [folder / f"{name}.{kind}" for kind in ("pdf", "png")]
        if not printed.get(sheet.needed):
            for path in paths:
                path.unlink(missing_ok=True)
            continue
        with rc_context(STYLE):
            canvas = draw_sheet(
                sheet, analyses["corpus"], [view for key in sheet.figures for view in printed.get(key, ())]
            )
            for path in paths:
                _save(canvas, path)
        written += paths
    return written


def _save(canvas: "Canvas", path: Path) -> None:
    """Save atomically and without a date, so that the same numbers give the same bytes."""
    kind = path.suffix.removeprefix(".")
    metadata = {"CreationDate": None, "ModDate": None} if kind == "pdf" else {"Software": None}
    write_atomically(path, lambda temporary: canvas.savefig(temporary, format=kind, dpi=300, metadata=metadata))


def draw_sheet(sheet: Sheet, corpus: str, views: Sequence[View]) -> "Canvas":
    """Draw views side by side, under one legend and above one caption."""
    from matplotlib.figure import Figure as Canvas  # no window, no global state

    canvas = Canvas(figsize=(sheet.width_in, sheet.height_in), layout="constrained")
    all_axes = canvas.subplots(1, len(views), squeeze=False)[0]
    for axes, view in zip(all_axes, views, strict=True):
        _draw(axes, view.panel)
        if len(views) > 1 and view.panel.heading:
            axes.set_title(view.panel.heading)
    if len({view.panel.y for view in views}) == 1:  # one scale for all
        for axes in all_axes[1:]:
            axes.sharey(all_axes[0])
            axes.tick_params(labelleft=False)
            axes.set_ylabel("")
    if views[0].panel.bars:
        canvas.set_figheight(1.3 + 0.2 * len(views[0].panel.series[0].y))
    handles = {}
    for axes in all_axes:
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    columns = 2 if sheet.width_in == COLUMN_IN and not views[0].panel.bars else 4
    canvas.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=columns)
    canvas.supxlabel(caption(corpus, views, sheet.width_in), fontsize=6, color="#444444", x=0.01, ha="left")
    return canvas


def caption(corpus: str, views: Sequence[View], width_in: float) -> str:
    """Return corpus, findings, run, n, seeds and what is simulated, in lines that fit the width."""
    findings = dict.fromkeys(view.finding for view in views if view.finding)
    text = f"{corpus}: {' '.join([*findings, views[0].basis])}"
    return "\n".join(textwrap.wrap(text, int(width_in * 22)))


def _draw(axes: "Axes", panel: Panel) -> None:
    horizontal = panel.y.names
    names_of = [series.y if horizontal else series.x for series in panel.series]
    names = list(dict.fromkeys(name for names in names_of for name in names))
    if panel.bars:
        _draw_bars(axes, panel.series, names)
    for index, series in enumerate(() if panel.bars else panel.series):
        x, y = (np.array(values, dtype=object) for values in (series.x, series.y))
        shift = 0.12 * (index - (len(panel.series) - 1) / 2)
        if horizontal:
            y = np.array([names.index(name) for name in y]) + shift
        elif panel.x.names:
            x = np.array([names.index(name) for name in x]) + shift
        _draw_points(axes, series, x.astype(float), y.astype(float))
    for axis, letter in ((panel.x, "x"), (panel.y, "y")):
        _set_axis(axes, axis, letter, names)
    if horizontal:
        axes.invert_yaxis()


def _draw_bars(axes: "Axes", all_series: Sequence[Series], names: Sequence[str]) -> None:
    left = np.zeros(len(names))
    for series in all_series:
        rows = [names.index(name) for name in series.y]
        values = np.array([np.nan if value is None else value for value in series.x])
        style = {"color": _colour(series), "hatch": 3 * series.hatch, "edgecolor": "white", "linewidth": 0.4}
        axes.barh(rows, values, left=left[rows], height=0.72, alpha=0.75, label=series.name, **style)
        for row, value, text in zip(rows, values, series.labels, strict=True):
            if text:
                axes.text(left[row] + value / 2, row, text, ha="center", va="center", fontsize=6, bbox=BOX)
        left[rows] += np.nan_to_num(values)


def _draw_points(axes: "Axes", series: Series, x: np.ndarray, y: np.ndarray) -> None:
    colour, style = _colour(series), {"label": series.name if series.in_legend else None, "zorder": 3}
    spreads = [None if spread is None else _lengths(spread) for spread in (series.x_spread, series.y_spread)]
    marker = SYMBOLS[series.marker.removesuffix("-open")]
    face = "none" if series.marker.endswith("-open") else colour
    if series.line or any(spread is not None for spread in spreads):
        axes.errorbar(x, y, spreads[1], spreads[0], fmt="none", ecolor=colour, elinewidth=0.7)
        style |= {"linewidth": 0.6 * series.width, "linestyle": DASHES[series.line]}
        small = {"markersize": 4.5} if np.isscalar(series.size) else {"markersize": 0}
        axes.plot(x, y, color=colour, marker=marker, markerfacecolor=face, **small, **style)
    if not np.isscalar(series.size) or not (series.line or any(spread is not None for spread in spreads)):
        area = np.square(series.size) / 6
        axes.scatter(x, y, s=area, color=colour, marker=marker, alpha=series.opacity, linewidths=0, rasterized=True)


def _lengths(spread: Sequence[float | None]) -> np.ndarray:
    return np.array([0 if length is None else length for length in spread], dtype=float)


def _colour(series: Series) -> str:
    return HEX[COLOURS.index(series.colour)]


def _set_axis(axes: "Axes", axis: Axis, letter: str, names: Sequence[str]) -> None:
    from matplotlib.ticker import PercentFormatter

    own = getattr(axes, f"{letter}axis")
    own.set_label_text(axis.title)
    if axis.names:
        own.set_ticks(range(len(names)), names)
        axes.set(**{f"{letter}lim": (-0.5, len(names) - 0.5)})
    elif axis.blank:
        own.set_ticks([])
        axes.spines[["top", "right"]].set_visible(True)
    else:
        own.grid(True)
    if axis.percent:
        own.set_major_formatter(PercentFormatter(1, decimals=0))
    if axis.limits and not axis.zoom:
        axes.set(**{f"{letter}lim": axis.limits})
    if axis.from_zero:
        axes.set(**{f"{letter}lim": (0, None)})
