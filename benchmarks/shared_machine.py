"""Training beside other work on the same cores, as a ratio to training alone: `python -m benchmarks.shared_machine`.

Two kinds of work on the CPU, with as many threads as there are cores: steps of the face network as in `train_face`, and
short runs of `dferc train` (whose `train.threads` is one by default). Each is timed in a process of its own: alone,
beside as many busy processes as there are cores, and alone with OpenMP's own spinning at barriers, which
`dferc.core.threads` cuts short. The three take turns, and the medians count. Targets: beside others at most 3 times the
time alone; alone at most 3 % slower than with spinning.

Only a machine that is otherwise idle can show them, so the load that it met is printed. Some three minutes.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dferc.engine import default_workers

KINDS = ("train_face", "train")
TARGETS = {"beside others / alone": 3.0, "alone / with spinning": 1.03}
SPINNING = {"GOMP_SPINCOUNT": "300000"}
"""libgomp's own default, which `dferc.core.threads` then leaves as it is."""


def face_steps() -> Callable[[], None]:
    """Prepare steps of the face network; return the function of one step."""
    import torch
    from torch.nn import functional as F

    from pipeline.faces.densenet import FaceNet

    net = FaceNet(image_size=32, mean=128.0, std=64.0).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, 0.9, nesterov=True)
    faces_BSS = torch.randint(0, 256, (32, 32, 32), dtype=torch.uint8)
    logits_BC = net(faces_BSS).logits
    targets_BC = torch.full_like(logits_BC, 1 / logits_BC.shape[1])

    def step() -> None:
        loss = F.cross_entropy(net(faces_BSS).logits, targets_BC)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def training_runs(folder: Path) -> Callable[[], None]:
    """Prepare runs of `dferc train` at the paper's sizes over few dialogues; return the function of one run."""
    from dferc.cli.main import main as dferc
    from tests.helpers.common import write_features_folder

    widths = {"text": 384, "audio": 1582, "visual": 342}
    write_features_folder(folder / "features/demo", widths=widths, dialogues={"train": 12, "validation": 2})
    settings = {"epochs": 2, "threads": default_workers()}
    places = [f"--features={folder}/features", f"--out={folder}/runs", f"--scratch={folder}/scratch", "--device=cpu"]
    changes = [f"--set=train.{name}={value}" for name, value in settings.items()]
    command = ["train", "--corpus=demo", *places, *changes, "--seed=0", "--fresh", "--no-evaluate"]
    return lambda: dferc(command, standalone_mode=False)


def time_work(kind: str, repeats: int) -> list[float]:
    """Return the seconds of each repetition, after one to warm up, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        work = face_steps() if kind == "train_face" else training_runs(Path(folder))
        work()
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - started)
    return seconds


def measure(kind: str, repeats: int, environment: dict[str, str]) -> float:
    """Return the median seconds of a repetition in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.shared_machine", "--only", kind, "--repeats", str(repeats)]
    output = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ).stdout
    return statistics.median(json.loads(output))


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep this number of processes busy."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="steps or runs of one turn")
    parser.add_argument("--turns", type=int, default=3, help="of each way")
    parser.add_argument("--busy", type=int, default=default_workers(), help="busy processes beside it")
    parser.add_argument("--only", choices=KINDS, help="time one kind of work in this process, and print the seconds")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(time_work(options.only, options.repeats)))
        return
    plain = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    for kind in KINDS:
        load, turns = os.getloadavg()[0], []
        for _ in range(options.turns):
            alone, spinning = (measure(kind, options.repeats, plain | extra) for extra in ({}, SPINNING))
            with busy(options.busy):
                beside = measure(kind, max(options.repeats // 4, 1), plain)
            turns.append((alone, spinning, beside))
        alone, spinning, beside = (statistics.median(column) for column in zip(*turns, strict=True))
        ratios = dict(zip(TARGETS, (beside / alone, alone / spinning), strict=True))
        verdicts = ", ".join(
            f"{name} {ratio:.2f} (target {TARGETS[name]}: {'met' if ratio <= TARGETS[name] else 'MISSED'})"
            for name, ratio in ratios.items()
        )
        print(
            f"shared_machine  {kind}: alone {1000 * alone:.0f} ms, with spinning {1000 * spinning:.0f} ms, beside "
            f"{options.busy} busy processes {1000 * beside:.0f} ms; {verdicts}; load average before {load:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
