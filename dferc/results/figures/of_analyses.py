"""Figures of the paper's analyses (analyses.json, whose schema `dferc.results.analyses` documents)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from dferc.results.figures.description import (
    COLOURS,
    MARKERS,
    Axis,
    Figure,
    Panel,
    Sample,
    Series,
    View,
    counted,
    simulation_sentence,
)

SCORES = {
    "accuracy": {"name": "accuracy", "colour": "blue", "marker": "circle"},
    "weighted_f1": {"name": "weighted F1", "colour": "vermilion", "marker": "diamond"},
}
MODALITIES = {
    "text": {"colour": "blue", "marker": "circle", "hatch": ""},
    "audio": {"colour": "vermilion", "marker": "diamond", "hatch": "/"},
    "visual": {"colour": "green", "marker": "square", "hatch": "."},
}
SCORE_AXIS = Axis(title="score", percent=True, limits=(0, 1.02), zoom=True)
BESIDE = "no_crm"
"""Run without context that is drawn beside the scores of the analysed run."""
LEVELS = {"projected": "before DDM: h", "modality_level": "modality level: a", "utterance_level": "utterance level: u"}
READABLE = 0.12
"""Smallest share whose bar has room for a label."""


def analysis_figures(analyses: Mapping) -> list[Figure]:
    """Describe a figure for every analysis that has data."""
    makers = (contributions, context, dialogues, calibration, votes, silhouettes, tsne, missing)
    return [figure for maker in makers for figure in maker(analyses) if figure.views]


def over_seeds(analyses: Mapping, *runs: str) -> str:
    """Return a phrase on the seeds behind the numbers of these runs."""
    counts = {len(analyses["runs"][run]["seeds"]) for run in runs}
    if counts == {1}:
        return "1 seed: no standard deviation"
    seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    return f"mean ± standard deviation over {seeds} seeds"


def with_spread(number: Mapping) -> str:
    """Return mean and, over several seeds, ± standard deviation."""
    if number["mean"] is None:
        return "none"
    mean = f"{number['mean']:.2f}".replace("-", "−")
    return mean if number["std"] is None else f"{mean} ± {number['std']:.2f}"


def _view(analyses: Mapping, analysis: str, panel: Panel, *runs: str, **more) -> View:
    """Return a view with its caption; without a run, of the run whose models are analysed."""
    sample = Sample(
        split=analyses["split"],
        utterances=analyses["labelled"],
        dialogues=analyses["dialogue_count"],
        simulated=simulation_sentence(analyses["simulated"]),
    )
    runs = runs or (analyses["run"],)
    basis = sample.basis(over_seeds(analyses, *runs), " and ".join(runs))
    return View(panel=panel, how=analyses[analysis]["how"], basis=basis, **more)


def _run_view(analyses: Mapping, analysis: str, panel: Panel, run: str, *others: str, **more) -> View:
    """Return a view that is named after its run, and printed for the run whose models are analysed."""
    return _view(analyses, analysis, panel, run, *others, name=run, printed=run == analyses["run"], **more)


def _column(cells: Sequence[Mapping], key: str, part: str = "mean") -> list:
    return [cell[key][part] for cell in cells]


def _series(x: Sequence, cells: Sequence[Mapping], key: str, **look) -> Series:
    """Return the means of a number over the seeds, their standard deviations as bars, n on hovering."""
    notes = [f"n = {n:g}" for n in _column(cells, key, "n")]
    return Series(x=x, y=_column(cells, key), y_spread=_column(cells, key, "std"), notes=notes, **look)


# ---------------------------------------------------------------------------------------------------- contributions


def contributions(analyses: Mapping) -> Iterator[Figure]:
    """Describe contributions by class for each run, then over all utterances for all runs."""
    runs = analyses["contributions"]["runs"]
    views = []
    for name, run in runs.items():
        lines = {"all classes": run["overall"]} | run["by_class"]
        panel = _stacked(
            run["modalities"], {f"{title} ({_n(line)})": line for title, line in lines.items() if _n(line)}
        )
        views.append(_run_view(analyses, "contributions", panel, name))
    yield Figure(key="contributions", title="Contributions of the modalities by class", views=views)
    panel = _stacked(analyses["modalities"], {name: run["overall"] for name, run in runs.items()})
    if len(runs) > 1:
        view = _view(analyses, "contributions", panel, *runs, finding="One bar per run.")
        yield Figure(key="contributions-runs", title="Contributions by run", views=[view])


def _n(line: Mapping[str, Mapping]) -> int:
    return round(max(number["n"] for number in line.values()))


def _stacked(modalities: Sequence[str], lines: Mapping[str, Mapping]) -> Panel:
    series = []
    for modality in modalities:
        numbers = {name: line[modality] for name, line in lines.items() if modality in line}
        series.append(
            Series(
                name=modality,
                x=[number["mean"] for number in numbers.values()],
                y=list(numbers),
                notes=[_spread_note(number) for number in numbers.values()],
                labels=[_label(number) for number in numbers.values()],
                **MODALITIES[modality],
            )
        )
    x = Axis(title="contribution, mean over utterances and seeds", percent=True, limits=(0, 1.02))
    return Panel(series=series, x=x, y=Axis(names=True), kind="bars", height=160 + 32 * len(lines))


def _spread_note(number: Mapping) -> str:
    spread = "" if number["std"] is None else f"± {number['std']:.1%}, "
    return f"{spread}n = {number['n']:g}"


def _label(number: Mapping) -> str:
    if number["mean"] is None or number["mean"] < READABLE:
        return ""
    return f"{100 * number['mean']:.0f}" + (f"±{100 * number['std']:.0f}" if number["std"] else "")


# ---------------------------------------------------------------------------------------------------- context


def context(analyses: Mapping) -> Iterator[Figure]:
    """Describe scores, and the agreement of the modalities, by context weight."""
    x = Axis(title="context weight, mean of a fifth of the utterances")
    scores, agreement = [], []
    for name, run in analyses["context"]["runs"].items():
        bins, correlation = run["bins"], run["correlation"]["mean"]
        weight, spread = _column(bins, "weight"), _column(bins, "weight", "std")
        finding = "" if correlation is None else f"Pearson's correlation of agreement and weight: {correlation:.2f}."
        series = [_series(weight, bins, key, x_spread=spread, line="solid", **look) for key, look in SCORES.items()]
        panel = Panel(series=series, x=x, y=SCORE_AXIS)
        scores.append(_run_view(analyses, "context", panel, name, finding=finding))
        look = {"name": "agreement", "colour": "green", "marker": "square", "line": "solid"}
        series = [_series(weight, bins, "agreement", **look)]
        panel = Panel(series=series, x=x, y=Axis(title="agreement of the modalities"))
        agreement.append(_run_view(analyses, "context", panel, name, finding=finding))
    yield Figure(key="context-scores", title="Scores by context weight", views=scores)
    yield Figure(key="context-agreement", title="Agreement of the modalities by context weight", views=agreement)


def votes(analyses: Mapping) -> Iterator[Figure]:
    """Describe accuracy and context weight by the number of modalities whose classifiers agree."""
    lines = analyses["context"]["votes"]
    looks = {
        "accuracy": SCORES["accuracy"],
        "weight": {"name": "context weight", "colour": "purple", "marker": "square"},
        "share": {"name": "share of utterances", "colour": "grey", "marker": "x"},
    }
    names = [f"{line['agreeing']} agree" for line in lines]
    series = [_series(names, lines, key, line="solid", **look) for key, look in looks.items()]
    panel = Panel(series=series, x=Axis(names=True, title="modalities whose classifiers agree"), y=Axis(from_zero=True))
    title = "Accuracy and context weight by how many modalities name the same class"
    yield Figure(key="votes", title=title, views=[_view(analyses, "context", panel)] if lines else [])


# ---------------------------------------------------------------------------------------------------- dialogues


def dialogues(analyses: Mapping) -> Iterator[Figure]:
    """Describe a run's scores in groups of utterances, beside those of another run."""
    kinds = {
        "by_length": ("Scores by length of the dialogue", "utterances of the dialogue"),
        "by_position": ("Scores by position in the dialogue", "position"),
        "by_shift": ("Scores at emotion shifts and in inertia", "label against the speaker's last"),
    }
    for key, (title, axis) in kinds.items():
        runs, views = analyses["dialogues"][key], []
        line = "" if key == "by_shift" else "solid"  # kinds have no order that a line could follow
        for name, cells in runs.items():
            x = [f"{cell['name']}\nn = {cell['accuracy']['n']:g}" for cell in cells]
            series = [_series(x, cells, score, line=line, **look) for score, look in SCORES.items()]
            other = BESIDE if name == analyses["run"] else analyses["run"]
            others = [other] if other in runs and other != name else []
            for other in others:
                look = {"name": f"weighted F1 of {other}", "colour": "grey", "marker": "diamond-open", "width": 1.5}
                series.append(_series(x, runs[other], "weighted_f1", line=line and "dot", **look))
            panel = Panel(series=series, x=Axis(title=axis, names=True), y=SCORE_AXIS)
            views.append(_run_view(analyses, "dialogues", panel, name, *others))
        yield Figure(key=key.replace("_", "-"), title=title, views=views)


