"""How much each modality counts, per class and per variant: CFM's contributions (METHOD §3, `g`).

S seeds, T utterances, M modalities.
"""

from collections.abc import Mapping

import numpy as np

from dferc.results.analyses.numbers import mean_where
from dferc.results.analyses.saved import Saved, ask_each

HOW = (
    "Mean contribution of each modality over the labelled utterances that have every modality of the run, so that they "
    "sum to 1 (equal shares: 1 / number of modalities), by true class. `present`: the share of labelled utterances "
    "that have the modality."
)


def analyse_contributions(runs: Mapping[str, Saved]) -> dict:
    """The `contributions` of the file: every run that weighs modalities."""
    found, statements = ask_each(runs, why_not, _of_run)
    return {"how": HOW, "statements": statements, "runs": found}


def why_not(run: Saved) -> str | None:
    """Why a run's contributions say nothing; None where they do."""
    if not run.modalities:
        return "no contributions: it has no CFM (a baseline)"
    if len(run.modalities) == 1:
        return f"one modality ({run.modalities[0]}), whose contribution is 1 by definition"
    complete_T = complete(run)
    if not complete_T.any():
        return "no labelled utterance has every modality"
    if np.ptp(run.contribution_STM[:, complete_T]) <= 1e-5:
        return "contributions are equal shares by construction (without CFM)"
    return None


def complete(run: Saved) -> np.ndarray:
    """[T] bool: labelled, and every modality of the run is present (a present one always contributes something)."""
    return run.labelled & (run.contribution_STM > 0).all(axis=(0, 2))


def _of_run(run: Saved) -> dict:
    complete_T, labelled_T = complete(run), run.labelled
    present_STM = (run.contribution_STM > 0).astype(float)
    return {
        "modalities": list(run.modalities),
        "overall": _by_modality(run, run.contribution_STM, complete_T),
        "by_class": {
            emotion: _by_modality(run, run.contribution_STM, complete_T & (run.actual_T == at))
            for at, emotion in enumerate(run.classes)
        },
        "present": _by_modality(run, present_STM, labelled_T),
    }


def _by_modality(run: Saved, values_STM: np.ndarray, where_T: np.ndarray) -> dict:
    return {name: mean_where(values_STM[..., at], where_T) for at, name in enumerate(run.modalities)}
