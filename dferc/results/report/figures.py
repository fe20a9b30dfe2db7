"""Interactive figures as plain data for plotly.js: learning curves, confusion matrices, F1 per class.

A colour is a name such as `--c1`, a custom property of page/style.css, so that it suits light and dark alike. Plotly
reads a little HTML in texts: whatever comes from data goes through `plain`. S seeds, C classes.
"""

import csv
import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dferc.core.errors import InputError
from dferc.results.compare import Ablation
from dferc.results.report.summary import Basis, counted
from dferc.results.runs import Run


class View(NamedTuple):
    """One state of a figure."""

    name: str
    """What it shows: a run, where there are several to choose from."""
    traces: list[dict]
    layout: dict
    caption: str


class Figure(NamedTuple):
    """A figure of the report; with several views, one chooses."""

    key: str
    title: str
    views: list[View]
    choice: str = "Run"
    """What one chooses."""


def plain(text: str) -> str:
    """A text of the data as plotly shows it letter by letter."""
    return html.escape(str(text), quote=False)


# ---------------------------------------------------------------------------------------------------- curves

CURVES = {"weighted_f1": "Weighted F1 by epoch", "loss": "Loss by epoch"}
HOW_CURVES = (
    "Mean over the seeds that reached the epoch (thick), each seed's validation (thin), and the epochs that validation "
    "chose, which are what is scored (circles). Train is measured while training, with dropout."
)


def curve_figures(folder: Path, ablation: Ablation, basis: Basis) -> list[Figure]:
    """Learning curves of every run that has any (baselines have none).

    Args:
        folder: runs/<corpus>.
        ablation: whose runs.
        basis: for captions.

    Raises:
        InputError: a history is no readable table.
    """
    histories = {row.name: read_histories(folder / row.name, row.run.seeds) for row in ablation.rows}
    splits, figures = ablation.reference.card["splits"], []
    sizes = ", ".join(
        f"{name} n = {splits[name]['labelled']:,} labelled utterances" for name in ("train", "validation")
    )
    for quantity, title in CURVES.items():
        views = [
            View(
                name,
                list(_curves(by_seed, quantity)),
                {"xaxis": {"title": {"text": "epoch"}}, "yaxis": {"title": {"text": quantity.replace("_f1", " F1")}}},
                f"{HOW_CURVES} Run {name}; {sizes}; {counted(len(by_seed), 'seed')}. {basis.simulated}",
            )
            for name, by_seed in histories.items()
            if by_seed
        ]
        figures.append(Figure(f"curve-{quantity}", title, views))
    return [figure for figure in figures if figure.views]


def read_histories(folder: Path, seeds: Sequence[int]) -> dict[int, list[dict[str, float]]]:
    """train/seed-<s>/history.csv of each seed that has one.

    Raises:
        InputError: one is no readable table.
    """
    found = {}
    for seed in seeds:
        path = folder / f"train/seed-{seed}/history.csv"
        if path.exists():
            try:
                with open(path, newline="", encoding="utf-8") as file:
                    found[seed] = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
            except (TypeError, ValueError) as error:
                raise InputError(f"{path} is no table of epochs ({error}). Train {folder.name} again.") from error
    return found


def _curves(by_seed: Mapping[int, list[dict]], quantity: str) -> Iterator[dict]:
    """Seeds thin, then both means, then the chosen epochs."""
    validation = {seed: [row[f"validation_{quantity}"] for row in rows] for seed, rows in by_seed.items()}
    for seed, values in validation.items():
        yield _line(f"validation, seed {seed}", values, "--c1", width=1) | {"opacity": 0.45, "showlegend": False}
    train = [[row[f"train_{quantity}"] for row in rows] for rows in by_seed.values()]
    yield _line("train, mean", _means(train), "--c2", width=2.5, dash="dash")
    yield _line("validation, mean", _means(list(validation.values())), "--c1", width=2.5)
    best = {seed: int(np.argmax([row["validation_weighted_f1"] for row in rows])) for seed, rows in by_seed.items()}
    yield {
        "type": "scatter",
        "mode": "markers",
        "name": "chosen epoch",
        "x": [at + 1 for at in best.values()],
        "y": [validation[seed][at] for seed, at in best.items()],
        "text": [f"seed {seed}" for seed in best],
        "marker": {"symbol": "circle-open", "size": 9, "color": "--c1", "line": {"width": 2}},
    }


