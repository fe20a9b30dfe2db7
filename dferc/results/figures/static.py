"""Figures of the analyses as PDF and PNG for papers: reports/<corpus>/figures/<name> (extra `report`, matplotlib).

Widths are those of a column and of a page of two columns. Beneath each figure stand corpus, run, n, seeds and what is
simulated.
"""

import importlib.util
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dferc.core.console import print_note
from dferc.core.errors import InputError
from dferc.core.files import write_atomically
from dferc.results.figures.description import COLOURS, MARKERS, Axis, Panel, Series, View
from dferc.results.figures.of_analyses import analysis_figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLUMN_IN, PAGE_IN = 3.4, 7.0

HEX = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#767676")
"""The palette as numbers; the page has its own shades, for light and dark grounds."""
SYMBOLS = dict(zip(MARKERS, "oDs^PX*v", strict=True)) | {"": ""}
DASHES = {"solid": "-", "dash": "--", "dot": ":", "": "none"}
BOX = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
"""Behind text on a colour."""
STYLE = (
    {"font.size": 7.5, "axes.titlesize": 7, "axes.labelsize": 7.5, "legend.fontsize": 7}
    | {"xtick.labelsize": 7, "ytick.labelsize": 7, "legend.frameon": False, "errorbar.capsize": 2}
    | {"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.linewidth": 0.6}
    | {"grid.color": "#d9d9d9", "grid.linewidth": 0.5, "svg.hashsalt": "dferc"}
    | {"text.parse_math": False}  # a $ of a class name is no formula
    | {"pdf.fonttype": 42}  # letters as text, as publishers want them
)
FURTHER_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei", "PingFang SC", "Microsoft YaHei")
FURTHER_FONTS += ("Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai")
"""For letters that matplotlib's own font lacks, where they are installed."""
METADATA = {"pdf": {"CreationDate": None, "ModDate": None}, "png": {"Software": None}}
"""Formats -> what is left out, so that the same numbers give the same bytes."""


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
    """Raise an InputError if matplotlib is not installed, before anything is computed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(
            "Figures are drawn by matplotlib, which is not installed: pip install '.[report]', or write the numbers "
            "alone with --no-figures."
        )


def write_figures(folder: Path, analyses: Mapping) -> list[Path]:
    """Draw every analysis that has data, remove the figures of the others, and return the files written."""
    from matplotlib import font_manager, rc_context

    there, boxes = set(font_manager.get_font_names()), False
    families = ["sans-serif", *(name for name in FURTHER_FONTS if name in there)]
    printed = {figure.key: [view for view in figure.views if view.printed] for figure in analysis_figures(analyses)}
    written = []
    for name, sheet in SHEETS.items():
        paths = {kind: folder / f"{name}.{kind}" for kind in METADATA}
        if not printed.get(sheet.needed):
            for path in paths.values():
                path.unlink(missing_ok=True)
            continue
        with rc_context(STYLE | {"font.family": families}), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            views = [view for key in sheet.figures for view in printed.get(key, ())]
            canvas = draw_sheet(sheet, analyses["corpus"], views)
            for kind, path in paths.items():
                write_atomically(path, partial(canvas.savefig, format=kind, dpi=300, metadata=METADATA[kind]))
        boxes |= any("missing from font" in str(warning.message) for warning in caught)
        written += paths.values()
    if boxes:
        print_note(
            f"{folder}: no font here has some letters of the class names, which are boxes in the figures. Install one, "
            f"such as {FURTHER_FONTS[0]}."
        )
    return written


def draw_sheet(sheet: Sheet, corpus: str, views: Sequence[View]) -> "Canvas":
    """Draw views side by side, under one legend and above one caption."""
    from matplotlib.figure import Figure as Canvas  # no window, no global state

    canvas = Canvas(figsize=(sheet.width_in, sheet.height_in), layout="constrained")
    one_scale = len({view.panel.y for view in views}) == 1
    handles = {}
    for axes, view in zip(canvas.subplots(1, len(views), sharey=one_scale, squeeze=False)[0], views, strict=True):
        _draw(axes, view.panel)
        if len(views) > 1:
            axes.set_title(view.panel.heading)
        if one_scale:
            axes.label_outer()
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    canvas.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4, columnspacing=1.2)
    canvas.supxlabel(caption(corpus, views, sheet.width_in), fontsize=6, color="#444444", x=0.01, ha="left")
    return canvas


def caption(corpus: str, views: Sequence[View], width_in: float) -> str:
    """Return corpus, findings, run, n, seeds and what is simulated, in lines that fit the width."""
    findings = dict.fromkeys(view.finding for view in views if view.finding)
    return "\n".join(textwrap.wrap(f"{corpus}: {' '.join([*findings, views[0].basis])}", int(width_in * 22)))


def _draw(axes: "Axes", panel: Panel) -> None:
    columns = [series.y if panel.y.names else series.x for series in panel.series]
    names = list(dict.fromkeys(name for column in columns for name in column))
    if panel.kind == "bars":
        _draw_bars(axes, panel.series, names)
    else:
        # Markers of one name stand beside each other; where lines join them, close together.
        step = 0.1 if any(series.line for series in panel.series) else 0.24
        for index, series in enumerate(panel.series):
            shift = step * (index - (len(panel.series) - 1) / 2)
            values = (
                [names.index(value) + shift for value in column] if axis.names else column
                for axis, column in ((panel.x, series.x), (panel.y, series.y))
            )
            _draw_points(axes, series, *(np.array(column, dtype=float) for column in values))  # None becomes NaN
    for axis, letter in ((panel.x, "x"), (panel.y, "y")):
        _set_axis(axes, axis, letter, names)
    if panel.y.names:
        axes.invert_yaxis()


def _draw_bars(axes: "Axes", all_series: Sequence[Series], names: Sequence[str]) -> None:
    left = np.zeros(len(names))
    for series in all_series:
        rows, values = [names.index(name) for name in series.y], np.nan_to_num(np.array(series.x, dtype=float))
        style = {"color": HEX[COLOURS.index(series.colour)], "alpha": 0.75, "edgecolor": "white", "linewidth": 0.4}
        axes.barh(rows, values, left=left[rows], height=0.72, hatch=3 * series.hatch, label=series.name, **style)
        for row, value, label in zip(rows, values, series.labels, strict=True):
            if label:
                axes.text(left[row] + value / 2, row, label, ha="center", va="center", fontsize=6, bbox=BOX)
        left[rows] += values
    axes.figure.set_figheight(1.3 + 0.2 * len(names))


def _draw_points(axes: "Axes", series: Series, x: np.ndarray, y: np.ndarray) -> None:
    colour, is_open, one_size = HEX[COLOURS.index(series.colour)], "-open" in series.marker, np.isscalar(series.size)
    spreads = (spread and np.nan_to_num(np.array(spread, dtype=float)) for spread in (series.y_spread, series.x_spread))
    style = {
        "color": colour,
        "marker": SYMBOLS[series.marker.removesuffix("-open")],
        "markersize": series.size / 2 if one_size else 0,
        "markerfacecolor": "white" if is_open else colour,
        "markeredgecolor": colour if is_open else "none",
        "linestyle": DASHES[series.line],
        "linewidth": 0.6 * series.width,
        "elinewidth": 0.7,
        "label": series.name if series.in_legend else None,
    }
    axes.errorbar(x, y, *spreads, rasterized=not series.line, **style)
    if not one_size:
        axes.scatter(x, y, np.square(series.size) / 6, color=colour, alpha=series.opacity, linewidths=0)


def _set_axis(axes: "Axes", axis: Axis, letter: str, names: Sequence[str]) -> None:
    from matplotlib.ticker import PercentFormatter

    drawn, limits = getattr(axes, f"{letter}axis"), (0, None) if axis.from_zero else axis.limits
    drawn.set_label_text(axis.title)
    if letter == "x" and names and not axis.names:  # beside long names the axis is narrower than its title
        axes.set_xlabel(axis.title, loc="right")
    if axis.names:
        # of a long name, the end stays, where the count is
        shown = [name if len(name) <= 28 else f"{name[:18]}…{name[-9:]}" for name in names]
        drawn.set_ticks(range(len(names)), shown)
        limits = (-0.5, len(names) - 0.5)
    elif axis.blank:
        drawn.set_ticks([])
    else:
        drawn.grid(True)
    if axis.percent:
        drawn.set_major_formatter(PercentFormatter(1, decimals=0))
    if limits and not axis.zoom:
        axes.set(**{f"{letter}lim": limits})
