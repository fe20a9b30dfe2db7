"""Figures of the paper's analyses (analyses.json, whose schema `dferc.results.analyses` documents)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from dferc.core.errors import counted
from dferc.results.figures.description import COLOURS, MARKERS, Axis, Figure, Panel, Sample, Series, View
from dferc.store.vocabulary import MODALITIES, in_order

LOOKS = {
    "accuracy": {"name": "accuracy", "colour": "blue", "marker": "circle"},
    "weighted_f1": {"name": "weighted F1", "colour": "vermilion", "marker": "diamond"},
    "agreement": {"name": "agreement", "colour": "green", "marker": "square"},
    "weight": {"name": "context weight", "colour": "purple", "marker": "square"},
    "share": {"name": "share of utterances", "colour": "grey", "marker": "x"},
    "by_modality": {"name": "by modality", "colour": "blue", "marker": "circle"},
    "by_utterance": {"name": "by utterance", "colour": "vermilion", "marker": "diamond"},
}
SCORES = ("accuracy", "weighted_f1")
HATCHES = ("", "/", ".", "x", "-", "\\", "+", "|")
SCORE_AXIS = Axis(title="score", percent=True, limits=(0, 1.02), zoom=True)
BESIDE = "no_crm"  # run without context that is drawn beside the scores of the analysed run
LEVELS = {"projected": "before DDM: h", "modality_level": "modality level: a", "utterance_level": "utterance level: u"}
READABLE = 0.12  # smallest share whose bar has room for a label


def analysis_figures(analyses: Mapping) -> list[Figure]:
    """Describe a figure for every analysis that has data."""
    makers = (contributions, context, dialogues, calibration, votes, silhouettes, tsne, missing)
    return [figure for maker in makers for figure in maker(analyses) if figure.views]


def contributions(analyses: Mapping) -> Iterator[Figure]:
    """Describe contributions by class for each run, then over all utterances for all runs."""
    runs, views = analyses["contributions"]["runs"], []
    for name, run in runs.items():
        lines = {}
        for title, line in ({"all classes": run["overall"]} | run["by_class"]).items():
            n = round(max(number["n"] for number in line.values()))
            lines |= {f"{title} ({n})": line} if n else {}
        panel = _stacked(run["modalities"], lines, analyses["modalities"])
        views.append(_run_view(analyses, "contributions", panel, name))
    yield Figure("contributions", "Contributions of the modalities by class", views)
    if len(runs) > 1:
        overall, modalities = {name: run["overall"] for name, run in runs.items()}, analyses["modalities"]
        panel = _stacked(modalities, overall, modalities)
        view = _view(analyses, "contributions", panel, *runs, finding="One bar per run.")
        yield Figure("contributions-runs", "Contributions by run", [view])


def _stacked(modalities: Sequence[str], lines: Mapping[str, Mapping], everywhere: Sequence[str]) -> Panel:
    all_series = []
    for modality in modalities:
        numbers = {name: line[modality] for name, line in lines.items() if modality in line}
        labels, notes = [], []
        for mean, std, n in ((number["mean"], number["std"], number["n"]) for number in numbers.values()):
            label = f"{100 * mean:.0f}" + (f"±{100 * std:.0f}" if std else "")
            labels.append(label if mean >= READABLE else "")
            notes.append(("" if std is None else f"± {std:.1%}, ") + f"n = {n:g}")
        look = look_of(modality, everywhere) | {"labels": labels, "notes": notes}
        all_series.append(Series(name=modality, x=_column(numbers.values()), y=list(numbers), **look))
    x = Axis(title="contribution, mean of utterances and seeds", percent=True, limits=(0, 1.02))
    return Panel(kind="bars", series=all_series, x=x, y=Axis(names=True), height=160 + 32 * len(lines))


def look_of(name: str, modalities: Iterable[str]) -> dict[str, str]:
    """Return the look of one of the modalities of a document; those of the paper have the same in every document."""
    number = in_order({*MODALITIES, *modalities}).index(name)
    looks = {"colour": COLOURS, "marker": MARKERS, "hatch": HATCHES}
    return {part: choice[number % len(choice)] for part, choice in looks.items()}


def context(analyses: Mapping) -> Iterator[Figure]:
    """Describe scores, and the agreement of the modalities, by context weight."""
    x, y = Axis(title="context weight, mean of a fifth of the utterances"), Axis(title="agreement of the modalities")
    scores, agreement = [], []
    for name, run in analyses["context"]["runs"].items():
        weights, correlation = [cell["weight"] for cell in run["bins"]], run["correlation"]
        finding = f"Pearson's correlation of agreement and weight: {with_spread(correlation)}."
        for views, keys, axis in ((scores, SCORES, SCORE_AXIS), (agreement, ("agreement",), y)):
            spread = _column(weights, "std") if keys is SCORES else None
            series = [_series(_column(weights), run["bins"], key, line="solid", x_spread=spread) for key in keys]
            told = "" if keys is SCORES or correlation["mean"] is None else finding
            views.append(_run_view(analyses, "context", Panel(series=series, x=x, y=axis), name, finding=told))
    yield Figure("context-scores", "Scores by context weight", scores)
    yield Figure("context-agreement", "Agreement of the modalities by context weight", agreement)


def votes(analyses: Mapping) -> Iterator[Figure]:
    """Describe accuracy and context weight by the number of modalities whose classifiers agree."""
    lines = analyses["context"]["votes"]
    names = [f"{line['agreeing']} agree" for line in lines]
    series = [_series(names, lines, key, line="solid") for key in ("accuracy", "weight", "share")]
    panel = Panel(series=series, x=Axis(names=True, title="modalities whose classifiers agree"), y=Axis(from_zero=True))
    title = "Accuracy and context weight by how many modalities name the same class"
    yield Figure("votes", title, [_view(analyses, "context", panel)] if lines else [])


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
            series = [_series(x, cells, score, line=line) for score in SCORES]
            other = BESIDE if name == analyses["run"] else analyses["run"]
            others = [other] if other in runs and other != name else []
            if others and {cell["name"] for cell in cells} & {cell["name"] for cell in runs[other]}:
                look = {"name": f"weighted F1 of {other}", "colour": "grey", "marker": "diamond-open", "width": 1.5}
                theirs = {cell["name"]: cell for cell in runs[other]}  # other speakers make other groups
                pairs = [(at, theirs[cell["name"]]) for at, cell in zip(x, cells) if cell["name"] in theirs]
                series.append(_series(*map(list, zip(*pairs)), "weighted_f1", line=line and "dot", **look))
            panel = Panel(series=series, x=Axis(title=axis, names=True), y=SCORE_AXIS)
            views.append(_run_view(analyses, "dialogues", panel, name, *others))
        yield Figure(key.replace("_", "-"), title, views)


def calibration(analyses: Mapping) -> Iterator[Figure]:
    """Describe reliability diagrams; the area of a marker is the bin's share of utterances."""
    y = Axis(title="accuracy", percent=True, limits=(0, 1.04))
    x = replace(y, title="confidence: probability of the chosen class")
    perfect = Series(name="perfect", x=[0, 1], y=[0, 1], colour="grey", marker="", line="dot", width=1.5)
    views = []
    for name, run in analyses["calibration"]["runs"].items():
        bins, ece = [cell for cell in run["bins"] if cell["accuracy"]["mean"] is not None], run["ece"]
        look = {"name": "this run (area: share of utterances)", "line": "solid", "opacity": 0.7}
        look["size"] = [6 + 30 * cell["share"]["mean"] ** 0.5 for cell in bins]
        confidence = _column(cell["confidence"] for cell in bins)
        panel = Panel(series=[perfect, _series(confidence, bins, "accuracy", **look)], x=x, y=y)
        spread = "" if ece["std"] is None else f" ± {ece['std']:.3f}"
        finding = f"Expected calibration error {ece['mean']:.3f}{spread}."
        views.append(_run_view(analyses, "calibration", panel, name, finding=finding))
    yield Figure("calibration", "Reliability", views)


