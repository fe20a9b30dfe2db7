"""A training epoch at the paper's sizes, as a fraction of this machine's measured matrix-multiplication peak.

    python -m benchmarks.train_speed
    python -m benchmarks.train_speed --variant plus --one-thread   # `plus`, and each part that it adds; in CPU time

The data are simulated: 108 dialogues of 8 to 110 utterances (IEMOCAP's shape), features 384/1582/342 wide, all present.
An epoch is one of `dferc.training.loop.fit`, as the trainer runs it: forward, losses, backward, clipping, AdamW and
the validation of one short dialogue.

Counted operations (a multiplication and an addition are two):
- linear and recurrent layers: forward 2 per weight and utterance, backward twice that;
- contrastive losses: by their definition, a similarity of all pairs of the batch's 3n rows at both levels, forward
  2 * (3n)² * H each, backward twice that. (The code needs a third less, since the similarity is symmetric.)
- attention: 4 per pair of utterances of one dialogue, width and layer, backward twice that; padding is not counted.
Elementwise work, AdamW and clipping are not counted, only timed. The fraction is given with and without the losses.

Parts of `plus` are also timed alone, forward and backward: a part may be slow and hide in an epoch. The linear floor is
fitted once a run, by L-BFGS in double precision: two products of the features with C columns per iteration, which read
all features; its peak is that of the same product alone.

The peak is the best float32 product of two 4096 x 4096 matrices, measured right before and after each epoch, since
shared machines drift. `--one-thread` counts CPU seconds, which other work on the machine hardly lengthens. Peak memory
is this process's (CPU) or the allocator's (CUDA).
"""

import argparse
import resource
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from dferc.core.device import Device
from dferc.model.layers import dropout
from dferc.model.linear_blend import fit_floor, side_by_side
from dferc.model.variants import VARIANTS, settings_of
from dferc.settings.document import load_params
from dferc.store.rows import CachedCorpus, Features, Utterances
from dferc.store.vocabulary import MODALITIES
from dferc.training.resume import Progress
from dferc.training.run import train_model
from dferc.training.task import Task, make_task

WIDTHS = {"text": 384, "audio": 1582, "visual": 342}
DIALOGUES, SHORTEST, LONGEST, CLASSES = 108, 8, 110, 6
TARGETS = {2: 0.22, 8: 0.33, 32: 0.45}
SIZES = {"full": (2, 32), "plus": (8, 32)}  # dialogues a batch; 2 is the paper's, 8 that of `plus`


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
    """Operations of an epoch: of the linear, recurrent and attention layers; and of the contrastive losses."""
    weights = sum(p.numel() for name, p in model.named_parameters() if "weight" in name)
    utterances, H = int(task.train.lengths.sum()), task.settings.hidden
    in_order = task.train.batches(task.settings.batch_dialogues, torch.Generator().manual_seed(0))
    pairs = sum((len(MODALITIES) * len(batch.labels_N)) ** 2 for batch in in_order)
    return 3 * 2 * weights * utterances + 3 * count_attention(task), 3 * 2 * 2 * pairs * H * task.settings.members


def count_attention(task: Task) -> float:
    """Operations of the pairs of an epoch in the attention layers of all members, forward: scores and sums."""
    settings, pairs = task.settings, float((task.train.lengths.astype(float) ** 2).sum())
    return settings.members * settings.attention_layers * 4 * settings.attention_width * pairs


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Seconds by the clock of the device (`now`), its queue included."""
    started = now(device)
    work()
    return now(device) - started


def now(device: torch.device) -> float:
    """CPU seconds of this process where it has one thread, else wall-clock seconds; waits for a GPU's queue."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def measure_peak(device: Device) -> float:
    """Operations per second of the best of eight large products in the device's precision."""
    a = torch.randn(4096, 4096, device=device.device, dtype=device.dtype)
    a @ a
    return 2 * 4096**3 / min(seconds_of(lambda: a @ a, device.device) for _ in range(8))


def make_timed_task(corpus: CachedCorpus, variant: str, batch_dialogues: int, device: Device, epochs: int) -> Task:
    """Return the task of a variant at its sizes for IEMOCAP, with that many dialogues a batch."""
    settings = settings_of(variant, load_params().corpus("iemocap").train, "iemocap")
    changes = {"batch_dialogues": batch_dialogues, "class_weights": "uniform", "threads": torch.get_num_threads()}
    changes |= {"epochs": epochs + 1, "patience": epochs + 1}
    settings = settings.model_copy(update=changes).giving(changes)
    return make_task(corpus, variant, settings, device)


