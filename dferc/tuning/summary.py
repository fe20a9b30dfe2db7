"""Outcome of a search: the best settings, the gap from validation to test, all trials as a table."""

import json
import math
import shlex
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dferc.core.console import console, print_note, print_table
from dferc.core.errors import InputError, counted
from dferc.core.files import write_json
from dferc.core.metrics import SCORES
from dferc.core.tables import write_csv
from dferc.model.variants import get_variant
from dferc.settings.sections import DEFAULTS
from dferc.tuning.study import decode
from dferc.tuning.trials import Search

if TYPE_CHECKING:
    import optuna

TESTED = "tested"  # user attribute of a study: trials whose settings were scored on test


def completed(search: Search) -> list["optuna.trial.FrozenTrial"]:
    """Return the trials that have a value.

    Raises:
        InputError: there is none.
    """
    trials = search.study.get_trials(deepcopy=False)
    done = [trial for trial in trials if trial.value is not None and math.isfinite(trial.value)]
    if not done:
        errors = [trial.user_attrs["error"] for trial in trials if "error" in trial.user_attrs]
        last = f"; the last one: {errors[-1]:.400}" if errors else ""
        raise InputError(
            f"the study {search.study.study_name!r}: none of {len(trials)} trial(s) is finished, {len(errors)} failed"
            f"{last}. Mend the cause, or correct the section `tune` (--params), and begin another study (--name NEW)."
        )
    return done


def summarise(search: Search, test: Mapping[str, float] | None) -> dict:
    """Return the outcome as plain data.

    Args:
        search: a search with a finished trial.
        test: scores of the best settings on test, of metrics.json; None = not scored.
    """
    done, best, select_by = completed(search), search.study.best_trial, search.sweep.settings.select_by
    states = [trial.state.name for trial in search.study.get_trials(deepcopy=False)]
    scores, fixed = best.user_attrs["scores"], search.sweep.settings
    values, usual = (settings.model_dump(mode="json") for settings in (fixed, DEFAULTS))
    other = {name for name in values if values[name] != usual[name] or name in fixed.given} - search.tune.space.keys()
    summary: dict = {
        "study": search.study.study_name,
        "corpus": search.sweep.corpus,
        "variant": search.tune.variant,
        "seeds": list(search.tune.seeds),
        "select_by": select_by,
        "trials": {"finished": len(done), "failed": states.count("FAIL"), "running": states.count("RUNNING")},
        "best": {"trial": best.number, "settings": decode(best.params, search.tune.space)},
        "other_settings": {name: values[name] for name in values if name in other},
        "validation": {"mean": best.value, "std": statistics.stdev(scores) if len(scores) > 1 else None},
        "importance": importance(search),
        "tested_trials": search.study.user_attrs.get(TESTED, []),
    }
    if test is not None:
        summary["test"] = {"mean": test[select_by], "std": test.get(f"{select_by}_std")}
        summary["gap"] = best.value - test[select_by]
    return summary


def importance(search: Search) -> dict[str, float]:
    """Return the share of the value's variation that each setting explains (fANOVA); {} with too few trials."""
    import optuna

    if len({trial.value for trial in completed(search)}) < 10 or len(search.tune.space) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(search.study, evaluator=evaluator)


def write_summary(folder: Path, search: Search, summary: Mapping) -> list[Path]:
    """Write tune-<study>.csv, a row per trial, and tune-<study>.json; return their paths."""
    paths = [folder / f"tune-{search.study.study_name}.{kind}" for kind in ("csv", "json")]
    rows = []
    for trial in search.study.get_trials(deepcopy=False):
        scores = trial.user_attrs.get("scores", [])
        row = {"trial": trial.number, "state": trial.state.name.lower(), "value": trial.value}
        row["std"] = statistics.stdev(scores) if len(scores) > 1 else None
        row |= {f"seed_{seed}": score for seed, score in zip(search.tune.seeds, scores)}
        row |= trial.params | {"error": trial.user_attrs.get("error", "")}
        rows.append(row)
    columns = ["trial", "state", "value", "std", *(f"seed_{seed}" for seed in search.tune.seeds)]
    columns += [*search.tune.space, "error"]
    write_csv(paths[0], columns, [dict.fromkeys(columns) | row for row in rows])
    write_json(paths[1], summary)
    return paths


def show_summary(summary: Mapping) -> None:
    """Print counts, scores, the gap and the best settings, as `--set` options and as a block of params.yaml."""
    criterion, counts, settings = SCORES[summary["select_by"]], summary["trials"], summary["best"]["settings"]
    console.print(
        f"{counts['finished']} trial(s) finished, {counts['failed']} failed, {counts['running']} unfinished; chosen by "
        f"validation {criterion} alone: trial {summary['best']['trial']}, {_score(summary['validation'])}"
    )
    if "test" in summary:
        console.print(
            f"test {criterion} of its settings {_score(summary['test'])}: {100 * summary['gap']:+.2f} points from test "
            f"to validation. A search over {counted(counts['finished'], 'trial')} makes the validation score too high."
        )
        if len(tested := summary["tested_trials"]) > 1:
            listed = ", ".join(map(str, tested))
            print_note(f"test was scored for {len(tested)} best trials of this study, one after another: {listed}.")
    if summary["importance"]:
        rows = [[name, f"{share:.1%}"] for name, share in summary["importance"].items()]
        print_table(["setting", "importance"], rows, "share of the variation that each setting explains (fANOVA)")
    settings = summary.get("other_settings", {}) | settings  # a new block has nothing of the corpus' old one
    console.print("best settings, as options:")
    values = (shlex.quote(f"train.{name}={json.dumps(value)}") for name, value in settings.items())
    console.print("  " + " ".join(f"--set {value}" for value in values))
    console.print("and as a block of params.yaml:")
    console.print(f"{summary['corpus']}:\n  train:\n    <<: *train")
    for name, value in settings.items():
        console.print(f"    {name}: {json.dumps(value)}")
    own = get_variant(summary["variant"]).own_settings(summary["corpus"])
    if lost := [name for name in settings if name in own and settings[name] == getattr(DEFAULTS, name) != own[name]]:
        print_note(f"{summary['variant']} has its own {', '.join(lost)}, which only --set sets to the paper's.")


def _score(score: Mapping[str, float | None]) -> str:
    return f"{score['mean']:.4f}" + (f" ± {score['std']:.4f}" if score["std"] is not None else "")
