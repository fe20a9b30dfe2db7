"""The ablation table, as CSV, Markdown, LaTeX and on the terminal; the comparison of two runs, on it and as plain data.

CSV and plain data are between 0 and 1; the tables for people are in percent.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dferc.core.console import console, warn_of_simulation
from dferc.core.errors import counted
from dferc.core.files import write_text
from dferc.core.metrics import PER_CLASS, SCORES
from dferc.core.tables import write_csv
from dferc.results import text_tables
from dferc.results.compare import Ablation, Comparison, PValues, class_notes, pair_notes, run_notes, scores_of
from dferc.results.published import SOURCES
from dferc.results.runs import CALIBRATION_ERRORS, FinishedRun, simulated
from dferc.results.statistics import RESAMPLES, Interval
from dferc.results.text_tables import NONE, TextTable, difference_cell, interval_cell, mean_cell, p_cell

HOW = (
    "Mean ± standard deviation over the seeds, in percent; each model was selected on validation, by weighted F1 where "
    "no note names another score. WA (weighted accuracy) is another name of accuracy; UAR: unweighted average recall. "
    "Δ: a score less the reference's over the seeds of both, with 95 % intervals over dialogues "
    f"({RESAMPLES:,} bootstrap resamples of whole dialogues, seeds held) and over seeds (paired t). "
    "p: two-sided, of no difference in weighted F1 (McNemar: accuracy); over dialogues from the same bootstrap, over "
    "seeds from the paired t-test, over utterances from McNemar's exact test on the class that the seeds choose "
    "together (utterances taken for independent: too sure where errors come in runs). ECE: calibration error of single "
    "seeds, before and after the fitted temperature."
)
HOLM = "Each p is Holm-corrected over the rows compared."

COMPARED = ("95 % over dialogues", "95 % over seeds", "p, dialogues", "p, seeds", "p, McNemar")
"""Headings of the columns that follow the difference."""

ERRORS = "ECE → calibrated"
"""Heading of the last column."""


def write_tables(folder: Path, ablation: Ablation) -> list[Path]:
    """Write ablation.csv, .md and .tex; return their paths."""
    paths = [folder / f"ablation.{kind}" for kind in ("csv", "md", "tex")]
    rows = list(csv_rows(ablation))
    write_csv(paths[0], list(rows[0]), rows)
    for path, document in zip(paths[1:], (text_tables.markdown, text_tables.latex), strict=True):
        write_text(path, document(caption(ablation), (main_table(ablation), *class_tables(ablation)), notes(ablation)))
    return paths


def show_ablation(ablation: Ablation) -> None:
    """Print the table and its notes."""
    warn_of_simulation(ablation.synthetic)
    for table in (main_table(ablation), *class_tables(ablation)):
        text_tables.show(caption(ablation), table)
    for note in notes(ablation):
        console.print(note)


def caption(ablation: Ablation) -> str:
    """Return corpus, split, size and protocol, and what is synthetic or simulated."""
    run = ablation.reference
    size = f"{counted(len(run.labelled.actual_T), 'utterance')} in {counted(run.dialogues, 'dialogue')}"
    about = f"{ablation.corpus}, {run.split} ({size}; protocol card {run.card['card']}: {run.card['protocol']})"
    return "; ".join([about, *ablation.synthetic])


def notes(ablation: Ablation) -> list[str]:
    """Return how the numbers were computed, and what a reader must know about these runs."""
    return [*method_notes(ablation), *map(as_note, ablation.notes)]


def method_notes(ablation: Ablation) -> list[str]:
    """Return how the numbers were computed."""
    return [HOW, HOLM, *([SOURCES] if ablation.published else [])]


def as_note(sentence: str) -> str:
    """Return a sentence on one line, marked as a note."""
    return f"Note: {' '.join(sentence.split()).removesuffix('.')}."


def main_table(ablation: Ablation) -> TextTable:
    """Return scores, differences in weighted F1 and tests: a row per run, then the published ones."""
    rows = []
    for name, run, comparison, corrected in ablation.rows:
        scores = scores_of(run)
        row = [name, str(len(run.seeds)), *(mean_cell(scores[score]) for score in SCORES)]
        errors = (run.calibration_errors.get(key) for key in ("ece", "ece_calibrated"))  # between 0 and 1
        shown = " → ".join(f"{error:.3f}" for error in errors if error is not None) or NONE
        rows.append([*row, *comparison_cells(comparison, corrected, "reference"), shown])
    rows += [[name, "absent", *[NONE] * (len(SCORES) + 2 + len(COMPARED))] for name in ablation.absent]
    for published in ablation.published:
        values = [getattr(published, score) for score in SCORES]
        cells = [NONE if value is None else f"{value:.2f}" for value in values]
        rows.append([f"{published.system} ({published.source})", NONE, *cells, NONE, *[NONE] * len(COMPARED), NONE])
    header = ["", "seeds", *SCORES.values(), f"Δ to {ablation.reference.folder.name}", *COMPARED, ERRORS]
    return TextTable(header, rows, len(ablation.rows) + len(ablation.absent))


def comparison_cells(comparison: Comparison | None, corrected: PValues | None, otherwise: str = NONE) -> list[str]:
    """Return the difference in weighted F1 (`otherwise` without a comparison), its intervals and the p of each test."""
    if comparison is None:
        return [otherwise, *[NONE] * len(COMPARED)]
    mean, *intervals = comparison.differences["weighted_f1"]
    return [difference_cell(mean), *map(interval_cell, intervals), *map(p_cell, corrected)]


def class_tables(ablation: Ablation) -> list[TextTable]:
    """Return F1, recall and precision per class, with the class's utterances in the heading."""
    run = ablation.reference
    classes = [f"{name} ({count})" for name, count in zip(run.classes, run.support, strict=True)]
    tables = []
    for score, heading in {"f1": "F1", "recall": "recall", "precision": "precision"}.items():
        rows = [[row.name, *map(mean_cell, _class_scores(row.run, score).values())] for row in ablation.rows]
        tables.append(TextTable([heading, *classes], rows, len(rows)))
    return tables


