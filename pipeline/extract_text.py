"""Stage extract_text: one vector per utterance from the fine-tuned encoder -> features/<corpus>/text.h5.

The vectors are the text inputs of docs/method.md §0. Batches are formed from all windows of the corpus, including those
that are finished, and a batch is computed whole: rounding may depend on the rest of a batch, and a rerun after a kill
must give the same bytes. So the key of finished work holds its whole batch; new dialogues at the end of a corpus change
the last batch of each length only.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import transformers

from dferc import engine
from dferc.core.console import PATH, print_note, readable_errors, shown_option
from dferc.core.device import DEVICES, Device, choose_device
from dferc.core.errors import InputError
from dferc.core.files import file_hash
from dferc.core.records import StoredRecord, Text, read_record
from dferc.engine.options import network_options
from pipeline.encoders.batches import Batching, batches_by_length
from pipeline.encoders.opening import code_identity
from pipeline.extraction.loop import ExtractionTally, Extractor, extract
from pipeline.extraction.places import Places, stage_options
from pipeline.extraction.records import Clock, Record
from pipeline.extraction.scratch import Scratch
from pipeline.rows.utterances import Utterance, read_utterances_csv
from pipeline.settings import UNSTATED, ExtractText, load_settings, sets_of, with_set
from pipeline.text import encoding
from pipeline.text.encoder import Encoder, Reading, load_encoder
from pipeline.text.folds import TABLE, fold_folder, read_folds
from pipeline.text.windows import Window, dialogue_windows

BATCH_TOKENS = 8192  # default number of tokens in a batch, padding included

LEFT_OUT = "folds.json"
"""File with the hashes of folds that are not there: a bundle predicts other dialogues, which need none of them."""


class FoldHashes(StoredRecord):
    """Schema of `LEFT_OUT`."""

    hashes: list[Text]


@click.command()
@stage_options("text")
@click.option("--encoder", type=PATH, help="Fine-tuned encoder.  [default: models/{corpus}/text]")
@shown_option("--device", type=click.Choice(DEVICES), default="auto")
@shown_option(
    "--batch-tokens",
    type=click.IntRange(min=1),
    default=BATCH_TOKENS,
    help="Tokens encoded at once: memory and speed; moves results by rounding at most.",
)
@network_options
@readable_errors
def main(
    places: Places, encoder: Path | None, device: str, batch_tokens: int, workers: engine.Workers
) -> ExtractionTally:
    """Encode every utterance within its dialogue."""
    params = load_settings(places.params)
    block = with_set(params, places.corpus, places.set)
    settings, tuned = block.extract_text, block.finetune_text
    own = sets_of(params, places.corpus)[places.set].encoder if places.set else Path("models", places.corpus, "text")
    folder = encoder or Path(own)
    if not folder.is_dir() and places.set and encoder is None:
        raise InputError(
            f"{folder}, the encoder of the set {places.set} (sets in params.yaml), is no folder. `hf download NAME "
            "--local-dir FOLDER` makes one of a published encoder, `python -m pipeline.finetune_text --out FOLDER` one "
            "that is tuned."
        )
    names = ("window", "max_tokens", "layer", "pooling", *(["context_share"] * (settings.window == "overlapping")))
    other = [f"{name} {getattr(tuned, name)}" for name in names if getattr(tuned, name) != getattr(settings, name)]
    if encoder is None and not places.set and tuned.epochs and other:  # how another encoder was tuned, none knows
        print_note(
            f"the encoder was tuned with {', '.join(other)} (finetune_text), and extract_text has other values: its "
            "vectors are not those that were tuned"
        )
    if not folder.is_dir():
        raise InputError(
            f"{folder} is missing. Make it with `python -m pipeline.finetune_text --corpus {places.corpus}`."
        )
    rows = read_utterances_csv(places.table)
    where = choose_device(device, settings.precision, elsewhere=workers.cluster is not None)
    with Scratch(places.scratch) as scratch:
        return extract(rows, make_extractor(rows, settings, folder, where, batch_tokens, workers), places, scratch)


def make_extractor(
    rows: Sequence[Utterance],
    settings: ExtractText,
    folder: Path,
    where: Device,
    batch_tokens: int = BATCH_TOKENS,
    workers: engine.Workers = engine.HERE,
    load: Callable[[str | Path, int], Encoder] = load_encoder,
) -> Extractor:
    """Make the text extractor of a corpus; raise InputError if `folder` holds no usable encoder.

    `load` may keep an encoder in memory for several corpora; on a cluster it must be picklable.
    """
    if settings.trust_remote_code:
        load = functools.partial(load, trust=True)
    width, reading, batches, problems, tokenizer = _plan(rows, settings, folder, batch_tokens, load)
    clock = Clock()
    contents = {
        row: content if encoder == folder else [*content, encoder.name]  # a fold's encoder gives other vectors
        for encoder, batch in batches
        for row, content in _contents(batch)
    }

    def compute(indices: list[int]) -> Iterator[tuple[int, Record | engine.WorkerDied]]:
        wanted = set(indices)
        for row in indices:
            if row not in contents:
                yield row, Record(problem=problems[row])
        items = [
            (str(encoder.absolute()), batch, {row: problems[row] for row in _rows(batch) if row in problems})
            for encoder, batch in batches
            if not wanted.isdisjoint(_rows(batch))
        ]
        make_worker = functools.partial(
            encoding.TextWorker, settings.max_tokens, where.device.type, settings.precision, reading, load
        )
        for number, records in clock.unpacked(engine.run(make_worker, items, workers.for_network(), (folder,))):
            if isinstance(records, engine.WorkerDied):
                records = [(row, records) for row in _rows(items[number][1])]
            yield from ((row, record) for row, record in records if row in wanted)

    # Settings that are as before they existed are left out of the identity; so is what the window does not read.
    usual = UNSTATED["text"] | {"context_share": None if settings.window == "overlapping" else settings.context_share}
    by_id = {row.utterance_id: [contents.get(index), problems.get(index)] for index, row in enumerate(rows)}
    return Extractor(
        modality="text",
        width=width,
        identity={
            "extractor": f"transformers {transformers.__version__}",
            "params": {name: value for name, value in settings.model_dump().items() if usual.get(name) != value},
            "computed_in": str(where.dtype).removeprefix("torch."),
            "model": weights_hash(folder),
            "tokenizer": tokenizer,
            **code_identity(folder, settings.trust_remote_code),
        },
        code=(encoding.__name__,),
        wants=lambda row: True,
        content=lambda row: by_id[row.utterance_id],
        compute=compute,
        clock=clock,
    )


def _plan(
    rows: Sequence[Utterance], settings: ExtractText, folder: Path, batch_tokens: int, load: Callable[..., Encoder]
) -> tuple[int, Reading, list[tuple[Path, list[Window]]], dict[int, str], str]:
    """Assign each dialogue to an encoder: a fold's encodes what it was tuned without, the main one all others.

    Returns:
        The width, how vectors are taken from states, batches with the folders of their encoders, and problems of texts
        by row. The models are loaded again one by one: six large ones need not fit into memory.
    """
    fold_of = read_folds(folder, rows)
    if not fold_of and read_folds(folder).keys() & {row.dialogue_id for row in rows}:
        print_note(f"{folder}: none of its folds' dialogues has the same texts here; its main encoder reads them all.")
    batches, problems = [], {}
    for fold in (None, *sorted(set(fold_of.values()))):
        encoder_folder = folder if fold is None else fold_folder(folder, fold)
        encoder = load(encoder_folder, settings.max_tokens)
        if fold is None:
            main = encoder
            reading = encoder.reading(settings.layer, settings.pooling)
            if encoder.batching is not Batching.PADDED:
                print_note(
                    f"{folder}: the states of this encoder depend on the padding in a batch; texts are encoded without "
                    f"padding, {encoder.batching}"
                )
        windows, strange = dialogue_windows(
            rows, encoder.tokenizer, settings.max_tokens, settings.window, settings.context_share
        )
        windows = [window for window in windows if fold_of.get(rows[window.rows[0]].dialogue_id) == fold]
        problems |= {row: problem for row, problem in strange.items() if fold_of.get(rows[row].dialogue_id) == fold}
        for batch in batches_by_length([len(window) for window in windows], batch_tokens, encoder.batching):
            batches.append((encoder_folder, [windows[index] for index in batch]))
    return reading.width(main.width), reading, batches, problems, tokenizer_hash(main.tokenizer)


def weights_hash(folder: Path) -> str:
    """Hash the configuration and weights of an encoder and its folds; the tokenizer's effect is in the windows."""
    files = [folder / "config.json", *sorted(folder.glob("model*.safetensors"))]
    return hashlib.sha256("".join([*map(file_hash, files), *hashes_of_folds(folder)]).encode()).hexdigest()


