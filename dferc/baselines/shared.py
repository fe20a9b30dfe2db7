"""Parts that several baselines share: a paper's constants, its optimiser, parties.

N utterances, M modalities, C classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dferc.model.losses import cross_entropy
from dferc.settings.sections import Train
from dferc.training.data import Batch
from dferc.training.learner import Objective
from dferc.training.optimiser import Machinery
from dferc.training.task import Task, prepare_splits


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Constants of a paper, in place of the corpus' `train` settings."""

    learning_rate: float  # of Adam, constant; betas and eps are PyTorch's defaults, and gradients are not clipped
    weight_decay: float  # L2 penalty, part of the gradient, on all parameters
    batch_dialogues: int  # dialogues per step
    # All are trained, as by the authors; validation selects one. A run that `train.patience` ends in an early dip of
    # the validation score is no run of theirs.
    epochs: int
    class_weights: str  # `uniform`, or `balanced` (inverse to the training counts)
    sizes: Mapping[str, float] = field(default_factory=dict)  # further constants, keyword arguments of the model

    def adapt(self, task: Task) -> Task:
        """Return the task with these constants; features, normalisation, threads and precision stay."""
        changes = {name: getattr(self, name) for name in ("learning_rate", "weight_decay", "batch_dialogues", "epochs")}
        changes |= {"class_weights": self.class_weights, "weight_average": 0.0, "patience": self.epochs}
        settings = task.settings.model_copy(update=changes)
        parts = prepare_splits(task.corpus, task.variant.modalities, settings, task.device)
        return replace(task, settings=settings, fixed_rate=True, **parts)


class TrainedBaseline(NamedTuple):
    """A baseline that learns by the one loop, `dferc.training.run.train_model`."""

    build: Callable[..., nn.Module]  # builds the model of a task, with the recipe's `sizes`, by the global generator
    objective: Objective  # computes losses and class probabilities of a batch
    # Constants by corpus; `iemocap` for all corpora that are not named. Empty: the corpus' `train` settings.
    recipes: Mapping[str, Recipe]

    def recipe(self, corpus: str) -> Recipe | None:
        """Return the constants for a corpus; None where its `train` settings apply."""
        return self.recipes.get(corpus, self.recipes.get("iemocap"))


class BaselineLosses(NamedTuple):
    """Loss of a baseline, a scalar."""

    total: Tensor


def make_adam(model: nn.Module, settings: Train, *, steps: int, seed: int, dtype: torch.dtype) -> Machinery:
    """Build Adam as the peers' authors use it, with a constant rate; as `dferc.training.optimiser.make_machinery`."""
    device = next(model.parameters()).device.type
    rate, decay = settings.learning_rate, settings.weight_decay
    optimiser = torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay, fused=True)
    return Machinery(
        model=model,
        optimiser=optimiser,
        schedule=torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0),
        scaler=torch.amp.GradScaler(device, enabled=dtype == torch.float16),
        order=torch.Generator().manual_seed(seed),
        clip=lambda parameters: None,
    )


def widths_of(task: Task) -> dict[str, int]:
    """Return the width of each modality that the task reads, in the order of M."""
    return {name: task.corpus.modalities[name].width for name in task.variant.modalities}


def build_with_parties(kind: type[nn.Module], task: Task, **sizes: float) -> nn.Module:
    """Build a model for a task's modalities, classes and speakers."""
    return kind(widths=widths_of(task), classes=task.classes, parties=count_parties(task), **sizes)


def logits_objective(model: nn.Module, batch: Batch, task: Task) -> tuple[BaselineLosses, Tensor]:
    """Compute the weighted cross-entropy of a model that returns logits, and the probabilities [N, C]."""
    logits_NC = model(batch)
    loss = cross_entropy(logits_NC, batch.labels_N, task.class_weights_C, targets_NC=batch.targets_NC)
    return BaselineLosses(loss), logits_NC.detach().float().softmax(dim=1)


def seen(present_MN: Tensor) -> Tensor:
    """Return [M, N] bool: the modality takes part. An utterance without any takes part with all: it has a context."""
    return present_MN | ~present_MN.any(dim=0)


def count_parties(task: Task) -> int:
    """Return the number of parties that a training dialogue can have; utterances without a speaker are one more."""
    speaker_N = task.train.speaker_N
    return int(speaker_N.max()) + 1 + int((speaker_N < 0).any())


def number_parties(speaker_N: Tensor, parties: int) -> Tensor:
    """Return the row of each utterance in a table of `parties`, [N].

    Parties are numbered by first appearance in the dialogue. Utterances without a speaker are the last party together,
    and so are speakers beyond those of the training dialogues.
    """
    return torch.where(speaker_N < 0, parties - 1, speaker_N.clamp(max=parties - 1))


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Compute the softmax over the last dimension where the mask is True; zeros where nothing is."""
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1).masked_fill(~mask, 0.0)
