"""The folders of a variant's runs, one per seed, and the tables over them: history.csv of each, curves.csv of all."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from dferc.core.errors import InputError
from dferc.core.records import differences
from dferc.core.tables import read_numbers, write_csv
from dferc.training.checkpoint import Checkpoint

CURVES = ("train_loss", "validation_loss", "train_weighted_f1", "validation_weighted_f1")
_PREFIX = "seed-"


def seed_folder(folder: Path, seed: int) -> Path:
    """Return the folder of one seed below the folder of a variant's runs."""
    return folder / f"{_PREFIX}{seed}"


def find_checkpoints(folder: Path, seeds: Sequence[int] = ()) -> list[Path]:
    """Return the checkpoint folders of these seeds, or of every trained seed, by number.

    Raises:
        InputError: there is none.
    """
    if seeds:
        return [seed_folder(folder, seed) for seed in seeds]
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit()]
    if not found:
        raise InputError(f"{folder} has no trained seed (seed-<s>/model.safetensors). Train first: `dferc train`.")
    return sorted(found, key=lambda path: int(path.name.removeprefix(_PREFIX)))


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
        keys = ("variant", "settings", "classes", "widths")
        pair = ({key: each.record[key] for key in keys} for each in (first, checkpoint))
        differ = [f"{key} = {one!r} and {two!r}" for key, one, two in differences(*pair)]
        if differ:
            raise InputError(
                f"{first.folder} and {folder} differ in more than the seed: {', '.join(differ)}. "
                "Train them alike, or name the seeds to evaluate with --seed."
            )


def write_curves(path: Path, histories: Sequence[Path]) -> None:
    """Write the mean of several history.csv per epoch; a seed that stopped early counts up to its last epoch."""
    read = [read_numbers(history, CURVES) for history in histories]
    rows = []
    for epoch in range(1, max(map(len, read)) + 1):
        reached = [history[epoch - 1] for history in read if len(history) >= epoch]
        means = {name: fmean(row[name] for row in reached) for name in CURVES}
        rows.append({"epoch": epoch, "seeds": len(reached), **means})
    write_csv(path, ("epoch", "seeds", *CURVES), rows)
