"""Killed, starved of disk, or robbed of workers at any moment: the bytes are those of a quiet run, and little is lost.

Work is counted in utterances begun. A kill costs those that were begun and whose record was not kept yet: at most
`AHEAD` for each worker, whatever the size of the corpus.
"""

import math
import os
import random
import shutil
import signal
import subprocess
import threading
import time

import numpy as np
import pytest

from dferc.engine.crew import AHEAD
from pipeline.extract_audio import main
from tests.helpers import counted_audio, counting
from tests.helpers.clips import tone, write_clip
from tests.helpers.common import left_to_long
from tests.helpers.corpora import make_row, run_stage, write_rows
from tests.helpers.processes import all_end

KILLS = int(os.environ.get("DFERC_KILLS", "2"))
"""Each costs seconds; `make test-long` asks for 30."""

SIZES_KIB = (200, 1000, 2500)
"""Disks that are full at the first records, in their midst, and as the features are written."""

LENGTH_S = 0.2


UTTERANCES = math.ceil(max(KILLS, len(SIZES_KIB)) * AHEAD * 2 / 0.05)
"""The number of which the kills can cost 5 % at most, with two workers."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Short utterances, 100 to a file, and one too short for values; with what a run nobody disturbs writes."""
    folder = tmp_path_factory.mktemp("corpus")
    sound = tone(100 * LENGTH_S, hz=110) + 0.01 * np.random.default_rng(0).standard_normal(1600 * 200).astype("float32")
    rows = []
    for number in range(UTTERANCES):
        file, start_s = f"{number // 100}.wav", LENGTH_S * (number % 100)
        if start_s == 0:
            write_clip(folder / file, sound=np.roll(sound, 997 * number, axis=1))
        rows.append(make_row(f"u{number}", file, start_s + LENGTH_S, start_s=start_s))
    write_rows(folder, [*rows, make_row("tiny", "0.wav", 0.05)])
    quiet = {"out": folder / "quiet.h5", "problems": folder / "quiet.csv", "scratch": folder / "quiet.sqlite"}
    assert run_stage(main, folder, workers=0, **quiet).exit_code == 0
    return folder


@pytest.fixture
def folder(corpus, tmp_path):
    """Return a copy of the corpus, on which nothing has run."""
    return shutil.copytree(corpus, tmp_path / "corpus")


def quiet(folder):
    return (folder / "quiet.h5").read_bytes(), (folder / "quiet.csv").read_bytes()


def written(folder):
    assert not [file.name for file in folder.iterdir() if ".part" in file.name]
    return (folder / "out.h5").read_bytes(), (folder / "problems.csv").read_bytes()


@pytest.mark.slow
def test_stage_killed_again_and_again_makes_the_same_bytes_for_5_percent_more_work(folder):
    chance = random.Random(0)
    for moment in [0, *sorted(chance.sample(range(1, int(0.97 * UTTERANCES)), KILLS - 1))]:
        stage = counting.start("audio", folder)
        counting.wait_for(moment, folder, stage)
        time.sleep(0.03 * chance.random())
        counting.kill(stage)
        assert not (folder / "out.h5").exists()
    stage = counting.start("audio", folder)
    _, errors = stage.communicate(timeout=counting.PATIENCE_S)
    assert stage.returncode == 0, errors
    assert written(folder) == quiet(folder)
    assert UTTERANCES < len(counting.begun(folder)) <= 1.05 * UTTERANCES + 1  # the tiny one is begun, too


@pytest.fixture
def small_disk(tmp_path):
    """Mount a small file system; yield it with the function that sets its size in KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1024k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a file system can be mounted by root only: {mounted.stderr.decode().strip()}")
    try:
        yield disk, lambda size: subprocess.run(["mount", "-o", f"remount,size={size}k", disk], check=True)
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_stage_out_of_disk_again_and_again_makes_the_same_bytes(folder, small_disk, monkeypatch):
    disk, resize = small_disk
    monkeypatch.setattr("pipeline.audio.functionals.AudioWorker", counted_audio.CountedAudioWorker)
    places = {"out": disk / "out.h5", "problems": disk / "problems.csv", "scratch": disk / "scratch.sqlite"}
    for size in SIZES_KIB:
        resize(size)
        outcome = run_stage(main, folder, workers=1, **places)
        assert outcome.exit_code == 1 and "Traceback" not in outcome.stderr, outcome.stderr
        assert "disk" in outcome.stderr or "No space left" in outcome.stderr, outcome.stderr
        assert not places["out"].exists()
    resize(50_000)
    assert run_stage(main, folder, workers=0, **places).exit_code == 0
    assert written(disk) == quiet(folder)
    assert UTTERANCES < len(counting.begun(folder)) <= 1.05 * UTTERANCES + 1


@left_to_long("test_engine_ray.py (a worker, a machine)")
@pytest.mark.slow
def test_stage_that_loses_ray_workers_and_a_node_makes_the_same_bytes(folder, monkeypatch):
    from tests.helpers.clusters import cluster_of  # skips where Ray is not installed

    monkeypatch.setattr("pipeline.audio.functionals.AudioWorker", counted_audio.CountedAudioWorker)
    with cluster_of({"num_cpus": 1}, {"num_cpus": 1}) as (cluster, [doomed]):

        def kill():
            for number in range(1, KILLS):
                counting.wait_for(number * UTTERANCES // (KILLS + 1), folder)
                os.kill(counting.begun(folder)[-1], signal.SIGKILL)
            counting.wait_for(KILLS * UTTERANCES // (KILLS + 1), folder)
            cluster.remove_node(doomed, allow_graceful=False)

        killer = threading.Thread(target=kill)
        killer.start()
        outcome = run_stage(main, folder, engine="ray", address=cluster.address)
        killer.join()
    assert outcome.exit_code == 0, outcome.stderr
    assert written(folder) == quiet(folder)
    assert UTTERANCES < len(counting.begun(folder)) <= 1.05 * UTTERANCES + 1
    assert all_end(set(counting.begun(folder)) - {os.getpid()})
