"""One function per figure: fills an empty figure from analyses.json, and says what is drawn, or '' if nothing is.

Colours are Okabe and Ito's. A number is drawn as its mean, with its standard deviation over the seeds where it has one.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dferc.results.analyses.figures import COLUMN_IN, PAGE_IN, over_seeds

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
GREY = "#767676"
BOX = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
"""Behind text that stands on colour."""
LOOKS = {"text": (BLUE, "o", ""), "audio": (ORANGE, "^", "///"), "visual": (GREEN, "s", "...")}
"""Colour, marker and hatching of a modality."""
LEVELS = {
    "projected": "before DDM: projected $h$",
    "modality_level": "modality level $a$",
    "utterance_level": "utterance level $u$",
}


def means(numbers: Sequence[Mapping]) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of numbers; NaN where there is none, and 0 for the deviation of a single seed."""
    columns = ([np.nan if each[key] is None else each[key] for each in numbers] for key in ("mean", "std"))
    mean, std = map(np.array, columns)
    return mean, np.nan_to_num(std)


# ---------------------------------------------------------------------------------------------------- contributions


def contributions_by_class(figure: Figure, found: Mapping) -> str:
    """Stacked shares of each class, of the run that is looked into."""
    run = found["run"]
    made = found["contributions"]["runs"].get(run)
    if made is None:
        return ""
    lines = {f"{name} ({each_n(cells)})": cells for name, cells in made["by_class"].items() if each_n(cells)}
    _stacked(figure.subplots(), {f"all ({each_n(made['overall'])})": made["overall"]} | lines, made["modalities"])
    return f"Run {run}, by true class (utterances with every modality). {over_seeds(found, run)}"


def contributions_by_run(figure: Figure, found: Mapping) -> str:
    """Stacked shares of each run that weighs modalities, where there are several."""
    runs = found["contributions"]["runs"]
    if len(runs) < 2:
        return ""
    _stacked(figure.subplots(), {name: each["overall"] for name, each in runs.items()}, found["modalities"])
    return f"Contributions over utterances with every modality. {over_seeds(found, *runs)}"


def each_n(cells: Mapping[str, Mapping]) -> int:
    """Utterances behind the cells of a line."""
    return round(max(each["n"] for each in cells.values()))


def _stacked(axes: Axes, lines: Mapping[str, Mapping], modalities: Sequence[str]) -> None:
    left = np.zeros(len(lines))
    for modality in modalities:
        colour, _, hatch = LOOKS[modality]
        mean, std = means([cells.get(modality, {"mean": 0, "std": None}) for cells in lines.values()])
        mean, std = 100 * mean, 100 * std
        style = {"color": colour, "alpha": 0.75, "hatch": hatch, "edgecolor": "white", "linewidth": 0.4}
        axes.barh(range(len(lines)), mean, left=left, height=0.72, label=modality, **style)
        for at, (value, spread) in enumerate(zip(mean, std)):
            if value > 12:  # else it has no room
                text = f"{value:.0f}" + (f"±{spread:.0f}" if spread else "")
                axes.text(left[at] + value / 2, at, text, ha="center", va="center", fontsize=6, bbox=BOX)
        left = left + mean
    axes.set(yticks=range(len(lines)), yticklabels=lines, xlim=(0, 100), xlabel="contribution (%)")
    axes.figure.set_figheight(1.3 + 0.2 * len(lines))
    axes.invert_yaxis()
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handlelength=1.4, columnspacing=1.2)


# ---------------------------------------------------------------------------------------------------- context


