"""extract_text against the bare encoder, as a ratio measured in one run.

Ours: tokenising, packing, keys, batches, the encoder, records into the scratch cache, the written HDF5 file; all but
loading the encoder. Bare: the encoder's forward over the same windows, tokenised beforehand, sorted by length and
padded in batches of as many windows. In CPU time of this process, one thread, the two alternating: a busy machine does
not count.

The dialogues are synthetic, of MELD's sizes (1 to 24 utterances, about 10 words each); the encoder has random weights
and the sizes of MiniLM (6 layers, width 384) unless a folder is given.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from transformers import BertConfig, BertModel

from dferc.core.device import choose_device
from pipeline.encoders.batches import batches_by_length
from pipeline.extract_text import BATCH_TOKENS, make_extractor
from pipeline.extraction.loop import extract
from pipeline.extraction.places import Places
from pipeline.extraction.scratch import Scratch
from pipeline.rows.utterances import Utterance
from pipeline.settings import ExtractText
from pipeline.text.encoder import Encoder, collate, load_encoder
from pipeline.text.windows import Window, dialogue_windows
from tests.helpers.corpora import make_row, write_rows
from tests.helpers.encoders import word_tokenizer

TARGET = 0.8
WORDS = [f"word{number}" for number in range(2000)]


def make_dialogues(count: int) -> list[Utterance]:
    """Dialogues of MELD's sizes, of words that mean nothing."""
    random = np.random.default_rng(0)
    return [
        make_row(
            f"{dialogue}-{position}",
            dialogue_id=str(dialogue),
            position=position,
            text=" ".join(random.choice(WORDS, 1 + random.geometric(0.1))),
        )
        for dialogue in range(count)
        for position in range(random.integers(1, 20))
    ]


def make_encoder(folder: Path) -> Path:
    """An encoder of MiniLM's sizes, untrained."""
    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    tokenizer = word_tokenizer(" ".join(WORDS))
    Encoder(BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)), tokenizer).save(folder)
    return folder


def bare_forward(encoder: Encoder, windows: Sequence[Window], per_batch: int) -> None:
    """What anyone would write: sort by length, pad, run."""
    windows = sorted(windows, key=len)
    with torch.inference_mode():
        for start in range(0, len(windows), per_batch):
            batch = collate(windows[start : start + per_batch], encoder.pad)
            encoder.model(input_ids=batch.tokens_BL, attention_mask=batch.mask_BL)


def measure(folder: Path, dialogues: int, repeats: int, source: Path) -> tuple[float, float]:
    """Ratio of throughputs, and the share of padding in our batches."""
    rows = make_dialogues(dialogues)
    write_rows(folder, rows)
    settings = ExtractText(window="dialogue", context_share=0.0, max_tokens=512, precision="float32")
    encoder = load_encoder(source, settings.max_tokens)
    encoder.model.eval()
    windows, _ = dialogue_windows(rows, encoder.tokenizer, settings.max_tokens)
    batches = batches_by_length([len(window) for window in windows], BATCH_TOKENS)
    padded = sum(len(batch) * max(len(windows[index]) for index in batch) for batch in batches)
    per_batch = round(len(windows) / len(batches))

    def ours(run: int) -> None:
        places = Places(
            corpus="demo",
            params=folder,
            raw=folder,
            table=folder / "utterances.csv",
            utterances=folder / "utterances.h5",
            out=folder / "text.h5",
            problems=folder / "problems.csv",
            log=folder / "log.json",
            scratch=folder / f"{run}.sqlite",
        )
        with Scratch(places.scratch) as scratch:
            extract(rows, make_extractor(rows, settings, source, choose_device("cpu", "float32")), places, scratch)

    seconds = {"bare": 0.0, "ours": 0.0, "loading": 0.0}
    with threadpool_limits(1):
        for run in range(repeats):
            _timed(seconds, "bare", bare_forward, encoder, windows, per_batch)
            _timed(seconds, "ours", ours, run)
            _timed(seconds, "loading", load_encoder, source, settings.max_tokens)
    ratio = seconds["bare"] / (seconds["ours"] - seconds["loading"])
    return ratio, 1 - sum(map(len, windows)) / padded


def _timed(seconds: dict[str, float], name: str, function: Callable, *arguments: object) -> None:
    started = time.process_time()
    function(*arguments)
    seconds[name] += time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dialogues", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--encoder", type=Path, help="folder of an encoder; default: random weights, MiniLM's sizes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = arguments.encoder or make_encoder(folder / "encoder")
        ratio, padding = measure(folder, arguments.dialogues, arguments.repeats, source)
    verdict = "met" if ratio >= TARGET else "MISSED"
    print(f"extract_text  ours / bare: {ratio:.2f}  (target {TARGET}: {verdict}; padding {padding:.1%} of the tokens)")


if __name__ == "__main__":
    main()
