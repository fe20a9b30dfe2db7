"""Display of training: settings and data at the start, then a live table of epochs or runs; plain lines in a log."""

import datetime
import math
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Group
from rich.live import Live
from rich.text import Text

from dferc.core.console import LINE_EVERY_S, console, fit_table, print_note, progress_bar
from dferc.core.device import Device
from dferc.core.errors import counted
from dferc.core.metrics import SCORES
from dferc.engine import Workers
from dferc.model.variants import settings_of
from dferc.settings.sections import DEFAULTS, Train
from dferc.store.rows import CachedCorpus
from dferc.store.vocabulary import MODALITIES, SPLITS, in_order
from dferc.training.data import describe_unvarying
from dferc.training.sweep import Outcome, SeedRun, Sweep, read_status
from dferc.training.task import Task

TERMS = ("loss", "classification", "ddm", "cfm", "alignment")
COLUMNS = {f"train_{term}": term for term in TERMS} | {
    "validation_loss": "val. loss",
    "validation_accuracy": "val. accuracy",
    "validation_weighted_f1": "val. weighted F1",
}
"""Columns of history.csv that are shown, and their headings."""

FEW_COLUMNS = ("train_loss", "validation_loss", "validation_weighted_f1")
"""Those that a narrow terminal shows, beside the score that selects the epoch."""

_ALL_COLUMNS = 130  # characters of a line with all columns
_WIDTH = 100  # characters of a line of settings

ROWS = 25
"""Epochs that stay visible in the live table."""


def show_task(task: Task, seeds: tuple[int, ...]) -> None:
    """Print settings, device, model size and the content of the splits."""
    console.print(f"{task.corpus.utterances.corpus} / {task.name}, seeds {', '.join(map(str, seeds))}")
    show_settings(task.settings, task.device)
    with torch.device("meta"):  # shapes only
        count = sum(parameter.numel() for parameter in task.new_model().parameters())
    console.print(f"model: {count:,} parameters, modalities {', '.join(task.variant.modalities)}")
    absent = [name for name in in_order({*MODALITIES, *task.corpus.modalities}) if name not in task.variant.modalities]
    if absent:
        console.print(f"not used: {', '.join(absent)} (not in the variant, or in no training utterance)")
    for split in SPLITS:
        console.print(f"{split}: {_describe_split(task, split)}")
    show_ignored(task.corpus, task.variant.modalities, task.settings)
    unknown = ["attention takes them for unknown ones"] if task.settings.attention_layers else []
    unknown += ["they are normalised over the corpus"] if task.settings.normalisation == "speaker" else []
    if unknown and (unnamed := int((task.train.speaker_N < 0).sum())):
        print_note(
            f"{task.name} reads who speaks, and {unnamed} of {len(task.train.speaker_N)} training utterances have no "
            f"speaker: {' and '.join(unknown)}."
        )


def show_ignored(corpus: CachedCorpus, modalities: Sequence[str], *of_runs: Train) -> None:
    """Print what training ignores: modalities and features that are absent or do not vary, the peak learning rate."""
    training_N = corpus.utterances.split == "train"
    for name in modalities:
        if not corpus.modalities[name].present[training_N].any():
            print_note(f"{name} is in no training utterance: no model uses it")
    for sentence in describe_unvarying(corpus, modalities):
        console.print(sentence)
    dialogues, warmup = len(set(corpus.utterances.dialogue_id[training_N])), of_runs[0].warmup_steps
    for steps in sorted({math.ceil(dialogues / each.batch_dialogues) * each.epochs for each in of_runs}):
        if steps <= warmup:
            print_note(f"{warmup} warmup_steps in {steps} steps of training: the rate stays below its peak")


def show_settings(settings: Train, device: Device) -> None:
    """Print what all runs of a command share; of the settings, those that differ from the paper's."""
    defaults = DEFAULTS.model_dump(mode="json")
    differ = {key: value for key, value in settings.model_dump(mode="json").items() if value != defaults[key]}
    values = ", ".join(f"{key} {value}" for key, value in differ.items()) or "none"
    lines = textwrap.indent("\n".join(textwrap.wrap(values, _WIDTH - 2)), "  ")
    console.print(f"train settings that differ from the defaults (the paper's values):\n{lines}")
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
        f"{counted(len(set(rows.dialogue_id[of_split_N])), 'dialogue')}, {counted(of_split_N.sum(), 'utterance')}, "
        f"{(rows.emotion[of_split_N] >= 0).sum()} labelled; present: {presence}"
    )


