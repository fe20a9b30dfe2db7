"""Figures of the runs themselves, for the page only: F1 per class, confusion matrices, learning curves.

S seeds, C classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from dferc.core.errors import counted
from dferc.core.tables import read_numbers
from dferc.results.compare import Ablation
from dferc.results.figures.description import Axis, Figure, Panel, Sample, Series, View
from dferc.results.runs import FinishedRun

HOW_CLASSES = "F1 of each class, one mark per seed; the class's labelled utterances in brackets."
HOW_CONFUSION = (
    "Of the utterances of each true class (row), the share in percent that was taken for each class (column); mean "
    "over the seeds. A row sums to 100; the diagonal is the recall. Hover for numbers of utterances."
)
HOW_CURVES = (
    "Mean over the seeds that reached the epoch (thick), each seed's validation (thin), and the epochs that validation "
    "chose (circles){scored}. Train is measured while training, with dropout."
)
REFIT = "; what is scored was trained anew, for as long, on training and validation together (refit)"
SPLITS = ("train", "validation")
CURVES = {"weighted_f1": "Weighted F1 by epoch", "loss": "Loss by epoch"}


def class_figure(ablation: Ablation, sample: Sample) -> Figure:
    """Describe F1 of each class: every seed a mark, beside the reference's."""
    reference, panels = ablation.reference, []
    for row in ablation.rows:
        series = [_class_marks(reference, reference.folder.name, colour="blue", marker="diamond-open")]
        if row.run is not reference:
            series.append(_class_marks(row.run, row.name, colour="vermilion", marker="circle"))
        panels.append(Panel(series=series, x=Axis(title="F1 (%)", limits=(-2, 102)), y=Axis(names=True)))
    return Figure("classes", "F1 per class", _views(ablation, sample, panels, HOW_CLASSES))


def _views(ablation: Ablation, sample: Sample, panels: Sequence[Panel], how: str) -> list[View]:
    """Return a view of each run's panel."""
    return [
        View(name=row.name, panel=panel, how=how, basis=sample.basis(counted(len(row.run.seeds), "seed"), row.name))
        for row, panel in zip(ablation.rows, panels, strict=True)
    ]


def _class_marks(run: FinishedRun, name: str, **look) -> Series:
    occurs = np.flatnonzero(run.support)
    labels = [f"{run.classes[index]} ({run.support[index]})" for index in occurs]
    f1_SC = 100 * run.scores.f1_C[:, occurs]
    notes = [f"seed {seed}" for seed in run.seeds for _ in labels]
    y = labels * len(run.seeds)
    return Series(name=name, x=f1_SC.round(2).ravel().tolist(), y=y, notes=notes, opacity=0.8, **look)


def confusion_figure(ablation: Ablation, sample: Sample) -> Figure:
    """Describe row-normalised confusion matrices, one per run; classes that the split lacks have an empty row."""
    panels = []
    for row in ablation.rows:
        classes, series = row.run.classes, []
        for emotion, support, count_C in zip(classes, row.run.support, confusion(row.run), strict=True):
            y = [round(value, 1) if support else None for value in 100 * count_C / max(support, 1)]
            notes = [f"{value:.1f} utterances" for value in count_C]
            series.append(Series(name=f"{emotion} ({support})", x=classes, y=y, notes=notes))
        x, y = Axis(title="taken for", names=True), Axis(title="true class", names=True)
        panels.append(Panel(kind="matrix", series=series, x=x, y=y))
    return Figure("confusion", "Confusion matrix", _views(ablation, sample, panels, HOW_CONFUSION))


def confusion(run: FinishedRun) -> np.ndarray:
    """Return utterances by true class (row) and predicted class (column), mean over the seeds, [C, C]."""
    classes = len(run.classes)
    cell_SN = run.labelled.actual_T * classes + run.labelled.predicted_ST
    return np.mean([np.bincount(cell_N, minlength=classes**2) for cell_N in cell_SN], axis=0).reshape(classes, classes)


def curve_figures(folder: Path, ablation: Ablation, sample: Sample) -> list[Figure]:
    """Describe learning curves of every run in runs/<corpus> that has any (baselines have none)."""
    needed, histories = [f"{split}_{quantity}" for split in SPLITS for quantity in CURVES], {}
    for row in ablation.rows:
        paths = {seed: folder / row.name / f"train/seed-{seed}/history.csv" for seed in row.run.seeds}
        if by_seed := {seed: read_numbers(path, needed) for seed, path in paths.items() if path.exists()}:
            histories[row.name] = by_seed
    splits, figures = ablation.reference.card["splits"], []
    cards = {row.name: row.run.card for row in ablation.rows}
    sizes = ", ".join(f"{name} n = {counted(splits[name]['labelled'], 'labelled utterance')}" for name in SPLITS)
    for quantity, title in CURVES.items() if histories else ():
        x, y, views = Axis(title="epoch"), Axis(title=quantity.replace("_f1", " F1")), []
        for name, by_seed in histories.items():
            card = cards[name]
            panel = Panel(series=list(_curves(by_seed, quantity, card.get("selected_by") or "weighted_f1")), x=x, y=y)
            how = HOW_CURVES.format(scored=REFIT if card.get("selection") else ", which are what is scored")
            basis = f"Run {name}; {sizes}; {counted(len(by_seed), 'seed')}. {sample.simulated}"
            views.append(View(name=name, panel=panel, how=how, basis=basis))
        figures.append(Figure(f"curve-{quantity}", title, views))
    return figures


def _curves(by_seed: Mapping[int, list[dict]], quantity: str, selected_by: str) -> Iterator[Series]:
    """Yield each seed's validation, then both means, then the chosen epochs."""
    columns = [f"{split}_{quantity}" for split in SPLITS]
    train, validation = ({seed: [row[name] for row in rows] for seed, rows in by_seed.items()} for name in columns)

    def line(name: str, values: Sequence[float], **look) -> Series:
        return Series(name=name, x=list(range(1, len(values) + 1)), y=values, marker="", **look)

    for seed, values in validation.items():
        yield line(f"validation, seed {seed}", values, line="solid", width=1, opacity=0.45, in_legend=False)
    yield line("train, mean", _means(train.values()), line="dash", width=2.5, colour="vermilion")
    yield line("validation, mean", _means(validation.values()), line="solid", width=2.5)
    best = {seed: int(np.argmax([row[f"validation_{selected_by}"] for row in rows])) for seed, rows in by_seed.items()}
    x, y = [index + 1 for index in best.values()], [validation[seed][index] for seed, index in best.items()]
    yield Series(name="chosen epoch", x=x, y=y, notes=[f"seed {seed}" for seed in best], marker="circle-open")


def _means(seeds: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean of each epoch over the seeds that reached it."""
    return [float(np.mean([value for value in values if value is not None])) for values in zip_longest(*seeds)]
