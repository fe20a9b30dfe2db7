"""Fine-tuning of the text encoder on the training split's emotions.

`python -m pipeline.finetune_text --corpus meld` writes models/meld/text/: encoder and tokenizer (for extract_text), the
classifier that was trained with them, metrics.json and history.csv.

A linear classifier on each utterance's vector (docs/method.md, §0: the vector of extract_text) is trained together with
the encoder over whole-dialogue windows. The epoch with the best validation weighted F1 is kept; the test split is not
used. `epochs: 0` keeps the encoder as published. `folds: k` tunes k more encoders, for cross-fitted features
(`pipeline.text.folds`).
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import click
import torch
import transformers
from safetensors.torch import save_file

from dferc.core.console import CorpusName, console, readable_errors
from dferc.core.device import DEVICES, Device, choose_device
from dferc.core.errors import InputError
from dferc.core.files import file_hash
from dferc.core.sources import code_hash
from dferc.store.rows import UNLABELLED
from pipeline.extraction.kept import DEFAULT_PATH, make_or_reuse
from pipeline.extraction.scratch import key_of
from pipeline.rows.utterances import Utterance, read_utterances_csv
from pipeline.settings import FinetuneText, load_settings
from pipeline.text.encoder import Encoder, build_encoder, load_encoder
from pipeline.text.folds import deal_folds, fold_folder, hold_out, write_folds
from pipeline.text.tagger import Tagger, TaggerEpoch, TaggingData, train_tagger
from pipeline.text.windows import dialogue_windows


@click.command()
@click.option("--corpus", type=CorpusName(), required=True, help="Block of params.yaml.")
@click.option("--params", default="params.yaml", show_default=True, type=click.Path(path_type=Path))
@click.option("--utterances", type=click.Path(path_type=Path), help="Default: data/CORPUS/utterances.csv")
@click.option("--out", type=click.Path(path_type=Path), help="Default: models/CORPUS/text")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@click.option(
    "--scratch", type=click.Path(path_type=Path), default=DEFAULT_PATH, show_default=True, help="Kept models."
)
@readable_errors
def main(corpus: str, params: Path, utterances: Path | None, out: Path | None, device: str, scratch: Path) -> None:
    """Fine-tune the text encoder on the training split's emotions."""
    settings = load_settings(params).corpus(corpus).finetune_text
    table = utterances or Path("data", corpus, "utterances.csv")
    rows = read_utterances_csv(table)
    out = out or Path("models", corpus, "text")
    where = choose_device(device, settings.precision)
    fold_of = deal_folds(rows, settings.folds, settings.seed) if settings.folds and settings.epochs else {}

    def make(part: Path) -> None:
        fine_tune(rows, settings, where, part)
        for fold in sorted(set(fold_of.values())):
            console.print(f"fold {fold + 1} of {settings.folds}: tuned without the dialogues that it will encode")
            fine_tune(hold_out(rows, fold_of, fold), settings, where, fold_folder(part, fold))
        if fold_of:
            write_folds(part, fold_of)

    # Everything that decides the encoder; rounding depends on device, type and threads.
    folder = Path(settings.encoder)
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    inputs = [file_hash(table), *([path.relative_to(folder).as_posix(), file_hash(path)] for path in files)]
    arithmetic = [where.device.type, str(where.dtype), torch.get_num_threads()]
    versions = [torch.__version__, transformers.__version__]
    code = code_hash("pipeline.finetune_text")
    make_or_reuse(out, key_of(settings.model_dump(mode="json"), arithmetic, versions, inputs, code), scratch, make)
    console.print(str(out), markup=False)


def fine_tune(rows: Sequence[Utterance], settings: FinetuneText, where: Device, out: Path) -> None:
    """Tune one encoder on the training split of `rows` and write it into the new folder `out`."""
    with torch.random.fork_rng([where.device] if where.device.type == "cuda" else []):
        torch.manual_seed(settings.seed)
        encoder = make_encoder(rows, settings)
        size = f"{encoder.model.num_parameters():,} parameters, width {encoder.width}"
        console.print(f"{settings.encoder}: {size}; {where.device} ({where.why})", markup=False)
        if settings.epochs == 0:
            console.print("epochs: 0, the encoder stays as published")
            save(out, encoder, [], None)
            return
        data = make_tagging_data(rows, encoder, settings)
        console.print(
            f"windows: {len(data.train)} to train on, {len(data.validation)} to select by; {', '.join(data.classes)}"
        )
        tagger = Tagger(encoder, len(data.classes), settings.dropout).to(where.device)
        history, best = train_tagger(tagger, data, settings, where)
    save(out, encoder, history, best)
    weights = {name: value.cpu() for name, value in tagger.classifier.state_dict().items()}
    save_file(weights, out / "classifier.safetensors", metadata={"classes": json.dumps(data.classes)})
    console.print(f"epoch {best.epoch} kept: validation weighted F1 {best.validation_weighted_f1:.4f}")


def make_encoder(rows: Sequence[Utterance], settings: FinetuneText) -> Encoder:
    """Build the encoder from the training text, or load it from a folder or the hub."""
    if settings.encoder != "scratch":
        return load_encoder(settings.encoder, settings.max_tokens)
    if settings.epochs == 0:
        raise InputError(
            "`encoder: scratch` starts from random weights; with `epochs: 0` its features would mean nothing."
        )
    return build_encoder([row.text for row in rows if row.split == "train"], settings)


def make_tagging_data(rows: Sequence[Utterance], encoder: Encoder, settings: FinetuneText) -> TaggingData:
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
    return TaggingData(classes, labels_N, windows["train"], windows["validation"], encoder.tokenizer.pad_token_id)


def save(out: Path, encoder: Encoder, history: Sequence[TaggerEpoch], best: TaggerEpoch | None) -> None:
    """Write an encoder, metrics.json of the best epoch (None = as published) and history.csv into a new folder."""
    out.mkdir(parents=True, exist_ok=True)
    encoder.save(out)
    metrics = {"epoch": 0} if best is None else asdict(best)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    with open(out / "history.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, [field.name for field in fields(TaggerEpoch)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(epoch) for epoch in history)


if __name__ == "__main__":
    main()