def tokenizer_hash(tokenizer) -> str:
    """Hash what turns text into tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:  # a file may state both, which no text here is given, and which the first text takes out
        backend.no_truncation()
        backend.no_padding()
    text = backend.to_str() if backend is not None else json.dumps(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(text.encode()).hexdigest()


def hashes_of_folds(folder: Path) -> list[str]:
    """Return the hashes of all that folds add to an encoder: their configurations, weights and table."""
    if (folder / LEFT_OUT).exists():
        return read_record(folder / LEFT_OUT, FoldHashes, "Make the bundle again.")["hashes"]
    files = [path for fold in sorted(folder.glob("fold-*")) for path in (fold / "config.json", *fold.glob("model*"))]
    return [file_hash(path) for path in (*files, *([folder / TABLE] if (folder / TABLE).exists() else ()))]


def _contents(batch: Sequence[Window]) -> Iterator[tuple[int, list]]:
    """Yield by row all that determines its vector to the bit: the tokens of its whole batch, and its place there."""
    tokens = "\n".join(" ".join(map(str, window.tokens)) for window in batch)
    digest = hashlib.sha256(tokens.encode()).hexdigest()
    for number, window in enumerate(batch):
        for row, first, last in zip(window.rows, window.first, window.last, strict=True):
            yield row, [digest, number, first, last]


def _rows(batch: Sequence[Window]) -> list[int]:
    return [row for window in batch for row in window.rows]


if __name__ == "__main__":
    main()
