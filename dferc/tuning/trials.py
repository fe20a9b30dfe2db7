"""Trials of a search: settings drawn by the study, trained once per seed on the engine, valued by validation.

A trial that a kill left behind goes on from its last epochs, on the machine that began it. The runs of a finished trial
are removed: its settings and seeds give them again.
"""

import datetime
import functools
import math
import shutil
import statistics
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dferc import engine
from dferc.core.console import console, progress_bar
from dferc.core.files import write_text
from dferc.core.metrics import SCORES
from dferc.engine import WorkerDied, Workers
from dferc.settings.sections import Train, Tune
from dferc.training.resume import RunElsewhereError, claim
from dferc.training.sweep import Outcome, RunWorker, SeedRun, Sweep, SweepItem
from dferc.tuning.study import decode, distributions

if TYPE_CHECKING:
    import optuna

PLACE = "place"  # user attribute of a trial: id of the folder that has its runs
ALIVE_HOURS = 24  # after which a trial that is not ended is taken for lost
FOR_CLUSTER = 8  # runs at once on a cluster without --workers: a trial waits for its slowest seed


@dataclass(frozen=True)
class Search:
    """A search over one sweep's settings."""

    study: "optuna.Study"
    tune: Tune  # what is searched
    sweep: Sweep  # corpus, features, device; its settings are those that the space does not change
    folder: Path  # of the runs of unfinished trials, on a disk that every worker sees

    @property
    def place(self) -> str:
        """Id of the folder: other machines, with other disks, may work on the same study."""
        path = self.folder / "id"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(path, uuid.uuid4().hex)
        return path.read_text(encoding="utf-8")

    def settings(self, params: Mapping[str, object]) -> Train:
        """Return the `train` settings of a trial."""
        changes = decode(params, self.tune.space)
        return self.sweep.settings.changed(changes).giving(changes)


def run_trials(search: Search, wanted: int, workers: Workers, at_once: int) -> None:
    """Train trials until the study has as many as wanted, failed ones among them; each is told to the study.

    Args:
        search: the search.
        wanted: trials of the whole study, of all machines.
        workers: where runs go, and how many at once.
        at_once: trials that are drawn and trained at the same time.
    """
    with progress_bar() as bar:
        task = bar.add_task(f"trials of {search.study.study_name}", total=wanted)
        while True:
            bar.update(task, completed=min(wanted, _ended(search.study)))
            with ExitStack() as claims:
                batch = _next_trials(search, wanted, at_once, claims)
                if not batch:
                    return
                for number, trial in _train(search, batch, workers):
                    _report(search, number, trial)
                    bar.update(task, completed=min(wanted, _ended(search.study)))


def _ended(study: "optuna.Study") -> int:
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def running(search: Search) -> int:
    """Return the number of trials that another process began within the last `ALIVE_HOURS` and has not ended."""
    since = datetime.datetime.now() - datetime.timedelta(hours=ALIVE_HOURS)
    trials = search.study.get_trials(deepcopy=False)
    return sum(not trial.state.is_finished() and trial.datetime_start > since for trial in trials)


def _next_trials(search: Search, wanted: int, at_once: int, claims: ExitStack) -> dict[int, "optuna.trial.Trial"]:
    """Return trials to train, by number: those that a kill left here, then new ones; each is claimed."""
    import optuna

    study, place, batch = search.study, search.place, {}
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        if trial.state == optuna.trial.TrialState.RUNNING and trial.user_attrs.get(PLACE) == place:
            if len(batch) < at_once and _claim(search, trial.number, claims):
                console.print(f"trial {trial.number} was interrupted: it goes on")
                batch[trial.number] = optuna.trial.Trial(study, trial._trial_id)
    for _ in range(min(at_once - len(batch), wanted - len(trials))):
        trial = study.ask(distributions(search.tune.space))
        _claim(search, trial.number, claims)
        trial.set_user_attr(PLACE, place)
        batch[trial.number] = trial
    return batch


def _claim(search: Search, number: int, claims: ExitStack) -> bool:
    try:
        claims.enter_context(claim(search.folder / f"trial-{number}" / "state", waiting=None))
    except RunElsewhereError:
        return False
    return True


def _train(
    search: Search, batch: Mapping[int, "optuna.trial.Trial"], workers: Workers
) -> Iterator[tuple[int, "optuna.trial.FrozenTrial"]]:
    """Train all runs of a batch, and yield each trial as its last run ends, told to the study."""
    with tempfile.TemporaryDirectory(prefix="status-", dir=search.folder) as status:
        items: list[tuple[int, SweepItem]] = []
        for number, trial in batch.items():
            folder, settings = search.folder / f"trial-{number}", search.settings(trial.params)
            sweep = replace(search.sweep, folder=folder, scratch=folder / "states", settings=settings)
            for seed in search.tune.seeds:
                run = SeedRun(search.tune.variant, seed)
                items.append((number, SweepItem(sweep, run, Path(status) / f"{number}-{seed}.json", wait=True)))
        paths = (search.sweep.features, search.folder)
        make_worker = functools.partial(RunWorker, search.sweep)
        outcomes: dict[int, dict[int, Outcome]] = {number: {} for number in batch}
        for index, outcome in engine.run(make_worker, [item for _, item in items], workers, paths):
            number, item = items[index]
            lost = isinstance(outcome, WorkerDied)
            outcomes[number][item.run.seed] = Outcome(error=str(outcome)) if lost else outcome
            if len(outcomes[number]) == len(search.tune.seeds):
                yield number, _tell(search, batch[number], outcomes[number])
                shutil.rmtree(search.folder / f"trial-{number}", ignore_errors=True)


def _tell(search: Search, trial: "optuna.trial.Trial", outcomes: Mapping[int, Outcome]) -> "optuna.trial.FrozenTrial":
    import optuna

    errors = {seed: outcome.error for seed, outcome in outcomes.items() if outcome.error}
    ordered = [outcomes[seed] for seed in search.tune.seeds]
    if errors:
        trial.set_user_attr("error", "; ".join(f"seed {seed}: {error}" for seed, error in errors.items())[:2000])
        return search.study.tell(trial, state=optuna.trial.TrialState.FAIL)
    trial.set_user_attr("scores", [outcome.score for outcome in ordered])
    trial.set_user_attr("epochs", [outcome.epochs for outcome in ordered])
    return search.study.tell(trial, statistics.fmean(outcome.score for outcome in ordered))


def _report(search: Search, number: int, trial: "optuna.trial.FrozenTrial") -> None:
    values = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in trial.params.items()}
    params = ", ".join(f"{name} {value}" for name, value in values.items())
    if trial.value is None:
        console.print(f"trial {number} FAILED: {trial.user_attrs['error']} ({params})")
        return
    scores, best = trial.user_attrs["scores"], search.study.best_trial
    spread = f" ± {statistics.stdev(scores):.4f}" if len(scores) > 1 else ""
    shown = "the best so far" if best.number == number else f"best {best.value:.4f}, trial {best.number}"
    criterion = f"validation {SCORES[search.sweep.settings.select_by]}"
    console.print(f"trial {number}: {criterion} {trial.value:.4f}{spread} ({shown}); {params}")


def trials_at_once(workers: Workers, seeds: Sequence[int], threads: int, cores: Callable[[], int]) -> int:
    """Return how many trials fill the workers with their seeds."""
    runs = workers.count if workers.count is not None else FOR_CLUSTER if workers.cluster else cores() // threads
    return max(1, math.ceil(runs / len(seeds)))