def measure(task: Task, epochs: int) -> float:
    """Time epochs after a warm-up one; print the median and the fraction of the peak around it; return the median."""
    device, batch_dialogues = task.device, task.settings.batch_dialogues
    model = task.new_model().to(device.device)
    layers, contrast = count_operations(task, model)
    timed, started, peak_before = [], 0.0, 0.0

    def note(row: Mapping[str, float], _is_best: bool) -> None:
        """Note the time of an epoch and the peak around it; the first epoch warms up."""
        nonlocal started, peak_before
        took, peak_after = now(device.device) - started, measure_peak(device)
        if row["epoch"] > 1:
            timed.append((took, max(peak_before, peak_after)))
        peak_before, started = peak_after, now(device.device)

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
    return took


def measure_parts(task: Task, epoch_s: float) -> None:
    """Time what `plus` adds, part by part: attention layers, input dropout; print shares of the epoch and the peak."""
    members, device, settings = (
        task.new_model().to(task.device.device).train().members,
        task.device.device,
        task.settings,
    )
    batches = list(task.train.batches(settings.batch_dialogues, torch.Generator().manual_seed(0)))
    width, attention = members[0].refuse.classifier.in_features // 2, members[0].extras.attention
    fused = [torch.randn(len(batch.labels_N), width, device=device, requires_grad=True) for batch in batches]

    def attend() -> None:
        for f_NF, batch in zip(fused, batches, strict=True):
            gathered_NA = attention(f_NF, batch.speaker_N, batch.layout)
            torch.autograd.grad(gathered_NA, [f_NF, *attention.parameters()], torch.ones_like(gathered_NA))

    def drop() -> None:
        for batch in batches:
            for x_ND in batch.features.values():
                dropout(x_ND, settings.input_dropout, True)

    weights = sum(p.numel() for name, p in attention.named_parameters() if "weight" in name)
    operations = 3 * 2 * weights * len(members) * int(task.train.lengths.sum()) + 3 * count_attention(task)
    for name, work, counted in (("attention", attend, operations), ("input dropout", drop, 0.0)):
        work()
        took = len(members) * min(seconds_of(work, device) for _ in range(3))
        peak = measure_peak(task.device)
        share = f", {counted / took / peak:.3f} of the peak" if counted else ", elementwise"
        print(f"    {name}: {took:.2f} s an epoch, {took / epoch_s:.1%} of it{share}", flush=True)


def measure_floor(task: Task, epoch_s: float) -> None:
    """Time the fit of the linear floor, once a run; print its share of a run, and of the rate of its products alone."""
    from sklearn.linear_model import LogisticRegression

    iterations, plain, epochs = [], LogisticRegression.fit, VARIANTS["plus"].settings["epochs"]

    def noted(self: LogisticRegression, *arguments: np.ndarray) -> LogisticRegression:
        fitted = plain(self, *arguments)
        iterations.append(int(self.n_iter_.max()))
        return fitted

    parts = [
        (side_by_side(split.features, split.present_MN, task.variant.modalities), split.labels_N)
        for split in (task.train, task.validation)
    ]
    LogisticRegression.fit = noted
    try:
        took = seconds_of(lambda: fit_floor(*parts, task.classes), torch.device("cpu"))
    finally:
        LogisticRegression.fit = plain
    x_NS = parts[0][0].double().cpu().numpy()
    w_SC, N = np.random.default_rng(0).normal(size=(x_NS.shape[1], task.classes)), len(x_NS)
    both = lambda: x_NS.T @ (x_NS @ w_SC)  # noqa: E731 - logits, and the gradient
    alone = min(seconds_of(both, torch.device("cpu")) for _ in range(5))
    print(
        f"    linear floor: {took:.2f} s a run ({sum(iterations)} iterations over {N} x {x_NS.shape[1]} features for "
        f"{len(iterations)} strengths), {took / (epochs * epoch_s):.1%} of {epochs} epochs; "
        f"{sum(iterations) * alone / took:.3f} of the rate of its products alone",
        flush=True,
    )


def memory(device: Device) -> int:
    """Peak bytes so far."""
    if device.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure at two sizes of batches; on CUDA in bfloat16 and in float32."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs per size; the median counts (default 3)")
    parser.add_argument("--variant", choices=("full", "plus"), default="full", help="which model (default full)")
    parser.add_argument("--one-thread", action="store_true", help="compute with one thread, and count CPU seconds")
    options = parser.parse_args()
    if options.one_thread:
        torch.set_num_threads(1)
        threadpool_limits(1)  # of the linear floor's library
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
        for batch_dialogues in SIZES[options.variant]:
            task = make_timed_task(corpus, options.variant, batch_dialogues, device, options.epochs)
            epoch_s = measure(task, options.epochs)
            if options.variant == "plus":
                measure_parts(task, epoch_s)
        if options.variant == "plus" and device.device.type == "cpu":
            measure_floor(task, epoch_s)


if __name__ == "__main__":
    main()
