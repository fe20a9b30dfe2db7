"""Memory of an extraction of 2,000 and of 20,000 utterances, side by side: `python -m benchmarks.memory`, a minute.

A simulated corpus: many utterances, each of its own time span, over a few files. The loop is the extractors' own
(`pipeline.extraction.loop.extract`: keys, scratch cache, engine, HDF5 file, problems table), the work is cheap: a
vector of the width of IS10 out of the item alone. Each size runs in a process of its own. Peaks of resident memory: of
the largest worker; of that process until the last result (the matrix of the features file, N x 1582 float32, has to
grow, and is taken off); and until the end, when the file is composed in memory and written.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from dferc import engine
from pipeline.extraction.loop import Extractor, extract, media_content
from pipeline.extraction.places import Places
from pipeline.extraction.records import Record
from pipeline.extraction.scratch import Scratch
from tests.helpers.corpora import make_row, write_rows

SIZES = (2_000, 20_000)
WIDTH = 1582
FILES = 4


def peak() -> int:
    """Return the resident peak of this process in bytes; `getrusage` would count its parent before the exec."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10


def vector(item: tuple[str, float]) -> tuple[Record, int]:
    """Make a vector from the item; return it with the peak of this worker's memory in bytes."""
    _, start_s = item
    record = Record({"features": np.full(WIDTH, start_s, np.float32)})
    return record, peak()


def run(folder: Path, count: int, workers: int) -> dict[str, int]:
    """Extract `count` utterances; return the peak memory of this process and of its workers, in bytes."""
    for number in range(FILES):
        (folder / f"{number}.wav").write_bytes(bytes([number]) * 4096)
    rows = [
        make_row(
            f"u{n:05}", f"{n % FILES}.wav", float(n + 1), start_s=float(n), dialogue_id=f"d{n // 10:04}", position=n
        )
        for n in range(count)
    ]
    write_rows(folder, rows)
    peaks = {"worker": 0}

    def compute(indices):
        items = ((rows[i].media, rows[i].start_s) for i in indices)
        for number, (record, of_worker) in engine.run(engine.stateless(vector), items, engine.Workers(workers)):
            peaks["worker"] = max(peaks["worker"], of_worker)
            yield indices[number], record
        peaks["loop"] = peak()

    names = {"table": "utterances.csv", "utterances": "utterances.h5", "out": "out.h5", "problems": "problems.csv"}
    paths = {name: folder / file for name, file in (names | {"log": "log.json"}).items()}
    places = Places(corpus="demo", params=Path("params.yaml"), raw=folder, scratch=folder / "scratch.sqlite", **paths)
    with Scratch(places.scratch) as scratch:
        extractor = Extractor(
            modality="audio",
            width=WIDTH,
            identity={"extractor": "none"},
            code=("pipeline.extraction.scratch",),
            wants=lambda row: True,
            content=media_content(folder, scratch, lambda row: row.heard),
            compute=compute,
        )
        tally = extract(rows, extractor, places, scratch)
    assert tally.done == count
    return peaks | {"end": peak()}


def measure(count: int, workers: int) -> dict[str, int]:
    """Run it in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--only", str(count), "--workers", str(workers)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", type=int, help="run one size in this process, and print its peaks")
    options = parser.parse_args()
    if options.only:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(run(Path(folder), options.only, options.workers)))
        return
    peaks = {count: measure(count, options.workers) for count in SIZES}
    for count, peak_of in peaks.items():
        peaks_mib = ", ".join(f"{name} {value / 2**20:.0f} MiB" for name, value in peak_of.items())
        print(f"memory  {count} utterances: {peaks_mib} (matrix {count * WIDTH * 4 / 2**20:.0f} MiB)")
    (few, small), (many, large) = peaks.items()
    loop = large["loop"] - small["loop"] - (many - few) * WIDTH * 4
    print(
        f"memory  {many - few} more: worker {(large['worker'] - small['worker']) / 2**20:+.1f} MiB; loop "
        f"{loop / 2**20:+.1f} MiB beyond the matrix, {loop / (many - few) / 2**10:.2f} KiB an utterance"
    )


if __name__ == "__main__":
    main()
