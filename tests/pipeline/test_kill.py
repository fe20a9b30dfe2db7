"""SIGKILL at any moment: what was finished stays, the rest is paid once, the bytes are those of a quiet run."""

import re
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from pipeline.extract_audio import main
from tests.clips import tone, write_clip
from tests.corpora import REPOSITORY, make_row, run_stage, stage_arguments, write_rows

CLIPS = 24
LIMIT_S = 60


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus of a few seconds' work, and the bytes that a run nobody disturbs makes of it."""
    folder = tmp_path_factory.mktemp("corpus")
    names = [f"{number}.wav" for number in range(CLIPS)]
    for number, name in enumerate(names):
        write_clip(folder / name, sound=tone(4, hz=100 + 10 * number))
    write_clip(folder / "tiny.wav", sound=tone(0.05))
    rows = [make_row(name, name, 4.0) for name in names]
    write_rows(folder, [*rows, make_row("tiny.wav", "tiny.wav", 0.05)])
    quiet = {"out": folder / "quiet.h5", "problems": folder / "quiet.csv", "scratch": folder / "quiet.sqlite"}
    assert run_stage(main, folder, workers=0, **quiet).exit_code == 0
    return folder, (folder / "quiet.h5").read_bytes(), (folder / "quiet.csv").read_bytes()


def start(folder):
    command = [sys.executable, "-m", "pipeline.extract_audio", *stage_arguments(folder, workers=2)]
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)


def committed(folder):
    """Records that are in the scratch cache now."""
    if not (folder / "scratch.sqlite").exists():
        return 0
    database = sqlite3.connect(f"file:{folder / 'scratch.sqlite'}?mode=ro", uri=True, timeout=10)
    try:
        return database.execute("SELECT COUNT(*) FROM records").fetchone()[0]
    except sqlite3.OperationalError:
        return 0  # between the file and its tables
    finally:
        database.close()


def kill_when(folder, records):
    """Start the stage, kill it once so many records are kept; returns how many there were at its death."""
    stage = start(folder)
    deadline = time.monotonic() + LIMIT_S
    while committed(folder) < records and stage.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    stage.kill()
    stage.communicate()
    assert stage.returncode == -signal.SIGKILL, "it ended before it could be killed"
    return committed(folder)


def test_stage_killed_again_and_again_makes_the_same_bytes(corpus):
    folder, features, problems = corpus
    kept = 0
    for records in (0, 1, CLIPS // 2):
        kept_now = kill_when(folder, records)
        assert kept_now >= max(kept, records)
        assert not (folder / "out.h5").exists()
        kept = kept_now
    stage = start(folder)
    _, told = stage.communicate(timeout=LIMIT_S)
    assert stage.returncode == 0, told
    done, reused, failed, absent = map(
        int, re.search(r"(\d+) done, (\d+) reused, (\d+) failed, (\d+) absent", told).groups()
    )
    assert (done + reused, failed, absent) == (CLIPS, 1, 0)
    assert CLIPS // 2 <= kept - 1 <= reused <= kept  # the tiny clip's record may be among the kept
    assert (folder / "out.h5").read_bytes() == features
    assert (folder / "problems.csv").read_bytes() == problems
    assert [file.name for file in folder.iterdir() if file.suffix == ".part"] == []
