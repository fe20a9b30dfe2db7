"""Ray against this machine's own worker processes, on one machine: `python -m benchmarks.engines`, some 5 minutes.

The clips of benchmarks.extract_audio over and over, through the same function and as many workers; the two engines in
turn. A rate is by the clock, from when all workers are at work: starting Ray costs some seconds, once. Only a machine
that is otherwise idle can show the ratio, so the load that it met is printed.
"""

import argparse
import functools
import itertools
import os
import tempfile
import time
from pathlib import Path

from benchmarks.extract_audio import FEATURE_SET, make_clips
from dferc import engine
from pipeline.audio.functionals import AudioWorker

TARGET = 0.9
ENGINES = ("local", "ray")


def rate(items: list[tuple], name: str, workers: int) -> tuple[float, float]:
    """Return clips per second once every worker has given a result or two, and the seconds until then."""
    where = engine.Workers(workers, cluster="local" if name == "ray" else None)
    warm = 4 * workers
    began = time.perf_counter()
    results = engine.run(functools.partial(AudioWorker, FEATURE_SET), items, where)
    for _ in range(warm):
        next(results)
    started = time.perf_counter()
    finished = sum(1 for _ in results)
    return finished / (time.perf_counter() - started), started - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=2000, help="clips of one turn")
    parser.add_argument("--turns", type=int, default=2, help="of each engine")
    parser.add_argument("--workers", type=int, default=engine.default_workers(), help="of each engine")
    options = parser.parse_args()
    load, rates = os.getloadavg()[0], {name: [] for name in ENGINES}
    with tempfile.TemporaryDirectory() as folder:
        items = list(itertools.islice(itertools.cycle(make_clips(Path(folder), 40)), options.clips))
        for turn, name in itertools.product(range(options.turns), ENGINES):
            clips_per_s, start_s = rate(items, name, options.workers)
            rates[name].append(clips_per_s)
            print(
                f"engines  turn {turn + 1}, {name}: {clips_per_s:.1f} clips/s after a start of {start_s:.1f} s",
                flush=True,
            )
    ratio = sum(rates["ray"]) / sum(rates["local"])
    print(
        f"engines  ray / local, {options.clips} clips, {options.turns} turn(s), {options.workers} worker(s): "
        f"{ratio:.3f} (target {TARGET}: {'met' if ratio >= TARGET else 'MISSED'}; load average before {load:.1f})"
    )


if __name__ == "__main__":
    main()
