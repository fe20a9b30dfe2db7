"""Contribution of each modality to the fusion, per class and per variant: CFM's `g` (docs/method.md, §3).

S seeds, T utterances, M modalities.
"""

from collections.abc import Mapping

import numpy as np

from dferc.results.analyses.numbers import analyse_each, mean_where
from dferc.results.runs import FinishedRun

HOW = (
    "Mean contribution of each modality over the labelled utterances that have every modality of the run, so that they "
    "sum to 1 (equal shares: 1 / number of modalities), by true class. Present: the share of labelled utterances "
    "that have the modality."
)


def analyse_contributions(runs: Mapping[str, FinishedRun]) -> dict:
    """Return the file's `contributions`, of every run that weighs modalities."""
    analysed, statements = analyse_each(runs, _contributions)
    return {"how": HOW, "statements": statements, "runs": analysed}


def _contributions(run: FinishedRun) -> dict | str:
    """Return the analysis of a run, or why its contributions carry no information."""
    if not run.modalities:
        return "no contributions: it has no CFM (a baseline)"
    if len(run.modalities) == 1:
        return f"one modality ({run.modalities[0]}), whose contribution is 1 by definition"
    complete_T = run.is_labelled & (run.contribution_STM > 0).all(axis=(0, 2))  # a present modality always contributes
    if not complete_T.any():
        return "no labelled utterance has every modality"
    if np.ptp(run.contribution_STM[:, complete_T]) <= 1e-5:
        return "contributions are equal shares by construction (without CFM)"

    def by_modality(values_STM: np.ndarray, where_T: np.ndarray) -> dict:
        return {name: mean_where(values_STM[..., index], where_T) for index, name in enumerate(run.modalities)}

    return {
        "modalities": list(run.modalities),
        "overall": by_modality(run.contribution_STM, complete_T),
        "by_class": {
            emotion: by_modality(run.contribution_STM, complete_T & (run.actual_T == index))
            for index, emotion in enumerate(run.classes)
        },
        "present": by_modality((run.contribution_STM > 0).astype(float), run.is_labelled),
    }
