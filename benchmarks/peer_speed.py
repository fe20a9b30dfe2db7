"""Training epochs of the peers against DF-ERC's, all at their papers' sizes, in CPU time.

    python -m benchmarks.peer_speed

The data are a third of those of `benchmarks.train_speed`: 36 dialogues of 8 to 110 utterances, features 384/1582/342
wide, all present. An epoch is forward, losses, backward, clipping and the optimiser's steps. The models take turns, so
that other work on the machine strikes all of them; of each, the fastest epoch after the first counts. Target: at least
half of `full`'s utterances per second.
"""

import argparse
import time
from collections.abc import Callable

import torch

from benchmarks.train_speed import simulate
from dferc.baselines.registry import TRAINED
from dferc.baselines.run import adapt
from dferc.baselines.shared import make_adam
from dferc.core.device import Device, cpu_threads
from dferc.settings.document import load_params
from dferc.training.learner import DialogueLearner
from dferc.training.optimiser import make_machinery
from dferc.training.task import Task, make_task

PEERS = ("dialogue_rnn", "mmgcn", "sdt")
TARGET = 0.5
DIALOGUES = 36


def make_epoch(name: str, task: Task) -> Callable[[], float]:
    """Build a model; return a function that trains an epoch and returns its CPU seconds."""
    if name == "full":
        model, machinery, learner = task.new_model(), make_machinery, DialogueLearner(task, 0)
    else:
        baseline, task, machinery = TRAINED[name], adapt(name, task), make_adam
        model = baseline.build(task, **baseline.recipes["iemocap"].sizes)
        learner = DialogueLearner(task, 0, baseline.objective)
    parts = machinery(model, task.settings, steps=10_000, seed=0, dtype=torch.float32)

    def epoch() -> float:
        started = time.process_time()
        for batch in learner.batches(parts.order):
            parts.optimiser.zero_grad(set_to_none=True)
            learner.loss(model.train(), batch).backward()
            parts.clip(model.parameters())
            parts.optimiser.step()
        return time.process_time() - started

    return epoch


def main() -> None:
    """Print utterances per second of each model, and the share of `full`'s."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2, help="timed epochs of each model (default 2)")
    epochs = parser.parse_args().epochs
    settings = load_params().corpus("iemocap").train.model_copy(update={"class_weights": "uniform"})
    task = make_task(simulate(dialogues=DIALOGUES), "full", settings, Device(torch.device("cpu"), torch.float32, ""))
    utterances = int(task.train.lengths.sum())
    with cpu_threads(1):
        models = {name: make_epoch(name, task) for name in ("full", *PEERS)}
        turns = [{name: epoch() for name, epoch in models.items()} for _ in range(epochs + 1)][1:]
    fastest = {name: min(turn[name] for turn in turns) for name in models}
    for name, seconds in fastest.items():
        share = fastest["full"] / seconds
        aim = "" if name == "full" else f", {share:.2f} of full's (target {TARGET})"
        print(f"{name:12s} {seconds:6.1f} s of CPU an epoch, {utterances / seconds:6.0f} utterances/s{aim}", flush=True)


if __name__ == "__main__":
    main()
