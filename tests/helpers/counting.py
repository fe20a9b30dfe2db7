"""Stages whose workers count what they begin: for tests that kill them, and check how much was done twice.

`counted_audio` and `counted_visual` are the stages; apart, since each start imports one of them in three processes.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.helpers.corpora import REPOSITORY, stage_arguments

PATIENCE_S = 300

_LINE = "{:8} {:.3f}\n"


def note(clip: str) -> None:
    """Write a line to begun.txt beside the clip: this process's id, and the time; it outlives a kill."""
    descriptor = os.open(Path(clip).parent / "begun.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, _LINE.format(os.getpid(), time.monotonic()).encode())
    os.close(descriptor)


def begun(folder: Path) -> list[int]:
    """Return the process ids of what was begun, an entry for each utterance each time."""
    return [int(line.split()[0]) for line in _lines(folder)]


def begun_s(folder: Path) -> list[float]:
    """Return when it was begun, in seconds of one clock for all processes."""
    return [float(line.split()[1]) for line in _lines(folder)]


def _lines(folder: Path) -> list[str]:
    try:
        return (folder / "begun.txt").read_text().splitlines()
    except FileNotFoundError:
        return []


def wait_for(count: int, folder: Path, stage: subprocess.Popen | None = None) -> None:
    """Wait until `count` utterances were begun, or the stage ended."""
    deadline = time.monotonic() + PATIENCE_S
    while len(begun(folder)) < count and time.monotonic() < deadline:
        if stage is not None and stage.poll() is not None:
            break
        time.sleep(0.005)


def start(modality: str, folder: Path, **changes: object) -> subprocess.Popen:
    """Start the counting stage of a modality in a process group of its own, with two workers by default."""
    program = [sys.executable, "-c", f"from tests.helpers.counted_{modality} import main; main()"]
    arguments = stage_arguments(folder, **{"workers": 2} | changes)
    return subprocess.Popen(
        [*program, *arguments], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def kill(stage: subprocess.Popen) -> None:
    """End a stage and its workers at once, while it is at work."""
    os.killpg(stage.pid, signal.SIGKILL)
    stage.communicate()
    assert stage.returncode == -signal.SIGKILL, "it ended before it could be killed"
