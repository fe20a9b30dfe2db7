"""The tables of a training run: history.csv per seed, curves.csv over the seeds."""

import csv
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from dferc.core.tables import write_csv

CURVES = ("train_loss", "validation_loss", "train_weighted_f1", "validation_weighted_f1")


def write_curves(path: Path, histories: Sequence[Path]) -> None:
    """Write the mean over the seeds' history.csv, per epoch; a seed that stopped early counts up to its last epoch."""
    read = [read_history(history) for history in histories]
    rows = []
    for epoch in range(1, max(map(len, read)) + 1):
        reached = [history[epoch - 1] for history in read if len(history) >= epoch]
        means = {name: fmean(row[name] for row in reached) for name in CURVES}
        rows.append({"epoch": epoch, "seeds": len(reached), **means})
    write_csv(path, ("epoch", "seeds", *CURVES), rows)


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a history.csv, one per epoch."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
