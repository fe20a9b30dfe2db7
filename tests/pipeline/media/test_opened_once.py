"""Each file is opened once for its sound and once for its picture, however many workers there are."""

import functools
from collections import Counter

import numpy as np
import pytest

from pipeline import extract_audio, extract_visual
from pipeline.audio import functionals
from pipeline.faces import speaker_face
from tests.helpers.clips import tone, write_clip
from tests.helpers.corpora import make_row, run_stage, write_rows
from tests.helpers.face_models import write_untrained
from tests.helpers.noted_opens import noting

FILES = ("0.mp4", "1.mkv", "2.avi", "3.mov", "4.mp4")
EACH = 5
STAGES = {
    "audio": (extract_audio.main, functionals, "AudioWorker"),
    "visual": (extract_visual.main, speaker_face, "FaceWorker"),
}
LENGTH_S = 1.25  # each begins behind the first second, where a sound track is opened anew


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_a_long_file_is_opened_once_by_one_of_two_workers(tmp_path, monkeypatch, modality):
    length_s, rows = EACH * LENGTH_S + 2, []
    for number, file in enumerate(FILES):  # of different content: copies are computed once
        picture = np.full((32, 48), 20 * number, np.uint8)
        write_clip(tmp_path / file, sound=tone(length_s, hz=100 + number), pictures=[picture] * int(10 * length_s))
        starts = [1.1 + LENGTH_S * number for number in range(EACH)]
        rows += [make_row(f"{file}-{start_s}", file, start_s + LENGTH_S, start_s=start_s) for start_s in starts]
    write_rows(tmp_path, rows)
    options = {"face": write_untrained(tmp_path, 16), "device": "cpu"} if modality == "visual" else {}
    command, module, worker = STAGES[modality]
    monkeypatch.setattr(module, worker, functools.partial(noting, module.__name__, worker))
    assert run_stage(command, tmp_path, workers=2, **options).exit_code == 0
    opened = Counter((tmp_path / "opened.txt").read_text().split())
    assert opened.keys() == set(FILES)
    # At the end of a corpus, nothing else being left, one worker may help the other in the file that it is at.
    assert sorted(opened.values()) in ([1] * len(FILES), [1] * (len(FILES) - 1) + [2])