def context(figure: Figure, found: Mapping) -> str:
    """Accuracy by context weight, and the context weight by how many of the modalities' classifiers agree."""
    run, votes = found["run"], found["context"]["votes"]
    made = found["context"]["runs"].get(run)
    if made is None:
        return ""
    panels = figure.subplots(1, 2 if votes else 1, squeeze=False)[0]
    weight, spread = means([each["weight"] for each in made["bins"]])
    mean, std = means([each["accuracy"] for each in made["bins"]])
    panels[0].errorbar(weight, mean, xerr=spread, color=GREY, linestyle="none", linewidth=0.7)
    panels[0].errorbar(weight, mean, yerr=std, color=BLUE, marker="o")
    panels[0].set(xlabel="context weight $w$ (fifths of the utterances)", ylabel="accuracy")
    panels[0].grid(axis="y")
    if votes:
        _votes(panels[1], [each for each in reversed(votes) if each["weight"]["n"]])
    n = made["bins"][0]["accuracy"]["n"]
    return f"Run {run}; fifths of about {n:g} utterances. {over_seeds(found, run)}"


def _votes(axes: Axes, votes: Sequence[Mapping]) -> None:
    mean, std = means([each["weight"] for each in votes])
    axes.bar(range(len(votes)), mean, yerr=std, width=0.6, color=GREY, error_kw={"elinewidth": 0.8})
    for at, each in enumerate(votes):
        axes.text(at, 0.02, f"{100 * each['share']['mean']:.0f} %", ha="center", fontsize=6.5, color="white")
    labels = [f"{each['agreeing']}" for each in votes]
    axes.set(xticks=range(len(votes)), xticklabels=labels, ylabel="mean context weight $w$")
    axes.set_xlabel("modalities whose classifiers agree\n(share of utterances in the bar)")


# ---------------------------------------------------------------------------------------------------- dialogues


def dialogues(figure: Figure, found: Mapping) -> str:
    """Weighted F1 by length, position and shift, of the run that is looked into and of `no_crm` where it is there."""
    made, run = found["dialogues"], found["run"]
    runs = [run] + [name for name in ("no_crm",) if name in found["runs"] and name != run]
    keys = {"by_length": "utterances in the dialogue", "by_position": "position in the dialogue"}
    keys["by_shift"] = "label against the speaker's last"
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (key, label) in zip(panels, keys.items(), strict=True):
        for at, name in enumerate(runs):
            mean, std = means([each["weighted_f1"] for each in made[key][name]])
            places = np.arange(len(mean)) + 0.16 * (at - (len(runs) - 1) / 2)
            colour, marker = ((BLUE, "o"), (VERMILION, "s"))[at]
            line = {"linestyle": "none" if key == "by_shift" else "-"}
            axes.errorbar(places, mean, yerr=std, color=colour, marker=marker, label=name, **line)
        names = [f"{each['name']}\n({each['accuracy']['n']:g})" for each in made[key][run]]
        axes.set(xticks=range(len(names)), xticklabels=names, xlabel=label, xlim=(-0.5, len(names) - 0.5))
        axes.grid(axis="y")
    panels[0].set_ylabel("weighted F1")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return f"Labelled utterances of a group in brackets. {over_seeds(found, *runs)}"


# ---------------------------------------------------------------------------------------------------- geometry


def geometry(figure: Figure, found: Mapping) -> str:
    """t-SNE of each level, a colour and marker per modality, its silhouettes above."""
    made = found["geometry"]
    if made["tsne"] is None:
        return ""
    points, modality = made["tsne"], np.array(made["tsne"]["modality"])
    levels = [level for level in LEVELS if level in points["levels"]]
    for axes, level in zip(figure.subplots(1, len(levels), squeeze=False)[0], levels, strict=True):
        x, y = (np.array(points["levels"][level][key]) for key in "xy")
        for name in found["modalities"]:
            colour, marker, _ = LOOKS[name]
            here = modality == name
            style = {"s": 7, "alpha": 0.75, "linewidths": 0, "rasterized": True}
            axes.scatter(x[here], y[here], color=colour, marker=marker, label=name, **style)
        silhouette = made["silhouette"][level]
        said = (f"{words}: {with_spread(silhouette[key])}" for key, words in SILHOUETTES.items())
        axes.set_title("\n".join([LEVELS[level], *said]), fontsize=7)
        axes.set(xticks=[], yticks=[])
        axes.spines[["top", "right"]].set_visible(True)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, markerscale=2)
    return (
        f"t-SNE of seed {points['seed']} ({made['rows']} rows: the modalities of {made['utterances']} utterances); "
        f"silhouette (cosine, in the full space): {over_seeds(found, found['run']).lower()}"
    )


