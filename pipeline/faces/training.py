"""Training of the face network on FER+ faces and votes.

B faces of a batch, N faces of a split, S side of a face in pixels, C = 8 emotions.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from dferc.core.console import console, progress_bar
from dferc.core.device import cpu_threads
from dferc.core.errors import InputError
from dferc.core.files import write_json
from dferc.core.threads import keep_freed_memory
from dferc.training.loop import fit
from dferc.training.optimiser import Machinery
from dferc.training.resume import open_progress
from pipeline.faces.densenet import FERPLUS, WEIGHTS, FaceNet, save_face_net
from pipeline.faces.ferplus import NO_MAJORITY, LabelledFaces

if TYPE_CHECKING:  # another stage's setting must not change the hash of this code
    from pipeline.settings import TrainFace

_MOMENTUM = 0.9

_SHIFT = 0.08  # largest shift of a training face, as a share of its side (FER+'s own training)

_SCORED_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class FaceScore:
    """Score of the network on a split."""

    accuracy: float  # share of correct faces among those with a majority emotion; 0 where there is none
    loss: float  # cross-entropy against the votes of all faces, in nats


def train(
    splits: dict[str, LabelledFaces], settings: "TrainFace", out: Path, device: torch.device, state: Path | None = None
) -> None:
    """Train on the train split, keep the best epoch by the validation split, score the test split, write the model.

    Args:
        splits: faces of train, validation and test.
        settings: of the stage; `threads` decides rounding.
        out: folder of the model.
        device: where to train.
        state: file of the training's state, from which it resumes; None = none is kept.
    """
    keep_freed_memory()
    with cpu_threads(settings.threads):
        started = time.monotonic()
        sizes = ", ".join(f"{len(faces)} {split}" for split, faces in splits.items())
        console.print(f"train_face: {sizes} faces of {settings.image_size} px, on {device}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            images = splits["train"].images
            net = FaceNet(image_size=settings.image_size, mean=images.mean(), std=images.std() or 1.0)
        net.to(device, memory_format=torch.channels_last)
        epoch, validation = train_net(net, splits["train"], splits["validation"], settings, state)
        scores = {"validation": asdict(validation), "test": asdict(score(net, splits["test"]))}
        facts = {"trained": True, "source": FERPLUS, "settings": settings.model_dump(), "epoch": epoch, **scores}
        save_face_net(out / WEIGHTS, net, facts)
        metrics = {split: {"faces": len(faces)} | scores.get(split, {}) for split, faces in splits.items()}
        write_json(out / "metrics.json", {"trained": True, "epoch": epoch, **metrics})
        console.print(
            f"train_face: epoch {epoch} kept, accuracy {scores['validation']['accuracy']:.3f} validation, "
            f"{scores['test']['accuracy']:.3f} test; {time.monotonic() - started:.0f} s"
        )


class FaceLearner:
    """Trains the network on faces (see `dferc.training.loop.Learner`); the epoch of the highest accuracy is kept."""

    def __init__(self, faces: LabelledFaces, validation: LabelledFaces, settings: "TrainFace", device: torch.device):
        self.validation, self.settings = validation, settings
        self.images_NSS = torch.from_numpy(faces.images).to(device)
        self.targets_NC = torch.from_numpy(faces.targets).to(device)
        self.loss_sum = torch.zeros((), device=device)

    def batches(self, order: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield augmented faces and their votes, with a progress bar."""
        self.loss_sum = torch.zeros_like(self.loss_sum)
        indices = torch.randperm(len(self.images_NSS), generator=order).split(self.settings.batch_size)
        with progress_bar() as bar:
            for batch in bar.track(indices, description="train_face"):
                batch = batch.to(self.images_NSS.device)
                yield augment(self.images_NSS[batch], order), self.targets_NC[batch]

    def loss(self, net: FaceNet, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the cross-entropy against the votes, and count it."""
        faces_BSS, targets_BC = batch
        with torch.autocast(faces_BSS.device.type, torch.float16, enabled=faces_BSS.is_cuda):
            logits_BC = net(faces_BSS).logits
        loss = F.cross_entropy(logits_BC.float(), targets_BC)
        self.loss_sum += loss.detach() * len(faces_BSS)
        return loss

    def score(self, net: FaceNet) -> dict[str, float]:
        """Validate; return the losses, and the accuracy on validation."""
        validation = score(net, self.validation)
        row = {"train_loss": self.loss_sum.item() / len(self.images_NSS)}
        return row | {"validation_loss": validation.loss, "validation_accuracy": validation.accuracy}

    def quality(self, row: Mapping[str, float]) -> tuple[float, float]:
        """Return the accuracy on validation, then minus the loss; refuse a loss that is not finite."""
        if not math.isfinite(row["train_loss"]):
            raise InputError(
                f"train_face: the loss is no longer a number in epoch {row['epoch']}. Lower train_face.learning_rate "
                f"({self.settings.learning_rate})."
            )
        return row["validation_accuracy"], -row["validation_loss"]


def train_net(
    net: FaceNet, faces: LabelledFaces, validation: LabelledFaces, settings: "TrainFace", state: Path | None = None
) -> tuple[int, FaceScore]:
    """Train, and leave the network in the state of its best epoch: highest accuracy, then lowest loss.

    Args:
        net: on its device.
        faces: of the train split.
        validation: faces to select by.
        settings: of the stage.
        state: as of `train`.

    Returns:
        The number of that epoch (from 1) and its validation score.
    """
    device, epochs = net.mean.device, settings.epochs
    optimiser = torch.optim.SGD(
        net.parameters(), settings.learning_rate, _MOMENTUM, weight_decay=settings.weight_decay, nesterov=True
    )
    steps = epochs * math.ceil(len(faces) / settings.batch_size)
    machinery = Machinery(
        model=net,
        optimiser=optimiser,
        schedule=torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=steps),
        scaler=torch.amp.GradScaler(device.type, enabled=device.type == "cuda"),
        order=torch.Generator().manual_seed(settings.seed),
        clip=lambda parameters: None,
    )

    def report(row: Mapping[str, float], is_best: bool) -> None:
        console.print(
            f"epoch {row['epoch']:>3}/{epochs}: loss {row['train_loss']:.4f}, "
            f"validation loss {row['validation_loss']:.4f}, accuracy {row['validation_accuracy']:.3f}"
            f"{' *' if is_best else ''}"
        )

    learner = FaceLearner(faces, validation, settings, device)
    progress, save = open_progress(state, lambda message: console.print(f"train_face: {message}"))
    # The global generator draws nothing here, but a resumed training restores it: outside, it stays as it is.
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        fit(learner, machinery, progress, epochs=epochs, patience=epochs, save=save, report=report)
    net.load_state_dict(progress.best)
    best = progress.history[progress.best_epoch - 1]
    return progress.best_epoch, FaceScore(accuracy=best["validation_accuracy"], loss=best["validation_loss"])


def augment(faces_BSS: Tensor, random: torch.Generator) -> Tensor:
    """Mirror half of the faces and shift each by up to `_SHIFT` of its side, repeating the edge where it shows.

    `random` is a CPU generator, so that the draws are the same on every device.
    """
    count, size = len(faces_BSS), faces_BSS.shape[-1]
    reach = round(_SHIFT * size)
    shifts_2B1 = torch.randint(-reach, reach + 1, (2, count, 1), generator=random)
    mirrored_B1 = torch.rand((count, 1), generator=random) < 0.5
    rows_BS, columns_BS = (torch.arange(size) + shifts_2B1).clamp(0, size - 1)
    columns_BS = torch.where(mirrored_B1, columns_BS.flip(1), columns_BS)
    rows_BS, columns_BS = rows_BS.to(faces_BSS.device), columns_BS.to(faces_BSS.device)
    faces_B11 = torch.arange(count, device=faces_BSS.device)[:, None, None]
    return faces_BSS[faces_B11, rows_BS[:, :, None], columns_BS[:, None, :]]


@torch.inference_mode()
def score(net: FaceNet, faces: LabelledFaces) -> FaceScore:
    """Return the accuracy over the faces with a majority emotion, and the mean cross-entropy over all."""
    net.eval()
    device = net.mean.device
    images = torch.from_numpy(faces.images).split(_SCORED_AT_ONCE)
    logits_NC = torch.cat([net(part.to(device)).logits.cpu() for part in images])
    majority_N = torch.from_numpy(faces.majority)
    correct = (logits_NC.argmax(dim=1) == majority_N)[majority_N != NO_MAJORITY]
    loss = F.cross_entropy(logits_NC, torch.from_numpy(faces.targets)).item()
    return FaceScore(accuracy=correct.double().mean().item() if len(correct) else 0.0, loss=loss)
