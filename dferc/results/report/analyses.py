"""The paper's analyses (analyses.json, whose schema `dferc.results.analyses` documents) as interactive figures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dferc.core.errors import InputError
from dferc.results.analyses import SCHEMA
from dferc.results.report.figures import Figure, View, plain
from dferc.results.report.marks import LOOKS, SCORES, SHARE, WORDS, caption_of, column, points, quantity
from dferc.results.report.models import model_figures
from dferc.results.report.summary import Basis


def read_analyses(path: Path, split: str, card: str) -> dict | None:
    """analyses.json, or None where it was not made (of this split).

    Raises:
        InputError: it is damaged, of another version, or of another protocol than the runs.
    """
    if not path.exists():
        return None
    again = f"Make it again: `dferc analyse --corpus {path.parent.name}`."
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no readable JSON ({error}). {again}") from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise InputError(f"{path}: expected analyses of schema {SCHEMA}, found another layout. {again}")
    if found["card"] != card:
        raise InputError(f"{path} is of protocol card {found['card']}, the runs are of {card}. {again}")
    return found if found["split"] == split else None


def analysis_figures(found: Mapping, basis: Basis) -> list[Figure]:
    """Every analysis that has data.

    Args:
        found: analyses.json.
        basis: for captions.
    """
    makers = (_contributions, _context, _by_length, _by_position, _by_shift, _calibration, model_figures)
    figures = [figure for maker in makers for figure in maker(found, basis)]
    return [figure for figure in figures if figure.views]


def missing_analyses(found: Mapping) -> list[str]:
    """What was left out, and what the analyses say that they cannot tell."""
    names = ("contributions", "context", "dialogues", "calibration", "geometry", "missing")
    said = [f"{name}: {sentence}" for name in names for sentence in found[name]["statements"]]
    return [*found["notes"], *said]


# ---------------------------------------------------------------------------------------------------- contributions


def _contributions(found: Mapping, basis: Basis) -> Iterator[Figure]:
    """By class for each run, then all utterances for all runs."""
    runs = found["contributions"]["runs"]
    layout = {
        "barmode": "stack",
        "legend": {"traceorder": "normal"},
        "xaxis": quantity("contribution, mean over utterances and seeds", **SHARE),
        "yaxis": {"autorange": "reversed"},
    }
    views = []
    for name, each in runs.items():
        lines = {"all classes": each["overall"]} | each["by_class"]
        traces = list(_stack(each["modalities"], lines))
        views.append(View(name, traces, layout, caption_of(found, "contributions", basis, name)))
    yield Figure("contributions", "Contributions of the modalities by class", views)
    lines = {name: each["overall"] for name, each in runs.items()}
    if len(lines) > 1:
        traces = list(_stack(found["modalities"], lines))
        layout = layout | {"height": 160 + 32 * len(lines)}
        caption = caption_of(found, "contributions", basis, found["run"], "One bar per run.")
        yield Figure("contributions-runs", "Contributions by run", [View("", traces, layout, caption)])


def _stack(modalities: Sequence[str], lines: Mapping[str, Mapping]) -> Iterator[dict]:
    for modality in modalities:
        colour, pattern = LOOKS[modality]
        there = {name: line[modality] for name, line in lines.items() if line.get(modality, {}).get("mean") is not None}
        yield {
            "type": "bar",
            "orientation": "h",
            "name": modality,
            "x": [each["mean"] for each in there.values()],
            "y": [plain(name) for name in there],
            "text": [f"{each['mean']:.0%}" for each in there.values()],
            "textposition": "inside",
            "insidetextanchor": "middle",
            "textfont": {"color": "--on"},
            "customdata": [[each["std"], each["n"]] for each in there.values()],
            "hovertemplate": "%{y}<br>%{x:.1%} ± %{customdata[0]:.1%}<br>n = %{customdata[1]}",
            "marker": {"color": colour, "pattern": {"shape": pattern, "fillmode": "overlay", "solidity": 0.1}},
        }


# ---------------------------------------------------------------------------------------------------- context


def _context(found: Mapping, basis: Basis) -> Iterator[Figure]:
    layout = {"xaxis": quantity("context weight, mean of a fifth of the utterances"), "yaxis": SHARE}
    agreement, scores = [], []
    for name, each in found["context"]["runs"].items():
        weight = column(each["bins"], "weight")
        correlation = each["correlation"]["mean"]
        said = "" if correlation is None else f"Pearson's correlation of agreement and weight: {correlation:.2f}."
        caption = caption_of(found, "context", basis, name, said)
        lines = [points(WORDS.get(key, key), weight, each["bins"], key) for key in SCORES]
        scores.append(View(name, lines, layout, caption))
        line = [points("agreement", weight, each["bins"], "agreement")]
        agreement.append(View(name, line, layout | {"yaxis": quantity("agreement of the modalities")}, caption))
    yield Figure("context-scores", "Scores by context weight", scores)
    yield Figure("context-agreement", "Agreement of the modalities by context weight", agreement)


# ---------------------------------------------------------------------------------------------------- dialogues


def _by_length(found: Mapping, basis: Basis) -> Iterator[Figure]:
    yield _groups(found, basis, "by_length", "Scores by length of the dialogue", "utterances of the dialogue")


def _by_position(found: Mapping, basis: Basis) -> Iterator[Figure]:
    yield _groups(found, basis, "by_position", "Scores by position in the dialogue", "position")


def _by_shift(found: Mapping, basis: Basis) -> Iterator[Figure]:
    yield _groups(found, basis, "by_shift", "Scores at emotion shifts and in inertia", "")


def _groups(found: Mapping, basis: Basis, key: str, title: str, axis: str) -> Figure:
    """A run's scores in groups of utterances, beside those of the run that is looked into."""
    views, runs = [], found["dialogues"][key]
    layout = {"xaxis": quantity(axis, type="category"), "yaxis": SHARE}
    mode = "lines+markers"
    if key == "by_shift":  # kinds have no order that a line could follow
        mode, layout = "markers", layout | {"scattermode": "group"}
    for name, cells in runs.items():
        x = [f"{cell['name']}<br>n = {cell['accuracy']['n']:g}" for cell in cells]
        lines = [points(WORDS.get(score, score), x, cells, score, mode=mode) for score in SCORES]
        if name != found["run"]:
            grey = {"line": {"color": "--c8", "width": 1.5, "dash": "dot"}, "mode": mode}
            grey["marker"] = {"color": "--c8", "symbol": "diamond-open", "size": 9}
            lines.append(points(f"weighted F1 of {found['run']}", x, runs[found["run"]], "weighted_f1", **grey))
        views.append(View(name, lines, layout, caption_of(found, "dialogues", basis, name)))
    return Figure(key.replace("_", "-"), title, views)