def selecting(row: Mapping[str, float]) -> dict[str, str]:
    """Return column and heading of the validation score that `train.select_by` adds to a history; {} by default."""
    headings = {f"validation_{score}": f"val. {heading}" for score, heading in SCORES.items()}
    return {name: heading for name, heading in headings.items() if name in row and name not in COLUMNS}


class EpochTable:
    """A context manager that shows each epoch: live on a terminal, as a plain line elsewhere.

    Args:
        epochs: epochs of a seed, at most.
        seeds: number of seeds.
    """

    def __init__(self, epochs: int = 0, seeds: int = 1):
        self._rows: list[tuple[int, Mapping[str, float], bool]] = []
        self._epochs, self._seeds = epochs, seeds
        self._trained: dict[int, int] = {}  # seed -> epochs that this process trained
        self._began_s = time.monotonic()
        self._bar = progress_bar()
        self._live = None
        if console.is_terminal:
            self._live = Live(console=console, get_renderable=self._shown, refresh_per_second=4)

    def __enter__(self) -> "EpochTable":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        if self._live is not None:
            self._live.stop()

    def track(self, seed: int, epoch: int, steps: int) -> Callable[[], None]:
        """Begin the bar of an epoch; return a callback for each finished step."""
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        seconds = self._left_s(seed, epoch)
        left = "" if seconds is None else f", at most {datetime.timedelta(seconds=round(seconds))} left"
        task = self._bar.add_task(f"seed {seed}, epoch {epoch}/{self._epochs}{left}", total=steps)
        return partial(self._bar.advance, task)

    def _left_s(self, seed: int, epoch: int) -> float | None:
        """Estimate the seconds left if no seed stops early, at the mean time of an epoch so far; None before any."""
        trained = sum(self._trained.values())
        if not trained:
            return None
        to_come = self._seeds - len(self._trained.keys() | {seed})
        epochs = self._epochs - epoch + 1 + to_come * self._epochs
        return epochs * (time.monotonic() - self._began_s) / trained

    def add(self, seed: int, row: Mapping[str, float], is_best: bool) -> None:
        """Show one epoch, a row of history.csv."""
        self._rows.append((seed, row, is_best))
        self._trained[seed] = self._trained.get(seed, 0) + 1
        if self._live is not None:
            self._live.refresh()
            return
        values = ", ".join(f"{heading} {row[name]:.4f}" for name, heading in (COLUMNS | selecting(row)).items())
        console.print(f"seed {seed} epoch {row['epoch']}: {values}{' (best so far)' if is_best else ''}")

    def _shown(self) -> Group:
        columns = COLUMNS if console.width >= _ALL_COLUMNS else {name: COLUMNS[name] for name in FEW_COLUMNS}
        columns = columns | (selecting(self._rows[0][1]) if self._rows else {})
        rows = [
            [str(seed), str(row["epoch"]), *(f"{row[name]:.4f}" for name in columns), "best so far" if is_best else ""]
            for seed, row, is_best in self._rows[-ROWS:]
        ]
        return Group(fit_table(["seed", "epoch", *columns.values(), ""], rows, console.width), self._bar)


# ---------------------------------------------------------------------------------------------------- an ablation


def show_sweep(sweep: Sweep, workers: Workers) -> None:
    """Print the variants and seeds, and how many runs go at once."""
    runs, threads = len(sweep.variants) * len(sweep.seeds), sweep.settings.threads
    at_once = "one after the other" if workers.count == 0 else f"{workers.count or 'as many as there are CPUs'} at once"
    where = "" if workers.cluster is None else f" on Ray ({workers.cluster})"
    console.print(
        f"{len(sweep.variants)} variant(s) ({', '.join(sweep.variants)}) x {len(sweep.seeds)} seed(s) "
        f"({', '.join(map(str, sweep.seeds))}): {runs} run(s), {at_once}{where}, {threads} CPU thread(s) each"
    )


