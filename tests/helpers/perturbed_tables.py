"""A good table and ways to damage it, each with the rows that are right afterwards, or None where nothing is.

A generator of a property test: whatever is done to a table, it is read as the rows that are right, or refused, or a
problem is listed. `DFERC_PERTURBATIONS` is the number of tables (`make test-long` may set thousands).
"""

import csv
import io
import json
import os
import random
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

PERTURBATIONS = int(os.environ.get("DFERC_PERTURBATIONS", "60"))

NAMES = ("dialogue_id", "utterance_id", "speaker", "text", "emotion", "split")
MISSING = ["", "NA", "nan", "NaN", "None", "null", "NULL", "N/A", "n/a", "<NA>", "NaT", "-1", "?", "#N/A", " ", "-"]
EMOTIONS = ("joy", "anger", "très triste")


@dataclass
class Perturbed:
    """A table on its way to a file, and what is right to read from it."""

    rows: list[dict[str, str]]  # as they are written
    right: list[dict[str, str]] | None  # as they are to be read; None = refused, or a problem listed
    columns: list[str] = field(default_factory=lambda: list(NAMES))
    header: dict[str, str] = field(default_factory=dict)  # other names of columns
    encoding: str = "utf-8"
    delimiter: str = ","
    line_end: str = "\n"
    quoting: int = csv.QUOTE_MINIMAL
    after: Callable[[str], str] = lambda text: text  # change of the whole text
    lenient: bool = False  # a letter was changed somewhere: as many rows as before are enough


def good(chance: random.Random) -> Perturbed:
    """Return six dialogues of two to four utterances, all classes in each split."""
    rows = []
    for dialogue in range(6):
        split = ("train", "train", "train", "train", "validation", "test")[dialogue]
        for place in range(4):
            words = chance.choice(
                ["Well, yes.", 'He said "no".', "Ça va; et toi?", "on | off", "a\tb", "No", "=1+1 (", "x"]
            )
            emotion = EMOTIONS[(place + dialogue) % 3]
            cells = (f"d{dialogue}", f"d{dialogue}u{place}", ("Ann", "Bo")[place % 2], words, emotion, split)
            rows.append(dict(zip(NAMES, cells, strict=True)))
    return Perturbed(rows, [dict(row, text=" ".join(row["text"].split())) for row in rows])


def _both(table: Perturbed, number: int, column: str, written: str, right: str | None) -> None:
    """Write a cell; `right` is what is to be read, None where that is to be refused or reported."""
    table.rows[number][column] = written
    if right is None:
        table.right = None
    elif table.right is not None:
        table.right[number][column] = right


def missing_labels(table, chance):
    for number in chance.sample(range(24), chance.randint(1, 6)):
        _both(table, number, "emotion", chance.choice(MISSING), "")


def missing_speakers(table, chance):
    for number in chance.sample(range(24), 3):
        _both(table, number, "speaker", chance.choice(["", "NA", "nan", "None", "null", "<NA>", "?"]), "")


def missing_dialogue(table, chance):
    _both(table, chance.randrange(24), "dialogue_id", chance.choice(["", "NA", "nan", "None"]), None)


def missing_split(table, chance):
    number = chance.randrange(24)
    _both(table, number, "split", chance.choice(["", "NA", "nan"]), table.rows[number]["split"])


def other_spellings(table, chance):
    changes = [str.upper, str.title, lambda t: f" {t} ", lambda t: unicodedata.normalize("NFD", t)]
    changes += [lambda t: t.replace(" ", "  "), lambda t: f"{t}\u200b", lambda t: t.replace(" ", "\u00a0")]
    for number in chance.sample(range(24), 3):
        label = table.rows[number]["emotion"]
        table.rows[number]["emotion"] = chance.choice(changes)(label)


def wrong_label(table, chance):
    label = chance.choice(["jyo", "joyy", "angr", "joy|anger", "[0, 1]", "0.25 0.75 0", "anger, joy"])
    _both(table, chance.randrange(24), "emotion", label, None)


def numbers_for_labels(table, chance):
    write = chance.choice([str, lambda n: f"{n}.0", lambda n: f"{n},0", lambda n: f"{n:.3e}"])
    numbers = {label: write(number) for number, label in enumerate(EMOTIONS)}
    if any(row["emotion"] not in (*EMOTIONS, *MISSING) for row in table.rows):
        table.right = None  # names and numbers
    for row, right in zip(table.rows, table.right or table.rows, strict=True):
        if row["emotion"] in numbers:
            label = row["emotion"]
            row["emotion"] = numbers[label]
            if table.right is not None:
                right["emotion"] = str(EMOTIONS.index(label))


def float_ids(table, chance):
    for row, right in zip(table.rows, table.right or table.rows, strict=True):
        number = row["dialogue_id"].removeprefix("d")
        if not number.isdecimal():
            continue
        row["dialogue_id"] = f"{number}.0"
        if table.right is not None:
            right["dialogue_id"] = number


def rounded_ids(table, chance):
    for row in table.rows:
        row["dialogue_id"] = "1.23457E+15"
    table.right = None


def shuffle_dialogues(table, chance):
    places = list(range(len(table.rows)))
    key = {name: chance.random() for name in {row["dialogue_id"] for row in table.rows}}
    places.sort(key=lambda place: (place % 4, key[table.rows[place]["dialogue_id"]]))  # order in dialogues stays
    table.rows = [table.rows[place] for place in places]
    if table.right is not None:
        table.right = [table.right[place] for place in places]


