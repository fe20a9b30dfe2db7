"""Contribution of each modality to the fusion, per class and per variant: CFM's `g` (docs/method.md, §3).

S seeds, T utterances, M modalities.
"""

from collections.abc import Mapping

import numpy as np

from dferc.results.analyses.numbers import analyse_each, mean_where
from dferc.results.runs import FinishedRun

HOW = (
    "Mean contribution of each modality over the labelled utterances that have every modality of the run, so that they "
    "sum to 1 (equal shares: 1 / number of modalities), by true class. `present`: the share of labelled utterances "
    "that have the modality."
)


def analyse_contributions(runs: Mapping[str, FinishedRun]) -> dict:
    """Return the file's `contributions`, of every run that weighs modalities."""
    analysed, statements = analyse_each(runs, why_not, _contributions)
    return {"how": HOW, "statements": statements, "runs": analysed}


def why_not(run: FinishedRun) -> str | None:
    """Return why a run's contributions carry no information; None where they do."""
    if not run.modalities:
        return "no contributions: it has no CFM (a baseline)"
    if len(run.modalities) == 1:
        return f"one modality ({run.modalities[0]}), whose contribution is 1 by definition"
    complete_T = _complete(run)
    if not complete_T.any():
        return "no labelled utterance has every modality"
    if np.ptp(run.contribution_STM[:, complete_T]) <= 1e-5:
        return "contributions are equal shares by construction (without CFM)"
    return None


def _complete(run: FinishedRun) -> np.ndarray:
    """Return a mask [T] of labelled utterances with every modality of the run; a present one always contributes."""
    return run.is_labelled & (run.contribution_STM > 0).all(axis=(0, 2))


def _contributions(run: FinishedRun) -> dict:
    def by_modality(values_STM: np.ndarray, where_T: np.ndarray) -> dict:
        return {name: mean_where(values_STM[..., index], where_T) for index, name in enumerate(run.modalities)}

    complete_T = _complete(run)
    by_class = {
        emotion: by_modality(run.contribution_STM, complete_T & (run.actual_T == index))
        for index, emotion in enumerate(run.classes)
    }
    return {
        "modalities": list(run.modalities),
        "overall": by_modality(run.contribution_STM, complete_T),
        "by_class": by_class,
        "present": by_modality((run.contribution_STM > 0).astype(float), run.is_labelled),
    }
