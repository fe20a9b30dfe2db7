"""extract_visual with today's defaults against an older commit's, over real clips: `python -m benchmarks.faces`.

The videos in $DFERC_SHARED/media are cut into utterances of 3.6 s, three times, so that what is done once (OpenVINO
compiles the network, 0.3 s) weighs less. Both checkouts run their own `prepare` and `extract_visual` on them, in turns,
with the defaults of their own params.yaml, in one process of one thread. The face network of 64 pixels has random
weights; YuNet's model lies where the hub's cache would have it. Measured is the CPU time of the stage, less that of the
same command when all is kept, which is its start. Target: 6 times the frames a second, and a face in as many frames.
Some two minutes of CPU a repeat.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import click
import h5py
import numpy as np
from ruamel.yaml import YAML

from dferc.core.console import readable_errors
from pipeline.faces.finder import YUNET_FILE
from pipeline.media.files import probe
from tests.helpers.clips import SHARED
from tests.helpers.common import REPOSITORY
from tests.helpers.face_models import write_untrained

BEFORE, TARGET, UTTERANCE_S = "cc0ca55", 6.0, 3.6
SHIFTS_S = (0.0, 1.2, 2.4)  # begin of the first utterance of a clip
CLIPS = ("WolfgangLanger_Pexels.mp4", "face_noface.mov", "no_face.mp4", "single_face.mp4")
YUNET = "face_detection_yunet_2026may.onnx"


class Measured(NamedTuple):
    """CPU seconds of a run without its start, sampled frames, frames with a face, and seconds of media."""

    cpu_s: float
    frames: int
    with_face: int
    media_s: float


@click.command()
@click.option("--before", default=BEFORE, show_default=True, help="Commit to compare with.")
@click.option("--repeats", default=3, show_default=True)
@readable_errors
def main(before: str, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        old = root / before
        old.mkdir()
        archive = subprocess.run(["git", "archive", before], cwd=REPOSITORY, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x"], cwd=old, input=archive, check=True)
        hub = offline_hub(root / "hub")
        trees = {before: old, "now": REPOSITORY}
        for label, tree in trees.items():
            lay_out(root / f"project-{label}", tree)
        runs = {label: [] for label in trees}
        for _ in range(repeats):
            for label, tree in trees.items():
                runs[label].append(measured(root / f"project-{label}", tree, hub))
        for label, results in runs.items():
            cpu_s, one = statistics.median(run.cpu_s for run in results), results[0]
            rates = f"{one.frames / cpu_s:.1f} frames a second, {one.media_s / cpu_s:.1f} times real time"
            share = f"{one.frames} frames, {one.with_face} with a face"
            print(f"{label}: {share}; {1000 * cpu_s / one.frames:.1f} ms a frame, {rates}")
        pairs = zip(*runs.values(), strict=True)
        ratio = statistics.median(was.cpu_s / now.cpu_s for was, now in pairs)
        same = all(run.with_face >= runs[before][0].with_face for run in runs["now"])
        print(
            f"ratio {ratio:.1f} (target {TARGET:g}: {'met' if ratio >= TARGET else 'MISSED'}); "
            f"a face in {'no fewer' if same else 'FEWER'} frames; load {os.getloadavg()[0]:.1f}"
        )


def offline_hub(cache: Path) -> dict[str, str]:
    """Lay YuNet where the hub's cache has it; return the variables that lead there."""
    repository, revision, name = YUNET_FILE
    folder = cache / f"models--{repository.replace('/', '--')}" / "snapshots" / revision
    folder.mkdir(parents=True)
    shutil.copy(SHARED / "media" / YUNET, folder / name)
    return {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}


def lay_out(project: Path, tree: Path) -> None:
    """Write params.yaml, clips, their table and a face network, and prepare the corpus."""
    raw = project / "data/raw/mine"
    raw.mkdir(parents=True)
    document = YAML(typ="safe").load((tree / "params.yaml").read_text(encoding="utf-8"))
    document["corpora"] = ["mine"]
    document["mine"]["train_face"]["source"] = str(write_untrained(project / "models/mine/face", 64))
    with open(project / "params.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe").dump(document, file)
    lines = ["dialogue_id,text,media,start,end"]
    for clip in CLIPS:
        shutil.copy(SHARED / "media" / clip, raw)
        for shift_s in SHIFTS_S:
            ends = [*np.arange(shift_s, length_s := probe(raw / clip).duration_s, UTTERANCE_S), length_s]
            lines += [f"{clip}-{shift_s},-,{clip},{begin:.3f},{end:.3f}" for begin, end in zip(ends, ends[1:])]
    (raw / "utterances.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command(project, tree, {}, "prepare", "--corpus=mine")


def measured(project: Path, tree: Path, hub: dict[str, str]) -> Measured:
    """Run the stage from nothing, and again with all kept."""
    scratch = project / "scratch.sqlite"
    scratch.unlink(missing_ok=True)
    options = ("extract_visual", "--corpus=mine", "--device=cpu", "--workers=0", f"--scratch={scratch}")
    whole_s, start_s = (command(project, tree, hub, *options) for _ in range(2))
    with h5py.File(project / "features/mine/visual.h5") as file:
        frames, share = (file["quality"][name][:].astype(float) for name in ("frames", "face_share"))
    lengths_s = (probe(project / "data/raw/mine" / clip).duration_s for clip in CLIPS)
    media_s = sum(length_s - shift_s for length_s in lengths_s for shift_s in SHIFTS_S)
    return Measured(whole_s - start_s, round(frames.sum()), round((frames * share).sum()), media_s)


def command(project: Path, tree: Path, variables: dict[str, str], stage: str, *options: str) -> float:
    """Run a stage of a checkout in a project; return its CPU seconds."""
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = (
        os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"} | variables
    )
    line = [sys.executable, "-m", f"pipeline.{stage}", *options]
    subprocess.run(line, cwd=project, env=environment, check=True, capture_output=True)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime


if __name__ == "__main__":
    main()
