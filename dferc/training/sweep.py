"""Variants times seeds over cached features, several runs at once, with the bytes that each has alone.

A run is one item of the engine, so it may run anywhere; `dferc.training.run` resumes it whatever happens. The error
of a run comes back as a sentence, and the others go on.
"""

import functools
import itertools
import json
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from dferc import engine
from dferc.core.device import choose_device
from dferc.core.errors import InputError, explained
from dferc.core.files import write_atomically
from dferc.engine import WorkerDied, Workers, default_workers
from dferc.settings.sections import Train
from dferc.store.hdf5 import read_corpus
from dferc.training.checkpoint import record_of_weights
from dferc.training.resume import RunElsewhereError
from dferc.training.run import train_run
from dferc.training.seeds import run_name, seed_folder
from dferc.training.task import make_task

ON_ONE_GPU = 4
"""Runs that share the GPU of this machine without --workers (a guess: there was no GPU to measure on)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """An ablation: variants times seeds. All paths are absolute, since workers may have another working directory.

    Attributes:
        corpus: its name.
        features: features/<corpus>.
        folder: runs/<corpus>.
        scratch: folder of the states of unfinished runs.
        variants: rows of the ablation.
        seeds: seeds of each variant.
        settings: settings of each run.
        device: auto, cpu or cuda.
        fresh: train finished and unfinished runs again from the start.
        label: of runs that are kept beside those of other settings, in runs/<corpus>/<variant>@<label>.
    """

    corpus: str
    features: Path
    folder: Path
    scratch: Path
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: Train
    device: str
    fresh: bool
    label: str = ""

    def run_folder(self, variant: str) -> Path:
        """Return the folder of a variant: its runs, their evaluation and metrics."""
        return self.folder / run_name(variant, self.label)

    def train_folder(self, variant: str) -> Path:
        """Return the folder of the runs of a variant."""
        return self.run_folder(variant) / "train"


class SeedRun(NamedTuple):
    """One variant with one seed."""

    variant: str
    seed: int

    def __str__(self) -> str:
        return f"{self.variant} seed {self.seed}"


class Outcome(NamedTuple):
    """The end of a run: its epochs and its best score on validation (`train.select_by`), or an error."""

    epochs: int = 0
    score: float = 0.0
    error: str | None = None
    was_finished: bool = False
    """It was finished before this call."""
    elsewhere: bool = False
    """Another process is training it; nothing was done."""


class SweepItem(NamedTuple):
    """A run for a worker."""

    sweep: Sweep
    run: SeedRun
    status: Path
    """File of its progress, for `read_status`."""
    wait: bool
    """Wait for another process that is training it?"""


def place(workers: Workers, sweep: Sweep, on_gpu: bool, gpu_share: float) -> Workers:
    """Return the workers of a sweep: as many as fill the cores of this machine, unless a number was asked for.

    Args:
        workers: as asked for.
        sweep: each of its runs takes `train.threads` cores.
        on_gpu: whether the runs share one GPU.
        gpu_share: share of a GPU that a run takes on a cluster.
    """
    threads, count = sweep.settings.threads, workers.count
    if count is None and workers.cluster is None:
        runs = len(sweep.variants) * len(sweep.seeds)
        count = min(runs, max(1, default_workers() // threads), ON_ONE_GPU if on_gpu else runs)
        count = count if count > 1 else 0  # alone, a run needs no process of its own
    return replace(workers, count=count, cpus=threads, gpus=0.0 if sweep.device == "cpu" else gpu_share)


def status_folder(sweep: Sweep) -> tempfile.TemporaryDirectory:
    """Make the folder of the runs' progress; every machine sees it, like the states beside it."""
    sweep.scratch.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="dferc-sweep-", dir=sweep.scratch)


