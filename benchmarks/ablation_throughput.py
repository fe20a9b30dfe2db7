"""Seeds side by side against one after another: what an ablation gains from running several at once.

    python -m benchmarks.ablation_throughput

Simulated features in IEMOCAP's shape (benchmarks.train_speed) and the paper's sizes, `full` with several seeds, by
`dferc.training.sweep.perform`, as `dferc ablate` runs them: one worker process against several. The processes' start is
timed too, both ways. A run has `train.threads` CPU threads both ways; on the CPU the weights are compared byte by byte.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.train_speed import simulate
from dferc.engine import Workers, default_workers
from dferc.settings.document import load_params
from dferc.store.hdf5 import write_features, write_utterances
from dferc.training.checkpoint import WEIGHTS
from dferc.training.sweep import Sweep, perform

ON_GPU = (2, 4, 8)
"""Runs that share the GPU."""


def seconds_of(sweep: Sweep, workers: int, root: Path) -> float:
    """Return the wall-clock seconds of all runs with this many at once, in a folder of their own."""
    place = root / f"{sweep.device}-{workers}"
    (place / "status").mkdir(parents=True)
    sweep = replace(sweep, folder=place / "runs", scratch=place / "scratch")
    started = time.perf_counter()
    for run, outcome in perform(sweep, Workers(workers), place / "status"):
        if outcome.error is not None:
            raise SystemExit(f"{run}: {outcome.error}")
    return time.perf_counter() - started


def weights(root: Path) -> dict[str, bytes]:
    """Read the trained models, by seed."""
    return {path.parent.name: path.read_bytes() for path in root.rglob(WEIGHTS)}


def measure(sweep: Sweep, counts: tuple[int, ...], root: Path) -> None:
    """Time one at a time, then each count; print the ratio."""
    name = torch.cuda.get_device_name() if sweep.device == "cuda" else f"CPU, {default_workers()} cores"
    alone = seconds_of(sweep, 1, root)
    print(f"{name}: {len(sweep.seeds)} seeds one after another {alone:.1f} s", flush=True)
    for count in counts:
        beside = seconds_of(sweep, count, root)
        line = f"  {count} at once: {beside:.1f} s, {alone / beside:.2f} times as fast"
        if sweep.device == "cpu":
            same = weights(root / f"cpu-{count}") == weights(root / "cpu-1")
            line += "; same bytes" if same else "; OTHER BYTES: a run depends on what runs beside it"
        print(line, flush=True)


def main() -> None:
    """Measure on the CPU, and on CUDA where there is one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogues", type=int, default=36, help="of the simulated training split (default 36)")
    parser.add_argument("--epochs", type=int, default=3, help="of each run (default 3)")
    parser.add_argument("--batch", type=int, default=8, help="dialogues per step (default 8)")
    options = parser.parse_args()
    corpus = simulate(dialogues=options.dialogues)
    changes = {"epochs": options.epochs, "batch_dialogues": options.batch, "class_weights": "uniform"}
    settings = load_params().corpus("iemocap").train.model_copy(update=changes)
    cores = default_workers()
    kinds = {"cpu": (cores,)}
    if torch.cuda.is_available():
        kinds["cuda"] = ON_GPU
    else:
        print("no CUDA device: runs that share a GPU are not measured")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_utterances(root / "simulated/utterances.h5", corpus.utterances)
        for modality, features in corpus.modalities.items():
            write_features(root / f"simulated/{modality}.h5", features)
        for device, counts in kinds.items():
            seeds = tuple(range(2 * max(counts)))
            sweep = Sweep(
                corpus="simulated",
                features=root / "simulated",
                folder=root,
                scratch=root,
                variants=("full",),
                seeds=seeds,
                settings=settings,
                device=device,
                fresh=False,
            )
            measure(sweep, counts, root)


if __name__ == "__main__":
    main()
