"""The linear floor: a z-scored logistic regression on the concatenated modalities, without context.

A model that does not beat it has learnt nothing from fusion or context. `plus` blends the same regression in
(`dferc.model.linear_blend`). N utterances, C classes, S sum of the widths.
"""

from typing import NamedTuple

import numpy as np
import torch

from dferc.core.errors import InputError
from dferc.core.metrics import score_labels
from dferc.model.linear_blend import fit_floor
from dferc.store.rows import CachedCorpus
from dferc.store.vocabulary import SPLITS
from dferc.training.data import Normalisation

FEW = 30  # labelled utterances of a split below which its score means little: one is more than three hundredths


class Floor(NamedTuple):
    """Weighted F1 of the regression selected on validation; `test` is None where the test split has no label."""

    validation: float
    test: float | None
    c: float
    labelled: dict[str, int]  # labelled utterances by split

    @property
    def few(self) -> str:
        """Splits with next to no labels and their counts; empty where all have enough."""
        return ", ".join(f"{split} {count}" for split, count in self.labelled.items() if count < FEW)


def linear_floor(corpus: CachedCorpus, modalities: tuple[str, ...] | None = None) -> Floor:
    """Fit on the training split, select C on validation, score test once; `modalities` are concatenated (None: all)."""
    logits_NC, c = floor_logits(corpus, modalities)
    emotion, classes = corpus.utterances.emotion, len(corpus.utterances.classes)
    labelled = {split: _labelled(corpus, split) for split in SPLITS}
    validation, test = (
        float(score_labels(emotion[of_N], logits_NC[of_N].argmax(axis=1), classes).weighted_f1) if of_N.any() else None
        for of_N in (labelled["validation"], labelled["test"])
    )
    return Floor(validation, test, c, {split: int(of_N.sum()) for split, of_N in labelled.items()})


def floor_logits(
    corpus: CachedCorpus,
    modalities: tuple[str, ...] | None = None,
    c: float | None = None,
    select_by: str = "weighted_f1",
) -> tuple[np.ndarray, float]:
    """Fit the regression with this C (None: of a grid, validation selects it) on the training split.

    Returns:
        Logits [N, C] of all utterances, minus infinity for a class that training lacks, and C.

    Raises:
        InputError: training has a single class or none of the signals, or validation has no label to select on.
    """
    rows = corpus.utterances
    train_N, validation_N = (_labelled(corpus, split) for split in ("train", "validation"))
    seen = np.unique(rows.emotion[train_N])
    if len(seen) < 2 or (c is None and not validation_N.any()):
        raise InputError(
            f"{rows.corpus}: a linear floor needs two classes to learn and labels to select on; the training split has "
            f"{len(seen)} class(es), the validation split {validation_N.sum()} labelled utterance(s)."
        )
    chosen = [corpus.modalities[name] for name in modalities or corpus.modalities]
    if not any((block.present & train_N).any() for each in chosen for block in each.blocks):
        raise InputError(f"{rows.corpus}: no training utterance has any of these signals; nothing to learn from.")
    normalisation = Normalisation.of(corpus, [each.modality for each in chosen])
    x_NS = torch.cat([normalisation.apply(each) for each in chosen], dim=1)
    train, validation = ((x_NS[of_N], torch.from_numpy(rows.emotion[of_N])) for of_N in (train_N, validation_N))
    fit = fit_floor(train, validation, len(rows.classes), c, select_by)
    logits_NC = np.full((len(rows), len(rows.classes)), -np.inf, dtype=np.float32)
    logits_NC[:, seen] = (x_NS @ fit.weight_CS.T + fit.bias_C).numpy()[:, seen]
    return logits_NC, fit.strength


def _labelled(corpus: CachedCorpus, split: str) -> np.ndarray:
    return (corpus.utterances.emotion >= 0) & (corpus.utterances.split == split)
