"""Linear floor (`dferc.evaluation.floor`) as a baseline. N utterances, C classes."""

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from dferc.evaluation.floor import floor_logits
from dferc.store.rows import CachedCorpus
from dferc.training.task import merge_validation


def logistic(
    corpus: CachedCorpus, modalities: Sequence[str], refit: bool = False, select_by: str = "weighted_f1"
) -> np.ndarray:
    """Return the probabilities [N, C] of the linear floor; 0 for a class that training lacks.

    With `refit`, it is fitted anew on training and validation, with the C that validation selected.
    """
    logits_NC, c = floor_logits(corpus, tuple(modalities), select_by=select_by)
    if refit:
        logits_NC, _ = floor_logits(merge_validation(corpus), tuple(modalities), c)
    return softmax(logits_NC.astype(np.float64), axis=1)