def _line(name: str, values: Sequence[float], colour: str, width: float, dash: str = "solid") -> dict:
    line = {"color": colour, "width": width, "dash": dash}
    epochs = list(range(1, len(values) + 1))
    return {"type": "scatter", "mode": "lines", "name": name, "x": epochs, "y": list(values), "line": line}


def _means(columns: Sequence[Sequence[float]]) -> list[float]:
    longest = max(map(len, columns), default=0)
    return [float(np.mean([each[at] for each in columns if len(each) > at])) for at in range(longest)]


# ---------------------------------------------------------------------------------------------------- confusion

HOW_CONFUSION = (
    "Of the utterances of each true class (row), the share in percent that was taken for each class (column); mean "
    "over the seeds. A row sums to 100; the diagonal is the recall. Hover for numbers of utterances."
)


def confusion_figure(ablation: Ablation, basis: Basis) -> Figure:
    """Row-normalised confusion matrices, one per run; classes that the split lacks have an empty row."""
    views = []
    for row in ablation.rows:
        names, support = [plain(name) for name in row.run.classes], row.run.support
        mean_CC = confusion(row.run)
        share_CC = 100 * mean_CC / np.maximum(support, 1)[:, None]
        shown = [[round(value, 1) if count else None for value in values] for values, count in zip(share_CC, support)]
        heat = {
            "type": "heatmap",
            "x": names,
            "y": [f"{name} ({count})" for name, count in zip(names, support, strict=True)],
            "z": shown,
            "customdata": mean_CC.round(1).tolist(),
            "zmin": 0,
            "zmax": 100,
            "texttemplate": "%{z:.0f}",
            "textfont": {"color": "--ink"},
            "hovertemplate": "true %{y}<br>taken for %{x}<br>%{z:.1f} %, %{customdata} utterances<extra></extra>",
            "colorscale": "--sequential",
            "colorbar": {"title": {"text": "%"}, "thickness": 12, "outlinewidth": 0},
        }
        layout = {
            "xaxis": {"title": {"text": "taken for"}, "constrain": "domain", "showgrid": False},
            "yaxis": {"title": {"text": "true class"}, "autorange": "reversed", "showgrid": False},
        }
        caption = f"{HOW_CONFUSION} {basis.sentence(len(row.run.seeds), row.name)}"
        views.append(View(row.name, [heat], layout, caption))
    return Figure("confusion", "Confusion matrix", views)


def confusion(run: Run) -> np.ndarray:
    """[C, C] utterances by true class (row) and predicted class (column), mean over the seeds."""
    classes = len(run.classes)
    cells = run.actual_N * classes + run.predicted_SN
    counts = [np.bincount(each, minlength=classes**2) for each in cells]
    return np.mean(counts, axis=0).reshape(classes, classes)


# ---------------------------------------------------------------------------------------------------- classes


def class_figure(ablation: Ablation, basis: Basis) -> Figure:
    """F1 of each class: every seed a mark, beside the reference's."""
    reference, views = ablation.reference, []
    for row in ablation.rows:
        traces = [_class_marks(reference, reference.folder.name, "--c1", "diamond-open")]
        if row.run is not reference:
            traces.append(_class_marks(row.run, row.name, "--c2", "circle"))
        layout = {
            "xaxis": {"title": {"text": "F1 (%)"}, "range": [-2, 102]},
            "yaxis": {"autorange": "reversed"},
            "scattermode": "group",
        }
        caption = (
            "F1 of each class, one mark per seed; the class's labelled utterances in brackets. "
            f"{basis.sentence(len(row.run.seeds), row.name)}"
        )
        views.append(View(row.name, traces, layout, caption))
    return Figure("classes", "F1 per class", views)


def _class_marks(run: Run, name: str, colour: str, symbol: str) -> dict:
    here = np.flatnonzero(run.support)
    labels = [f"{plain(run.classes[at])} ({run.support[at]})" for at in here]
    f1_SC = 100 * run.scores.f1_C[:, here]
    return {
        "type": "scatter",
        "mode": "markers",
        "orientation": "h",
        "name": plain(name),
        "offsetgroup": plain(name),
        "x": f1_SC.round(2).ravel().tolist(),
        "y": labels * len(run.seeds),
        "text": [f"seed {seed}" for seed in run.seeds for _ in labels],
        "marker": {"color": colour, "symbol": symbol, "size": 9, "opacity": 0.8},
    }
