"""Baselines without chance: the most frequent class, and the linear floor. N utterances, C classes."""

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from dferc.evaluation.floor import floor_logits
from dferc.store.rows import CachedCorpus
from dferc.training.task import merge_validation


def majority(
    corpus: CachedCorpus, modalities: Sequence[str] = (), refit: bool = False, select_by: str = ""
) -> np.ndarray:
    """Return [N, C]: every utterance has the training split's shares of the classes, so the largest wins.

    It is what a model reaches that reads nothing. With `refit`, the shares are those of training and validation.
    """
    rows = (merge_validation(corpus) if refit else corpus).utterances
    labels = rows.emotion[(rows.split == "train") & (rows.emotion >= 0)]
    return np.tile(np.bincount(labels, minlength=len(rows.classes)) / len(labels), (len(rows), 1))


def logistic(
    corpus: CachedCorpus, modalities: Sequence[str], refit: bool = False, select_by: str = "weighted_f1"
) -> np.ndarray:
    """Return [N, C], the probabilities of the floor (`dferc.evaluation.floor`); 0 for a class that training lacks.

    With `refit`, it is fitted anew on training and validation, with the C that validation selected.
    """
    logits_NC, c = floor_logits(corpus, tuple(modalities), select_by=select_by)
    if refit:
        logits_NC, _ = floor_logits(merge_validation(corpus), tuple(modalities), c)
    return softmax(logits_NC.astype(np.float64), axis=1)
