"""Time and memory of importing a pickle of MELD's size, and of the first training step on what was imported.

    python -m benchmarks.import_features

The pickle is simulated in the layout of SDT's 13-tuple: 1432 dialogues and 13,708 utterances, four text layers of 1024,
audio 300, visual 342, float32; once as an array per utterance, once as lists of Python floats, once as an array per
dialogue. Each is imported by `dferc import` in a process of its own (all four text layers are read and averaged), and
written in another.
The size is that of the values in float32: 13,708 x (4 x 1024 + 300 + 342) x 4 bytes.

The first step is that of `dferc train --corpus meld` with the settings of params.yaml, in a process of its own: from
opening the features (read, verified, normalised, put on the device) to the end of the first batch's optimiser step.
Starting Python and importing torch come before it and are reported apart.

By the clock the numbers hold on an idle machine only; processor time and memory also on a busy one. The peak of memory
is that of the command and of the process which reads the pickle together, with the values that the latter hands over.
"""

import argparse
import contextlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

DIALOGUES, UTTERANCES = {range(0, 1039): 9989, range(1039, 1153): 1109, range(1153, 1433): 2610}, 13_708
TEXT, AUDIO, VISUAL = 1024, 300, 342
SIZE = UTTERANCES * (4 * TEXT + AUDIO + VISUAL) * 4
TARGET_S, TARGET_MEMORY, TARGET_FIRST_STEP_S = 10, 3, 2
FORMS: dict[str, Callable[[np.ndarray], object]] = {
    "an array per utterance": list,
    "lists of floats": lambda matrix: matrix.astype(float).tolist(),
    "an array per dialogue": lambda matrix: matrix,
}


def simulate(form: Callable[[np.ndarray], object]) -> tuple:
    """SDT's 13-tuple with MELD's numbers of dialogues and utterances and random values."""
    random = np.random.default_rng(0)
    lengths = {}
    for keys, utterances in DIALOGUES.items():
        keys = [key for key in keys if key != 60]
        cuts = np.sort(random.choice(np.arange(1, utterances), len(keys) - 1, replace=False))
        lengths |= dict(zip(keys, np.diff(np.r_[0, cuts, utterances]).tolist()))

    def part(width: int) -> dict:
        return {key: form(random.standard_normal((n, width), dtype=np.float32)) for key, n in lengths.items()}

    ids = {key: list(range(n)) for key, n in lengths.items()}
    speakers = {key: [[1.0] + [0.0] * 8] * n for key, n in lengths.items()}
    labels = {key: random.integers(0, 7, n).tolist() for key, n in lengths.items()}
    sentences = {key: [f"utterance {place}" for place in range(n)] for key, n in lengths.items()}
    features = [part(TEXT), part(TEXT), part(TEXT), part(TEXT), part(AUDIO), part(VISUAL)]
    train, test = ([key for key in lengths if (key >= 1153) == later] for later in (False, True))
    return (ids, speakers, labels, *features, sentences, train, test, {})


def write(name: str, path: Path) -> None:
    with open(path, "wb") as file:
        pickle.dump(simulate(FORMS[name]), file, protocol=4)  # Python 2 wrote arrays alike


def measure(path: Path, folder: Path) -> tuple[float, float, int]:
    """Seconds by the wall, of the processor, and peak bytes of `dferc import` in a process of its own."""
    command = [sys.executable, "-m", "dferc", "import", str(path), f"--features={folder}", "--replace"]
    started, peak, ended = time.perf_counter(), 0, 0
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not ended:
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        peak = max(peak, 0 if ended else resident(process.pid))
        time.sleep(0.005)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return time.perf_counter() - started, used.ru_utime + used.ru_stime, peak


def resident(pid: int) -> int:
    """Return the resident bytes of a process and its children, with what a child has written into a file in memory."""
    total = 0
    with contextlib.suppress(OSError):  # a process that has just ended
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            total += int(Path(f"/proc/{child}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
            if os.readlink(f"/proc/{child}/fd/1").startswith("/memfd:"):
                total += os.stat(f"/proc/{child}/fd/1").st_size
    return total


def first_step(folder: Path) -> dict[str, float]:
    """Seconds of importing the trainer, of opening features, and of building the model and its first step."""
    started = time.perf_counter()
    import torch._dynamo  # noqa: F401 - the first optimiser imports it, whether anything is compiled or not

    from dferc.core.device import choose_device
    from dferc.settings.document import load_params
    from dferc.store.hdf5 import read_corpus
    from dferc.training.learner import dferc_objective
    from dferc.training.optimiser import make_machinery
    from dferc.training.task import make_task

    settings = load_params("params.yaml").corpus("meld").train
    imported = time.perf_counter()
    task = make_task(read_corpus(folder), "full", settings, choose_device("cpu", settings.precision))
    opened = time.perf_counter()
    machinery = make_machinery(task.new_model(), settings, steps=100, seed=0, dtype=task.device.dtype)
    batch = next(iter(task.train.batches(settings.batch_dialogues, generator=machinery.order)))
    machinery.model.train()
    losses, _ = dferc_objective(machinery.model, batch, task)
    losses.total.backward()
    machinery.clip(machinery.model.parameters())
    machinery.optimiser.step()
    return {"import": imported - started, "open": opened - imported, "step": time.perf_counter() - opened}


def main() -> None:
    """Write and measure each form, then the first step on what was imported last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", nargs=2, metavar=("FORM", "FILE"), help="only write this form's pickle")
    parser.add_argument("--first-step", type=Path, metavar="FOLDER", help="only open these features and make one step")
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.write[0], Path(arguments.write[1]))
        return
    if arguments.first_step:
        print(json.dumps(first_step(arguments.first_step)))
        return
    load = os.getloadavg()[0]
    print(f"values: {SIZE / 2**20:.0f} MiB; limits {TARGET_S} s, {TARGET_MEMORY} times the values; load {load:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "features.pkl")
        for name in FORMS:
            subprocess.run([sys.executable, "-m", "benchmarks.import_features", "--write", name, path], check=True)
            took, processor, peak = measure(path, Path(folder, "features"))
            size = path.stat().st_size
            print(
                f"{name}: file {size / 2**20:.0f} MiB; {took:.1f} s, {processor:.1f} s of the processor; peak "
                f"{peak / 2**20:.0f} MiB = {peak / size:.2f} times the file, {peak / SIZE:.2f} times the values",
                flush=True,
            )
        command = [
            sys.executable,
            "-m",
            "benchmarks.import_features",
            "--first-step",
            str(Path(folder, "features/meld")),
        ]
        took = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"opening and first step: {took['open'] + took['step']:.2f} s ({took['open']:.2f} and {took['step']:.2f}), "
            f"after {took['import']:.1f} s of importing torch; limit {TARGET_FIRST_STEP_S} s on two cores"
        )


if __name__ == "__main__":
    main()