def drop_row(table, chance):
    number = chance.randrange(len(table.rows))
    del table.rows[number]
    if table.right is not None:
        del table.right[number]


def repeat_row(table, chance):
    table.rows.insert(chance.randrange(len(table.rows)), dict(chance.choice(table.rows)))
    table.right = None  # its id is there twice


def swap_columns(table, chance):
    chance.shuffle(table.columns)


def drop_column(table, chance):
    column = chance.choice(["dialogue_id", "speaker", "utterance_id"])
    table.columns.remove(column)
    if column == "dialogue_id":
        table.right = None
    elif table.right is not None:
        for row in table.right:
            row.pop(column)


def repeat_column(table, chance):
    table.columns.append(chance.choice(table.columns))
    table.right = None


def rename_case(table, chance):
    for column in table.columns:
        table.header[column] = chance.choice([str.upper, str.title, lambda t: f" {t} ", lambda t: t.replace("_", " ")])(
            column
        )


def rename_column(table, chance):
    column = chance.choice(["dialogue_id", "emotion", "text", "split", "speaker"])
    table.header[column] = chance.choice([f"{column}s", f"my_{column}", column[:-1], column[1:]])
    table.right = None


def other_names(table, chance):
    table.header |= chance.choice([{"emotion": "label"}, {"text": "sentence"}, {"dialogue_id": "conversation"}])
    table.right = None


def swallowing_quote(table, chance):
    number = chance.randrange(len(table.rows) - 1)
    for place, column in ((number, "speaker"), (number + 1, "speaker")):
        mark = '"' if place == number else ""
        table.rows[place][column] = f"{mark}{table.rows[place][column]}" if mark else table.rows[place][column] + '"'
    table.quoting, table.right = csv.QUOTE_NONE, None


def stray_character(table, chance):
    character, place = chance.choice("\"\n\r,;\t|\\'\u2028\x0b"), chance.random()

    def insert(text):
        where = int(place * len(text))
        return text[:where] + character + text[where:]

    table.after, table.lenient = insert, True


def lost_character(table, chance):
    place = chance.random()
    table.after = lambda text: text[: int(place * len(text))] + text[int(place * len(text)) + 1 :]
    table.lenient = True


def cut_off(table, chance):
    share = chance.uniform(0.3, 0.99)
    table.after = lambda text: text[: int(share * len(text))].rpartition(table.delimiter)[0]
    table.right = None


def unstorable(table, chance):
    column = chance.choice(NAMES)
    number = chance.randrange(len(table.rows))
    _both(table, number, column, table.rows[number][column] + chance.choice(["\0", "a\0b"]), None)


def encode(table, chance):
    table.encoding = chance.choice(["utf-8-sig", "utf-16", "utf-32"])


def encode_unnamed(table, chance):
    table.encoding, table.right = chance.choice(["latin-1", "cp1252", "utf-16-le", "utf-16-be"]), None


def write_otherwise(table, chance):
    table.delimiter = chance.choice(",;\t|")
    table.line_end = chance.choice(["\n", "\r\n", "\r"])
    if table.quoting != csv.QUOTE_NONE:
        table.quoting = chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])


def blank_lines(table, chance):
    count, mark = chance.randint(1, 4), table.line_end
    table.after = lambda text: mark * count + text.replace(mark, mark * 2, 1) + mark * count


LOGICAL = [missing_labels, missing_speakers, missing_dialogue, missing_split, other_spellings, wrong_label]
LOGICAL += [numbers_for_labels, float_ids, rounded_ids, shuffle_dialogues, drop_row, repeat_row, drop_column]
LOGICAL += [rename_case, rename_column, other_names, unstorable]
OF_TEXT = [swap_columns, repeat_column, swallowing_quote, stray_character, lost_character, cut_off, encode]
OF_TEXT += [encode_unnamed, write_otherwise, blank_lines]


def as_csv(table: Perturbed) -> bytes:
    """Return the bytes of a delimited table."""
    text = io.StringIO()
    writer = csv.writer(
        text, delimiter=table.delimiter, lineterminator=table.line_end, quoting=table.quoting, escapechar=None
    )
    writer = writer if table.quoting != csv.QUOTE_NONE else None
    lines = [[table.header.get(name, name) for name in table.columns]]
    lines += [[row[name] for name in table.columns] for row in table.rows]
    if writer is None:  # as a hand would write it
        text.write("".join(table.delimiter.join(line) + table.line_end for line in lines))
    else:
        writer.writerows(lines)
    return table.after(text.getvalue()).encode(table.encoding, "replace")


def as_jsonl(table: Perturbed, chance: random.Random) -> bytes:
    """Return the bytes of lines of JSON; missing values may be null or NaN, numbers are numbers."""
    lines = []
    for row in table.rows:
        values = {table.header.get(name, name): row[name] for name in table.columns}
        for name, value in values.items():
            if value in ("", "nan"):
                values[name] = chance.choice([None, float("nan"), value])
            elif value.isdecimal() and chance.random() < 0.5:
                values[name] = chance.choice([int(value), float(value), value])
        lines.append(json.dumps(values, ensure_ascii=chance.random() < 0.5))
    return table.after("\n".join(lines)).encode(table.encoding, "replace")
