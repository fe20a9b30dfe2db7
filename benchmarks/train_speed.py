"""A training epoch at the paper's sizes, as a fraction of this machine's measured matrix-multiplication peak.

    python -m benchmarks.train_speed

The data are simulated: 108 dialogues of 8 to 110 utterances (IEMOCAP's shape), features 384/1582/342 wide, all present.
An epoch is one of `dferc.training.loop.fit`, as the trainer runs it: forward, losses, backward, clipping, AdamW and
the validation of one short dialogue.

Counted operations (a multiplication and an addition are two):
- linear and recurrent layers: forward 2 per weight and utterance, backward twice that;
- contrastive losses: by their definition, a similarity of all pairs of the batch's 3n rows at both levels, forward
  2 * (3n)² * H each, backward twice that. (The code needs a third less, since the similarity is symmetric.)
Elementwise work, AdamW and clipping are not counted, only timed. The fraction is given with and without the losses.

The peak is the best float32 product of two 4096 x 4096 matrices, measured right before and after each epoch, since
shared machines drift. Peak memory is this process's (CPU) or the allocator's (CUDA).
"""

import argparse
import resource
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from dferc.core.device import Device
from dferc.settings.document import load_params
from dferc.store.rows import CachedCorpus, Features, Utterances
from dferc.store.vocabulary import MODALITIES
from dferc.training.resume import Progress
from dferc.training.run import train_model
from dferc.training.task import Task, make_task

WIDTHS = {"text": 384, "audio": 1582, "visual": 342}
DIALOGUES, SHORTEST, LONGEST, CLASSES = 108, 8, 110, 6
TARGETS = {2: 0.22, 32: 0.45}


def simulate(seed: int = 0, dialogues: int = DIALOGUES) -> CachedCorpus:
    """Random features and labels in IEMOCAP's shape; one extra dialogue is the validation split."""
    random = np.random.default_rng(seed)
    lengths = np.append(random.integers(SHORTEST, LONGEST + 1, dialogues), SHORTEST)
    N = int(lengths.sum())
    dialogue = np.repeat([f"d{number}" for number in range(len(lengths))], lengths).astype(object)
    ids = np.array([f"u{number}" for number in range(N)], dtype=object)
    utterances = Utterances(
        corpus="simulated",
        classes=tuple("abcdef"),
        protocol="simulated",
        utterance_id=ids,
        dialogue_id=dialogue,
        position=np.concatenate([np.arange(length) for length in lengths]),
        speaker=np.full(N, "", dtype=object),
        emotion=random.integers(0, CLASSES, N),
        split=np.where(dialogue == dialogue[-1], "validation", "train").astype(object),
        text=np.full(N, "", dtype=object),
        start_s=np.zeros(N),
        end_s=np.ones(N),
    )
    modalities = {
        name: Features(
            modality=name,
            corpus="simulated",
            features=random.standard_normal((N, width), dtype=np.float32),
            present=np.ones(N, dtype=bool),
            utterance_id=ids,
            identity={"rows_hash": utterances.rows_hash},
        )
        for name, width in WIDTHS.items()
    }
    return CachedCorpus(utterances=utterances, modalities=modalities)


def count_operations(task: Task, model: torch.nn.Module) -> tuple[float, float]:
    """Operations of an epoch: of the linear and recurrent layers, and of the contrastive losses (see above)."""
    weights = sum(p.numel() for name, p in model.named_parameters() if "weight" in name)
    utterances = int(task.train.lengths.sum())
    in_order = task.train.batches(task.settings.batch_dialogues, torch.Generator().manual_seed(0))
    pairs = sum((len(MODALITIES) * len(batch.labels_N)) ** 2 for batch in in_order)
    return 3 * 2 * weights * utterances, 3 * 2 * 2 * pairs * task.settings.hidden


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds, the device's queue included."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure_peak(device: Device) -> float:
    """Operations per second of the best of eight large products in the device's precision."""
    a = torch.randn(4096, 4096, device=device.device, dtype=device.dtype)
    a @ a
    return 2 * 4096**3 / min(seconds_of(lambda: a @ a, device.device) for _ in range(8))


def measure(corpus: CachedCorpus, batch_dialogues: int, device: Device, epochs: int) -> None:
    """Time epochs after a warm-up one; print the median and the fraction of the peak around it."""
    settings = load_params().corpus("iemocap").train
    changes = {"batch_dialogues": batch_dialogues, "class_weights": "uniform", "threads": torch.get_num_threads()}
    changes |= {"epochs": epochs + 1, "patience": epochs + 1}
    settings = settings.model_copy(update=changes)
    task = make_task(corpus, "full", settings, device)
    model = task.new_model().to(device.device)
    layers, contrast = count_operations(task, model)
    timed, started, peak_before = [], 0.0, 0.0

    def note(row: Mapping[str, float], _is_best: bool) -> None:
        """Note the time of an epoch and the peak around it; the first epoch warms up."""
        nonlocal started, peak_before
        if device.device.type == "cuda":
            torch.cuda.synchronize()
        took, peak_after = time.perf_counter() - started, measure_peak(device)
        if row["epoch"] > 1:
            timed.append((took, max(peak_before, peak_after)))
        peak_before, started = peak_after, time.perf_counter()

    train_model(task, lambda: model, 0, Progress(), report=note)
    took, peak = sorted(timed)[len(timed) // 2]
    target = f"  (target {TARGETS[batch_dialogues]})" if device.device.type == "cpu" else ""
    share, share_of_layers = ((operations / took / peak) for operations in (layers + contrast, layers))
    print(
        f"{batch_dialogues:3d} dialogues a batch: {took:6.2f} s an epoch; "
        f"{layers / 1e9:.0f} + {contrast / 1e9:.0f} GFLOP at a peak of {peak / 1e9:.0f} GFLOP/s = {share:.3f}{target}, "
        f"{share_of_layers:.3f} without the contrastive losses; peak memory {memory(device) / 2**20:.0f} MiB",
        flush=True,
    )


def memory(device: Device) -> int:
    """Peak bytes so far."""
    if device.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure at 2 and at 32 dialogues a batch; on CUDA in bfloat16 and in float32."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs per size; the median counts (default 3)")
    epochs = parser.parse_args().epochs
    devices = [Device(torch.device("cpu"), torch.float32, "")]
    if torch.cuda.is_available():
        devices += [Device(torch.device("cuda"), dtype, "") for dtype in (torch.bfloat16, torch.float32)]
    else:
        print("no CUDA device: the GPU is not measured")
    corpus = simulate()
    for device in devices:
        name = (
            torch.cuda.get_device_name() if device.device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
        )
        print(f"{name}, {str(device.dtype).removeprefix('torch.')}; {len(corpus.utterances)} simulated utterances")
        for batch_dialogues in TARGETS:
            measure(corpus, batch_dialogues, device, epochs)


if __name__ == "__main__":
    main()
