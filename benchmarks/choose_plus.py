"""How the settings of `plus` on IEMOCAP are chosen: sessions 1 to 3, each held out once; session 4 is never read.

    python -m benchmarks.choose_plus iemocap_ta_sessions1-4.npz --out trial/choose

A recipe is trained on two of the three sessions, its epoch and blend chosen on validation dialogues that each seed
draws from these two, and scored (weighted F1) on the third. Its score is the mean over the sessions and seeds.

1. **Numbers and kinds of members** (`MEMBERS`), everything else as in `COMMON`; seeds 0 and 1. The best goes on.
2. **One at a time**: each of `CHANGES` on it; the same seeds. Those above it are ranked; of two that touch the same
   setting the better one counts.
3. **Together**: the best of round 1, and it with the first one, two and three changes; seeds 2 to 4, which no round has
   seen. The best of these alone is the result, whatever it is.

`train.linear_blend` is not asked: it is what keeps a run above the floor. A run that is there is not trained again, so
the command goes on after a kill. Hours; every run has one thread.
"""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean

import click
import numpy as np

from dferc.core.console import readable_errors
from dferc.core.errors import InputError
from dferc.engine import default_workers

Recipe = dict[str, float]

SESSIONS = ("Ses01", "Ses02", "Ses03")
"""The first five characters of a dialogue's name."""

COMMON: Recipe = {
    "linear_blend": True,
    "attention_layers": 2,
    "attention_width": 192,
    "input_dropout": 0.4,
    "weight_average": 0.99,
    "label_smoothing": 0.0,
    "hidden": 100,
    "align": 100,
    "batch_dialogues": 8,
    "learning_rate": 2.0e-3,
    "epochs": 40,
    "patience": 20,
}
"""What validation had chosen before any member was added. Written out: `plus` itself changes with what is chosen."""