def perform(sweep: Sweep, workers: Workers, status: Path) -> Iterator[tuple[SeedRun, Outcome]]:
    """Train the unfinished runs, and yield each run as it ends.

    Runs that another process is training are left to it until all others are done, so two ablations share the work.

    Args:
        sweep: the runs.
        workers: where, and how many at once.
        status: a folder from `status_folder`.

    Raises:
        InputError: the features cannot be read, or the engine is at fault.
    """
    sweep.folder.mkdir(parents=True, exist_ok=True)
    paths = (sweep.features, sweep.folder, sweep.scratch)  # that every machine must see
    make_worker = functools.partial(RunWorker, sweep)
    todo = list(itertools.starmap(SeedRun, itertools.product(sweep.variants, sweep.seeds)))
    for wait in (False, True):
        elsewhere = []
        items = [SweepItem(sweep, run, _status_file(status, run), wait) for run in todo]
        for index, outcome in engine.run(make_worker, items, workers, paths):
            outcome = Outcome(error=str(outcome)) if isinstance(outcome, WorkerDied) else outcome
            if outcome.elsewhere:
                elsewhere.append(todo[index])
            else:
                yield todo[index], outcome
        if not elsewhere:
            return
        todo = elsewhere


def _status_file(status: Path, run: SeedRun) -> Path:
    return status / f"{run.variant}-{run.seed}.json"


def read_status(status: Path, run: SeedRun) -> Mapping:
    """Read a run's progress: `epoch`, `first` (epochs it had when it began), `score` and `note`; empty = not begun."""
    try:
        return json.loads(_status_file(status, run).read_text(encoding="utf-8"))
    except OSError:  # not there, or just being replaced on a shared disk
        return {}


def refuse_failures(failures: Mapping[SeedRun, str], runs: int) -> None:
    """Raise the errors of all runs, once for all seeds of a variant with the same error.

    Raises:
        InputError: there are failures.
    """
    if not failures:
        return
    seeds: dict[tuple[str, str], list[str]] = {}
    for run, error in failures.items():
        seeds.setdefault((run.variant, error), []).append(str(run.seed))
    listed = "\n".join(f"  - {name}, seed {', '.join(failed)}: {error}" for (name, error), failed in seeds.items())
    raise InputError(
        f"{len(failures)} of {runs} runs failed:\n{listed}\nThe others are finished and kept; variants with a failed "
        "run are not scored. Once mended, the same command runs only what is missing."
    )


# ---------------------------------------------------------------------------------------------------- in a worker


class RunWorker:
    """Trains one run after another, of a sweep or of others on its features, which it reads once."""

    def __init__(self, sweep: Sweep):
        self._corpus = read_corpus(sweep.features, sweep.corpus, sweep.settings.features)

    def __call__(self, item: SweepItem) -> Outcome:
        """Train a run, unless another process is training it."""
        sweep, (variant, seed) = item.sweep, item.run
        criterion = f"validation_{sweep.settings.select_by}"
        folder = seed_folder(sweep.train_folder(variant), seed)
        try:
            status = _StatusFile(item.status, criterion)
            device = choose_device(sweep.device, sweep.settings.precision)
            task = make_task(self._corpus, variant, sweep.settings, device)
            callbacks = {"report": status.report, "notify": status.note}
            train_run(task, seed, folder, scratch=sweep.scratch, fresh=sweep.fresh, wait=item.wait, **callbacks)
        except RunElsewhereError:
            status.note("waits for another process")
            return Outcome(elsewhere=True)
        except Exception as error:  # whatever it is, the other runs go on; the command reports it at the end, and fails
            fault = f"a fault of the program, please report it:\n{traceback.format_exc().rstrip()}"
            return Outcome(error=explained(error) or fault)
        record = record_of_weights(folder)
        return Outcome(record["epochs"], record["scores"][criterion], was_finished=status.values["first"] is None)


class _StatusFile:
    """The progress of a run, in a file that `read_status` reads; `criterion` is the column of its score."""

    def __init__(self, path: Path, criterion: str):
        self._path, self._criterion = path, criterion
        self.values = {"epoch": 0, "first": None, "score": 0.0, "note": ""}
        self._write()

    def report(self, _seed: int, row: Mapping[str, float], _is_best: bool) -> None:
        """Note an epoch; a `dferc.training.run.Report`."""
        if self.values["first"] is None:
            self.values["first"] = row["epoch"] - 1
        self.values["epoch"] = row["epoch"]
        self.values["score"] = max(self.values["score"], row[self._criterion])
        self._write()

    def note(self, sentence: str) -> None:
        """Note a sentence; a `dferc.training.run.Notify`."""
        self.values["note"] = sentence
        self._write()

    def _write(self) -> None:
        text = json.dumps(self.values)
        write_atomically(self._path, lambda path: path.write_text(text, encoding="utf-8"), durable=False)
