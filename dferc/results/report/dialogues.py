"""Data of the dialogue browser: every utterance of a split beside the predictions of each run.

Columns instead of records, and whole percents: MELD's 2,610 test utterances times 18 runs stay below 3 MB. The class of
a run is the one that its seeds choose together (highest mean probability). N utterances, S seeds, C classes, M
modalities.
"""

import numpy as np

from dferc.core.errors import InputError
from dferc.results.analyses.dialogues import emotion_before, emotion_shifts
from dferc.results.compare import Ablation
from dferc.results.runs import FinishedRun
from dferc.store.rows import CachedCorpus


def browser(ablation: Ablation, corpus: CachedCorpus) -> dict:
    """Return the data that page/rows.js shows; refuse predictions and features of different utterances."""
    reference, utterances = ablation.reference, corpus.utterances
    rows = np.flatnonzero(utterances.split == reference.split)
    ids = utterances.utterance_id[rows]
    order = _order(reference, ids)
    absent = np.stack([~features.present[rows] for features in corpus.modalities.values()], axis=1)
    columns = {
        "id": ids,
        "dialogue": utterances.dialogue_id[rows],
        "position": utterances.position[rows],
        "speaker": utterances.speaker[rows],
        "text": utterances.text[rows],
        "actual": reference.actual_T[order],  # -1 = unlabelled
        "before": emotion_before(reference)[order],  # -1 = none
        "shift": emotion_shifts(reference)[order],
    }
    return {
        "classes": list(reference.classes),
        "modalities": list(corpus.modalities),
        "reference": reference.folder.name,
        "utterances": {name: column.tolist() for name, column in columns.items()}
        | {"absent": [np.flatnonzero(row).tolist() for row in absent]},
        "runs": [_run(row.run, ids) for row in ablation.rows],
    }


def _order(run: FinishedRun, ids: np.ndarray) -> list[int]:
    """Return the run's row of each id."""
    rows = {utterance: row for row, utterance in enumerate(run.utterance_id_T)}
    if differing := set(rows) ^ set(ids):
        raise InputError(
            f"{run.folder.name}: its predictions and the features have different utterances, such as "
            f"{sorted(differing)[0]!r}. Score it again: `dferc evaluate`."
        )
    return [rows[utterance] for utterance in ids]


def _run(run: FinishedRun, ids: np.ndarray) -> dict:
    """Return means over the seeds in whole percent, flat, and each seed's class; None where the run has no value."""
    order = _order(run, ids)
    probability_SNC, weight_SN = run.probability_STC[:, order], run.context_weight_ST[:, order]
    return {
        "name": run.folder.name,
        "seeds": list(run.seeds),
        "modalities": list(run.modalities),
        "probability": _percent(probability_SNC),
        "chosen": probability_SNC.mean(axis=0).argmax(axis=1).tolist(),
        "by_seed": run.predicted_ST[:, order].ravel().tolist(),
        "contribution": _percent(run.contribution_STM[:, order]) if run.modalities else None,
        "context_weight": _percent(weight_SN) if np.isfinite(weight_SN).all() else None,
    }


def _percent(values: np.ndarray) -> list[int]:
    """Return the mean over the seeds (first axis), flat."""
    return np.rint(100 * values.mean(axis=0)).astype(int).ravel().tolist()
