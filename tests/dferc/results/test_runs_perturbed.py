"""Finished runs as they come back from other hands: read as they were, or refused; nothing wrong passes silently.

DFERC_PERTURBATIONS sets the number of perturbed runs.
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dferc.cli.main import main
from dferc.core.errors import InputError
from dferc.results.runs import FinishedRun, read_run
from tests.helpers.common import make_utterances
from tests.helpers.finished_runs import guess, write_run

COUNT = int(os.environ.get("DFERC_PERTURBATIONS", "150"))
Random = np.random.Generator
DECIDE = ("seed", "utterance_id", "dialogue_id", "position", "split", "emotion", "predicted")
"""Columns that decide scores. Two rows' speakers, contributions or context weights could be swapped unseen."""

ODD = ("", " ", "nan", "inf", "-1", "1e9", "1,5", "None", "0", "2", "\x00", "-0.3", "Joy")


def facts(run: FinishedRun) -> dict:
    """Return what tables and figures are made of, by names instead of class numbers."""
    order = np.argsort(run.classes)
    names = np.array([*run.classes, ""], dtype=object)
    return {
        "classes": sorted(run.classes),
        "seeds": run.seeds,
        "modalities": run.modalities,
        "ids": run.utterance_id_T.tolist(),
        "dialogues": run.dialogue_id_T.tolist(),
        "speakers": run.speaker_T.tolist(),
        "actual": names[run.actual_T].tolist(),
        "predicted": names[run.predicted_ST].tolist(),
        "probability": run.probability_STC[..., order].tolist(),
        "contribution": run.contribution_STM.tolist(),
        "weights": run.context_weight_ST.tolist(),
        "card": run.card["card"],
        "protocol": run.card["protocol"],
        "support": dict(zip(run.classes, run.support.tolist(), strict=True)),
    }


# ---------------------------------------------------------------------------------------------------- perturbations


def of_table(change: Callable[[list[list[str]], Random], None]) -> Callable[[Path, Random], None]:
    """Return a perturbation of the rows of predictions.csv (the header is row 0)."""

    def perturb(folder: Path, random: Random) -> None:
        path = folder / "evaluate/predictions.csv"
        with open(path, newline="", encoding="utf-8") as file:
            table = list(csv.reader(file))
        change(table, random)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(table)
        path.write_text(text.getvalue(), encoding="utf-8", newline="")

    perturb.__name__ = change.__name__
    return perturb


def some_row(table: list, random: Random) -> int:
    return int(random.integers(1, len(table)))


def column(table: list, random: Random) -> int:
    names = [name for name in table[0] if name in DECIDE or name.startswith("p_")]
    return table[0].index(names[random.integers(len(names))])


def drop(table: list, random: Random) -> None:
    for _ in range(random.integers(1, 4)):
        del table[some_row(table, random)]


def duplicate(table: list, random: Random) -> None:
    table.insert(some_row(table, random), list(table[some_row(table, random)]))


def swap_rows(table: list, random: Random) -> None:
    one, two = some_row(table, random), some_row(table, random)
    table[one], table[two] = table[two], table[one]


def shuffle(table: list, random: Random) -> None:
    table[1:] = [table[1 + index] for index in random.permutation(len(table) - 1)]


def swap_cells_of_one_row(table: list, random: Random) -> None:
    row, one, two = table[some_row(table, random)], column(table, random), column(table, random)
    row[one], row[two] = row[two], row[one]


def swap_columns_names(table: list, random: Random) -> None:
    one, two = column(table, random), column(table, random)
    table[0][one], table[0][two] = table[0][two], table[0][one]


def swap_whole_columns(table: list, random: Random) -> None:
    one, two = column(table, random), column(table, random)
    for row in table:
        row[one], row[two] = row[two], row[one]


def odd_cell(table: list, random: Random) -> None:
    table[some_row(table, random)][random.integers(len(table[0]))] = ODD[random.integers(len(ODD))]


def odd_column(table: list, random: Random) -> None:
    index, value = column(table, random), ODD[random.integers(len(ODD))]
    for row in table[1:]:
        row[index] = value


def rename_column(table: list, random: Random) -> None:
    index = random.integers(len(table[0]))
    table[0][index] = [table[0][index].upper(), f" {table[0][index]}", "predicted", ""][random.integers(4)]


def drop_column(table: list, random: Random) -> None:
    index = random.integers(len(table[0]))
    for row in table:
        del row[index]


def drop_seed(table: list, random: Random) -> None:
    table[1:] = [row for row in table[1:] if row[0] != "1"]