# ---------------------------------------------------------------------------------------------------- calibration


def calibration(analyses: Mapping) -> Iterator[Figure]:
    """Describe reliability diagrams; the area of a marker is the bin's share of utterances."""
    limits = {"percent": True, "limits": (0, 1.04)}
    x, y = Axis(title="confidence: probability of the chosen class", **limits), Axis(title="accuracy", **limits)
    perfect = Series(name="perfect", x=[0, 1], y=[0, 1], colour="grey", marker="", line="dot", width=1.5)
    views = []
    for name, run in analyses["calibration"]["runs"].items():
        bins = [cell for cell in run["bins"] if cell["accuracy"]["mean"] is not None]
        sizes = [6 + 30 * share**0.5 for share in _column(bins, "share")]
        look = {"name": "this run (area: share of utterances)", "line": "solid", "size": sizes, "opacity": 0.7}
        series = [perfect, _series(_column(bins, "confidence"), bins, "accuracy", **look)]
        ece = run["ece"]
        spread = "" if ece["std"] is None else f" ± {ece['std']:.3f}"
        finding = f"Expected calibration error {ece['mean']:.3f}{spread}."
        panel = Panel(series=series, x=x, y=y)
        views.append(_run_view(analyses, "calibration", panel, name, finding=finding))
    yield Figure(key="calibration", title="Reliability", views=views)


