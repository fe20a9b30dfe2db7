"""The ablation table and the comparison of two runs, as CSV, Markdown, LaTeX (booktabs) and on the terminal.

CSV holds everything between 0 and 1; what people read is in percent.
"""

from collections.abc import Iterator
from pathlib import Path

from dferc.core.console import console
from dferc.core.files import write_atomically
from dferc.core.tables import write_csv
from dferc.results.compare import Ablation, Comparison, Difference, Row, class_notes, scores_of, seed_notes
from dferc.results.grid import NONE, Grid, interval_of, latex, markdown, p_of, percent, signed, spread, terminal
from dferc.results.published import SOURCES, Published, published_scores
from dferc.results.runs import Run
from dferc.results.simulated import simulated_features
from dferc.results.statistics import RESAMPLES, Interval

HOW = (
    "Mean ± standard deviation over the seeds, in percent; each model was selected on validation. "
    "Δ: a score less the reference's over the seeds of both, with 95 % intervals over dialogues "
    f"({RESAMPLES:,} bootstrap resamples of whole dialogues, seeds held) and over seeds (paired t). "
    "p: two-sided, of no difference in weighted F1 (McNemar: accuracy); over dialogues from the same bootstrap, over "
    "seeds from the paired t-test, over utterances from McNemar's exact test on the class that the seeds choose "
    "together (utterances taken for independent: too sure where errors come in runs)."
)
HOLM = "Each p is Holm-corrected over the rows compared."


def write_tables(folder: Path, ablation: Ablation) -> list[Path]:
    """Write ablation.csv, .md and .tex; returns their paths."""
    paths = [folder / f"ablation.{kind}" for kind in ("csv", "md", "tex")]
    rows = list(_csv_rows(ablation))
    write_csv(paths[0], list(rows[0]), rows)
    grids, text = (main_grid(ablation), class_grid(ablation)), notes(ablation)
    title = caption(ablation)
    documents = (markdown(title, grids, text), latex(title, grids, text))
    for path, document in zip(paths[1:], documents, strict=True):
        write_atomically(path, lambda temporary, document=document: temporary.write_text(document, encoding="utf-8"))
    return paths


def show_ablation(ablation: Ablation) -> None:
    """Print the table and its notes."""
    for grid in (main_grid(ablation), class_grid(ablation)):
        console.print(terminal(caption(ablation), grid))
    for note in notes(ablation):
        console.print(note, markup=False)


def caption(ablation: Ablation) -> str:
    """Corpus, split, size and protocol, and which features are simulated."""
    run = ablation.reference
    size = f"{len(run.actual_N)} utterances in {run.dialogues} dialogues"
    said = f"{ablation.corpus}, {run.split} ({size}; protocol card {run.card['card']}: {run.card['protocol']})"
    return "; ".join([said, *ablation.simulated])


def notes(ablation: Ablation) -> list[str]:
    """How the numbers came about, and what a reader must know of them."""
    general = [HOW, HOLM] + ([SOURCES] if _published(ablation) else [])
    return [*general, *map(_note, ablation.notes)]


def main_grid(ablation: Ablation) -> Grid:
    """Scores, differences and tests: a row per run, then the published ones."""
    against = ablation.reference.folder.name
    header = ["", "seeds", "accuracy", "weighted F1", "macro F1", f"Δ to {against}"]
    header += ["95 % over dialogues", "95 % over seeds", "p, dialogues", "p, seeds", "p, McNemar"]
    rows = [_main_cells(row) for row in ablation.rows]
    for each in _published(ablation):
        scores = [percent(each.accuracy), percent(each.weighted_f1), percent(each.macro_f1)]
        rows.append([f"{each.system} ({each.source})", NONE, *scores, *[NONE] * 6])
    return Grid(header, rows, len(ablation.rows))


def class_grid(ablation: Ablation) -> Grid:
    """F1 per class, with the class's utterances in the heading."""
    run = ablation.reference
    header = ["F1", *(f"{name} ({count})" for name, count in zip(run.classes, run.support, strict=True))]
    rows = []
    for row in ablation.rows:
        scores = scores_of(row.run)
        rows.append([row.name, *(spread(scores.get(f"f1_{name}")) for name in run.classes)])
    return Grid(header, rows, len(rows))


def _main_cells(row: Row) -> list[str]:
    scores = scores_of(row.run)
    cells = [row.name, str(len(row.run.seeds)), *(spread(scores[name]) for name in list(scores)[:3])]
    if row.comparison is None:
        return [*cells, "reference", *[NONE] * 5]
    return [*cells, *_difference(row.comparison.differences["weighted_f1"]), *map(p_of, row.corrected)]


