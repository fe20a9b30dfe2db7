"""What a person sees of an ablation: a live table of variants by seeds, or plain lines in a log; then the scores."""

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
from dferc.training.sweep import Outcome, Run, Sweep, read_status


def show_sweep(sweep: Sweep, workers: Workers) -> None:
    """Print what runs, and how many at once."""
    runs, threads = len(sweep.variants) * len(sweep.seeds), sweep.settings.threads
    at_once = "one after the other" if workers.count == 0 else f"{workers.count or 'as many as there are CPUs'} at once"
    where = "" if workers.cluster is None else f" on Ray ({workers.cluster})"
    console.print(
        f"{len(sweep.variants)} variant(s) ({', '.join(sweep.variants)}) x {len(sweep.seeds)} seed(s) "
        f"({', '.join(map(str, sweep.seeds))}): {runs} run(s), {at_once}{where}, {threads} CPU thread(s) each"
    )


class SweepTable:
    """A context manager that shows the runs: live on a terminal; elsewhere a line per run, and one now and then.

    Args:
        sweep: what runs.
        status: where the runs tell how far they are.
    """

    def __init__(self, sweep: Sweep, status: Path):
        self._sweep, self._status = sweep, status
        self._runs = [Run(variant, seed) for variant in sweep.variants for seed in sweep.seeds]
        self._outcomes: dict[Run, Outcome] = {}
        self._began_s = time.monotonic()
        self._live = None
        if console.is_terminal:
            self._live = Live(console=console, get_renderable=self._table, refresh_per_second=2)
        self._ended = threading.Event()

    def __enter__(self) -> "SweepTable":
        if self._live is not None:
            self._live.start()
        else:
            threading.Thread(target=self._tell_now_and_then, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._ended.set()
        if self._live is not None:
            self._live.stop()

    def add(self, run: Run, outcome: Outcome) -> None:
        """Show that a run has ended."""
        self._outcomes = self._outcomes | {run: outcome}  # a new one: the live table reads it in another thread
        if self._live is None:
            what = f"{outcome.epochs} epochs, validation weighted F1 {outcome.score:.4f}"
            what = "FAILED" if outcome.error else f"{'was finished, ' if outcome.was_finished else ''}{what}"
            console.print(f"{run}: {what} ({self._total()})", markup=False)

    def _tell_now_and_then(self) -> None:
        while not self._ended.wait(LINE_EVERY_S):
            at_work = ", ".join(f"{run}: {self._how_far(at)}" for run, at in self._under_way().items())
            idle = "starting" if len(self._outcomes) < len(self._runs) else "scoring"
            console.print(f"{self._total()}; {at_work or idle}", markup=False)

    def _under_way(self) -> dict[Run, Mapping]:
        """The runs that have begun and not ended, and how far they are."""
        found = {run: read_status(self._status, run) for run in self._runs if run not in self._outcomes}
        return {run: at for run, at in found.items() if at}

    def _how_far(self, at: Mapping) -> str:
        if at["epoch"]:
            return f"epoch {at['epoch']}/{self._sweep.settings.epochs}, {at['score']:.3f}"
        return "waits for another process" if "wait" in at["said"] else "begins"

    def _total(self) -> str:
        """Such as `12 of 70 runs, 0:04:10 left`."""
        failed = sum(outcome.error is not None for outcome in self._outcomes.values())
        told = f"{len(self._outcomes)} of {len(self._runs)} runs" + (f", {failed} FAILED" if failed else "")
        left_s = self._left_s()
        return told if left_s is None else f"{told}, {datetime.timedelta(seconds=round(left_s))} left"

    def _left_s(self) -> float | None:
        """Seconds, by the epochs so far; a run is taken to need as many as the others did, or all of them."""
        here = {run: read_status(self._status, run) for run in self._runs}
        trained = sum(at["epoch"] - at["first"] for at in here.values() if at and at["first"] is not None)
        if not trained or len(self._outcomes) == len(self._runs):
            return None
        needed = [outcome.epochs for outcome in self._outcomes.values() if outcome.epochs]
        typical = sum(needed) / len(needed) if needed else self._sweep.settings.epochs
        missing = sum(max(1.0, typical - at.get("epoch", 0)) for run, at in here.items() if run not in self._outcomes)
        return missing * (time.monotonic() - self._began_s) / trained

    def _table(self) -> Group:
        table = Table("variant", *(f"seed {seed}" for seed in self._sweep.seeds), box=None, header_style="bold")
        under_way = self._under_way()
        for variant in self._sweep.variants:
            table.add_row(variant, *(self._cell(Run(variant, seed), under_way) for seed in self._sweep.seeds))
        return Group(table, Text(f"{self._total()} (validation weighted F1)", style="dim"))

    def _cell(self, run: Run, under_way: Mapping[Run, Mapping]) -> Text:
        if run in self._outcomes:
            outcome = self._outcomes[run]
            return Text("FAILED", style="bold red") if outcome.error else Text(f"{outcome.score:.3f}", style="green")
        return Text(self._how_far(under_way[run]) if run in under_way else "·", style="dim")
