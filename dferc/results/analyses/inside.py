"""Forward passes of a run's models over a split, with the intermediate features that analyses need.

M modalities of the run, N utterances of the split in the corpus' order, H hidden.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dferc.core.console import progress_bar
from dferc.evaluation.predict import find_run, load_run
from dferc.model.dferc import DFERC, Outputs
from dferc.store.rows import CachedCorpus
from dferc.training.checkpoint import verify_corpus
from dferc.training.data import Batch, Dialogues


@dataclass(frozen=True, kw_only=True)
class Inside:
    """One seed's model, its input and its outputs on one split."""

    seed: int
    model: DFERC
    batch: Batch  # the whole split
    outputs: Outputs
    projected_MNH: Tensor  # `h`, the input of DDM


@torch.inference_mode()
def look_into(
    run: Path, corpus: CachedCorpus, split: str, seeds: tuple[int, ...], device: torch.device
) -> Iterator[Inside]:
    """Yield the models of runs/<corpus>/<variant>, one seed after another, under a progress bar."""
    checkpoints = load_run(find_run(run, seeds), device)
    for checkpoint in checkpoints:
        verify_corpus(checkpoint, corpus)
    with progress_bar() as bar:
        task = bar.add_task(f"models of {run.name}", total=len(seeds))
        for seed, checkpoint in zip(seeds, checkpoints, strict=True):
            # Statistics of the seed's own training rows: each may have drawn its own (`train.validation_split`).
            dialogues = Dialogues(corpus, split, checkpoint.normalisation, checkpoint.modalities, device)
            batch = next(dialogues.batches(len(dialogues)))
            # The forward pass does not return h, so a hook keeps the input of DDM.
            model, inputs = checkpoint.model, []
            with model.disentangle.register_forward_pre_hook(lambda _, given, inputs=inputs: inputs.extend(given)):
                outputs = model(batch.features, batch.present_MN, batch.layout, batch.speaker_N)
            yield Inside(seed=seed, model=model, batch=batch, outputs=outputs, projected_MNH=inputs[0])
            bar.advance(task)
