"""extract_audio against the bare tool, as ratios measured in one run.

1. One worker over bare: utterances per second of what a worker does with an utterance (open the file, decode, downmix,
   resample, functionals, record) over those of bare `opensmile.Smile.process_signal` on the same samples, decoded
   beforehand and held in memory. In CPU time of this one-threaded process, the two alternating clip by clip: a busy
   machine, and waiting for the disk, do not count.
2. Two workers over one: the engine's throughput on the same clips, several times over, by the clock, from when every
   worker has given a result: they start one after the other, each for a second or more. Only a machine that is
   otherwise idle can show it, so the load it met is printed.

The clips are synthetic: mp4 with AAC at 48 kHz stereo beside a small picture track, 1 to 6 s (MELD's median is 2.5 s).
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from dferc import engine
from pipeline.audio import functionals
from pipeline.extraction.records import Measured
from pipeline.media.sound import SAMPLE_RATE_HZ
from tests.helpers.clips import read_audio, tone, write_clip

FEATURE_SET, MIN_S = "IS10", 0.08
RATE_HZ = 48000
TARGETS = {"one worker / bare": 0.9, "two workers / one": 1.8}


def make_clips(folder: Path, count: int) -> list[tuple[str, float, float, float]]:
    """Make the stage's items: path, start_s, end_s, min_s."""
    lengths_s = np.random.default_rng(0).uniform(1, 6, count)
    pictures = [np.full((120, 160), 8 * shade, np.uint8) for shade in range(25)]
    items = []
    for number, length_s in enumerate(lengths_s):
        sound = tone(length_s, RATE_HZ, channels=2, hz=100 + 5 * number)
        shown = (pictures * 7)[: round(length_s * 25)]
        clip = write_clip(
            folder / f"{number}.mp4", sound=sound, rate_hz=RATE_HZ, layout="stereo", pictures=shown, frames_per_s=25
        )
        items.append((str(clip), 0.0, float(length_s), MIN_S))
    return items


def one_worker_to_bare(items: list[tuple]) -> tuple[float, float]:
    """Return the ratio of throughputs, and the share of our time that decoding takes."""
    smile = functionals.open_smile(FEATURE_SET)
    worker = functionals.AudioWorker(FEATURE_SET)
    seconds = dict.fromkeys(("bare", "ours", "decode"), 0.0)
    with threadpool_limits(1):
        for item in items:
            samples = _timed(seconds, "decode", read_audio, *item[:3])
            _timed(seconds, "bare", smile.process_signal, samples, SAMPLE_RATE_HZ)
            _timed(seconds, "ours", worker, item)
    return seconds["bare"] / seconds["ours"], seconds["decode"] / seconds["ours"]


def two_workers_to_one(items: list[tuple], passes: int) -> float:
    """Return the ratio of the engine's throughputs; each the better of two alternating runs."""
    best = {1: 0.0, 2: 0.0}
    for _ in range(2):
        for workers in best:
            best[workers] = max(best[workers], _throughput(items * passes, workers))
    return best[2] / best[1]


def _throughput(items: list[tuple], workers: int) -> float:
    """Return items per second once all workers are at work."""
    results = engine.run(NamedWorker, items, engine.Workers(workers))
    seen = set()
    while len(seen) < workers:
        seen.add(next(results)[1][0])
    started = time.perf_counter()
    finished = sum(1 for _ in results)
    return finished / (time.perf_counter() - started)


class NamedWorker(functionals.AudioWorker):
    """The stage's worker; its results have the worker's process id beside them."""

    def __init__(self):
        super().__init__(FEATURE_SET)

    def __call__(self, item: tuple) -> tuple[int, Measured]:
        """Compute one item."""
        return os.getpid(), super().__call__(item)


def _timed(seconds: dict[str, float], name: str, function: Callable, *arguments: object) -> object:
    started = time.process_time()
    result = function(*arguments)
    seconds[name] += time.process_time() - started
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=40, help="synthetic clips")
    parser.add_argument("--passes", type=int, default=6, help="over them, where workers are compared")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        items = make_clips(Path(folder), options.clips)
        ratio, decoding = one_worker_to_bare(items)
        _report("one worker / bare", ratio, f"decoding is {decoding:.1%} of our time")
        load = f"{engine.default_workers()} CPUs, load average before {os.getloadavg()[0]:.1f}"
        _report("two workers / one", two_workers_to_one(items, options.passes), load)


def _report(name: str, ratio: float, remark: str) -> None:
    target = TARGETS[name]
    print(f"extract_audio  {name}: {ratio:.2f}  (target {target}: {'met' if ratio >= target else 'MISSED'}; {remark})")


if __name__ == "__main__":
    main()
