"""extract_visual killed at any moment: the bytes are those of a quiet run, and little is lost.

Work is counted in utterances begun. A kill costs those under way, at most: `AHEAD` groups for each worker, those that
wait for the network, and those whose faces make up a batch; that does not grow with the corpus.
"""

import os
import random
import time

import numpy as np
import pytest

from dferc.engine.crew import AHEAD
from pipeline.extract_visual import GROUP, main
from pipeline.extraction.loop import PREFETCHED
from pipeline.faces.pooling import BATCH
from tests.helpers import counting
from tests.helpers.clips import write_clip
from tests.helpers.common import REPOSITORY
from tests.helpers.corpora import make_row, run_stage, write_rows
from tests.helpers.face_models import write_untrained
from tests.helpers.projects import edit

KILLS = int(os.environ.get("DFERC_KILLS", "1"))
"""Each costs seconds; `make test-long` asks for 30."""

LENGTH_S, PER_FILE = 0.2, 100
UNDER_WAY = AHEAD * GROUP + PREFETCHED + 2 + BATCH  # of one worker; two more in the hands of the two threads
UTTERANCES = KILLS * UNDER_WAY * 2


@pytest.fixture
def corpus(tmp_path):
    """Face crops of 0.2 s, 100 to a file, and one behind the end of a file; and the options of the command."""
    random_ = np.random.default_rng(0)
    rows = []
    for number in range(UTTERANCES):
        file, start_s = f"{number // PER_FILE}.avi", LENGTH_S * (number % PER_FILE)
        if start_s == 0:
            shades = random_.integers(0, 255, (PER_FILE, 4, 4), dtype=np.uint8)
            pictures = np.kron(shades, np.ones((1, 8, 8), np.uint8))
            write_clip(tmp_path / file, pictures=pictures, frames_per_s=5)
        rows.append(make_row(f"u{number}", file, start_s + LENGTH_S, start_s=start_s))
    write_rows(tmp_path, [*rows, make_row("late", "0.avi", 99.0, start_s=98.0)])
    params = tmp_path / "params.yaml"
    params.write_bytes((REPOSITORY / "params.yaml").read_bytes())
    edit(params, lambda document: document["demo"]["extract_visual"].update(finder="whole_frame"))
    return tmp_path, {"params": params, "face": write_untrained(tmp_path, 16), "device": "cpu", "workers": 1}


@pytest.mark.slow
def test_visual_stage_killed_again_and_again_makes_the_same_bytes_for_little_more_work(corpus):
    folder, options = corpus
    quiet = {"out": folder / "quiet.h5", "problems": folder / "quiet.csv", "scratch": folder / "quiet.sqlite"}
    assert run_stage(main, folder, **options | quiet | {"workers": 0}).exit_code == 0
    chance = random.Random(0)
    for moment in sorted(chance.sample(range(1, int(0.9 * UTTERANCES)), KILLS)):  # at the first: test_kill.py
        stage = counting.start("visual", folder, **options)
        counting.wait_for(moment, folder, stage)
        time.sleep(0.03 * chance.random())
        counting.kill(stage)
        assert not (folder / "out.h5").exists()
    stage = counting.start("visual", folder, **options)
    _, errors = stage.communicate(timeout=counting.PATIENCE_S)
    assert stage.returncode == 0, errors
    assert (folder / "out.h5").read_bytes() == quiet["out"].read_bytes()
    assert (folder / "problems.csv").read_bytes() == quiet["problems"].read_bytes()
    again = len(counting.begun(folder)) - (UTTERANCES + 1)  # the late one is begun, too
    assert 0 < again <= KILLS * UNDER_WAY
