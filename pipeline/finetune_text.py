"""Fine-tuning of the text encoder on the training split's emotions.

`python -m pipeline.finetune_text --corpus meld` writes models/meld/text/: encoder and tokenizer (for extract_text), the
classifier that was trained with them, metrics.json and history.csv; for an encoder of the hub also revision.json, with
the commit that was loaded.

A linear classifier on each utterance's vector (docs/method.md, §0: the vector of extract_text) is trained together with
the encoder over whole-dialogue windows. The epoch with the best validation weighted F1 is kept; the test split is not
used. `epochs: 0` keeps the encoder as published. `lora_rank` trains low-rank adapters alone, which are merged into the
encoder's weights at the end. `folds: k` tunes k more encoders, for cross-fitted features
(`pipeline.text.folds`).
"""

import importlib.metadata
import importlib.util
from pathlib import Path

import click
import torch
import transformers

from dferc.core.console import PATH, CorpusName, console, readable_errors, shown_option
from dferc.core.device import DEVICES, choose_device
from dferc.core.files import file_hash, write_json
from dferc.core.sources import code_hash
from pipeline.encoders.opening import model_folder
from pipeline.extraction.kept import DEFAULT_PATH, make_or_reuse, state_folder
from pipeline.extraction.scratch import key_of
from pipeline.rows.utterances import read_utterances_csv
from pipeline.settings import load_settings
from pipeline.text import finetuning, folds
from pipeline.text.encoder import SCRATCH, WANTED
from pipeline.text.folds import deal_folds, fold_folder, hold_out, write_folds


@click.command()
@click.option("--corpus", type=CorpusName(), required=True, help="Block of params.yaml.")
@shown_option("--params", default="params.yaml", type=PATH)
@click.option(  # --table is its name in the extractors
    "--table", "--utterances", type=PATH, help="Utterances.  [default: data/CORPUS/utterances.csv]"
)
@click.option("--out", type=PATH, help="Folder to write.  [default: models/CORPUS/text]")
@shown_option("--device", type=click.Choice(DEVICES), default="auto")
@shown_option("--scratch", type=PATH, default=DEFAULT_PATH, help="Kept models.")
@readable_errors
def main(corpus: str, params: Path, table: Path | None, out: Path | None, device: str, scratch: Path) -> None:
    """Fine-tune the text encoder on the training split's emotions."""
    settings = load_settings(params).corpus(corpus).finetune_text
    table = table or Path("data", corpus, "utterances.csv")
    rows = read_utterances_csv(table)
    out = out or Path("models", corpus, "text")
    where = choose_device(device, settings.precision)
    fold_of = deal_folds(rows, settings.folds, settings.seed) if settings.folds and settings.epochs else {}

    # Everything that decides the encoder; rounding depends on the device, the type, and on `threads`, a setting.
    folder = Path(settings.encoder)
    of_hub = settings.encoder != SCRATCH and not folder.is_dir()
    commit = model_folder(settings.encoder, WANTED._replace(trust=settings.trust_remote_code)).name if of_hub else ""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    # Of the media no more than `hold_out` reads: a setting of pictures trains no encoder.
    read = [[row.dialogue_id, row.split, row.emotion, row.text, row.seen if fold_of else ()] for row in rows]
    inputs = [read, *([path.relative_to(folder).as_posix(), file_hash(path)] for path in files)]
    inputs += [["commit", commit]] if commit else []
    arithmetic = [where.device.type, str(where.dtype)]
    versions = [torch.__version__, transformers.__version__]
    if settings.lora_rank and importlib.util.find_spec("peft"):
        versions.append(importlib.metadata.version("peft"))
    code = code_hash(finetuning.__name__, folds.__name__)
    stated = settings.model_dump(mode="json", exclude=set() if settings.trust_remote_code else {"trust_remote_code"})
    key = key_of(stated, arithmetic, versions, inputs, code)
    states = state_folder(scratch, key)
    model = settings.encoder.partition("@")[0]
    if commit:  # whatever is published meanwhile
        settings = settings.model_copy(update={"encoder": f"{model}@{commit}"})

    def make(part: Path) -> None:
        finetuning.fine_tune(rows, settings, where, part, states / "text.pt")
        for fold in sorted(set(fold_of.values())):
            console.print(f"fold {fold + 1} of {settings.folds}: tuned without the dialogues that it will encode")
            state = states / f"fold-{fold}.pt"
            finetuning.fine_tune(hold_out(rows, fold_of, fold), settings, where, fold_folder(part, fold), state)
        if fold_of:
            write_folds(part, fold_of, rows)
        if commit:
            write_json(part / "revision.json", {"encoder": model, "commit": commit})

    make_or_reuse(out, key, scratch, make)
    console.print(str(out))


if __name__ == "__main__":
    main()