def shift_a_column(table: list, random: Random) -> None:
    index = column(table, random)
    cells = [row[index] for row in table[1:]]
    for row, cell in zip(table[1:], [*cells[1:], cells[0]], strict=True):
        row[index] = cell


def round_probabilities(table: list, random: Random) -> None:
    for index in (index for index, name in enumerate(table[0]) if name.startswith("p_")):
        for row in table[1:]:
            row[index] = f"{float(row[index]):.0f}"


def encode(folder: Path, random: Random) -> None:
    path = folder / ["evaluate/predictions.csv", "metrics.json", "evaluate/protocol.json"][random.integers(3)]
    encoding = ["utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp037"][random.integers(5)]
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding, errors="replace"))


def line_ends(folder: Path, random: Random) -> None:
    path = folder / "evaluate/predictions.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", [b"\r\n", b"\r", b"\r\r\n"][random.integers(3)]))


def truncate(folder: Path, random: Random) -> None:
    path = folder / ["evaluate/predictions.csv", "metrics.json", "evaluate/protocol.json"][random.integers(3)]
    content = path.read_bytes()
    path.write_bytes(content[: random.integers(len(content) - 1)])


def remove(folder: Path, random: Random) -> None:
    (folder / ["evaluate/predictions.csv", "metrics.json", "evaluate/protocol.json"][random.integers(3)]).unlink()


def change_json(folder: Path, random: Random) -> None:
    """Drop, replace or scale a value anywhere in metrics.json or the card, except what only describes."""
    path = folder / ["metrics.json", "evaluate/protocol.json"][random.integers(2)]
    document = json.loads(path.read_text(encoding="utf-8"))
    wanted = {"card", "seeds", "test", "splits", "classes"} & set(document)
    place, key = document, sorted(wanted)[random.integers(len(wanted))]
    while isinstance(place[key], dict) and random.random() < 0.8:
        place, key = place[key], sorted(place[key])[random.integers(len(place[key]))]
    value = place[key]
    changes = ["", None, [], {}, "x", True, float("nan"), 10**9, -1]
    if isinstance(value, int | float):
        changes += [value * 100, value + 1, str(value), [value]]
    if isinstance(value, list):
        changes += [value[::-1], value[:-1], [*value, "rage"], [*value, *value]]
    if random.random() < 0.2:
        del place[key]
    else:
        place[key] = changes[random.integers(len(changes))]
    path.write_text(json.dumps(document), encoding="utf-8")


TABLE = [drop, duplicate, swap_rows, shuffle, swap_cells_of_one_row, swap_columns_names, swap_whole_columns, odd_cell]
TABLE += [odd_column, rename_column, drop_column, drop_seed, shift_a_column, round_probabilities]
PERTURBATIONS = [*map(of_table, TABLE), encode, line_ends, truncate, remove, change_json, change_json, change_json]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    rows = make_utterances(unlabelled=("train",))
    predicted = {0: guess(rows, 0.7, 5), 1: guess(rows, 0.7, 6)}
    return write_run(tmp_path_factory.mktemp("whole") / "full", rows, predicted, modalities=("text", "audio"))


def test_perturbed_runs_are_read_as_they_were_or_refused(whole, tmp_path):
    expected, silent = facts(read_run(whole)), []
    for number in range(COUNT):
        random = np.random.default_rng(number)
        perturb = PERTURBATIONS[number % len(PERTURBATIONS)]
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        perturb(folder, random)
        try:
            found = facts(read_run(folder))
        except InputError as error:
            if len(str(error)) > 1000:
                silent.append(f"{number}: {perturb.__name__}: a message of {len(str(error))} characters")
            continue
        except Exception as error:
            silent.append(f"{number}: {perturb.__name__}: {error!r}")
            continue
        differ = [name for name in expected if not same(found[name], expected[name])]
        if differ:
            silent.append(f"{number}: {perturb.__name__}: {', '.join(differ)} differ")
    assert not silent, f"{len(silent)} of {COUNT}\n" + "\n".join(silent[:40])


def same(one: object, two: object) -> bool:
    """Return whether two facts are equal, numbers as written with six digits."""
    try:
        return bool(np.allclose(one, two, atol=1e-6, equal_nan=True))
    except (TypeError, ValueError):
        return one == two


def test_scores_of_perturbed_runs_are_shown_or_left_out(whole, tmp_path):
    for number in range(COUNT // 10):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder / "demo/full")
        change_json(folder / "demo/full", np.random.default_rng(number))
        done = CliRunner().invoke(main, ["scores", "--corpus=demo", f"--runs={folder}"])
        assert done.exit_code == 0, (number, done.exception)
        assert " full " in done.stderr or "note: full is left out" in done.stderr
