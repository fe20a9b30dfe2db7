"""The ablation table: its columns, caption and notes, written as CSV, Markdown and LaTeX and shown on the terminal.

CSV has everything between 0 and 1; the tables for people are in percent.
"""

from collections.abc import Iterator
from pathlib import Path

from dferc.core.console import console
from dferc.core.files import write_atomically
from dferc.core.tables import write_csv
from dferc.results.compare import Ablation, AblationRow, scores_of
from dferc.results.published import SOURCES, Published, published_scores
from dferc.results.statistics import RESAMPLES, Interval
from dferc.results.text_tables import (
    NONE,
    TextTable,
    difference_cell,
    interval_cell,
    latex,
    markdown,
    mean_cell,
    p_cell,
    terminal,
)

HOW = (
    "Mean ± standard deviation over the seeds, in percent; each model was selected on validation. "
    "Δ: a score less the reference's over the seeds of both, with 95 % intervals over dialogues "
    f"({RESAMPLES:,} bootstrap resamples of whole dialogues, seeds held) and over seeds (paired t). "
    "p: two-sided, of no difference in weighted F1 (McNemar: accuracy); over dialogues from the same bootstrap, over "
    "seeds from the paired t-test, over utterances from McNemar's exact test on the class that the seeds choose "
    "together (utterances taken for independent: too sure where errors come in runs)."
)
HOLM = "Each p is Holm-corrected over the rows compared."

SCORES = {"accuracy": "accuracy", "weighted_f1": "weighted F1", "macro_f1": "macro F1"}
"""Scores of whole splits -> their headings."""

COMPARED = ("95 % over dialogues", "95 % over seeds", "p, dialogues", "p, seeds", "p, McNemar")
"""Headings of the columns that follow the difference."""


def write_tables(folder: Path, ablation: Ablation) -> list[Path]:
    """Write ablation.csv, .md and .tex; return their paths."""
    paths = [folder / f"ablation.{kind}" for kind in ("csv", "md", "tex")]
    rows = list(_csv_rows(ablation))
    write_csv(paths[0], list(rows[0]), rows)
    for path, document in zip(paths[1:], (markdown, latex), strict=True):
        text = document(caption(ablation), (main_table(ablation), class_table(ablation)), notes(ablation))
        write_atomically(path, lambda temporary, text=text: temporary.write_text(text, encoding="utf-8"))
    return paths


def show_ablation(ablation: Ablation) -> None:
    """Print the table and its notes."""
    for table in (main_table(ablation), class_table(ablation)):
        console.print(terminal(caption(ablation), table))
    for note in notes(ablation):
        console.print(note, markup=False)


def caption(ablation: Ablation) -> str:
    """Return corpus, split, size and protocol, and which features are simulated."""
    run = ablation.reference
    size = f"{len(run.labelled.actual_T)} utterances in {run.dialogues} dialogues"
    about = f"{ablation.corpus}, {run.split} ({size}; protocol card {run.card['card']}: {run.card['protocol']})"
    return "; ".join([about, *ablation.simulated])


def notes(ablation: Ablation) -> list[str]:
    """Return how the numbers were computed, and what a reader must know about these runs."""
    return [*method_notes(ablation), *map(as_note, ablation.notes)]


def method_notes(ablation: Ablation) -> list[str]:
    """Return how the numbers were computed."""
    return [HOW, HOLM, *([SOURCES] if _published(ablation) else [])]


def as_note(sentence: str) -> str:
    """Return a sentence on one line, marked as a note."""
    return f"Note: {' '.join(sentence.split()).removesuffix('.')}."


def main_table(ablation: Ablation) -> TextTable:
    """Return scores, differences and tests: a row per run, then the published ones."""
    heading = difference_heading(ablation)
    header = ["", "seeds", *SCORES.values(), heading, *COMPARED]
    lines = [_cells(row, heading) for row in ablation.rows]
    for published in _published(ablation):
        scores = {title: getattr(published, name) for name, title in SCORES.items()}
        cells = {title: f"{score:.2f}" for title, score in scores.items() if score is not None}
        lines.append({"": f"{published.system} ({published.source})"} | cells)
    rows = [[cells.get(column, NONE) for column in header] for cells in lines]
    return TextTable(header, rows, len(ablation.rows))


def _cells(row: AblationRow, heading: str) -> dict[str, str]:
    """Return the cells of a run by column."""
    scores = scores_of(row.run)
    cells = {"": row.name, "seeds": str(len(row.run.seeds))}
    cells |= {title: mean_cell(scores[name]) for name, title in SCORES.items()}
    if row.comparison is None:
        return cells | {heading: "reference"}
    mean, dialogues, seeds = row.comparison.differences["weighted_f1"]
    compared = (interval_cell(dialogues), interval_cell(seeds), *map(p_cell, row.corrected))
    return cells | {heading: difference_cell(mean)} | dict(zip(COMPARED, compared, strict=True))


def difference_heading(ablation: Ablation) -> str:
    """Return the heading of the column with differences in weighted F1."""
    return f"Δ to {ablation.reference.folder.name}"


def class_table(ablation: Ablation) -> TextTable:
    """Return F1 per class, with the class's utterances in the heading."""
    run = ablation.reference
    header = ["F1", *(f"{name} ({count})" for name, count in zip(run.classes, run.support, strict=True))]
    rows = []
    for row in ablation.rows:
        scores = scores_of(row.run)
        rows.append([row.name, *(mean_cell(scores.get(f"f1_{name}")) for name in run.classes)])
    return TextTable(header, rows, len(rows))


def _published(ablation: Ablation) -> tuple[Published, ...]:
    """Return the published rows; none beside simulated features, which scores of recordings do not measure."""
    comparable = ablation.reference.split == "test" and not ablation.simulated
    return published_scores(ablation.reference.card) if comparable else ()


def _csv_rows(ablation: Ablation) -> Iterator[dict]:
    """Yield every number, a row per run and per published line; empty where there is no such number."""
    classes, nothing = ablation.reference.classes, dict.fromkeys(Interval._fields)
    for row in ablation.rows:
        scores = scores_of(row.run)
        cells: dict = {"name": row.name, "published": "", "seeds": len(row.run.seeds)}
        for name in (*SCORES, *(f"f1_{emotion}" for emotion in classes)):
            values = scores.get(name)
            cells[name] = None if values is None else float(values.mean())
            cells[f"{name}_std"] = None if values is None or len(values) < 2 else float(values.std(ddof=1))
        weighted = row.comparison and row.comparison.differences["weighted_f1"]
        cells |= {"compared_seeds": weighted and len(row.comparison.seeds), "difference": weighted and weighted.mean}
        for over in ("dialogues", "seeds"):
            interval = weighted and getattr(weighted, over)
            values = interval._asdict() if interval else nothing
            cells |= {f"{over}_{name}": value for name, value in values.items()}
            cells[f"{over}_p_holm"] = row.corrected and getattr(row.corrected, over)
        cells["mcnemar_p"] = row.comparison and row.comparison.mcnemar
        cells["mcnemar_p_holm"] = row.corrected and row.corrected.mcnemar
        yield cells
    columns = dict.fromkeys(cells)
    for line in _published(ablation):
        printed = {name: getattr(line, name) for name in SCORES}
        fractions = {name: None if value is None else value / 100 for name, value in printed.items()}
        yield columns | {"name": line.system, "published": line.source} | fractions
