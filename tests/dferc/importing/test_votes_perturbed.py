"""Votes in imported tables, perturbed: they go with their rows, or a problem is listed, or the table is refused.

`DFERC_PERTURBATIONS` is the number of tables, as in `tests/helpers/perturbed_tables.py`.
"""

import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from dferc.core.errors import InputError
from dferc.importing.file_types import read_source
from dferc.importing.join import join
from tests.helpers.perturbed_tables import PERTURBATIONS
from tests.helpers.perturbed_votes import CELLS, CLASSES, NOTHING, counts_for, shares_of, written

ROWS = 12
FEW = 40


class Table:
    """Columns on their way to a file, and the shares that are right by utterance; None = refused, or listed."""

    def __init__(self, chance: random.Random):
        emotion = [CLASSES[(row + row // 4) % 3] for row in range(ROWS)]
        counts = [counts_for(chance, label) for label in emotion]
        self.chance, self.counts = chance, counts
        self.columns: dict[str, object] = {
            "dialogue": [f"d{row // 4}" for row in range(ROWS)],
            "utterance": [f"u{row}" for row in range(ROWS)],
            "emotion": emotion,
            "split": ["train"] * 4 + ["validation"] * 4 + ["test"] * 4,
            "text": np.arange(ROWS * 3, dtype=np.float32).reshape(ROWS, 3) + 1,
            "votes": [written(each) for each in counts],
        }
        self.right = {f"u{row}": shares_of(each) for row, each in enumerate(counts)}
        self.silent = True  # no problem is expected, or needed

    def matrix(self) -> np.ndarray:
        self.columns.pop("votes", None)
        self.columns["soft_labels"] = np.array(self.counts)
        return self.columns["soft_labels"]

    def wrong(self) -> None:
        self.silent = False

    @property
    def name(self) -> str:
        """Name of the column of votes, the last where there are two."""
        return [name for name in self.columns if "vote" in name.casefold() or "soft" in name.casefold()][-1]


def cells(table: Table) -> None:
    for row in table.chance.sample(range(ROWS), 4):
        text, right = table.chance.choice(CELLS)(table.chance, table.counts[row])
        table.columns["votes"][row] = text
        table.right[f"u{row}"] = right
        if right is None:
            table.wrong()


def missing_cells(table: Table) -> None:
    for row in table.chance.sample(range(ROWS), 3):
        table.columns["votes"][row] = table.chance.choice([None, float("nan"), "", "NA"])
        table.right[f"u{row}"] = NOTHING


def matrix_of_kind(table: Table) -> None:
    kind = table.chance.choice(["i1", "u2", "i8", "f2", "f4", ">f8", "f8"])
    table.columns["soft_labels"] = table.matrix().astype(kind)


def matrix_of_shares(table: Table) -> None:
    shares = np.array([shares_of(each) for each in table.counts], table.chance.choice(["f2", "f4", "f8"]))
    table.matrix()
    table.columns["soft_labels"] = shares.round(2) if table.chance.random() < 0.5 else shares


def matrix_with_rows_of(table: Table) -> None:
    wrong = table.chance.choice(
        [[math.nan, 1, 2], [-1, 2, 3], [0, 0, 0], [0.5, 0.1, 0.1], [math.inf, 1, 1], [1e308, 1e308, 1e308], [2.5, 1, 1]]
    )
    table.columns["soft_labels"] = table.matrix().astype(float)
    table.columns["soft_labels"][table.chance.randrange(ROWS)] = wrong
    table.wrong()


def matrix_of_another_shape(table: Table) -> None:
    matrix = table.matrix()
    table.columns["soft_labels"] = table.chance.choice(
        [matrix[:, :2], np.c_[matrix, matrix[:, 0]], matrix.T, matrix[:-1], matrix[:, :1], matrix.astype(str)]
    )
    table.wrong()


def matrix_of_other_classes(table: Table) -> None:
    table.columns["soft_labels"] = table.matrix()[:, [1, 0, 2]]
    table.wrong()


def matrix_as_lists(table: Table) -> None:
    table.matrix()
    column = np.empty(ROWS, dtype=object)
    column[:] = [list(map(float, each)) for each in table.counts]
    table.columns["soft_labels"] = column
    table.wrong()  # read where the format keeps it as a matrix, else refused


def both_columns(table: Table) -> None:
    table.columns["soft_labels"] = np.roll(np.array(table.counts), 1, axis=0)
    if table.chance.random() < 0.5:
        table.columns = dict(reversed(table.columns.items()))
    table.right = dict.fromkeys(table.right)
    table.wrong()


def shuffled(table: Table) -> None:
    order = table.chance.sample(range(ROWS), ROWS)
    for name, column in table.columns.items():
        if len(column) == ROWS:
            table.columns[name] = column[order] if isinstance(column, np.ndarray) else [column[row] for row in order]


def shorter(table: Table) -> None:
    table.columns[table.name] = table.columns[table.name][:-1]
    table.wrong()


def without_labels(table: Table) -> None:
    for row in table.chance.sample(range(ROWS), 2) if "emotion" in table.columns else ():
        table.columns["emotion"][row] = ""
    table.wrong()


def no_label_at_all(table: Table) -> None:
    if table.chance.random() < 0.5:
        del table.columns["emotion"]
    else:
        table.columns["emotion"] = [""] * ROWS
    table.wrong()


def another_name(table: Table) -> None:
    name = table.name
    new = table.chance.choice([name.upper(), name.title(), f"{name}s", f"my_{name}", name[:-1]])
    table.columns[new] = table.columns.pop(name)
    if new.casefold() != name:
        table.wrong()


def as_column(table: Table) -> None:
    if "votes" in table.columns:
        table.columns["votes"] = np.array(table.columns["votes"], dtype=object)[:, None]
        table.wrong()


FORMS = [cells, missing_cells, matrix_of_kind, matrix_of_shares, matrix_with_rows_of, matrix_of_another_shape]
FORMS += [matrix_of_other_classes, matrix_as_lists, both_columns]
AFTER = [shuffled, shorter, without_labels, no_label_at_all, another_name, as_column]


def as_array(column: object) -> np.ndarray:
    if isinstance(column, np.ndarray):
        return column
    if all(isinstance(cell, str) for cell in column):
        return np.array(column)
    array = np.empty(len(column), dtype=object)
    array[:] = column
    return array


def write(path: Path, columns: dict[str, object]) -> None:
    arrays = {name: as_array(column) for name, column in columns.items()}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return
    table = {}
    for name, array in arrays.items():
        cells = array.tolist()
        if name.casefold() == "votes" and array.ndim == 1:
            cells = [cell if isinstance(cell, str) else None for cell in cells]
        table[name] = pyarrow.array(cells)
    parquet.write_table(pyarrow.table(table), path)


def check(path: Path, table: Table) -> str:
    """Return how it ended: `same`, `listed` or `refused`."""
    try:
        imported = join([read_source(path, "mean", classes=())], {}, [], "mine")
    except InputError as error:
        assert path.name in str(error) and str(error).encode() and len(str(error)) < 3000, error
        return "refused"
    rows, problems = imported.corpus.utterances, list(imported.problems)
    told = [problem for problem in problems if "votes" in f"{problem}" or "soft_label" in f"{problem}"]
    for row, name in enumerate(rows.utterance_id):
        right = table.right[name.rpartition("_")[2]]
        found = NOTHING if rows.votes is None else rows.votes[row]
        if right is None or not np.allclose(found, right, atol=0.02, equal_nan=True):
            assert told and not table.silent, (name, found, right)
        if not np.isnan(found[0]):
            assert abs(found.sum() - 1) < 1e-6 and (found >= 0).all(), (name, found)
    if not table.silent and not told:
        assert all(right is not None for right in table.right.values()), "silent"
    return "listed" if told else "same"


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_perturbed_votes_are_right_listed_or_refused(tmp_path, suffix):
    ends = Counter()
    for seed in range(max(PERTURBATIONS // 3, FEW)):
        chance = random.Random(f"{suffix} {seed}")
        table = Table(chance)
        ways = [chance.choice(FORMS), *chance.sample(AFTER, chance.choice([0, 0, 1, 2]))]
        for way in ways:
            way(table)
        path = tmp_path / f"votes.{suffix}"
        try:
            write(path, table.columns)
        except (pyarrow.ArrowException, pyarrow.ArrowInvalid, ValueError):
            continue  # columns of different lengths: no such table
        try:
            ends[check(path, table)] += 1
        except Exception as error:
            names = ", ".join(way.__name__ for way in ways)
            raise AssertionError(f"{suffix} {seed}: {names}: {type(error).__name__}: {error}; {path}") from error
    assert min(ends[end] for end in ("same", "listed", "refused")) > 0, ends
