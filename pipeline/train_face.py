"""Training of the 342-d DenseNet on FER+ vote distributions -> models/<corpus>/face/.

`python -m pipeline.train_face --corpus meld` writes face.safetensors and face.json (for extract_visual) and
metrics.json. Soft cross-entropy on the Training faces, mirrored and shifted at random; the epoch with the highest
PublicTest accuracy is kept; PrivateTest is scored once, at the end. Accuracy is, as FER+ reports it, over the faces on
which more than half of the votes agree (docs/data.md, FER+ and the visual feature).

B faces, S side of a face in pixels, 8 emotions.
"""

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from torch import Tensor
from torch.nn import functional as F

from dferc.core.console import CorpusName, console, progress_bar, readable_errors
from dferc.core.device import DEVICES, choose_device
from dferc.core.errors import InputError
from dferc.core.files import file_hash, write_atomically
from dferc.core.sources import code_hash
from pipeline.extraction.kept import DEFAULT_PATH, make_or_reuse
from pipeline.extraction.scratch import key_of
from pipeline.faces.densenet import (
    FERPLUS,
    NONE,
    WEIGHTS,
    FaceNet,
    description_path,
    find_weights,
    load_face_net,
    read_json,
    save_face_net,
    write_json,
)
from pipeline.faces.ferplus import FILES, NO_MAJORITY, LabelledFaces, missing_files, read_ferplus
from pipeline.settings import TrainFace, load_settings

_MOMENTUM = 0.9
_WARMUP = 0.2
"""Share of the steps on which the learning rate rises."""

_SHIFT = 0.08
"""Largest shift of a training face, as a share of its side (FER+'s own training)."""

_SCORED_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class FaceScore:
    """Accuracy on the faces with a majority emotion (0 without any), and cross-entropy against all votes, in nats."""

    accuracy: float
    loss: float


@click.command()
@click.option("--corpus", type=CorpusName(), required=True, help="Name of the corpus block in params.yaml.")
@click.option("--params", default="params.yaml", show_default=True, type=click.Path(path_type=Path))
@click.option("--faces", type=click.Path(path_type=Path), help="FER+ files.  [default: data/faces/{corpus}]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write.  [default: models/{corpus}/face]")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@click.option(
    "--scratch", type=click.Path(path_type=Path), default=DEFAULT_PATH, show_default=True, help="Kept models."
)
@readable_errors
def main(corpus: str, params: Path, faces: Path | None, out: Path | None, device: str, scratch: Path) -> None:
    """Train the face network on FER+, or take one that is trained."""
    settings = load_settings(params).corpus(corpus).train_face
    faces, out = faces or Path("data/faces", corpus), out or Path("models", corpus, "face")
    if settings.source == NONE:
        leave_untrained(out, NONE, "params.yaml asks for no face model (train_face.source: none)")
    elif settings.source != FERPLUS:
        copy_checkpoint(Path(settings.source), out)
    elif missing := missing_files(faces):
        reason = f"{' and '.join(missing)} not found in {faces}; see {faces / 'README.md'} for where to get them"
        leave_untrained(out, FERPLUS, reason)
        console.print(
            f"[bold yellow]NOTE: NO FACE MODEL WAS TRAINED:[/] {reason}. extract_visual will fail if any utterance has "
            "a picture; a corpus without clips goes on. To do without pictures, set train_face.source to none."
        )
    else:
        where = choose_device(device, "float32").device
        # Everything that decides the network; rounding depends on device and threads.
        arithmetic = [where.type, torch.get_num_threads(), torch.__version__]
        inputs = [file_hash(faces / name) for name in FILES]
        key = key_of(settings.model_dump(mode="json"), arithmetic, inputs, code_hash("pipeline.train_face"))
        make_or_reuse(
            out, key, scratch, lambda part: train(read_ferplus(faces, settings.image_size), settings, part, where)
        )


def leave_untrained(out: Path, source: str, reason: str) -> None:
    """Replace the folder's model by the reason why there is none."""
    (out / WEIGHTS).unlink(missing_ok=True)
    write_json(description_path(out / WEIGHTS), {"trained": False, "source": source, "reason": reason})
    write_json(out / "metrics.json", {"trained": False})