def silhouettes(analyses: Mapping) -> Iterator[Figure]:
    """Describe silhouettes before and after disentanglement."""
    levels = analyses["geometry"]["silhouette"]
    names = [level.replace("_", " ") for level in levels]
    series = [_series(names, list(levels.values()), key, size=11) for key in ("by_modality", "by_utterance")]
    panel = Panel(series=series, x=Axis(names=True), y=Axis(title="silhouette", from_zero=True))
    views = [_view(analyses, "geometry", panel)] if levels else []
    yield Figure("silhouette", "Silhouette before and after disentanglement", views)


def tsne(analyses: Mapping) -> Iterator[Figure]:
    """Describe the t-SNE of each level, coloured by modality and by emotion; the former is printed."""
    points, views, blank = analyses["geometry"]["tsne"], [], Axis(blank=True)
    for level, place in points["levels"].items() if points else ():
        silhouette = analyses["geometry"]["silhouette"].get(level, {})
        lines = [f"silhouette {key.replace('_', ' ')}: {with_spread(number)}" for key, number in silhouette.items()]
        for by, names in (("modality", analyses["modalities"]), ("emotion", analyses["classes"])):
            series = [_cloud(points, place, by, names, number) for number in range(len(names))]
            panel = Panel(series=series, x=blank, y=blank, height=520, heading="\n".join([LEVELS[level], *lines]))
            finding = f"Shown is seed {points['seed']} alone; axes and distances between clusters mean nothing."
            about = {"name": f"{level.replace('_', ' ')}, by {by}", "printed": by == "modality", "finding": finding}
            views.append(_view(analyses, "geometry", panel, **about))
    yield Figure("tsne", "t-SNE of the features", views, "Features")


