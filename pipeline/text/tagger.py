"""Training of the text encoder together with a linear classifier of emotions. Used by the stage finetune_text.

Legend: N rows of the corpus, U utterances of a batch, C classes.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from transformers import get_linear_schedule_with_warmup

from dferc.core.console import console, progress_bar
from dferc.core.device import Device
from dferc.core.errors import InputError
from dferc.store.rows import UNLABELLED
from pipeline.text.encoder import Encoder, TokenBatch, collate, utterance_vectors
from pipeline.text.windows import Window, batches_by_length

if TYPE_CHECKING:  # another stage's setting must not change the hash of this code
    from pipeline.settings import FinetuneText

CLIP_NORM = 1.0
"""Maximum norm of the whole gradient, as in stage 2 (docs/method.md, §6)."""

VALIDATION_TOKENS = 4096
"""Tokens of a validation batch."""

SORTED_BATCHES = 8
"""Batches within which shuffled windows are sorted by length: little padding, and still a random order."""


@dataclass(frozen=True)
class TaggingData:
    """Labels and windows to learn from.

    Attributes:
        classes: names in order of class id.
        labels_N: class id of every row of the corpus, or `UNLABELLED`.
        train: windows of the training split that hold a label.
        validation: those of the validation split.
        pad: the tokenizer's padding id.
    """

    classes: tuple[str, ...]
    labels_N: Tensor
    train: list[Window]
    validation: list[Window]
    pad: int


@dataclass(frozen=True)
class TaggerEpoch:
    """Scores of an epoch, a line of history.csv. Losses are means over labelled utterances."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    validation_weighted_f1: float


class Tagger(nn.Module):
    """Encoder, dropout, and a linear classifier on each utterance's vector."""

    def __init__(self, encoder: Encoder, classes: int, dropout: float):
        super().__init__()
        self.encoder = encoder.model
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(encoder.width, classes)

    def forward(self, batch: TokenBatch) -> Tensor:
        """Return the logits [U, C] of the batch's utterances."""
        return self.classifier(self.dropout(utterance_vectors(self.encoder, batch)))


def train_tagger(
    tagger: Tagger, data: TaggingData, settings: "FinetuneText", where: Device
) -> tuple[list[TaggerEpoch], TaggerEpoch]:
    """Train, leave `tagger` in the state of the best validation weighted F1, and return all epochs and the best."""
    # Weight matrices decay; biases and the gains of norms do not.
    decayed = [weight for weight in tagger.parameters() if weight.ndim > 1]
    others = [weight for weight in tagger.parameters() if weight.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    # fused: a quarter of a step's time on CPU otherwise goes to moving the embeddings of words that did not occur
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    steps = settings.epochs * math.ceil(len(data.train) / settings.batch_windows)
    schedule = get_linear_schedule_with_warmup(optimizer, round(settings.warmup * steps), steps)
    scaler = torch.amp.GradScaler(where.device.type, enabled=where.dtype == torch.float16)
    order = torch.Generator().manual_seed(settings.seed)
    history: list[TaggerEpoch] = []
    best, kept = None, {}
    for number in range(1, settings.epochs + 1):
        began = time.perf_counter()
        batches = shuffled_batches([len(window) for window in data.train], settings.batch_windows, order)
        train_loss = _train_epoch(tagger, data, batches, where, optimizer, schedule, scaler, f"epoch {number}")
        epoch = TaggerEpoch(number, train_loss, *validate(tagger, data, where))
        if not math.isfinite(epoch.train_loss + epoch.validation_loss):
            raise InputError(
                f"finetune_text: the loss is no longer a number in epoch {number} (training {epoch.train_loss}, "
                f"validation {epoch.validation_loss}). Lower finetune_text.learning_rate ({settings.learning_rate})."
            )
        history.append(epoch)
        better = best is None or epoch.validation_weighted_f1 > best.validation_weighted_f1
        seconds, mark = time.perf_counter() - began, "  *" if better else ""
        console.print(
            f"epoch {number:>2}/{settings.epochs}  loss {epoch.train_loss:.4f}  "
            f"validation loss {epoch.validation_loss:.4f}  accuracy {epoch.validation_accuracy:.4f}  "
            f"weighted F1 {epoch.validation_weighted_f1:.4f}  {seconds:.1f} s{mark}"
        )
        if better:
            best, kept = epoch, {name: value.to("cpu", copy=True) for name, value in tagger.state_dict().items()}
        elif number - best.epoch >= settings.patience:
            console.print(f"no better validation weighted F1 in {settings.patience} epochs: stopped")
            break
    tagger.load_state_dict(kept)
    return history, best


def validate(tagger: Tagger, data: TaggingData, where: Device) -> tuple[float, float, float]:
    """Return loss, accuracy and weighted F1 over the labelled validation utterances."""
    tagger.eval()
    parts = []
    with torch.inference_mode():
        for batch in batches_by_length([len(window) for window in data.validation], VALIDATION_TOKENS):
            parts.append(_classify(tagger, data, [data.validation[index] for index in batch], where))
    logits_UC = torch.cat([logits for logits, _ in parts]).cpu()
    labels_U = torch.cat([labels for _, labels in parts]).cpu()
    predicted_U = logits_UC.argmax(dim=1)
    weighted_f1 = f1_score(labels_U, predicted_U, average="weighted", zero_division=0)
    loss = nn.functional.cross_entropy(logits_UC, labels_U).item()
    return loss, (predicted_U == labels_U).double().mean().item(), float(weighted_f1)


def shuffled_batches(lengths: Sequence[int], size: int, generator: torch.Generator) -> list[list[int]]:
    """Return the window indices of each step of an epoch: shuffled, yet windows of similar length together."""
    batches = []
    for pool in torch.randperm(len(lengths), generator=generator).split(size * SORTED_BATCHES):
        pool = sorted(pool.tolist(), key=lambda index: lengths[index])
        batches += [pool[start : start + size] for start in range(0, len(pool), size)]
    return [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]


def _train_epoch(tagger, data, batches, where, optimizer, schedule, scaler, name) -> float:
    """Train for one epoch and return the mean loss of the labelled utterances; the host waits for the device once."""
    tagger.train()
    total = torch.zeros((), dtype=torch.float64, device=where.device)
    count = 0
    with progress_bar() as bar:
        for batch in bar.track(batches, description=name):
            logits_UC, labels_U = _classify(tagger, data, [data.train[index] for index in batch], where)
            loss = nn.functional.cross_entropy(logits_UC, labels_U)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(tagger.parameters(), CLIP_NORM)
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            total += loss.detach() * len(labels_U)
            count += len(labels_U)
    return total.item() / count


def _classify(tagger: Tagger, data: TaggingData, windows: Sequence[Window], where: Device) -> tuple[Tensor, Tensor]:
    """Return logits [U, C] in float32 and labels [U] of the labelled utterances in a batch of windows."""
    batch = collate(windows, data.pad)
    labels_U = data.labels_N[batch.row_U]
    labelled_U = (labels_U != UNLABELLED).nonzero().squeeze(1)
    with torch.autocast(where.device.type, where.dtype, enabled=where.dtype != torch.float32):
        logits_UC = tagger(batch.pick(labelled_U).to(where.device))
    return logits_UC.float(), labels_U[labelled_U].to(where.device)
