"""Variants times seeds over cached features, several runs at once, with the bytes that each has alone.

A run is one item of the engine, so it may run anywhere: `dferc.training.run` keeps it whole whatever happens. What
goes wrong with a run comes back as a sentence, and the others go on.
"""

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
from dferc.core.errors import InputError
from dferc.core.files import write_atomically
from dferc.core.tables import read_numbers
from dferc.engine import WorkerDied, Workers, default_workers
from dferc.settings.sections import Train
from dferc.store.hdf5 import read_corpus
from dferc.store.rows import CachedCorpus
from dferc.training.checkpoint import HISTORY
from dferc.training.resume import RunElsewhereError
from dferc.training.run import train_run
from dferc.training.seeds import seed_folder, write_curves
from dferc.training.task import make_task

ON_ONE_GPU = 4
"""Runs that share the GPU of this machine where --workers does not say (a guess: none was at hand to measure on)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What is asked for; all paths absolute, since workers may have another working directory.

    Attributes:
        corpus: its name.
        features: features/<corpus>.
        folder: runs/<corpus>.
        scratch: where the states of runs live.
        variants: rows of the ablation.
        seeds: of each.
        settings: of each.
        device: auto, cpu or cuda.
        fresh: train again what is finished or begun.
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

    def train_folder(self, variant: str) -> Path:
        """Where the runs of a variant go."""
        return self.folder / variant / "train"


class Run(NamedTuple):
    """One variant with one seed."""

    variant: str
    seed: int

    def __str__(self) -> str:
        return f"{self.variant} seed {self.seed}"


class Outcome(NamedTuple):
    """What became of a run: its epochs and its best weighted F1 on validation, or what went wrong."""

    epochs: int = 0
    score: float = 0.0
    error: str | None = None
    was_finished: bool = False
    """Before this call."""
    elsewhere: bool = False
    """Another process is at it; nothing was done."""


class Item(NamedTuple):
    """A run for a worker."""

    sweep: Sweep
    run: Run
    status: Path
    """Where it tells how far it is, for `read_status`."""
    wait: bool
    """For another process that is at it."""


def place(workers: Workers, sweep: Sweep, on_gpu: bool, gpu_share: float) -> Workers:
    """As many runs at once as fill the cores of this machine, unless a number was asked for.

    Args:
        workers: as asked for.
        sweep: each of its runs takes `train.threads` cores.
        on_gpu: whether the runs share one GPU.
        gpu_share: that a run takes on a cluster.
    """
    threads, count = sweep.settings.threads, workers.count
    if count is None and workers.cluster is None:
        runs = len(sweep.variants) * len(sweep.seeds)
        count = min(runs, max(1, default_workers() // threads), ON_ONE_GPU if on_gpu else runs)
        count = count if count > 1 else 0  # alone, a run needs no process of its own
    return replace(workers, count=count, cpus=threads, gpus=0.0 if sweep.device == "cpu" else gpu_share)


def status_folder(sweep: Sweep) -> tempfile.TemporaryDirectory:
    """Where the runs of one call tell how far they are; every machine sees it, as it does the states beside it."""
    sweep.scratch.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="sweep-", dir=sweep.scratch)


def perform(sweep: Sweep, workers: Workers, status: Path) -> Iterator[tuple[Run, Outcome]]:
    """Train what is not finished, and give each run as it ends.

    What another process is at is left to it until everything else is done, so that two ablations share the work.

    Args:
        sweep: what.
        workers: where, and how many at once.
        status: a folder from `status_folder`.

    Raises:
        InputError: the features cannot be read, or the engine is at fault.
    """
    sweep.folder.mkdir(parents=True, exist_ok=True)
    paths = (sweep.features, sweep.folder, sweep.scratch)  # that every machine must see
    todo = [Run(*each) for each in itertools.product(sweep.variants, sweep.seeds)]
    for wait in (False, True):
        elsewhere = []
        items = [Item(sweep, run, status / f"{run.variant}-{run.seed}.json", wait) for run in todo]
        for index, made in engine.run(_perform_one, items, workers, _open, (sweep.features, sweep.corpus), paths):
            outcome = Outcome(error=str(made)) if isinstance(made, WorkerDied) else made
            if outcome.elsewhere:
                elsewhere.append(todo[index])
            else:
                yield todo[index], outcome
        if not elsewhere:
            return
        todo = elsewhere


def finish_variant(sweep: Sweep, variant: str) -> list[Path]:
    """Write the mean curves of a variant whose seeds are all trained; the folders of its seeds."""
    folders = [seed_folder(sweep.train_folder(variant), seed) for seed in sweep.seeds]
    write_curves(sweep.train_folder(variant) / "curves.csv", [folder / HISTORY for folder in folders])
    return folders


def read_status(status: Path, run: Run) -> Mapping:
    """How far a run is: `epoch`, `first` (epochs it had when it began), `score` and `said`; empty = not begun."""
    try:
        return json.loads((status / f"{run.variant}-{run.seed}.json").read_text(encoding="utf-8"))
    except OSError:  # not there, or just being replaced on a shared disk
        return {}


def refuse_failures(failures: Mapping[Run, str], runs: int) -> None:
    """End with what went wrong, told once for all seeds of a variant that it befell.

    Raises:
        InputError: there are failures.
    """
    if not failures:
        return
    seeds: dict[tuple[str, str], list[str]] = {}
    for run, error in failures.items():
        seeds.setdefault((run.variant, error), []).append(str(run.seed))
    told = "\n".join(f"  - {name}, seed {', '.join(some)}: {error}" for (name, error), some in seeds.items())
    raise InputError(
        f"{len(failures)} of {runs} runs failed:\n{told}\nThe others are finished and kept; variants with a failed run "
        "are not scored. Once mended, the same command runs only what is missing."
    )


# ---------------------------------------------------------------------------------------------------- in a worker

_corpus: CachedCorpus | None = None


def _open(features: Path, corpus: str) -> None:
    """Read the features once for all runs of a process."""
    global _corpus
    _corpus = read_corpus(features, corpus)


class _Status:
    """What a run tells of itself, in a file that `read_status` reads."""

    def __init__(self, path: Path):
        self._path = path
        self.at = {"epoch": 0, "first": None, "score": 0.0, "said": ""}
        self._write()

    def report(self, _seed: int, row: Mapping[str, float], _is_best: bool) -> None:
        """After each epoch, as `dferc.training.loop.Report`."""
        if self.at["first"] is None:
            self.at["first"] = row["epoch"] - 1
        self.at["epoch"] = row["epoch"]
        self.at["score"] = max(self.at["score"], row["validation_weighted_f1"])
        self._write()

    def tell(self, sentence: str) -> None:
        """As `dferc.training.run.Notify`."""
        self.at["said"] = sentence
        self._write()

    def _write(self) -> None:
        text = json.dumps(self.at)
        write_atomically(self._path, lambda path: path.write_text(text, encoding="utf-8"), durable=False)


def _perform_one(item: Item) -> Outcome:
    sweep, (variant, seed) = item.sweep, item.run
    folder = seed_folder(sweep.train_folder(variant), seed)
    try:
        status = _Status(item.status)
        task = make_task(_corpus, variant, sweep.settings, choose_device(sweep.device, sweep.settings.precision))
        told = {"report": status.report, "notify": status.tell}
        train_run(task, seed, folder, scratch=sweep.scratch, fresh=sweep.fresh, wait=item.wait, **told)
    except RunElsewhereError:
        status.tell("waits for another process")
        return Outcome(elsewhere=True)
    except InputError as error:
        return Outcome(error=str(error))
    except Exception:  # whatever it is, the other runs go on; it is told at the end, and the command then fails
        return Outcome(error=f"a fault of the program, please report it:\n{traceback.format_exc().rstrip()}")
    history = read_numbers(folder / HISTORY)
    score = max(row["validation_weighted_f1"] for row in history)
    return Outcome(len(history), score, was_finished=status.at["first"] is None)
