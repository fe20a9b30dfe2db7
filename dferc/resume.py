"""The state of an unfinished run, in `.scratch/train/`, so that a kill costs one epoch at most.

DVC removes a stage's outputs before it runs the stage again; what must survive that cannot lie among them. The states
of all seeds of one call are kept until the last seed is done: an interrupted call repeats no finished seed either.
"""

import hashlib
import io
import json
import pickle
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dferc.console import console
from dferc.files import write_atomically

KEPT_DAYS = 30
"""How long the state of a training that was stopped is kept."""


@dataclass
class Progress:
    """What a run has so far, one entry of `history` per finished epoch.

    Attributes:
        history: the scores of each epoch, as in history.csv.
        best_epoch: the epoch of the best validation weighted F1, from 1; 0 = none yet.
        best_score: that F1; below any score while there is none.
        best: the weights after it.
        machinery: states of weights, optimiser, schedule, scaler and random generators after the last epoch.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -1.0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    machinery: dict[str, object] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.history)

    def is_finished(self, *, epochs: int, patience: int) -> bool:
        """Whether all epochs are done or `patience` of them went by without a better score."""
        return self.epoch >= epochs or self.epoch - self.best_epoch >= patience


def resume_path(scratch: Path, about: Mapping[str, object]) -> Path:
    """The state file of a run: another setting, seed, feature file, device, PyTorch or line of code is another run."""
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        code.update(path.read_bytes())
    about = {**about, "torch": torch.__version__, "code": code.hexdigest()}
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    return scratch / key / "state.pt"


def save_progress(path: Path, progress: Progress) -> None:
    """Write the state atomically: a kill leaves the epoch before.

    Not durably: at the paper's sizes it is 311 MB, and waiting for the disk would cost a good part of an epoch. What a
    power cut damages is reported when it is loaded.
    """
    content = io.BytesIO()  # in memory first: a full disk is then an OSError like any other
    torch.save(vars(progress), content)
    write_atomically(path, lambda temporary: temporary.write_bytes(content.getbuffer()), durable=False)


def load_progress(path: Path) -> Progress:
    """Read the state, or start with none; a damaged file (a power cut) is said, and the run begun anew."""
    if not path.exists():
        return Progress()
    try:
        return Progress(**torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, pickle.UnpicklingError, EOFError, TypeError, LookupError, ValueError) as error:
        reason = str(error) or type(error).__name__
        console.print(f"{path}: the interrupted run's state is damaged ({reason}); it begins anew", markup=False)
        return Progress()


def forget(path: Path) -> None:
    """Remove a state and its folder."""
    if path.parent.is_dir():
        shutil.rmtree(path.parent)


def forget_abandoned(scratch: Path) -> None:
    """Remove, and say so, states that nothing wrote for `KEPT_DAYS`: of trainings that were stopped for good.

    Their keys hold settings and code that may never come back, so no other training would find and remove them.
    """
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    abandoned = [path for path in sorted(scratch.glob("*/state.pt")) if path.stat().st_mtime < oldest]
    if abandoned:
        size = sum(path.stat().st_size for path in abandoned) / 1e6
        for path in abandoned:
            forget(path)
        console.print(
            f"{scratch}: removed {len(abandoned)} state(s) of trainings that were stopped over {KEPT_DAYS} days ago "
            f"({size:.0f} MB)",
            markup=False,
        )
