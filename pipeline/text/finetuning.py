"""Fine-tuning of a text encoder on the training split's emotions: data, training, files."""

import csv
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from dferc.core.console import console, print_note
from dferc.core.device import Device, cpu_threads
from dferc.core.errors import InputError
from dferc.store.rows import UNLABELLED
from pipeline.rows.utterances import Utterance
from pipeline.text.encoder import SCRATCH, Encoder, build_encoder, load_encoder
from pipeline.text.tagger import HISTORY, Tagger, TaggingData, train_tagger
from pipeline.text.windows import dialogue_windows

if TYPE_CHECKING:  # another stage's setting must not change the hash of this code
    from pipeline.settings import FinetuneText


def fine_tune(
    rows: Sequence[Utterance], settings: "FinetuneText", where: Device, out: Path, state: Path | None = None
) -> None:
    """Tune one encoder on the training split of `rows` and write it into the new folder `out`.

    Args:
        rows: the corpus.
        settings: of the stage; `threads` decides rounding.
        where: device and type.
        out: folder of the encoder.
        state: file of the training's state, from which it resumes; None = none is kept.
    """
    with torch.random.fork_rng([where.device] if where.device.type == "cuda" else []), cpu_threads(settings.threads):
        torch.manual_seed(settings.seed)
        encoder = make_encoder(rows, settings)
        size = f"{encoder.model.num_parameters():,} parameters, width {encoder.width}"
        console.print(f"{settings.encoder}: {size}; {where.device} ({where.why})")
        reading = encoder.reading(settings.layer, settings.pooling)
        if encoder.forwards and settings.pooling in ("first", "first_last"):
            print_note(
                f"{settings.encoder} reads forwards only: the state of an utterance's first token knows nothing of the "
                "others. Set pooling to last or mean, in finetune_text and in extract_text."
            )
        if settings.epochs == 0:
            console.print("epochs: 0, the encoder stays as published")
            save(out, encoder, [], None)
            return
        data = make_tagging_data(rows, encoder, settings)
        console.print(
            f"windows: {len(data.train)} to train on, {len(data.validation)} to select by; {', '.join(data.classes)}"
        )
        merge = add_adapters(encoder.model, settings.lora_rank, settings.lora_alpha) if settings.lora_rank else None
        tagger = Tagger(encoder, len(data.classes), settings.dropout, reading).to(where.device)
        if merge:
            trained = sum(weight.numel() for weight in tagger.parameters() if weight.requires_grad)
            console.print(f"LoRA of rank {settings.lora_rank}: {trained:,} weights are trained, the others are frozen")
        progress = train_tagger(tagger, data, settings, where, state)
        if merge:
            merge()
    best = progress.history[progress.best_epoch - 1]
    save(out, encoder, progress.history, best)
    weights = {name: value.cpu() for name, value in tagger.classifier.state_dict().items()}
    save_file(weights, out / "classifier.safetensors", metadata={"classes": json.dumps(data.classes)})
    console.print(f"epoch {best['epoch']} kept: validation weighted F1 {best['validation_weighted_f1']:.4f}")


def make_encoder(rows: Sequence[Utterance], settings: "FinetuneText") -> Encoder:
    """Build the encoder from the training text, or load it from a folder or the hub."""
    if settings.encoder != SCRATCH:
        return load_encoder(settings.encoder, settings.max_tokens, settings.trust_remote_code)
    if settings.epochs == 0 or settings.lora_rank:
        reason = "lora_rank trains adapters alone" if settings.lora_rank else "`epochs: 0` trains nothing"
        raise InputError(
            f"`encoder: scratch` starts from random weights, and {reason}: its features would mean nothing. Set "
            "finetune_text.epochs to 1 or more, and lora_rank to 0."
        )
    return build_encoder([row.text for row in rows if row.split == "train"], settings)


def add_adapters(model: PreTrainedModel, rank: int, alpha: float) -> Callable[[], object]:
    """Add LoRA's low-rank adapters to all linear layers of a model, in place, and freeze its own weights.

    Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, https://arxiv.org/abs/2106.09685.
    A layer's weight W becomes W + (alpha / rank) B A, with A and B of `rank`; B is 0 at first, so that the model is the
    same. A comes from torch's global generator.

    Args:
        model: the encoder.
        rank: rank of the adapters.
        alpha: scale of their product.

    Returns:
        A function that merges the adapters into the weights, in place: afterwards the model is one of transformers.

    Raises:
        InputError: the package peft is not installed, or the model has no layer that it can adapt.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise InputError(
            f"finetune_text.lora_rank is {rank}, which needs the package peft: `pip install peft`, or set it to 0 to "
            "train all weights."
        ) from None
    try:
        with warnings.catch_warnings(action="ignore"):  # on GPT-2's transposed layers, which it adapts correctly
            adapted = get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear"))
    except ValueError as error:
        raise InputError(
            f"finetune_text.lora_rank is {rank}, and peft cannot adapt the {type(model).__name__} ({error}). Set it to "
            "0 to train all weights, or choose another encoder."
        ) from error
    return adapted.merge_and_unload


def make_tagging_data(rows: Sequence[Utterance], encoder: Encoder, settings: "FinetuneText") -> TaggingData:
    """Pack the dialogues, keep the windows with a label, and number the classes in alphabetical order."""
    emotions = {
        split: {row.emotion for row in rows if row.split == split and row.emotion} for split in ("train", "validation")
    }
    classes = tuple(sorted(emotions["train"] | emotions["validation"]))
    ids = {name: index for index, name in enumerate(classes)}
    # .get: an emotion of the test split alone has no id here, and the test split is not used.
    labels_N = torch.tensor([ids.get(row.emotion, UNLABELLED) for row in rows])
    windows = {"train": [], "validation": [], "test": []}
    packed, problems = dialogue_windows(
        rows, encoder.tokenizer, settings.max_tokens, settings.window, settings.context_share
    )
    for window in packed:
        if (labels_N[list(window.rows)] != UNLABELLED).any():
            windows[rows[window.rows[0]].split].append(window)
    if problems:
        console.print(f"{len(problems)} utterance(s) have no text or are cut; extract_text lists them")
    for split, purpose in (("train", "learn from"), ("validation", "select the best epoch by")):
        if not windows[split]:
            raise InputError(
                f"finetune_text: no utterance of the {split} split has a text and an emotion: nothing to {purpose}. "
                "Label some, or set finetune_text.epochs to 0 to take the encoder as published."
            )
    if len(emotions["train"]) == 1:
        raise InputError(
            f"finetune_text: every labelled training utterance is {emotions['train'].pop()!r}; two classes are needed. "
            "Is the emotion column the right one?"
        )
    return TaggingData(classes, labels_N, windows["train"], windows["validation"], encoder.pad, encoder.batching)


def save(out: Path, encoder: Encoder, history: Sequence[Mapping], best: Mapping | None) -> None:
    """Write an encoder, metrics.json of the best epoch (None = as published) and history.csv into a new folder."""
    out.mkdir(parents=True, exist_ok=True)
    encoder.save(out)
    metrics = {"epoch": 0} if best is None else {name: best[name] for name in HISTORY}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    with open(out / "history.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, HISTORY, lineterminator="\n", extrasaction="ignore")
        table.writeheader()
        table.writerows(history)
