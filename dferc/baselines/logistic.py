"""Linear floor (`dferc.evaluation.floor`) as a baseline. N utterances, C classes, D width."""

from collections.abc import Sequence

import numpy as np

from dferc.evaluation.floor import fit_floor
from dferc.store.rows import CachedCorpus
from dferc.training.task import merge_validation


def logistic(
    corpus: CachedCorpus, modalities: Sequence[str], refit: bool = False, select_by: str = "weighted_f1"
) -> np.ndarray:
    """Return the probabilities [N, C] of the linear floor; 0 for a class that training lacks.

    With `refit`, it is fitted anew on training and validation, with the C that validation selected.
    """
    model, features_ND = fit_floor(corpus, tuple(modalities), select_by=select_by)
    if refit:
        model, features_ND = fit_floor(merge_validation(corpus), tuple(modalities), model.C)
    probabilities_NC = np.zeros((len(features_ND), len(corpus.utterances.classes)))
    probabilities_NC[:, model.classes_] = model.predict_proba(features_ND)
    return probabilities_NC