# ---------------------------------------------------------------------------------------------------- geometry


def silhouettes(analyses: Mapping) -> Iterator[Figure]:
    """Describe silhouettes before and after disentanglement."""
    levels = analyses["geometry"]["silhouette"]
    looks = {
        "by_modality": {"name": "by modality", "colour": "blue", "marker": "circle"},
        "by_utterance": {"name": "by utterance", "colour": "vermilion", "marker": "diamond"},
    }
    names = [level.replace("_", " ") for level in levels]
    series = [_series(names, list(levels.values()), key, size=11, **look) for key, look in looks.items()]
    panel = Panel(series=series, x=Axis(names=True), y=Axis(title="silhouette", from_zero=True))
    views = [_view(analyses, "geometry", panel)] if levels else []
    yield Figure(key="silhouette", title="Silhouette before and after disentanglement", views=views)


def tsne(analyses: Mapping) -> Iterator[Figure]:
    """Describe the t-SNE of each level, coloured by modality and by emotion; the former is printed."""
    points, views = analyses["geometry"]["tsne"], []
    blank = Axis(blank=True)
    for level, place in points["levels"].items() if points else ():
        silhouette = analyses["geometry"]["silhouette"].get(level, {})
        lines = [f"silhouette {key.replace('_', ' ')}: {with_spread(number)}" for key, number in silhouette.items()]
        for by, names in (("modality", analyses["modalities"]), ("emotion", analyses["classes"])):
            series = [_cloud(points, place, by, name, number) for number, name in enumerate(names)]
            panel = Panel(series=series, x=blank, y=blank, height=520, heading="\n".join([LEVELS[level], *lines]))
            finding = f"Shown is seed {points['seed']} alone; axes and distances between clusters mean nothing."
            name = f"{level.replace('_', ' ')}, by {by}"
            more = {"name": name, "finding": finding, "printed": by == "modality"}
            views.append(_view(analyses, "geometry", panel, **more))
    yield Figure(key="tsne", title="t-SNE of the features", views=views, choice="Features")


def _cloud(points: Mapping, place: Mapping, by: str, name: str, number: int) -> Series:
    rows = [row for row, value in enumerate(points[by]) if value == name]
    look = {"colour": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
    look |= {
        key: value for key, value in MODALITIES.get(name if by == "modality" else "", {}).items() if key != "hatch"
    }
    return Series(
        name=name,
        x=[place["x"][row] for row in rows],
        y=[place["y"][row] for row in rows],
        notes=[f"{points['utterance_id'][row]}, {points['modality'][row]}, {points['emotion'][row]}" for row in rows],
        size=6,
        opacity=0.75,
        **look,
    )


# ---------------------------------------------------------------------------------------------------- missing


def missing(analyses: Mapping) -> Iterator[Figure]:
    """Describe scores with each subset of the modalities, and with random absences."""
    subsets, random = analyses["missing"]["subsets"], analyses["missing"]["random"]
    names = [" + ".join(subset["modalities"]) for subset in subsets]
    series = []
    for key, look in SCORES.items():
        upright = _series(names, subsets, key, **look)
        series.append(replace(upright, x=upright.y, y=names, x_spread=upright.y_spread, y_spread=None))
    panel = Panel(series=series, x=replace(SCORE_AXIS, zoom=False), y=Axis(names=True))
    title = "One trained model, given each subset of the modalities"
    yield Figure(key="subsets", title=title, views=[_view(analyses, "missing", panel)] if subsets else [])
    reached = [0, *(cell["reached"] for cell in random)]
    series = [_series(reached, [*subsets[:1], *random], key, line="solid", **look) for key, look in SCORES.items()]
    panel = Panel(series=series, x=Axis(title="absent at random, of what is present", percent=True), y=SCORE_AXIS)
    draws = f"{counted(analyses['missing']['draws'], 'draw')} per seed and rate; each utterance keeps one modality."
    views = [_view(analyses, "missing", panel, finding=draws)] if random else []
    yield Figure(key="random", title="Modalities absent at random", views=views)
