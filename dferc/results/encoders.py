"""Feature sets against each other: encoders.csv, .md, .tex and .json of a corpus, for `dferc encoders` and the report.

CSV is between 0 and 1; the tables for people are in percent.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from dferc.core.console import console, warn_of_simulation
from dferc.core.errors import InputError
from dferc.core.files import write_text
from dferc.core.metrics import SCORES
from dferc.core.records import StoredRecord, Text, read_record
from dferc.core.tables import write_csv
from dferc.results import tables, text_tables
from dferc.results.compare import Ablation, Comparison, PValues, collect, compare, correct, set_notes
from dferc.results.runs import FinishedRun, align, read_metrics, read_run
from dferc.results.statistics import draw_dialogues
from dferc.results.text_tables import NONE, TextTable, mean_cell
from dferc.settings.combinations import Combination, Plan

SCHEMA = 1
"""Version of encoders.json; raised when a reader of an older one could misread it."""

FILE = "encoders.json"

SETS = (
    "Floor: weighted F1 of a z-scored logistic regression on the set alone. Alone: of the model on the set alone. "
    "Adds: the first combination with this set as its modality's only one, less the first combination without this "
    "modality; each p is Holm-corrected over the sets."
)


class SetRow(NamedTuple):
    """A feature set: its width, share of training rows that have it, and scores; None where there is none."""

    name: str
    width: int
    present: float
    floor: float | None
    alone: FinishedRun
    added: Comparison | None
    corrected: PValues | None


class Encoders(NamedTuple):
    """Combinations as an ablation against the first one, and the sets one by one."""

    combinations: Ablation
    sets: list[SetRow]
    selected: str  # a sentence: which combination is best on validation
    warnings: tuple[str, ...] = ()  # sentences on sets whose scores mislead


def compare_encoders(
    folder: Path,
    plan: Plan,
    folders: Mapping[Combination, str],
    about: Mapping[str, tuple[int, float]],
    floors: Mapping[str, Mapping],
    split: str | None,
) -> Encoders:
    """Compare the finished runs of a plan.

    Args:
        folder: runs/encoders/<corpus>.
        plan: what was trained.
        folders: name of the folder of each combination.
        about: width and presence of each set.
        floors: scores of the linear floor of each set, by split.
        split: test or validation; None = test, where it has labels.
    """
    names = {name: str(combination) for combination, name in folders.items()}
    of_table = [folders[combination] for combination in plan.combinations]
    ablation = collect(folder, split, of_table[0], of_table)
    rows = sorted(ablation.rows, key=lambda row: of_table.index(row.name))
    known = {note for row in rows for note in set_notes(row.name, row.run, ablation.reference)}  # as the names show
    spelled = [_spell(note, names) for note in ablation.notes if note not in known]
    ablation = ablation._replace(rows=[row._replace(name=names[row.name]) for row in rows], notes=spelled)
    reference, drawn_BD = ablation.reference, draw_dialogues(ablation.reference.dialogues)

    def finished(combination: Combination) -> FinishedRun:
        return align(read_run(folder / folders[combination], reference.split), reference)

    added = {name: compare(*map(finished, pair), drawn_BD) for name, pair in plan.added.items()}
    corrected, sets = correct(added), []
    for name, alone in plan.alone.items():
        floor = floors[name].get(reference.split)
        sets.append(SetRow(name, *about[name], floor, finished(alone), added.get(name), corrected.get(name)))
    metrics = read_metrics(folder)[0]
    score = reference.card.get("selected_by") or "weighted_f1"
    scored = {name: metrics[name].get("validation") for name in of_table if name in metrics}
    validation = {names[name]: scores[score] for name, scores in scored.items() if scores}
    if not validation:  # `train.selection: refit`
        return Encoders(ablation, sets, "no combination is chosen: the runs were trained on validation too (refit)")
    best = max(validation, key=validation.get)
    return Encoders(ablation, sets, f"highest {SCORES[score]} on validation: {best}, {100 * validation[best]:.2f}")


def _spell(note: str, names: Mapping[str, str]) -> str:
    """Name combinations, and not folders, in a note."""
    for name in sorted(names, key=len, reverse=True):
        note = note.replace(name, names[name])
    return note


def encoder_tables(encoders: Encoders) -> dict[str, TextTable]:
    """Return the tables by title."""
    table = tables.main_table(encoders.combinations)
    rows = table.rows[: len(encoders.combinations.rows)]
    header = [*table.header[: 2 + len(SCORES)], "Δ to the first", *tables.COMPARED, tables.ERRORS]
    return {
        "Combinations of feature sets": TextTable(["sets", *header[1:]], rows, len(rows)),
        "Feature sets one by one": _set_table(encoders.sets),
    }


def _set_table(sets: list[SetRow]) -> TextTable:
    rows = []
    for row in sets:
        cells = [row.name, str(row.width), f"{row.present:.1%}"]
        cells += [NONE if row.floor is None else f"{100 * row.floor:.2f}", mean_cell(row.alone.scores.weighted_f1)]
        rows.append([*cells, *tables.comparison_cells(row.added, row.corrected)])
    header = ["set", "width", "present in training", "floor", "alone", "adds", *tables.COMPARED]
    return TextTable(header, rows, len(rows))


def encoder_notes(encoders: Encoders) -> list[str]:
    """Return how the numbers were computed, and what a reader must know."""
    sentences = (*encoders.combinations.notes, encoders.selected, *encoders.warnings)
    return [tables.HOW, tables.HOLM, SETS, *map(tables.as_note, sentences)]


def write_encoders(folder: Path, runs: Path, encoders: Encoders) -> list[Path]:
    """Write encoders.csv, .md and .tex into `folder`, and encoders.json into runs/<corpus>; return their paths.

    The report shows the latter. It lies among the runs since DVC notices a new file in a folder that a stage depends
    on; a file as a dependency would have to be there always.
    """
    shown, about = encoder_tables(encoders), encoder_notes(encoders)
    title = tables.caption(encoders.combinations)
    rows = list(_csv(encoders))
    paths = [*(folder / f"encoders.{kind}" for kind in ("csv", "md", "tex")), runs / FILE]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_csv(paths[0], columns, [dict.fromkeys(columns) | row for row in rows])
    run = encoders.combinations.reference
    document = {
        "schema": SCHEMA,
        "card": run.card["card"],
        "split": run.split,
        "caption": title,
        "features": {row.name: next(iter(row.alone.trained_features.values())) for row in encoders.sets},
        "tables": {name: {"header": table.header, "rows": table.rows} for name, table in shown.items()},
        "notes": about,
    }
    write_text(paths[1], text_tables.markdown(title, tuple(shown.values()), about))
    write_text(paths[2], text_tables.latex(title, tuple(shown.values()), about))
    write_text(paths[3], json.dumps(document, ensure_ascii=False, indent=1) + "\n")
    return paths


def _csv(encoders: Encoders) -> Iterator[dict]:
    for row in tables.csv_rows(encoders.combinations):
        if not row["published"]:
            yield {"part": "combination", **row}
    for row in encoders.sets:
        scores = row.alone.scores.weighted_f1
        cells = {"part": "set", "name": row.name, "seeds": len(row.alone.seeds), "width": row.width}
        cells |= {"present": row.present, "floor": row.floor, "weighted_f1": float(scores.mean())}
        cells["weighted_f1_std"] = float(scores.std(ddof=1)) if len(scores) > 1 else None
        yield cells | tables.comparison_numbers(row.added, row.corrected)


def show_encoders(encoders: Encoders) -> None:
    """Print the tables and their notes."""
    warn_of_simulation(encoders.combinations.synthetic)
    console.print(tables.caption(encoders.combinations))
    for title, table in encoder_tables(encoders).items():
        text_tables.show(title, table)
    for note in encoder_notes(encoders):
        console.print(note)


class StoredTable(StoredRecord):
    """Schema of a table in encoders.json."""

    header: list[str]
    rows: list[list[str]]


class EncodersRecord(StoredRecord):
    """Schema of encoders.json."""

    schema_: Literal[SCHEMA] = Field(alias="schema")
    card: Text
    split: Text
    caption: Text
    features: dict[str, dict] = Field(default_factory=dict)  # identity of each set; older ones have none
    tables: dict[str, StoredTable]
    notes: list[str]


def read_encoders(path: Path, card: str) -> dict | None:
    """Read encoders.json; None where there is none.

    Raises:
        InputError: it is damaged, or of another protocol than the runs of the report.
    """
    if not path.exists():
        return None
    again = f"Make it again (`dferc encoders --corpus {path.parent.name}`), or remove it."
    document = read_record(path, EncodersRecord, again)
    if document["card"] != card:
        raise InputError(f"{path} is of protocol card {document['card']}, the runs are of {card}. {again}")
    for title, table in document["tables"].items():
        if any(len(row) != len(table["header"]) for row in table["rows"]):
            raise InputError(f"{path}: a row of the table {title!r} has not as many cells as its header. {again}")
    return document
