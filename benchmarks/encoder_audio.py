"""A speech encoder in extract_audio against its bare batched forward, and as a fraction of the matrix-product peak.

    python -m benchmarks.encoder_audio --utterances 24

WavLM of the base size (of the large size on a CUDA device) with random weights, over utterances of MELD's lengths.
Bare: the feature extractor and the model alone, on padded batches of nearly equal length. Ours: all that the stage does
once the encoder is loaded: hashing, decoding WAV files, batches, forward, pooling, the scratch cache and the features
file (target: at least 0.9 of the bare speed). Both are timed in turns, and the best of each counts. On a CPU it is
process time on one thread, which other work on the machine disturbs least.

Counted operations (a multiplication and an addition are two), for samples and frames that are not padding: the
convolutions, the positional convolution, and of each layer of width H with I inner units, over T frames,
T (2 (4 H² + 2 H I) + 4 T H). Norms, the gated position bias and pooling are only timed. Target: 0.4 of the peak.
"""

import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch
from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

from benchmarks.train_speed import measure_peak
from dferc.core.device import Device, choose_device
from dferc.engine import HERE
from pipeline.audio.encoding import BATCH_S, make_speech_extractor
from pipeline.audio.speech import SpeechEncoder, load_speech_encoder
from pipeline.encoders.batches import batches_by_length
from pipeline.encoders.opening import autocast, quiet_transformers
from pipeline.extraction.loop import extract
from pipeline.extraction.places import Places
from pipeline.extraction.scratch import Scratch
from pipeline.settings import UNSTATED, ExtractAudio
from tests.helpers.clips import write_clip
from tests.helpers.corpora import make_row, write_rows

RATE_HZ, TARGET_SPEED, TARGET_PEAK = 16000, 0.9, 0.4
LARGE = dict(
    hidden_size=1024,
    num_hidden_layers=24,
    num_attention_heads=16,
    intermediate_size=4096,
    feat_extract_norm="layer",
    do_stable_layer_norm=True,
)


def draw_sounds(count: int) -> list[np.ndarray]:
    """Return noise of the lengths of MELD's utterances: log-normal about 2.6 s, mean 3.2 s, 0.5 to 20 s."""
    rng = np.random.default_rng(0)
    lengths_s = np.clip(rng.lognormal(np.log(2.6), 0.65, count), 0.5, 20)
    return [rng.normal(0, 0.1, round(s * RATE_HZ)).astype(np.float32) for s in lengths_s]


def count_operations(sounds: list[np.ndarray], config: WavLMConfig) -> float:
    """Count the operations of the model; see above."""
    H, inner, total = config.hidden_size, config.intermediate_size, 0.0
    for sound in sounds:
        frames, width = len(sound), 1
        for out, kernel, stride in zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True):
            frames = (frames - kernel) // stride + 1
            total += 2 * frames * width * out * kernel
            width = out
        positions = H // config.num_conv_pos_embedding_groups * config.num_conv_pos_embeddings
        layer = 2 * (4 * H**2 + 2 * H * inner) + 4 * frames * H
        total += frames * (2 * width * H + 2 * H * positions + config.num_hidden_layers * layer)
    return total


def bare_forward(encoder: SpeechEncoder, sounds: list[np.ndarray], where: Device, batch_s: float) -> None:
    """Run the model alone over batches of nearly equal length."""
    for batch in batches_by_length([len(sound) for sound in sounds], round(batch_s * RATE_HZ)):
        inputs = encoder.extractor(
            [sounds[n] for n in batch],
            sampling_rate=RATE_HZ,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        with torch.inference_mode(), autocast(where):
            encoder.model(**inputs.to(where.device))


def seconds_of(work, device: torch.device) -> float:
    """Process seconds on a CPU, else seconds with the device's queue."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    started = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


@click.command()
@click.option("--utterances", default=24, show_default=True, help="Number of utterances.")
@click.option("--repeats", default=3, show_default=True, help="Timed runs of each; the best counts.")
@click.option("--batch-s", default=BATCH_S, show_default=True, help="Seconds of sound in a bare batch.")
def main(utterances: int, repeats: int, batch_s: float) -> None:
    """Measure on the CUDA device, or on one thread of the CPU where there is none."""
    where = choose_device("auto", "bfloat16")
    torch.set_num_threads(1)
    whose, sizes = ("large", LARGE) if where.device.type == "cuda" else ("base", {})
    sounds = draw_sounds(utterances)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with quiet_transformers():
            WavLMModel(WavLMConfig(**sizes)).save_pretrained(folder / "encoder")
        Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder / "encoder")
        rows = [make_row(f"{n}.wav", f"{n}.wav", len(sound) / RATE_HZ) for n, sound in enumerate(sounds)]
        for row, sound in zip(rows, sounds, strict=True):
            write_clip(folder / row.media, sound=sound[None])
        write_rows(folder, rows)
        encoder = load_speech_encoder(str(folder / "encoder"), "last")
        encoder.model.to(where.device)
        settings = ExtractAudio(
            encoder=str(folder / "encoder"), min_s=0.08, **UNSTATED["audio"] | {"precision": "bfloat16"}
        )
        paths = {key: folder / key for key in ("params", "table", "utterances", "out", "problems", "log", "scratch")}
        paths |= {"table": folder / "utterances.csv", "utterances": folder / "utterances.h5", "raw": folder}

        def stage(number: int) -> None:
            with Scratch(folder / f"scratch-{number}.sqlite") as scratch:
                extractor = make_speech_extractor(rows, settings, folder, scratch, HERE, where, load=lambda *_: encoder)
                extract(rows, extractor, Places(corpus="demo", set=None, **paths), scratch)

        bare_forward(encoder, sounds[:2], where, batch_s)
        bare, ours, peak = [], [], measure_own_peak(where)
        for number in range(repeats):
            bare.append(seconds_of(lambda: bare_forward(encoder, sounds, where, batch_s), where.device))
            ours.append(seconds_of(lambda number=number: stage(number), where.device))
        peak = max(peak, measure_own_peak(where))
    media_s, operations = sum(map(len, sounds)) / RATE_HZ, count_operations(sounds, encoder.model.config)
    speed, share = min(bare) / min(ours), operations / min(ours) / peak
    device = torch.cuda.get_device_name() if where.device.type == "cuda" else "CPU, 1 thread, process time"
    print(
        f"WavLM of the {whose} size, {str(where.dtype).removeprefix('torch.')}, {device}: {utterances} utterances, "
        f"{media_s:.0f} s: bare {min(bare):.2f} s, stage {min(ours):.2f} s, {media_s / min(ours):.1f} times real time"
    )
    for what, value, target in (
        ("of the bare forward's speed", speed, TARGET_SPEED),
        ("of the peak", share, TARGET_PEAK),
    ):
        print(f"  {value:.2f} {what}  (target {target}: {'met' if value >= target else 'MISSED'})")
    print(f"  the peak: {peak / 1e9:.0f} GFLOP/s; bare: {operations / min(bare) / peak:.2f} of it")


def measure_own_peak(where: Device) -> float:
    """Return operations per second of a large product, in the time that `seconds_of` measures."""
    if where.device.type == "cuda":
        return measure_peak(where)
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / min(seconds_of(lambda: a @ a, where.device) for _ in range(5))


if __name__ == "__main__":
    main()
