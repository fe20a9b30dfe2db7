"""Display of a training run: settings, device and data at the start, then a live table (a line per epoch in a log)."""

import textwrap
from collections.abc import Mapping

import numpy as np
import torch
from rich.live import Live
from rich.table import Table

from dferc.core.console import console
from dferc.core.device import Device
from dferc.settings.sections import Train
from dferc.store.vocabulary import MODALITIES, SPLITS
from dferc.training.task import Task

TERMS = ("loss", "classification", "ddm", "cfm", "alignment")
COLUMNS = {f"train_{term}": term for term in TERMS} | {
    "validation_loss": "val. loss",
    "validation_accuracy": "val. accuracy",
    "validation_weighted_f1": "val. weighted F1",
}
"""Columns of history.csv that are shown, and their headings."""

_WIDTH = 100
"""Characters of a line of settings."""

ROWS = 25
"""Epochs that stay visible in the live table."""


def show_task(task: Task, seeds: tuple[int, ...]) -> None:
    """Print settings, device, model size and the content of the splits."""
    corpus = task.corpus.utterances.corpus
    console.print(f"[bold]{corpus}[/] / [bold]{task.name}[/], seeds {', '.join(map(str, seeds))}")
    show_settings(task.settings, task.device)
    with torch.device("meta"):  # shapes only
        count = sum(parameter.numel() for parameter in task.new_model().parameters())
    console.print(f"model: {count:,} parameters, modalities {', '.join(task.variant.modalities)}")
    absent = [name for name in MODALITIES if name not in task.variant.modalities]
    if absent:
        console.print(f"not used: {', '.join(absent)} (not in the variant, or in no training utterance)")
    for split in SPLITS:
        console.print(f"{split}: {_describe_split(task, split)}")


def show_settings(settings: Train, device: Device) -> None:
    """Print what all runs of a command share."""
    values = ", ".join(f"{key} {value}" for key, value in settings.model_dump(mode="json").items())
    lines = textwrap.indent("\n".join(textwrap.wrap(values, _WIDTH - 2)), "  ")
    console.print(f"train (params.yaml, --set):\n{lines}", markup=False)
    console.print(f"device: {device.device.type}, {str(device.dtype).removeprefix('torch.')}: {device.why}")


def _describe_split(task: Task, split: str) -> str:
    """Describe dialogues, utterances, labels and the presence of each modality in one line."""
    rows = task.corpus.utterances
    of_split_N = rows.split == split
    if not of_split_N.any():
        return "no utterances"
    modalities = ((name, task.corpus.modalities[name].present[of_split_N]) for name in task.variant.modalities)
    presence = ", ".join(f"{name} {np.mean(present):.1%}" for name, present in modalities)
    return (
        f"{len(set(rows.dialogue_id[of_split_N]))} dialogues, {of_split_N.sum()} utterances, "
        f"{(rows.emotion[of_split_N] >= 0).sum()} labelled; present: {presence}"
    )


class EpochTable:
    """A context manager that shows each epoch: live on a terminal, as a plain line elsewhere."""

    def __init__(self):
        self._rows: list[tuple[int, Mapping[str, float], bool]] = []
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> "EpochTable":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live is not None:
            self._live.stop()

    def add(self, seed: int, row: Mapping[str, float], is_best: bool) -> None:
        """Show one epoch, a row of history.csv."""
        self._rows.append((seed, row, is_best))
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
            return
        values = ", ".join(f"{heading} {row[name]:.4f}" for name, heading in COLUMNS.items())
        console.print(f"seed {seed} epoch {row['epoch']}: {values}{' (best so far)' if is_best else ''}")

    def _table(self) -> Table:
        table = Table("seed", "epoch", *COLUMNS.values(), "", box=None, header_style="bold")
        for seed, row, is_best in self._rows[-ROWS:]:
            values = (f"{row[name]:.4f}" for name in COLUMNS)
            table.add_row(str(seed), str(row["epoch"]), *values, "best so far" if is_best else "")
        return table