class SweepTable:
    """Context manager that shows the runs: live on a terminal; elsewhere a line per run, and one now and then.

    Args:
        sweep: the runs.
        status: folder of their progress.
    """

    def __init__(self, sweep: Sweep, status: Path):
        self._sweep, self._status = sweep, status
        self._criterion = f"validation {SCORES[sweep.settings.select_by]}"
        of_variants = {name: settings_of(name, sweep.settings, sweep.corpus) for name in sweep.variants}
        self._epochs = {name: settings.epochs for name, settings in of_variants.items()}  # at most
        self._runs = [SeedRun(variant, seed) for variant in sweep.variants for seed in sweep.seeds]
        self._outcomes: dict[SeedRun, Outcome] = {}
        self._began_s = time.monotonic()
        self._live = None
        if console.is_terminal:
            self._live = Live(console=console, get_renderable=self._table, refresh_per_second=2)
        self._ended = threading.Event()

    def __enter__(self) -> "SweepTable":
        if self._live is not None:
            self._live.start()
        else:
            threading.Thread(target=self._print_now_and_then, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        if self._live is not None:
            self._live.stop()

    def add(self, run: SeedRun, outcome: Outcome) -> None:
        """Show that a run has ended."""
        self._outcomes = self._outcomes | {run: outcome}  # a new one: the live table reads it in another thread
        if self._live is None:
            ending = f"{counted(outcome.epochs, 'epoch')}, {self._criterion} {outcome.score:.4f}"
            ending = "FAILED" if outcome.error else f"{'was finished, ' if outcome.was_finished else ''}{ending}"
            console.print(f"{run}: {ending} ({self._total()})")

    def _print_now_and_then(self) -> None:
        while not self._ended.wait(LINE_EVERY_S):
            at_work = ", ".join(f"{run}: {self._progress(run, status)}" for run, status in self._under_way().items())
            idle = "starting" if len(self._outcomes) < len(self._runs) else "scoring"
            console.print(f"{self._total()}; {at_work or idle}")

    def _under_way(self) -> dict[SeedRun, Mapping]:
        """Return the status of the runs that have begun and not ended."""
        statuses = {run: read_status(self._status, run) for run in self._runs if run not in self._outcomes}
        return {run: status for run, status in statuses.items() if status}

    def _progress(self, run: SeedRun, status: Mapping) -> str:
        if status["epoch"]:
            return f"epoch {status['epoch']}/{self._epochs[run.variant]}, {status['score']:.3f}"
        return "waits for another process" if "another process" in status["note"] else "begins"

    def _total(self) -> str:
        """Return the number of ended runs and the time left, such as `12 of 70 runs, 0:04:10 left`."""
        failed = sum(outcome.error is not None for outcome in self._outcomes.values())
        ended = f"{len(self._outcomes)} of {len(self._runs)} runs" + (f", {failed} FAILED" if failed else "")
        left_s = self._left_s()
        return ended if left_s is None else f"{ended}, {datetime.timedelta(seconds=round(left_s))} left"

    def _left_s(self) -> float | None:
        """Estimate the seconds left from the epochs so far: a run needs as many as the others did, or all of them."""
        statuses = {run: read_status(self._status, run) for run in self._runs}
        begun = [status for status in statuses.values() if status and status["first"] is not None]
        trained = sum(status["epoch"] - status["first"] for status in begun)
        if not trained or len(self._outcomes) == len(self._runs):
            return None
        needed = [outcome.epochs for outcome in self._outcomes.values() if outcome.epochs]
        typical = sum(needed) / len(needed) if needed else max(self._epochs.values())
        unfinished = [status for run, status in statuses.items() if run not in self._outcomes]
        missing = sum(max(1.0, typical - status.get("epoch", 0)) for status in unfinished)
        return missing * (time.monotonic() - self._began_s) / trained

    def _table(self) -> Group:
        under_way = self._under_way()
        rows = [
            [variant, *(self._cell(SeedRun(variant, seed), under_way) for seed in self._sweep.seeds)]
            for variant in self._sweep.variants
        ]
        table = fit_table(["variant", *(f"seed {seed}" for seed in self._sweep.seeds)], rows, console.width)
        return Group(table, Text(f"{self._total()} ({self._criterion})", style="dim"))

    def _cell(self, run: SeedRun, under_way: Mapping[SeedRun, Mapping]) -> Text:
        if run in self._outcomes:
            outcome = self._outcomes[run]
            return Text("FAILED", style="bold red") if outcome.error else Text(f"{outcome.score:.3f}", style="green")
        return Text(self._progress(run, under_way[run]) if run in under_way else "·", style="dim")