def _published(ablation: Ablation) -> tuple[Published, ...]:
    """None beside what is simulated: scores of recordings are no measure of it."""
    comparable = ablation.reference.split == "test" and not ablation.simulated
    return published_scores(ablation.reference.card) if comparable else ()


# ---------------------------------------------------------------------------------------------------- two runs


def show_comparison(one: Run, two: Run, compared: Comparison) -> None:
    """Print two runs side by side, score by score."""
    console.print(terminal(f"{one.split}: {one.folder} less {two.folder}", comparison_grid(one, two, compared)))
    weighted = compared.differences["weighted_f1"]
    over = {"dialogues": weighted.dialogues and weighted.dialogues.p, "seeds": weighted.seeds and weighted.seeds.p}
    said = [f"{name} {p_of(p)}" for name, p in over.items()]
    mcnemar = p_of(compared.mcnemar)
    console.print(f"p of no difference: weighted F1 over {', over '.join(said)}; accuracy by McNemar {mcnemar}")
    console.print(f"protocol card {one.card['card']}: {one.card['protocol']}", markup=False)
    console.print(HOW + " Intervals of single scores and classes are not corrected for their number.", markup=False)
    made_up = simulated_features({str(run.folder): run for run in (one, two)})
    for note in (*made_up, *seed_notes(str(one.folder), one, two, compared), *class_notes(two)):
        console.print(_note(note), markup=False)


def comparison_grid(one: Run, two: Run, compared: Comparison) -> Grid:
    """A row per score: both runs over all their seeds, the difference over those they share, both intervals."""
    header = ["", f"{one.folder} ({len(one.seeds)})", f"{two.folder} ({len(two.seeds)})"]
    header += ["Δ", "95 % over dialogues", "95 % over seeds"]
    scores, others = scores_of(one), scores_of(two)
    rows = [
        [_words(name), spread(scores[name]), spread(others[name]), *_difference(made)]
        for name, made in compared.differences.items()
    ]
    return Grid(header, rows, len(rows))


def comparison_json(one: Run, two: Run, compared: Comparison) -> dict:
    """The comparison as plain data, between 0 and 1."""
    scores, others = scores_of(one), scores_of(two)
    return {
        "card": one.card["card"],
        "split": one.split,
        "runs": [str(one.folder), str(two.folder)],
        "seeds": list(compared.seeds),
        "mcnemar_p": compared.mcnemar,
        "scores": {
            name: {
                "means": [float(scores[name].mean()), float(others[name].mean())],
                "difference": made.mean,
                "dialogues": made.dialogues and made.dialogues._asdict(),
                "seeds": made.seeds and made.seeds._asdict(),
            }
            for name, made in compared.differences.items()
        },
    }


# ---------------------------------------------------------------------------------------------------- cells


def _csv_rows(ablation: Ablation) -> Iterator[dict]:
    """Everything, a row per run and per published line; empty where there is no such number."""
    classes, nothing = ablation.reference.classes, dict.fromkeys(Interval._fields)
    for row in ablation.rows:
        scores = scores_of(row.run)
        cells: dict = {"name": row.name, "published": "", "seeds": len(row.run.seeds)}
        for name in ("accuracy", "weighted_f1", "macro_f1", *(f"f1_{each}" for each in classes)):
            values = scores.get(name)
            cells[name] = None if values is None else float(values.mean())
            cells[f"{name}_std"] = None if values is None or len(values) < 2 else float(values.std(ddof=1))
        made = row.comparison and row.comparison.differences["weighted_f1"]
        cells |= {"compared_seeds": made and len(row.comparison.seeds), "difference": made and made.mean}
        for over in ("dialogues", "seeds"):
            interval = made and getattr(made, over)
            values = interval._asdict() if interval else nothing
            cells |= {f"{over}_{name}": value for name, value in values.items()}
            cells[f"{over}_p_holm"] = row.corrected and getattr(row.corrected, over)
        cells["mcnemar_p"] = row.comparison and row.comparison.mcnemar
        cells["mcnemar_p_holm"] = row.corrected and row.corrected.mcnemar
        yield cells
    columns = dict.fromkeys(cells)
    for each in _published(ablation):
        printed = {name: getattr(each, name) for name in ("accuracy", "weighted_f1", "macro_f1")}
        fractions = {name: None if value is None else value / 100 for name, value in printed.items()}
        yield columns | {"name": each.system, "published": each.source} | fractions


def _note(sentence: str) -> str:
    return f"Note: {' '.join(sentence.split()).removesuffix('.')}."


def _words(name: str) -> str:
    """`weighted_f1` as `weighted F1`, `f1_joy` as `F1 joy`."""
    return f"F1 {name.removeprefix('f1_')}" if name.startswith("f1_") else name.replace("_f1", " F1")


def _difference(made: Difference) -> list[str]:
    return [signed(made.mean), interval_of(made.dialogues), interval_of(made.seeds)]
