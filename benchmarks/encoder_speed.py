"""The text encoder over whole dialogues, as a fraction of the measured matrix-multiplication peak.

    python -m benchmarks.encoder_speed

With a CUDA device: an encoder of roberta-large's sizes in bfloat16, over as many dialogues as MELD has (target: at
least 0.4). Without one it says so, and measures MiniLM's sizes in float32 over a few dialogues on the CPU. Weights are
random, dialogues synthetic, of MELD's sizes. Timed is what `extract_text` does with its batches, model and tokens being
there: padding, forward, pooling, records.

Counted operations (a multiplication and an addition are two), for tokens only, not for padding: of a layer of width H
with I inner units, over a window of L tokens, L (2 (4 H² + 2 H I) + 4 L H). Pooling, norms and embeddings are only
timed.
"""

import click
import torch
from transformers import BertConfig, BertModel

from benchmarks.extract_text import WORDS, make_dialogues
from benchmarks.train_speed import measure_peak, seconds_of
from dferc.core.device import Device, choose_device
from pipeline.encoders.batches import batches_by_length
from pipeline.extract_text import BATCH_TOKENS
from pipeline.text.encoder import Encoder
from pipeline.text.encoding import encode
from pipeline.text.windows import Window, dialogue_windows
from tests.helpers.encoders import word_tokenizer

TARGET, MAX_TOKENS = 0.4, 512
SIZES = {
    "cuda": ("roberta-large", dict(num_hidden_layers=24, hidden_size=1024, num_attention_heads=16), 1432),
    "cpu": ("MiniLM", dict(num_hidden_layers=6, hidden_size=384, num_attention_heads=12), 60),
}
"""Whose sizes, which (four inner units to one of the width), and dialogues."""


def count_operations(windows: list[Window], config: BertConfig) -> float:
    """Count the operations of the layers; see above."""
    H, inner = config.hidden_size, config.intermediate_size
    per_token = 2 * (4 * H**2 + 2 * H * inner)
    return float(config.num_hidden_layers * sum(len(w) * (per_token + 4 * len(w) * H) for w in windows))


def measure(device: Device, repeats: int, batch_tokens: int) -> None:
    """Time all batches after a warm-up; print the best of several runs against the peak before and after."""
    whose, sizes, dialogues = SIZES[device.device.type]
    rows, tokenizer = make_dialogues(dialogues), word_tokenizer(" ".join(WORDS))
    config = BertConfig(vocab_size=len(tokenizer), intermediate_size=4 * sizes["hidden_size"], **sizes)
    encoder = Encoder(BertModel(config).to(device.device).eval(), tokenizer)
    windows, _ = dialogue_windows(rows, tokenizer, MAX_TOKENS)
    batches = [[windows[n] for n in batch] for batch in batches_by_length([len(w) for w in windows], batch_tokens)]

    def run() -> None:
        for batch in batches:
            for _ in encode(encoder, batch, {}, device):
                pass

    run()
    before = measure_peak(device)
    took = min(seconds_of(run, device.device) for _ in range(repeats))
    peak = max(before, measure_peak(device))
    fraction = count_operations(windows, config) / took / peak
    name = torch.cuda.get_device_name() if device.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    target = f"  (target {TARGET}: {'met' if fraction >= TARGET else 'MISSED'})" if device.device.type == "cuda" else ""
    print(
        f"encoder of {whose}'s sizes, {str(device.dtype).removeprefix('torch.')}, {name}: {len(rows)} utterances of "
        f"{dialogues} dialogues in {took:.2f} s, {len(rows) / took:.0f}/s; {fraction:.2f} of a peak of "
        f"{peak / 1e12:.2f} TFLOP/s{target}"
    )


@click.command()
@click.option("--repeats", default=3, show_default=True, help="Timed runs; the best counts.")
@click.option("--batch-tokens", default=BATCH_TOKENS, show_default=True, help="As of extract_text.")
def main(repeats: int, batch_tokens: int) -> None:
    """Measure on the CUDA device, or on the CPU where there is none."""
    if not torch.cuda.is_available():
        print("no CUDA device: roberta-large's sizes in bfloat16 are not measured; small, on the CPU, instead")
    measure(choose_device("auto", "bfloat16"), repeats, batch_tokens)


if __name__ == "__main__":
    main()
