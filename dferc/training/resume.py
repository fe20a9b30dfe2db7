"""State of a run, in `.scratch/train/<key>/`: a kill costs one epoch, a finished run is kept.

DVC removes a stage's outputs before it runs the stage again, so the state cannot lie among them. The key hashes
everything that decides the weights: the same run finds its state again, in the next `dvc repro` after a seed was added,
in an ablation that was interrupted, or in two ablations at once.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pickle
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from dferc.core.errors import InputError
from dferc.core.files import regular_file, write_atomically

_DAMAGED = (OSError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError)

KEPT_DAYS = 30
"""Days that the state of a run is kept after it was last written."""


@dataclass
class Progress:
    """State of a run after its last finished epoch.

    Attributes:
        history: scores of each finished epoch, as in history.csv.
        best_epoch: epoch of the best quality on validation, from 1; 0 = none yet.
        best_score: quality of that epoch, such as its F1; below any while there is none.
        best: weights after that epoch.
        machinery: states of weights, optimiser, schedule, scaler and random generators; empty in a finished run, which
            needs them no more.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float | tuple[float, ...] = -1.0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    machinery: dict[str, object] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    def is_finished(self, *, epochs: int, patience: int) -> bool:
        """Return whether all epochs are done, or `patience` of them passed without a better score."""
        return self.epoch >= epochs or self.epoch - self.best_epoch >= patience


def run_key(about: Mapping[str, object], code: str) -> str:
    """Hash what tells runs apart: another setting, seed, feature file, device, PyTorch or code is another run.

    Args:
        about: settings, features, device and seed.
        code: hash of the code that computes the weights (`dferc.core.sources`).
    """
    about = {**about, "torch": torch.__version__, "code": code}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


class RunElsewhereError(InputError):
    """Another process is training this run."""


@contextlib.contextmanager
def claim(state: Path, waiting: Callable[[], None] | None) -> Iterator[None]:
    """Hold a run for this process; the end of the process, even by SIGKILL, frees it.

    Args:
        state: file of the run's state.
        waiting: called before waiting for another process that holds it; None = do not wait.

    Raises:
        RunElsewhereError: another process holds it, and `waiting` is None.
        InputError: the file system has no locks.
    """
    state.parent.mkdir(parents=True, exist_ok=True)
    with open(state.with_name("lock"), "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                raise RunElsewhereError(f"{state.parent}: another process is training this run.") from None
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # NFS and Lustre may be mounted without locks
            raise InputError(f"{file.name} cannot be locked ({error}): name another disk with --scratch.") from None
        if os.fstat(file.fileno()).st_nlink:
            yield
            return
    with claim(state, waiting):  # who held it removed its folder: what was waited for keeps nobody else out
        yield


def save_progress(path: Path, progress: Progress) -> None:
    """Write the state atomically: a kill leaves the epoch before.

    The write does not wait for the disk: at the paper's sizes it is 311 MB, and waiting would cost a good part of an
    epoch. A state that a power cut damaged is reported when it is loaded.
    """

    def write(temporary: Path) -> None:
        # To a file object: a full disk is then an OSError like any other, and a large encoder is not in memory twice.
        with open(temporary, "wb") as file:
            try:
                torch.save(vars(progress), file)
            except RuntimeError as error:  # torch closes its archive, and hides the OSError that stopped it
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    write_atomically(path, write, durable=False)


def load_progress(path: Path, notify: Callable[[str], None] = lambda message: None) -> Progress:
    """Read the state, or return an empty one; a damaged file (a power cut) is reported, and the run starts again."""
    if not path.exists():
        return Progress()
    try:
        with zipfile.ZipFile(regular_file(path)) as parts:  # as torch.save writes it; torch.load reads no checksums
            if damaged := parts.testzip():
                raise ValueError(f"the checksum of {damaged} differs")
        return Progress(**torch.load(path, map_location="cpu", weights_only=True))
    except (*_DAMAGED, RuntimeError, EOFError, TypeError, LookupError, ValueError) as error:
        reason = str(error) or type(error).__name__
        notify(f"{path}: the run's state is damaged ({reason}); the run starts again")
        return Progress()


def open_progress(state: Path | None, notify: Callable[[str], None]) -> tuple[Progress, Callable[[Progress], None]]:
    """Return the progress kept in a file, and the function that keeps it there; without a file, nothing is kept."""
    if state is None:
        return Progress(), lambda progress: None
    progress = load_progress(state, notify)
    if progress.epoch:
        notify(f"resumes after epoch {progress.epoch}")
    return progress, partial(save_progress, state)


def remove_abandoned(scratch: Path, notify: Callable[[str], None]) -> None:
    """Remove states that nothing wrote for `KEPT_DAYS`, and the status folders of killed ablations.

    Their keys hold settings and code that may never come back, so nothing else would find and remove them. Other
    folders stay: `--scratch /scratch/me` is a folder of everything.
    """
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    for path in scratch.glob("dferc-sweep-*"):
        if path.stat().st_mtime < oldest:
            shutil.rmtree(path)
    states = sorted(scratch.glob("[0-9a-f]" * 16 + "/state.pt"))  # in folders that `run_key` names
    if abandoned := [path for path in states if path.stat().st_mtime < oldest]:
        size = sum(path.stat().st_size for path in abandoned) / 1e6
        for path in abandoned:
            shutil.rmtree(path.parent)
        notify(
            f"{scratch}: removed the states of {len(abandoned)} run(s) older than {KEPT_DAYS} days ({size:.0f} MB); "
            "the runs themselves are untouched"
        )
