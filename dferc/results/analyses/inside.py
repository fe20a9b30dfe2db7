"""Look into a run's models: one forward pass over a split per seed, with what it went through on the way.

M modalities of the run, N utterances of the split in the corpus' order, H hidden.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dferc.evaluation.predict import find_run, load_run
from dferc.model.dferc import DFERC, Outputs
from dferc.store.rows import CachedCorpus
from dferc.training.checkpoint import verify_corpus
from dferc.training.data import Batch, Dialogues


@dataclass(frozen=True, kw_only=True)
class Inside:
    """One seed's model on one split."""

    seed: int
    model: DFERC
    batch: Batch
    """The whole split."""
    outputs: Outputs
    """Of the batch as it is."""
    projected_MNH: Tensor
    """`h`, what DDM is given."""


@torch.inference_mode()
def look_into(
    run: Path, corpus: CachedCorpus, split: str, seeds: tuple[int, ...], device: torch.device
) -> Iterator[Inside]:
    """The models of runs/<corpus>/<variant>, one after another: only one is held at a time.

    Raises:
        InputError: a checkpoint is missing or unreadable, or was trained on other features.
    """
    checkpoints = load_run(find_run(run, seeds), device)
    for checkpoint in checkpoints:
        verify_corpus(checkpoint, corpus)
    dialogues = Dialogues(corpus, split, checkpoints[0].normalisation, checkpoints[0].modalities, device)
    batch = next(dialogues.batches(len(dialogues)))
    for seed, checkpoint in zip(seeds, checkpoints, strict=True):
        # Forward does not return h; it is DDM's input.
        model, given = checkpoint.model, []
        with model.disentangle.register_forward_pre_hook(lambda _, inputs, given=given: given.extend(inputs)):
            outputs = model(batch.features, batch.present_MN, batch.layout)
        yield Inside(seed=seed, model=model, batch=batch, outputs=outputs, projected_MNH=given[0])