# ---------------------------------------------------------------------------------------------------- calibration


def _calibration(found: Mapping, basis: Basis) -> Iterator[Figure]:
    views = []
    even = {"type": "scatter", "mode": "lines", "name": "perfect", "x": [0, 1], "y": [0, 1], "hoverinfo": "skip"}
    even |= {"line": {"color": "--c8", "dash": "dot", "width": 1.5}}
    layout = {
        "xaxis": quantity("confidence: probability of the chosen class", tickformat=".0%", range=[0, 1.04]),
        "yaxis": quantity("accuracy", tickformat=".0%", range=[0, 1.04]),
    }
    for name, each in found["calibration"]["runs"].items():
        cells = [cell for cell in each["bins"] if cell["accuracy"]["mean"] is not None]
        sizes = [6 + 30 * share**0.5 for share in column(cells, "share")]
        line = points("this run (area: share of utterances)", column(cells, "confidence"), cells, "accuracy")
        line |= {"marker": {"color": "--c1", "size": sizes, "opacity": 0.7}}
        ece = each["ece"]
        spread = "" if ece["std"] is None else f" ± {ece['std']:.3f}"
        said = f"Expected calibration error {ece['mean']:.3f}{spread}."
        views.append(View(name, [even, line], layout, caption_of(found, "calibration", basis, name, said)))
    yield Figure("calibration", "Reliability", views)
