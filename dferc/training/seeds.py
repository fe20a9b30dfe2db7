"""The folders of a variant's runs, one per seed, and the tables over them: history.csv of each, curves.csv of all."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from pydantic import Field

from dferc.core.errors import InputError
from dferc.core.files import write_text
from dferc.core.records import StoredRecord, Text, differences, read_record
from dferc.core.tables import read_numbers, write_csv
from dferc.settings.sections import complete_settings
from dferc.store.records import ModalityKey
from dferc.training.checkpoint import HISTORY, Checkpoint, record_of_weights, verify_digest

CURVES = ("train_loss", "validation_loss", "train_weighted_f1", "validation_weighted_f1")
_PREFIX = "seed-"

ABSENT = "absent.json"
"""File in the folder of a variant's runs that gives the reason why there can be none."""


class AbsentRecord(StoredRecord):
    """Schema of absent.json."""

    absent: Text
    sets: dict[ModalityKey, list[str]] = Field(default_factory=dict)


def run_name(variant: str, label: str = "") -> str:
    """Return the name of a variant's folder in runs/<corpus>; a label keeps runs of other settings beside."""
    return f"{variant}@{label}" if label else variant


def seed_folder(folder: Path, seed: int) -> Path:
    """Return the folder of one seed below the folder of a variant's runs."""
    return folder / f"{_PREFIX}{seed}"


def find_checkpoints(folder: Path, seeds: Sequence[int] = ()) -> list[Path]:
    """Return the checkpoint folders of these seeds, or of every trained seed, by number.

    Raises:
        InputError: there is none.
    """
    if seeds:
        return [seed_folder(folder, seed) for seed in dict.fromkeys(seeds)]
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit()]
    if not found:
        others = sorted({path.parent.parent.name for path in folder.parent.parent.glob(f"*/train/{_PREFIX}*")})
        there = f" Trained there: {', '.join(others)}." if others else ""
        raise InputError(
            f"{folder} has no trained seed (seed-<s>/model.safetensors).{there} Train it first: `dferc train` with its "
            "corpus and variant."
        )
    return sorted(found, key=lambda path: int(path.name.removeprefix(_PREFIX)))


def mark_absent(folder: Path, reason: str, sets: Mapping[str, Sequence[str]]) -> None:
    """Write why a variant has no run on these feature sets into the folder of its runs, which DVC expects."""
    about = {"absent": reason} | ({"sets": sets} if sets else {})
    write_text(folder / ABSENT, json.dumps(about, ensure_ascii=False) + "\n")


def is_marked_absent(folder: Path) -> bool:
    """Return whether `mark_absent` marked the folder of a variant's runs."""
    return (folder / ABSENT).exists()


def sets_of_run(folder: Path) -> dict[str, list[str]]:
    """Return the feature sets of a variant's runs that are not first sets, from the first record there; {} without.

    Args:
        folder: runs/<corpus>/<variant>/train, or the folder of one seed.
    """
    if is_marked_absent(folder):
        return read_record(folder / ABSENT, AbsentRecord, "Train it again: `dferc ablate`.").get("sets", {})
    for path in (folder, *sorted(folder.glob(f"{_PREFIX}*"))):
        with contextlib.suppress(InputError):  # reported where the checkpoint is loaded
            return record_of_weights(path)["settings"]["features"]
    return {}


def finish_run(folder: Path, about: Mapping) -> tuple[list[Path], list[str]]:
    """Write the mean curves over all finished seeds of a run, whichever command trained them.

    Args:
        folder: runs/<corpus>/<variant>/train.
        about: `dferc.training.task.describe_run` of the run.

    Returns:
        The folders of these seeds, and a sentence for each seed that is left out.
    """
    folders, notes = [], []
    about = {**about, "settings": complete_settings(about["settings"])}
    for path in find_checkpoints(folder):
        try:
            record = record_of_weights(path)
            verify_digest(path)
        except InputError as error:
            notes.append(f"{path.name} is left out: {error}")
            continue
        differ = [key for key, _, _ in differences({key: record.get(key) for key in about}, about)]
        if differ or not record.get("finished"):
            reason = f"it was trained with other {', '.join(differ)}" if differ else "its training was interrupted"
            notes.append(f"{path.name} is left out: {reason}. Train it again: `dferc train --seed`.")
        else:
            folders.append(path)
    write_curves(folder / "curves.csv", [path / HISTORY for path in folders])
    return folders, notes


def verify_seeds(checkpoints: Sequence[Checkpoint]) -> None:
    """Check that checkpoints differ in nothing but the seed, which each folder names: else a mean means nothing.

    Raises:
        InputError: a checkpoint lies in the folder of another seed, or two differ in more than the seed.
    """
    first = checkpoints[0]
    for checkpoint in checkpoints:
        folder, seed = checkpoint.folder, checkpoint.record["seed"]
        if folder.name.startswith(_PREFIX) and folder.name != f"{_PREFIX}{seed}":
            raise InputError(
                f"{folder} holds a checkpoint of seed {seed}: was it copied there? Move it to {_PREFIX}{seed}, or "
                "train this seed again."
            )
        keys = ("variant", "settings", "classes", "widths", "rows_hash", "card", "features", "votes", "speakers")
        if "values" in first.record and "values" in checkpoint.record:  # older ones have none
            keys += ("values",)  # an identity may not tell features that were made again
        pair = ({key: each.record.get(key) for key in keys} for each in (first, checkpoint))
        if differ := [f"{key} = {one!r} and {two!r}" for key, one, two in differences(*pair)]:
            raise InputError(
                f"{first.folder} and {folder} differ in more than the seed: {', '.join(differ)}. "
                "Train them alike, or name the seeds to evaluate with --seed."
            )


def write_curves(path: Path, histories: Sequence[Path]) -> None:
    """Write the mean of several history.csv per epoch; a seed that stopped early counts up to its last epoch."""
    read = [read_numbers(history, CURVES) for history in histories]
    names = [*CURVES, *(name for name in read[0][0] if name.endswith(("_accuracy", "_macro_f1", "_uar")))]
    rows = []
    for epoch in range(1, max(map(len, read)) + 1):
        reached = [history[epoch - 1] for history in read if len(history) >= epoch]
        means = {name: fmean(row[name] for row in reached) for name in names}
        rows.append({"epoch": epoch, "seeds": len(reached), **means})
    write_csv(path, ("epoch", "seeds", *names), rows)
