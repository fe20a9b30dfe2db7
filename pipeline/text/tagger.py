"""Training of the text encoder together with a linear classifier of emotions. Used by the stage finetune_text.

Legend: N rows of the corpus, U utterances of a batch, C classes.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import get_linear_schedule_with_warmup

from dferc.core.console import console, progress_bar
from dferc.core.device import Device
from dferc.core.errors import InputError
from dferc.core.metrics import score_labels
from dferc.settings.types import LARGEST
from dferc.store.rows import UNLABELLED
from dferc.training.loop import fit
from dferc.training.optimiser import Machinery
from dferc.training.resume import Progress, open_progress
from pipeline.encoders.batches import Batching, batches_by_length
from pipeline.encoders.opening import autocast
from pipeline.text.encoder import PUBLISHED, Encoder, Reading, TokenBatch, collate, utterance_vectors
from pipeline.text.windows import Window

if TYPE_CHECKING:  # another stage's setting must not change the hash of this code
    from pipeline.settings import FinetuneText

CLIP_NORM = 1.0  # maximum norm of the whole gradient, as in stage 2 (docs/method.md, §6)
VALIDATION_TOKENS = 4096  # tokens of a validation batch

SORTED_BATCHES = 8
"""Batches within which shuffled windows are sorted by length: little padding, and still a random order."""

HISTORY = ("epoch", "train_loss", "validation_loss", "validation_accuracy", "validation_weighted_f1")
"""Columns of history.csv. Losses are means over labelled utterances."""


@dataclass(frozen=True)
class TaggingData:
    """Labels and windows to learn from."""

    classes: tuple[str, ...]  # names in order of class id
    labels_N: Tensor  # class id of every row of the corpus, or `UNLABELLED`
    train: list[Window]  # windows of the training split that hold a label
    validation: list[Window]  # those of the validation split
    pad: int  # id that fills windows up
    batching: Batching = Batching.PADDED  # batches that change no vector


class Tagger(nn.Module):
    """Encoder, dropout, and a linear classifier on each utterance's vector."""

    def __init__(self, encoder: Encoder, classes: int, dropout: float, reading: Reading = PUBLISHED):
        super().__init__()
        self.encoder = encoder.model
        self.reading = reading
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(reading.width(encoder.width), classes)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Return the logits [U, C] of the batch's utterances."""
        return self.classifier(self.dropout(utterance_vectors(self.encoder, batch, self.reading)))

    def state_dict(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Return the weights that are trained: a state without frozen ones is small where adapters are trained."""
        state, frozen = super().state_dict(*arguments, **options), self._frozen()
        return {name: value for name, value in state.items() if name not in frozen}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load what `state_dict` returned; frozen weights stay as they are."""
        return super().load_state_dict(self._frozen() | state_dict, strict, assign)

    def _frozen(self) -> dict[str, Tensor]:
        weights = self.named_parameters(remove_duplicate=False)  # tied ones stand in a state by every name
        return {name: weight.detach() for name, weight in weights if not weight.requires_grad}


class TaggerLearner:
    """Trains a tagger on windows of dialogues (see `dferc.training.loop.Learner`)."""

    def __init__(self, data: TaggingData, settings: "FinetuneText", where: Device):
        self.data, self.settings, self.where = data, settings, where
        self.loss_sum, self.labelled = torch.zeros((), dtype=torch.float64, device=where.device), 0

    def batches(self, order: torch.Generator) -> Iterator[list[Window]]:
        """Yield batches of windows of similar length in random order, with a progress bar."""
        windows = self.data.train
        batches = shuffled_batches([len(window) for window in windows], self.settings.batch_windows, order)
        self.loss_sum, self.labelled = torch.zeros_like(self.loss_sum), 0
        with progress_bar() as bar:
            for batch in bar.track(batches, description="finetune_text"):
                yield [windows[index] for index in batch]

    def loss(self, tagger: Tagger, windows: Sequence[Window]) -> Tensor:
        """Return the mean cross-entropy of the labelled utterances, and count it."""
        logits_UC, labels_U = self._classify(tagger, windows)
        loss = nn.functional.cross_entropy(logits_UC, labels_U)
        self.loss_sum += loss.detach() * len(labels_U)
        self.labelled += len(labels_U)
        return loss

    def score(self, tagger: Tagger) -> dict[str, float]:
        """Validate; return the losses, and the accuracy and weighted F1 on validation."""
        row = {"train_loss": self.loss_sum.item() / max(self.labelled, 1)}
        return row | {f"validation_{name}": value for name, value in self.validate(tagger).items()}

    def validate(self, tagger: Tagger) -> dict[str, float]:
        """Return loss, accuracy and weighted F1 over the labelled validation utterances."""
        windows = self.data.validation
        batches = batches_by_length([len(window) for window in windows], VALIDATION_TOKENS, self.data.batching)
        parts = [self._classify(tagger, [windows[index] for index in batch]) for batch in batches]
        logits_UC, labels_U = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
        scores = score_labels(labels_U.numpy(), logits_UC.argmax(dim=1).numpy(), len(self.data.classes))
        return {
            "loss": nn.functional.cross_entropy(logits_UC, labels_U).item(),
            "accuracy": float(scores.accuracy),
            "weighted_f1": float(scores.weighted_f1),
        }

    def quality(self, row: Mapping[str, float]) -> float:
        """Return the weighted F1 on validation; refuse losses that are not finite."""
        if not math.isfinite(row["train_loss"] + row["validation_loss"]):
            raise InputError(
                f"finetune_text: the loss is no longer a number in epoch {row['epoch']} (training {row['train_loss']}, "
                f"validation {row['validation_loss']}). Lower finetune_text.learning_rate "
                f"({self.settings.learning_rate})."
            )
        return row["validation_weighted_f1"]

    def _classify(self, tagger: Tagger, windows: Sequence[Window]) -> tuple[Tensor, Tensor]:
        """Return logits [U, C] in float32 and labels [U] of the labelled utterances in a batch of windows."""
        if self.data.batching is not Batching.PADDED and len(windows) > 1:
            groups = batches_by_length([len(window) for window in windows], LARGEST, self.data.batching)
            if len(groups) > 1:
                parts = [self._classify(tagger, [windows[index] for index in group]) for group in groups]
                logits, labels = zip(*parts, strict=True)
                return torch.cat(logits), torch.cat(labels)
        where, batch = self.where, collate(windows, self.data.pad)
        labels_U = self.data.labels_N[batch.row_U]
        labelled_U = (labels_U != UNLABELLED).nonzero().squeeze(1)
        with autocast(where):
            logits_UC = tagger(batch.pick(labelled_U).to(where.device))
        return logits_UC.float(), labels_U[labelled_U].to(where.device)


def train_tagger(
    tagger: Tagger, data: TaggingData, settings: "FinetuneText", where: Device, state: Path | None = None
) -> Progress:
    """Train on `where`, and leave `tagger` in the state of the epoch with the best validation weighted F1.

    Args:
        tagger: encoder and classifier, on the device.
        data: labels and windows.
        settings: of the stage.
        where: device and type.
        state: file of the training's state, from which it resumes; None = none is kept.

    Returns:
        The history of all epochs, and which was the best.

    Raises:
        InputError: the loss stopped being a number.
    """
    # Weight matrices decay; biases and the gains of norms do not.
    trained = [weight for weight in tagger.parameters() if weight.requires_grad]
    decayed = [weight for weight in trained if weight.ndim > 1]
    others = [weight for weight in trained if weight.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    # fused: a quarter of a step's time on CPU otherwise goes to moving the embeddings of words that did not occur
    optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    steps = settings.epochs * math.ceil(len(data.train) / settings.batch_windows)
    machinery = Machinery(
        model=tagger,
        optimiser=optimiser,
        schedule=get_linear_schedule_with_warmup(optimiser, round(settings.warmup * steps), steps),
        scaler=torch.amp.GradScaler(where.device.type, enabled=where.dtype == torch.float16),
        order=torch.Generator().manual_seed(settings.seed),
        clip=partial(nn.utils.clip_grad_norm_, max_norm=CLIP_NORM),
    )
    progress, save = open_progress(state, lambda message: console.print(f"finetune_text: {message}"))
    first, began = progress.epoch, time.perf_counter()

    def report(row: Mapping[str, float], is_best: bool) -> None:
        seconds = (time.perf_counter() - began) / (row["epoch"] - first)
        console.print(
            f"epoch {row['epoch']:>2}/{settings.epochs}  loss {row['train_loss']:.4f}  "
            f"validation loss {row['validation_loss']:.4f}  accuracy {row['validation_accuracy']:.4f}  "
            f"weighted F1 {row['validation_weighted_f1']:.4f}  {seconds:.1f} s{'  *' if is_best else ''}"
        )

    learner = TaggerLearner(data, settings, where)
    fit(learner, machinery, progress, epochs=settings.epochs, patience=settings.patience, save=save, report=report)
    if progress.epoch < settings.epochs:
        console.print(f"no better validation weighted F1 in {settings.patience} epochs: stopped")
    tagger.load_state_dict(progress.best)
    return progress


def shuffled_batches(lengths: Sequence[int], size: int, generator: torch.Generator) -> list[list[int]]:
    """Return the window indices of each step of an epoch: shuffled, yet windows of similar length together."""
    batches = []
    for pool in torch.randperm(len(lengths), generator=generator).split(size * SORTED_BATCHES):
        pool = sorted(pool.tolist(), key=lambda index: lengths[index])
        batches += [pool[start : start + size] for start in range(0, len(pool), size)]
    return [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]