SILHOUETTES = {"by_modality": "silhouette by modality", "by_utterance": "by utterance"}


def with_spread(number: Mapping) -> str:
    """Mean and, of several seeds, ± standard deviation."""
    if number["mean"] is None:
        return "none"
    mean = f"{number['mean']:.2f}".replace("-", "−")
    return mean if number["std"] is None else f"{mean} ± {number['std']:.2f}"


# ---------------------------------------------------------------------------------------------------- missing


def missing(figure: Figure, found: Mapping) -> str:
    """Weighted F1 with each subset of modalities, and with random absences."""
    made, run = found["missing"], found["run"]
    if not made["random"]:
        return ""
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    subsets = made["subsets"]
    mean, std = means([each["weighted_f1"] for each in subsets])
    names = [" + ".join(each["modalities"]) if len(each["modalities"]) < 3 else "all" for each in subsets]
    left.barh(range(len(subsets)), mean, xerr=std, height=0.65, color=BLUE, error_kw={"elinewidth": 0.8})
    left.set(yticks=range(len(subsets)), yticklabels=names, xlabel="weighted F1", xlim=(0, 1))
    left.invert_yaxis()
    left.grid(axis="x")
    reached = [0, *(100 * each["reached"] for each in made["random"])]
    mean, std = means([subsets[0]["weighted_f1"], *(each["weighted_f1"] for each in made["random"])])
    right.errorbar(reached, mean, yerr=std, color=BLUE, marker="o")
    right.set(xlabel="absent at random (% of what is there)", ylabel="weighted F1")
    right.grid(axis="y")
    draws = f"{made['draws']} draw{'s' if made['draws'] > 1 else ''} per seed and rate"
    said = f"Run {run}, trained with all modalities. Random absences leave each utterance one; {draws}."
    return f"{said} {over_seeds(found, run)}"


# ---------------------------------------------------------------------------------------------------- calibration


def calibration(figure: Figure, found: Mapping) -> str:
    """Reliability diagram of the run that is looked into, with the share of utterances in each bin beneath."""
    run = found["run"]
    made = found["calibration"]["runs"][run]
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    low = np.array([each["low"] for each in made["bins"]])
    width = made["bins"][0]["high"] - made["bins"][0]["low"]
    confidence, _ = means([each["confidence"] for each in made["bins"]])
    accuracy, std = means([each["accuracy"] for each in made["bins"]])
    above.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=0.8, label="perfect")
    above.bar(low, accuracy, width, align="edge", color=BLUE, alpha=0.35, edgecolor="white", linewidth=0.5)
    above.errorbar(confidence, accuracy, yerr=std, color=BLUE, marker="o", linestyle="none", label="accuracy of a bin")
    above.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    above.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    above.text(0.97, 0.04, f"ECE {with_spread(made['ece'])}", ha="right", bbox=BOX)
    share, spread = means([each["share"] for each in made["bins"]])
    below.bar(low, 100 * share, width, align="edge", color=GREY, edgecolor="white", linewidth=0.5)
    below.set(xlabel="confidence (probability of the chosen class)", ylabel="utterances\n(%)")
    return f"Run {run}, {len(low)} bins of equal width, before any scaling. {over_seeds(found, run)}"


DRAWINGS = {
    "contributions_by_class": (contributions_by_class, COLUMN_IN, 2.7),
    "contributions_by_run": (contributions_by_run, COLUMN_IN, 2.7),
    "context": (context, PAGE_IN, 2.3),
    "dialogues": (dialogues, PAGE_IN, 2.4),
    "geometry": (geometry, PAGE_IN, 3.0),
    "missing": (missing, PAGE_IN, 2.4),
    "calibration": (calibration, COLUMN_IN, 3.2),
}
"""Name of the files -> how it is drawn, width and height in inches."""
