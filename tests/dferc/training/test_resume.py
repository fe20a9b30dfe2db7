"""The state of a run that was damaged on the disk: the same state, or a new start that is reported."""

import errno
import random

import pytest
import torch

from dferc.core.errors import InputError
from dferc.training.resume import Progress, claim, load_progress, save_progress
from tests.helpers.perturbations import COUNT, perturb_bytes


def test_a_file_system_without_locks_is_named_with_the_remedy(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("dferc.training.resume.fcntl.flock", refuse)
    with pytest.raises(InputError, match="lock cannot be locked .*--scratch"), claim(tmp_path / "state.pt", None):
        pass


def test_damaged_state_is_never_taken_for_another(tmp_path):
    path, chance = tmp_path / "state.pt", random.Random(0)
    machinery = {"optimiser": {"state": {0: {"step": torch.tensor(1.0)}}}, "generator": torch.get_rng_state()}
    progress = Progress([{"epoch": 1.0}], 1, 0.5, {"weight": torch.arange(12.0)}, machinery)
    save_progress(path, progress)
    good, notes = path.read_bytes(), []
    # A flipped bit in the middle of a weight, which the zip's own directory does not show.
    place = good.index(progress.best["weight"].numpy().tobytes()) + 20
    damaged = [good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]]
    damaged += [perturb_bytes(good, chance)[0] for _ in range(COUNT)]
    for number, content in enumerate(damaged):
        path.write_bytes(content)
        notes.clear()
        loaded = load_progress(path, notes.append)
        assert notes or number
        if notes:
            assert loaded == Progress() and "starts again" in notes[0] and str(path) in notes[0]
        else:
            assert torch.equal(loaded.best["weight"], progress.best["weight"]) and loaded.history == progress.history