def _class_scores(run: FinishedRun, score: str) -> dict[str, np.ndarray | None]:
    """Return class -> a score of `PER_CLASS` by seed, [S]; None for a class that the split lacks."""
    values_SC = getattr(run.scores, f"{score}_C")
    return {name: values_SC[:, index] if run.support[index] else None for index, name in enumerate(run.classes)}


def csv_rows(ablation: Ablation) -> Iterator[dict]:
    """Yield every number, a row per run and per published line; empty where there is no such number."""
    classes = ablation.reference.classes
    for name, run, comparison, corrected in ablation.rows:
        scores: dict = {score: getattr(run.scores, score) for score in SCORES}
        per_class = {score: _class_scores(run, score) for score in PER_CLASS}
        cells: dict = {"name": name, "published": "", "absent": "", "seeds": len(run.seeds)}
        scores |= {f"{score}_{label}": of_class[label] for score, of_class in per_class.items() for label in classes}
        for score, values in scores.items():
            cells[score] = None if values is None else float(values.mean())
            cells[f"{score}_std"] = None if values is None or len(values) < 2 else float(values.std(ddof=1))
        cells |= {name: run.calibration_errors.get(name) for name in CALIBRATION_ERRORS}
        cells["compared_seeds"] = comparison and len(comparison.seeds)
        cells |= comparison_numbers(comparison, corrected)
        yield cells
    for name, reason in ablation.absent.items():
        yield dict.fromkeys(cells) | {"name": name, "absent": reason, "seeds": 0}
    for line in ablation.published:
        printed = {score: getattr(line, score) for score in SCORES}
        fractions = {score: None if value is None else value / 100 for score, value in printed.items()}
        yield dict.fromkeys(cells) | {"name": line.system, "published": line.source} | fractions


def comparison_numbers(comparison: Comparison | None, corrected: PValues | None) -> dict[str, float | None]:
    """Return the difference in weighted F1, its intervals and tests by column; None where there is no such number."""
    weighted = comparison and comparison.differences["weighted_f1"]
    cells = {"difference": weighted and weighted.mean}
    for over in ("dialogues", "seeds"):
        interval = weighted and getattr(weighted, over)
        values = interval._asdict() if interval else dict.fromkeys(Interval._fields)
        cells |= {f"{over}_{part}": value for part, value in values.items()}
        cells[f"{over}_p_holm"] = corrected and getattr(corrected, over)
    return cells | {"mcnemar_p": comparison and comparison.mcnemar, "mcnemar_p_holm": corrected and corrected.mcnemar}


def show_comparison(one: FinishedRun, two: FinishedRun, comparison: Comparison) -> None:
    """Print two runs side by side, each over all its seeds, and their difference over the seeds of both."""
    header = ["", *(f"{run.folder} ({len(run.seeds)})" for run in (one, two)), "Δ", *COMPARED[:2]]
    scores, others, rows = scores_of(one), scores_of(two), []
    for name, (mean, *intervals) in comparison.differences.items():
        title = SCORES.get(name, f"F1 {name.removeprefix('f1_')}")
        difference = [difference_cell(mean), *map(interval_cell, intervals)]
        rows.append([title, mean_cell(scores[name]), mean_cell(others[name]), *difference])
    text_tables.show(f"{one.split}: {one.folder} less {two.folder}", TextTable(header, rows, len(rows)))
    dialogues, seeds, mcnemar = map(p_cell, comparison.p_values)
    over = f"weighted F1 over dialogues {dialogues}, over seeds {seeds}"
    console.print(f"p of no difference: {over}; accuracy by McNemar {mcnemar}")
    console.print(f"protocol card {one.card['card']}: {one.card['protocol']}")
    console.print(f"{HOW} Intervals of single scores and classes are not corrected for their number.")
    warn_of_simulation(simulated({str(run.folder): run for run in (one, two)}))
    runs = run_notes({str(run.folder): run for run in (one, two)})
    for note in (*pair_notes(str(one.folder), one, two, comparison), *class_notes(two), *runs):
        console.print(as_note(note))


def comparison_json(one: FinishedRun, two: FinishedRun, comparison: Comparison) -> dict:
    """Return the comparison as plain data, between 0 and 1."""
    scores, others = scores_of(one), scores_of(two)
    return {
        "card": one.card["card"],
        "split": one.split,
        "runs": [str(one.folder), str(two.folder)],
        "seeds": list(comparison.seeds),
        "mcnemar_p": comparison.mcnemar,
        "scores": {
            name: {
                "means": [float(scores[name].mean()), float(others[name].mean())],
                "difference": difference.mean,
                "dialogues": difference.dialogues and difference.dialogues._asdict(),
                "seeds": difference.seeds and difference.seeds._asdict(),
            }
            for name, difference in comparison.differences.items()
        },
    }
