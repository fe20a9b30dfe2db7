"""Display of an ablation: a live table of variants by seeds, or plain lines in a log; then the scores."""

import datetime
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dferc.core.console import LINE_EVERY_S, console
from dferc.engine import Workers
from dferc.evaluation.evaluate import SCORED
from dferc.evaluation.record import mean_and_spread
from dferc.training.sweep import Outcome, SeedRun, Sweep, read_status


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

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._ended.set()
        if self._live is not None:
            self._live.stop()

    def add(self, run: SeedRun, outcome: Outcome) -> None:
        """Show that a run has ended."""
        self._outcomes = self._outcomes | {run: outcome}  # a new one: the live table reads it in another thread
        if self._live is None:
            ending = f"{outcome.epochs} epochs, validation weighted F1 {outcome.score:.4f}"
            ending = "FAILED" if outcome.error else f"{'was finished, ' if outcome.was_finished else ''}{ending}"
            console.print(f"{run}: {ending} ({self._total()})", markup=False)

    def _print_now_and_then(self) -> None:
        while not self._ended.wait(LINE_EVERY_S):
            at_work = ", ".join(f"{run}: {self._progress(status)}" for run, status in self._under_way().items())
            idle = "starting" if len(self._outcomes) < len(self._runs) else "scoring"
            console.print(f"{self._total()}; {at_work or idle}", markup=False)

    def _under_way(self) -> dict[SeedRun, Mapping]:
        """Return the status of the runs that have begun and not ended."""
        statuses = {run: read_status(self._status, run) for run in self._runs if run not in self._outcomes}
        return {run: status for run, status in statuses.items() if status}

    def _progress(self, status: Mapping) -> str:
        if status["epoch"]:
            return f"epoch {status['epoch']}/{self._sweep.settings.epochs}, {status['score']:.3f}"
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
        typical = sum(needed) / len(needed) if needed else self._sweep.settings.epochs
        unfinished = [status for run, status in statuses.items() if run not in self._outcomes]
        missing = sum(max(1.0, typical - status.get("epoch", 0)) for status in unfinished)
        return missing * (time.monotonic() - self._began_s) / trained

    def _table(self) -> Group:
        table = Table("variant", *(f"seed {seed}" for seed in self._sweep.seeds), box=None, header_style="bold")
        under_way = self._under_way()
        for variant in self._sweep.variants:
            table.add_row(variant, *(self._cell(SeedRun(variant, seed), under_way) for seed in self._sweep.seeds))
        return Group(table, Text(f"{self._total()} (validation weighted F1)", style="dim"))

    def _cell(self, run: SeedRun, under_way: Mapping[SeedRun, Mapping]) -> Text:
        if run in self._outcomes:
            outcome = self._outcomes[run]
            return Text("FAILED", style="bold red") if outcome.error else Text(f"{outcome.score:.3f}", style="green")
        return Text(self._progress(under_way[run]) if run in under_way else "·", style="dim")


def show_scores(metrics: Mapping[str, Mapping]) -> None:
    """Print a row of scores per variant, from the contents of its metrics.json."""
    table = Table("variant", "seeds", *(f"{split} weighted F1" for split in SCORED), box=None, header_style="bold")
    for variant, values in metrics.items():
        scores = (mean_and_spread(values[split], "weighted_f1") if split in values else "–" for split in SCORED)
        table.add_row(variant, str(values["seeds"]), *scores)
    console.print(table)