def _cloud(points: Mapping, place: Mapping, by: str, names: Sequence[str], number: int) -> Series:
    name = names[number]
    rows = [row for row, value in enumerate(points[by]) if value == name]
    look = {"colour": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
    look = look_of(name, names) if by == "modality" else look
    notes = [f"{points['utterance_id'][row]}, {points['modality'][row]}, {points['emotion'][row]}" for row in rows]
    x, y = ([place[axis][row] for row in rows] for axis in "xy")
    return Series(name=name, x=x, y=y, notes=notes, size=6, opacity=0.75, **look)


def missing(analyses: Mapping) -> Iterator[Figure]:
    """Describe scores with each subset of the modalities, and with random absences."""
    subsets, random, draws = (analyses["missing"][key] for key in ("subsets", "random", "draws"))
    names = [" + ".join(subset["modalities"]) for subset in subsets]
    upright = [_series(names, subsets, key) for key in SCORES]
    lying = [replace(series, x=series.y, y=names, x_spread=series.y_spread, y_spread=None) for series in upright]
    panel = Panel(series=lying, x=replace(SCORE_AXIS, zoom=False), y=Axis(names=True))
    views = [_view(analyses, "missing", panel)] if subsets else []
    yield Figure("subsets", "One trained model, given each subset of the modalities", views)
    reached = [0, *(cell["reached"] for cell in random)]
    series = [_series(reached, [*subsets[:1], *random], key, line="solid") for key in SCORES]
    panel = Panel(series=series, x=Axis(title="absent at random, of what is present", percent=True), y=SCORE_AXIS)
    finding = f"{counted(draws, 'draw')} per seed and rate; each utterance keeps at least one modality."
    views = [_view(analyses, "missing", panel, finding=finding)] if random else []
    yield Figure("random", "Modalities absent at random", views)


def _run_view(analyses: Mapping, analysis: str, panel: Panel, run: str, *others: str, **more) -> View:
    """Return a view that is named after its run, and printed for the run whose models are analysed."""
    return _view(analyses, analysis, panel, run, *others, name=run, printed=run == analyses["run"], **more)


def _view(analyses: Mapping, analysis: str, panel: Panel, *runs: str, **more) -> View:
    """Return a view with its caption; without a run, of the run whose models are analysed."""
    runs = runs or (analyses["run"],)
    sample = Sample(*(analyses[key] for key in ("split", "labelled", "dialogue_count", "simulated")))
    basis = sample.basis(over_seeds(analyses, *runs), *runs)
    return View(panel=panel, how=analyses[analysis]["how"], basis=basis, **more)


def over_seeds(analyses: Mapping, *runs: str) -> str:
    """Return a phrase on the seeds behind the numbers of these runs."""
    counts = {len(analyses["runs"][run]["seeds"]) for run in runs}
    if counts == {1}:
        return "1 seed: no standard deviation"
    seeds = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    return f"mean ± standard deviation over {seeds} seeds"


def _series(x: Sequence, cells: Sequence[Mapping], key: str, **look) -> Series:
    """Return the means of a number over the seeds, their standard deviations as bars, n on hovering."""
    numbers = [cell[key] for cell in cells]
    look = LOOKS[key] | {"notes": [f"n = {number['n']:g}" for number in numbers]} | look
    return Series(x=x, y=_column(numbers), y_spread=_column(numbers, "std"), **look)


def _column(numbers: Iterable[Mapping], part: str = "mean") -> list:
    return [number[part] for number in numbers]


def with_spread(number: Mapping) -> str:
    """Return mean and, over several seeds, ± standard deviation."""
    if number["mean"] is None:
        return "none"
    mean = f"{number['mean']:.2f}".replace("-", "−")
    return mean if number["std"] is None else f"{mean} ± {number['std']:.2f}"