MEMBERS = [(1, 0), (2, 0), (4, 0), (1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (2, 4), (3, 3)]
"""`members`, `recurrent_members`."""

CHANGES: dict[str, Recipe] = {
    "no-attention": {"attention_layers": 0},
    "attention-1": {"attention_layers": 1},
    "narrow-attention": {"attention_width": 96},
    "input-dropout-0.2": {"input_dropout": 0.2},
    "input-dropout-0.6": {"input_dropout": 0.6},
    "no-average": {"weight_average": 0.0},
    "hidden-300": {"hidden": 300},
    "batch-4": {"batch_dialogues": 4, "learning_rate": 1.0e-3},
    "batch-16": {"batch_dialogues": 16},
    "smoothing-0.1": {"label_smoothing": 0.1},
    "epochs-20": {"epochs": 20},
}
FIRST_SEEDS, NEW_SEEDS = (0, 1), (2, 3, 4)


def hold_out(table: Mapping[str, np.ndarray], session: str, file: Path) -> None:
    """Write the table's rows of `SESSIONS` with that session as test, and no row of any other session."""
    of_N = np.array([str(dialogue)[:5] for dialogue in table["dialogue"]])
    kept_N = np.isin(of_N, SESSIONS)
    rows = {name: column[kept_N] for name, column in table.items()}
    rows["split"] = np.where(of_N[kept_N] == session, "test", rows["split"])
    np.savez(file, **rows)


class Folds:
    """The folds' features and runs, in one folder."""

    def __init__(self, table: Path, out: Path, params: Path):
        """Import a fold for each session that is held out, unless it is there."""
        self.out, self.params = out, params
        out.mkdir(parents=True, exist_ok=True)
        try:
            with np.load(table, allow_pickle=False) as file:
                columns = dict(file)
        except (ValueError, TypeError, OSError, zipfile.BadZipFile):
            columns = {}
        if missing := {"dialogue", "split", "emotion"} - columns.keys():
            raise InputError(f"{table}: no .npz table with a column {min(missing)}; docs/import.md describes them.")
        for session in SESSIONS:
            if not (out / session / "iemocap/utterances.h5").exists():
                hold_out(columns, session, out / f"{session}.npz")
                self._dferc("import", out / f"{session}.npz", "--corpus=iemocap", f"--features={out / session}")

    def score(self, name: str, recipe: Recipe, session: str, seed: int) -> float:
        """Return the weighted F1 of a recipe on a held-out session; train it where it is missing."""
        runs = self.out / "runs" / session / str(seed)
        metrics = runs / f"iemocap/plus@{name}/metrics.json"
        if not metrics.exists():
            changes = [f"--set=train.{key}={json.dumps(value)}" for key, value in recipe.items()]
            self._dferc(
                *("train", "--corpus=iemocap", "--variant=plus", f"--label={name}", f"--seed={seed}"),
                *(f"--features={self.out / session}", f"--out={runs}", f"--params={self.params}", "--device=cpu"),
                *(f"--scratch={self.out / 'scratch'}", "--set=train.validation_split=by_seed", *changes),
            )
        return json.loads(metrics.read_text())["test"]["weighted_f1"]

    def _dferc(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "dferc", *map(str, arguments)]
        done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        if done.returncode:
            raise InputError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


def compare(folds: Folds, title: str, recipes: dict[str, Recipe], seeds: tuple[int, ...], workers: int) -> dict:
    """Train and score recipes, several at once; show a table; return the mean of each."""
    print(f"\n{title}; seeds {', '.join(map(str, seeds))}\n")
    print(f"| recipe | {' | '.join(SESSIONS)} | mean |\n|---|---|---|---|---|", flush=True)
    jobs = [(name, session, seed) for name in recipes for session in SESSIONS for seed in seeds]
    with ThreadPoolExecutor(workers) as pool:
        scores = list(pool.map(lambda job: folds.score(job[0], recipes[job[0]], *job[1:]), jobs))
    scored: dict = {name: {} for name in recipes}
    for (name, *of), score in zip(jobs, scores, strict=True):
        scored[name][tuple(of)] = score
    means = {name: fmean(of.values()) for name, of in scored.items()}
    for name, of in sorted(scored.items(), key=lambda item: -means[item[0]]):
        of_sessions = [f"{fmean(of[session, seed] for seed in seeds):.4f}" for session in SESSIONS]
        print(f"| {name} | {' | '.join(of_sessions)} | {means[name]:.4f} |", flush=True)
    return means


def together(base: float, means: Mapping[str, float], changes: Mapping[str, Recipe], most: int = 3) -> list[str]:
    """Name the changes that score above the base, best first: at most so many, no two of the same setting."""
    chosen: list[str] = []
    for name in sorted((name for name in means if means[name] > base), key=lambda name: -means[name]):
        if not any(changes[name].keys() & changes[other].keys() for other in chosen):
            chosen.append(name)
    return chosen[:most]


def choose(folds: Folds, workers: int) -> Recipe:
    """Run the three rounds; return the recipe that they choose."""
    first = {f"{m}-{r}": COMMON | {"members": m, "recurrent_members": r} for m, r in MEMBERS}
    means = compare(folds, "1. Numbers and kinds of members", first, FIRST_SEEDS, workers)
    best = max(means, key=means.__getitem__)
    base = first[best]

    second = {f"{best}-{name}": base | change for name, change in CHANGES.items()}
    of_second = compare(folds, f"2. One at a time, on {best}", second, FIRST_SEEDS, workers)
    of_changes = {name: of_second[f"{best}-{name}"] for name in CHANGES}
    kept = together(means[best], of_changes, CHANGES)

    third = {best: base}
    for change in kept:
        name, recipe = list(third.items())[-1]
        third[f"{name}-{change}"] = recipe | CHANGES[change]
    of_third = compare(folds, "3. Together", third, NEW_SEEDS, workers)
    return third[max(of_third, key=of_third.__getitem__)]


@click.command(help=__doc__.split("\n")[0])
@click.argument("table", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the folds and their runs.")
@click.option("--params", type=click.Path(path_type=Path), default="params.yaml", show_default=True)
@click.option("--workers", default=default_workers(), show_default=True, help="Runs at once.")
@readable_errors
def main(table: Path, out: Path, params: Path, workers: int) -> None:
    """Choose the settings of `plus` on IEMOCAP."""
    recipe = choose(Folds(table, out, params), workers)
    print("\n`plus`:", json.dumps(recipe))


if __name__ == "__main__":
    main()
