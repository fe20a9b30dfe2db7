"""Nothing wrong passes silently: a damaged table of features is read as the rows that are right, refused, or listed.

Tables are written as .npz, HDF5 and Parquet; `DFERC_PERTURBATIONS` is their number, as in
`tests/helpers/perturbed_tables.py`.
"""

import random
from collections import Counter

import h5py
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from dferc.core.errors import InputError
from dferc.importing.file_types import read_source
from dferc.importing.join import join
from dferc.store.hdf5 import write_utterances
from tests.helpers.perturbed_tables import PERTURBATIONS

FEW = 60
ROWS = 16
CLASSES = ("anger", "joy", "très triste")
MISSING = [None, "", "NA", "nan", "None", "null", "NULL", "N/A", "<NA>", "NaT", "?", "-1", float("nan")]


class Damaged:
    """Columns on their way to a file, and the rows that are right; None = refused, or a problem listed."""

    def __init__(self, chance):
        dialogue = np.repeat(np.arange(4), 4)
        emotion = [CLASSES[(row + row // 4) % 3] for row in range(ROWS)]
        split = np.array(["train", "train", "validation", "test"])[dialogue]
        self.chance = chance
        self.columns = {
            "dialogue": [f"d{number}" for number in dialogue],
            "utterance": np.tile(np.arange(4), 4),
            "emotion": emotion,
            "split": [str(name) for name in split],
            "speaker": ["Ann", "Bo"] * 8,
            "sentence": [chance.choice(["Well, yes.", "Ça va?", "", "x" * 40, "[red]"]) for _ in range(ROWS)],
            "text": np.arange(ROWS * 3, dtype=np.float32).reshape(ROWS, 3) + 1,
        }
        self.right = [
            {name: column[row] for name, column in self.columns.items() if name != "text"} | {"text": 3.0 * row + 1}
            for row in range(ROWS)
        ]

    def cells(self, column):
        self.columns[column] = list(self.columns[column])
        return self.columns[column]

    def expect(self, row, column, value):
        if self.right is not None:
            self.right[row][column] = value


def missing_labels(table):
    cells = table.cells("emotion")
    for row in table.chance.sample(range(len(cells)), 3):
        if cells[row] in CLASSES:
            cells[row] = table.chance.choice(MISSING)
            table.expect(row, "emotion", "")


def other_spellings(table):
    cells = table.cells("emotion")
    for row in table.chance.sample(range(len(cells)), 3):
        if isinstance(cells[row], str):
            cells[row] = table.chance.choice(
                [str.upper, str.title, lambda t: f" {t}\n", lambda t: t.replace(" ", "  ")]
            )(cells[row])


def numbered(table, first=0, write=float):
    cells = table.cells("emotion")
    for row, label in enumerate(cells):
        if label in CLASSES:
            cells[row] = write(CLASSES.index(label) + first)
            table.expect(row, "emotion", str(CLASSES.index(label) + first))
        elif isinstance(label, str) and label.strip() and label not in MISSING:
            table.right = None  # names and numbers


def numbers(table):
    kinds = [int, float, np.int8, np.uint8, np.int64, np.float32, str, lambda n: f"{n}.0", lambda n: str(n).encode()]
    numbered(table, 0, table.chance.choice(kinds))


def numbers_from_one(table):
    numbered(table, 1, int)


def wrapped_missing(table):
    numbered(table, 0, int)
    column = [label if isinstance(label, int) else 0 for label in table.columns["emotion"]]
    column[3] = -1
    table.columns["emotion"] = np.array(column).astype(table.chance.choice([np.uint8, np.uint16, np.uint64]))
    table.right = None


def phantom_number(table):
    numbered(table, 0, int)
    cells = table.cells("emotion")
    cells[table.chance.randrange(len(cells))] = table.chance.choice([7, 100, -2, -(1 << 63)])
    table.right = None


def wrong_label(table):
    cells = table.cells("emotion")
    cells[table.chance.randrange(len(cells))] = table.chance.choice(["jyo", "joy|anger", "[0, 1]", "0 1 0", "angr"])
    table.right = None


def one_hot(table):
    scores = np.eye(3)[np.arange(len(table.columns["emotion"])) % 3]
    table.columns["emotion"] = table.chance.choice([scores, scores * 0.8, scores.astype(bool), scores.max(1) * 0.7])
    table.right = None


def one_class(table):
    table.columns["emotion"] = ["joy"] * len(table.columns["emotion"])
    table.right = None


def truth_values(table):
    table.columns["emotion"] = np.arange(len(table.columns["emotion"])) % 2 == 0
    for row in range(len(table.columns["emotion"])):
        table.expect(row, "emotion", str(row % 2 == 0))


def missing_id(table):
    column = table.chance.choice(["dialogue", "utterance"])
    cells = table.cells(column)
    cells[table.chance.randrange(len(cells))] = table.chance.choice([None, float("nan"), "", "NA"])
    table.right = None


def whole_dialogues(table):
    write = table.chance.choice([int, float, np.uint64, np.float32])
    digits = [str(name).removeprefix("d") for name in table.columns["dialogue"]]
    if all(text.isdecimal() for text in digits):
        numbers = [write(text) for text in digits]
        table.columns["dialogue"] = np.array(numbers)
        for row, number in enumerate(numbers):
            split = {"train": "train", "validation": "dev", "test": "test"}[str(table.columns["split"][row]).lower()]
            table.expect(row, "dialogue", f"{split}_{int(number)}")


def utterances_otherwise(table):
    cells = table.cells("utterance")
    if all(isinstance(cell, int | np.integer) for cell in cells):
        table.columns["utterance"] = np.array(cells).astype(table.chance.choice(["f4", "f8", "u8", "i2", object]))


def huge_numbers(table):
    cells = table.cells(table.chance.choice(["utterance", "dialogue"]))
    large = table.chance.choice([1 << 63, (1 << 64) - 1, 2.0**60])
    cells[:] = [large if row == 2 else row for row in range(len(cells))]
    table.right = None


def repeated_utterance(table):
    cells = table.cells("utterance")
    cells[1] = cells[0]
    table.right = None


def speakers_otherwise(table):
    numbers = {"Ann": 0, "Bo": 1}
    column = [numbers.get(name, -1) for name in table.columns["speaker"]]
    missing = table.chance.random() < 0.5
    if missing:
        column[5] = -1
    table.columns["speaker"] = np.array(column).astype(table.chance.choice(["i8", "f8", "i1"]))
    for row, number in enumerate(column):
        table.expect(row, "speaker", "" if number == -1 else str(number))


def missing_speaker(table):
    cells = table.cells("speaker")
    cells[4] = table.chance.choice([None, "NA", "nan", "<NA>", ""])
    table.expect(4, "speaker", "")


def unstorable(table):
    cells = table.cells(table.chance.choice(["dialogue", "speaker", "sentence", "emotion"]))
    row = table.chance.randrange(len(cells))
    cells[row] = f"{cells[row]}\0x" if table.chance.random() < 0.5 else f"{cells[row]}\ud800"
    table.right = None


def wrong_split(table):
    cells = table.cells("split")
    cells[table.chance.randrange(len(cells))] = table.chance.choice(["trian", "", None, "NA", 3])
    table.right = None


def split_otherwise(table):
    names = {"validation": table.chance.choice(["dev", "VAL", " valid "]), "train": "Train"}
    table.columns["split"] = [names.get(name, name) for name in table.columns["split"]]


def shuffled(table):
    order = table.chance.sample(range(len(table.columns["text"])), len(table.columns["text"]))
    for name, column in table.columns.items():
        if len(column) == len(order):
            table.columns[name] = column[order] if isinstance(column, np.ndarray) else [column[row] for row in order]
    table.right = table.right and [table.right[row] for row in order]


def dropped_row(table):
    row = table.chance.randrange(len(table.columns["text"]))
    for name, column in table.columns.items():
        keep = [place for place in range(len(column)) if place != row]
        table.columns[name] = column[keep] if isinstance(column, np.ndarray) else [column[place] for place in keep]
    if table.right is not None:
        del table.right[row]


def shorter_column(table):
    name = table.chance.choice([name for name in table.columns if name != "features"])
    table.columns[name] = table.columns[name][:-1]
    table.right = None


def dropped_column(table):
    name = table.chance.choice(["dialogue", "emotion", "split", "text"])
    del table.columns[name]
    table.right = None


def renamed_column(table):
    name = table.chance.choice([name for name in table.columns if name != "utterance"])
    new = table.chance.choice([f"{name}s", f"my_{name}", name[:-1]])
    table.columns[new] = table.columns.pop(name)
    table.right = None


def renamed_case(table):
    table.columns = {
        table.chance.choice([str.upper, str.title])(name): column for name, column in table.columns.items()
    }


def further_column(table):
    table.columns["label_id"] = np.arange(len(table.columns["text"]))


def as_column(table):
    name = table.chance.choice(["dialogue", "emotion", "split", "speaker"])
    column = np.array(table.columns[name], dtype=object)
    if column.ndim == 1:
        table.columns[name] = column[:, None]


def features_otherwise(table):
    features = table.columns["text"]
    wrong = [
        features[:, :, None],
        features.astype(str),
        np.full(features.shape, np.nan),
        features[:, :0],
        features[:, 0],
    ]
    wrong += [np.zeros_like(features)]
    table.columns["text"] = table.chance.choice(wrong)
    table.right = None


LABELS = [missing_labels, other_spellings, numbers, numbers_from_one, wrapped_missing, phantom_number, wrong_label]
LABELS += [one_hot, one_class, truth_values]
OTHERS = [missing_id, whole_dialogues, utterances_otherwise, huge_numbers, repeated_utterance, speakers_otherwise]
OTHERS += [missing_speaker, unstorable, wrong_split, split_otherwise, shuffled, dropped_row, shorter_column]
OTHERS += [features_otherwise, as_column, further_column, dropped_column, renamed_column, renamed_case]


def array_of(column):
    if isinstance(column, np.ndarray):
        return column
    kinds = {type(cell) for cell in column}
    if len(kinds) == 1 and kinds <= {str, int, float, bytes, np.int8, np.uint8, np.int64, np.float32}:
        return np.array(column)
    array = np.empty(len(column), dtype=object)
    array[:] = column
    return array


def write_npz(path, columns):
    arrays = {}
    for name, column in columns.items():
        array = array_of(column)
        if array.dtype == object:  # the restricted unpickler knows plain values
            flat = [cell.item() if isinstance(cell, np.generic) else cell for cell in array.ravel().tolist()]
            array = np.empty(array.size, dtype=object)
            array[:] = flat
            array = array.reshape(np.shape(column) if isinstance(column, np.ndarray) else (len(column),))
        arrays[name] = array
    np.savez(path, **arrays)


def write_hdf5(path, columns):
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            array = array_of(column)
            if array.dtype.kind in "UO":
                flat = ["" if cell is None else cell for cell in array.ravel().tolist()]
                if not all(isinstance(cell, str) for cell in flat):
                    flat = [str(cell, "utf-8") if isinstance(cell, bytes) else str(cell) for cell in flat]
                flat = [cell.encode("utf-8", "surrogatepass") for cell in flat]
                file.create_dataset(
                    name, data=np.array(flat, dtype=object).reshape(array.shape), dtype=h5py.string_dtype()
                )
            else:
                file[name] = array


def write_parquet(path, columns):
    table = {}
    for name, column in columns.items():
        array = array_of(column)
        if array.ndim > 1:
            table[name] = pyarrow.array([row.tolist() for row in array])
        elif array.dtype == object:
            cells = [cell.item() if isinstance(cell, np.generic) else cell for cell in array.tolist()]
            if any(isinstance(cell, str | bytes) for cell in cells):
                cells = [str(cell) if isinstance(cell, float | int) else cell for cell in cells]
            table[name] = pyarrow.array(cells)
            if pyarrow.types.is_string(table[name].type):
                table[name] = table[name].dictionary_encode()
        else:
            table[name] = pyarrow.array(array.tolist() if array.dtype.kind == "U" else array)  # numpy's ends at a NUL
    parquet.write_table(pyarrow.table(table), path)


WRITERS = {"npz": write_npz, "hdf5": write_hdf5, "parquet": write_parquet}


def fold(text):
    return " ".join(str(text).casefold().split())


def check(folder, path, table):
    """Return how it ended: `same`, `listed` or `refused`."""
    try:
        source = read_source(path, "mean")
        imported = join([source], {}, [], "mine")
        rows = imported.corpus.utterances
        write_utterances(folder / "utterances.h5", rows)
    except InputError as error:
        assert str(error).encode() and path.name in str(error)
        return "refused"
    assert set(np.unique(rows.emotion[rows.emotion >= 0])) == set(range(len(rows.classes))), "a class without rows"
    if table.right is None:
        assert imported.problems, "silent"
        return "listed"
    features = imported.corpus.modalities["text"].features
    found = {}
    for row in range(len(rows)):
        emotion = (*rows.classes, "")[rows.emotion[row]]
        cells = (rows.dialogue_id[row], rows.position[row], rows.split[row], rows.speaker[row], rows.text[row])
        found[features[row, 0].item()] = (*map(str, cells), fold(emotion))
    right = {}
    for row in table.right:
        cells = (row["dialogue"], row["utterance"], row["split"], row["speaker"], row["sentence"])
        right[row["text"]] = (*map(str, cells), fold(row["emotion"]))
    assert found == right
    return "listed" if imported.problems else "same"


def damaged(kind, seed):
    """Return a table with one to three damages, and their names."""
    chance = random.Random(f"{kind} {seed}")
    table = Damaged(chance)
    ways = [chance.choice(LABELS)] if chance.random() < 0.6 else []
    ways += chance.sample(OTHERS, chance.choice([0, 1, 2]) if ways else 1)
    ways.sort(key=[dropped_row, shuffled, *LABELS, *OTHERS].index)
    for way in ways:
        way(table)
    return table, ", ".join(way.__name__ for way in ways)


def run(folder, kind, seed):
    table, names = damaged(kind, seed)
    path = folder / f"table.{kind}"
    try:
        WRITERS[kind](path, table.columns)
    except (ValueError, TypeError, OverflowError, pyarrow.ArrowException):
        return "unwritten", names  # a format that cannot hold it
    return check(folder, path, table), names


@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_table_is_right_refused_or_listed(tmp_path, kind):
    ends = Counter()
    for seed in range(max(PERTURBATIONS // 3, FEW)):
        try:
            ends[run(tmp_path, kind, seed)[0]] += 1
        except Exception as error:
            raise AssertionError(f"{kind} {seed}: {damaged(kind, seed)[1]}: {error}") from error
    assert min(ends[end] for end in ("same", "listed", "refused")) > 0, ends