def copy_checkpoint(source: Path, out: Path) -> None:
    """Copy a checkpoint made elsewhere to `out`; raise InputError if it is no checkpoint of this network."""
    weights = find_weights(source)
    net = load_face_net(weights)
    content = weights.read_bytes()
    write_atomically(out / WEIGHTS, lambda temporary: temporary.write_bytes(content))
    write_json(description_path(out / WEIGHTS), read_json(description_path(weights)))
    write_json(out / "metrics.json", {"trained": True, "source": "checkpoint"})
    console.print(f"train_face: {weights} checked and copied to {out} (faces of {net.image_size} px)")


def train(splits: dict[str, LabelledFaces], settings: TrainFace, out: Path, device: torch.device) -> None:
    """Train on the train split, keep the best epoch by the validation split, score the test split, write the model."""
    started = time.monotonic()
    sizes = ", ".join(f"{len(faces)} {split}" for split, faces in splits.items())
    console.print(f"train_face: {sizes} faces of {settings.image_size} px, on {device}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        images = splits["train"].images
        net = FaceNet(image_size=settings.image_size, mean=images.mean(), std=images.std() or 1.0)
    net.to(device, memory_format=torch.channels_last)
    epoch, validation = fit(net, splits["train"], splits["validation"], settings)
    scores = {"validation": asdict(validation), "test": asdict(score(net, splits["test"]))}
    facts = {"trained": True, "source": FERPLUS, "settings": settings.model_dump(), "epoch": epoch, **scores}
    save_face_net(out / WEIGHTS, net, facts)
    metrics = {split: {"faces": len(faces)} | scores.get(split, {}) for split, faces in splits.items()}
    write_json(out / "metrics.json", {"trained": True, "epoch": epoch, **metrics})
    console.print(
        f"train_face: epoch {epoch} kept, accuracy {scores['validation']['accuracy']:.3f} validation, "
        f"{scores['test']['accuracy']:.3f} test; {time.monotonic() - started:.0f} s; {out / WEIGHTS}"
    )


def fit(net: FaceNet, faces: LabelledFaces, validation: LabelledFaces, settings: TrainFace) -> tuple[int, FaceScore]:
    """Train, leave the network in its best epoch (highest accuracy, then lowest loss), and return that, from 1."""
    device = net.mean.device
    images_NSS, targets_NC = torch.from_numpy(faces.images).to(device), torch.from_numpy(faces.targets).to(device)
    optimizer = torch.optim.SGD(
        net.parameters(), settings.learning_rate, _MOMENTUM, weight_decay=settings.weight_decay, nesterov=True
    )
    steps = math.ceil(len(faces) / settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * steps
    )
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    random = torch.Generator().manual_seed(settings.seed)
    best, kept = None, {}
    for epoch in range(1, settings.epochs + 1):
        net.train()
        total = torch.zeros((), device=device)
        batches = torch.randperm(len(faces), generator=random).split(settings.batch_size)
        with progress_bar() as bar:
            for batch in bar.track(batches, description=f"train_face epoch {epoch}/{settings.epochs}"):
                batch = batch.to(device)
                with torch.autocast(device.type, torch.float16, enabled=scaler.is_enabled()):
                    logits = net(augment(images_NSS[batch], random)).logits
                loss = F.cross_entropy(logits.float(), targets_NC[batch])
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                schedule.step()
                total += loss.detach() * len(batch)
        loss = total.item() / len(faces)
        if not math.isfinite(loss):
            raise InputError(
                f"train_face: the loss is no longer a number in epoch {epoch}. Lower train_face.learning_rate "
                f"({settings.learning_rate})."
            )
        result = score(net, validation)
        better = best is None or (result.accuracy, -result.loss) > (best[1].accuracy, -best[1].loss)
        console.print(
            f"epoch {epoch:>3}/{settings.epochs}: loss {loss:.4f}, validation loss {result.loss:.4f}, "
            f"accuracy {result.accuracy:.3f}{' *' if better else ''}"
        )
        if better:
            best, kept = (epoch, result), {name: value.clone() for name, value in net.state_dict().items()}
    net.load_state_dict(kept)
    return best


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
    counted_N = majority_N != NO_MAJORITY
    correct = (logits_NC.argmax(dim=1) == majority_N)[counted_N]
    loss = F.cross_entropy(logits_NC, torch.from_numpy(faces.targets)).item()
    return FaceScore(accuracy=correct.double().mean().item() if len(correct) else 0.0, loss=loss)


if __name__ == "__main__":
    main()
