"""Each file is opened once for its sound and once for its picture, however many workers there are."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from tests.helpers.clips import tone, write_clip
from tests.helpers.corpora import REPOSITORY, make_row, stage_arguments, write_rows
from tests.helpers.face_models import write_untrained

FILES = ("0.mp4", "1.mkv", "2.avi", "3.mov", "4.mp4")
EACH = 5
LENGTH_S = 1.25  # each begins behind the first second, where a sound track is opened anew


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_a_long_file_is_opened_once_by_one_of_two_workers(tmp_path, modality):
    length_s, rows = EACH * LENGTH_S + 2, []
    for number, file in enumerate(FILES):  # of different content: copies are computed once
        picture = np.full((32, 48), 20 * number, np.uint8)
        write_clip(tmp_path / file, sound=tone(length_s, hz=100 + number), pictures=[picture] * int(10 * length_s))
        starts = [1.1 + LENGTH_S * number for number in range(EACH)]
        rows += [make_row(f"{file}-{start_s}", file, start_s + LENGTH_S, start_s=start_s) for start_s in starts]
    write_rows(tmp_path, rows)
    told = {"face": write_untrained(tmp_path, 16), "device": "cpu"} if modality == "visual" else {}
    module, worker = {"audio": ("audio.functionals", "AudioWorker"), "visual": ("faces.speaker_face", "FaceWorker")}[
        modality
    ]
    program = (
        f"from tests.helpers import noted_opens; from pipeline import extract_{modality} as stage; "
        f"import pipeline.{module} as worker; worker.{worker} = noted_opens.{worker}; stage.main()"
    )
    arguments = stage_arguments(tmp_path, workers=2, **told)
    subprocess.run([sys.executable, "-c", program, *arguments], cwd=REPOSITORY, check=True)
    opened = Counter((tmp_path / "opened.txt").read_text().split())
    assert opened.keys() == set(FILES)
    # At the end of a corpus, nothing else being left, one worker may help the other in the file that it is at.
    assert sorted(opened.values()) in ([1] * len(FILES), [1] * (len(FILES) - 1) + [2])
