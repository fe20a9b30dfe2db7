"""analyses.json as static figures for papers: reports/<corpus>/figures/<name>.pdf and .png (extra `report`).

Widths are those of a column and of a page; colours are Okabe and Ito's, which people with any colour vision tell apart,
and never the only difference. What corpus, how many utterances and seeds, and what is simulated, stands beneath.
"""

import importlib.util
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dferc.core.errors import InputError
from dferc.core.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN_IN, PAGE_IN = 3.4, 7.0
"""Inches: a column and a page of two columns."""

STYLE = {
    "font.family": "sans-serif",
    "font.size": 7.5,
    "axes.titlesize": 7.5,
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
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "errorbar.capsize": 2,
    "pdf.fonttype": 42,  # letters as text, as publishers want them
    "svg.hashsalt": "dferc",
}


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


def write_figures(folder: Path, found: Mapping) -> list[Path]:
    """Draw every analysis that has data; figures of those that have none (any more) are removed.

    Args:
        folder: reports/<corpus>/figures.
        found: what analyses.json holds.

    Returns:
        The files written.
    """
    from matplotlib import rc_context

    from dferc.results.analyses.drawing import DRAWINGS

    written = []
    for name, (draw, width_in, height_in) in DRAWINGS.items():
        with rc_context(STYLE):
            figure = new_figure(width_in, height_in)
            drawn = draw(figure, found)
            if drawn:
                figure.supxlabel(note(found, drawn, width_in), fontsize=6, color="#444444", x=0.01, ha="left")
            paths = [folder / f"{name}.{kind}" for kind in ("pdf", "png")]
            for path in paths:
                if drawn:
                    _save(figure, path)
                    written.append(path)
                else:
                    path.unlink(missing_ok=True)
    return written


def new_figure(width_in: float, height_in: float) -> "Figure":
    """An empty figure that makes room for its labels by itself; no window, no global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def _save(figure: "Figure", path: Path) -> None:
    """Atomically; no date within, so that the same numbers give the same bytes."""
    kind = path.suffix.removeprefix(".")
    metadata = {"CreationDate": None, "ModDate": None} if kind == "pdf" else {"Software": None}
    write_atomically(path, lambda part: figure.savefig(part, format=kind, dpi=300, metadata=metadata))


def note(found: Mapping, drawn: str, width_in: float) -> str:
    """What stands beneath a figure: of what, from how many, and what is simulated."""
    parts = [
        f"{found['corpus']}, {found['split']}: {found['labelled']} labelled utterances in {found['dialogue_count']} "
        f"dialogues. {drawn}"
    ]
    parts += [f"Simulated: {sentence}." for sentence in found["simulated"]]
    return "\n".join(line for part in parts for line in textwrap.wrap(part, int(width_in * 22)))


def over_seeds(found: Mapping, *runs: str) -> str:
    """A sentence on the seeds of what is drawn."""
    counts = {len(found["runs"][run]["seeds"]) for run in runs}
    if counts == {1}:
        return "One seed: no standard deviation."
    seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    return f"Mean ± standard deviation over {seeds} seeds."
