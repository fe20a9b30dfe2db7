"""Sound and picture in one pass over the files: the bytes of the two stages, which then open nothing again."""

from pathlib import Path

import numpy as np
import pytest

from dferc import engine
from dferc.core.sources import imported_modules
from pipeline import extract_audio, extract_visual
from pipeline.extract_media.__main__ import main
from pipeline.extraction.scratch import Scratch
from pipeline.media import pictures, sound
from pipeline.settings import load_settings
from tests.helpers.clips import tone, write_clip
from tests.helpers.corpora import REPOSITORY, make_row, run_stage, write_rows
from tests.helpers.face_models import write_untrained

CLIPS = {"a.mp4": 4.0, "b.mov": 4.0, "d.avi": 4.0, "silent.mp4": 1.0}
CUT = {"a.mp4", "b.mov", "d.avi"}  # utterances from within the file, too


@pytest.fixture
def corpus(tmp_path) -> Path:
    rows = []
    for number, (name, length_s) in enumerate(CLIPS.items()):
        picture = np.full((32, 48), 20 * number, np.uint8)
        heard = tone(length_s, 48000, hz=200 + 50 * number) * (not name.startswith("silent"))
        pcm = {"sound_codec": "pcm_s16le"} if name.endswith("avi") else {}
        write_clip(tmp_path / name, sound=heard, rate_hz=48000, pictures=[picture] * int(10 * length_s), gop=10, **pcm)
        spans = [(0.0, length_s)] if name not in CUT else [(0.0, 1.2), (1.3, 2.2), (2.2, 3.9)]
        rows += [make_row(f"{name}-{start_s}", name, end_s, start_s=start_s) for start_s, end_s in spans]
    write_rows(tmp_path, rows)
    write_untrained(tmp_path, 16)
    return tmp_path


@pytest.fixture
def opened(monkeypatch) -> list[tuple[str, str]]:
    """By what each file is opened."""
    found = []
    for module, kind in ((sound, "sound"), (pictures, "picture")):
        open_media = module.open_media
        monkeypatch.setattr(
            module,
            "open_media",
            lambda path, *device, kind=kind, open_media=open_media: (
                found.append((kind, Path(path).name)) or open_media(path, *device)
            ),
        )
    return found


def run(command, folder: Path, name: str, scratch: str = "scratch.sqlite"):
    options = {"out": folder / f"{name}.h5", "scratch": folder / scratch, "workers": 0}
    if command is not extract_audio.main:
        options |= {"face": folder, "device": "cpu"}
    outcome = run_stage(command, folder, **options)
    assert outcome.exit_code == 0, outcome.stderr
    return (folder / f"{name}.h5").read_bytes(), (folder / "problems.csv").read_text(), outcome.stderr


def test_one_pass_gives_the_bytes_and_the_problems_of_two_stages(corpus, opened):
    *together, told = run(main, corpus, "together")
    assert "extract_audio demo: 9 heard with their picture or before, 0 on their own, 1 failed, 0 absent" in told
    assert opened == [("picture", name) for name in CLIPS]
    opened.clear()
    *heard, told = run(extract_audio.main, corpus, "heard")
    assert not opened and "9 reused, 1 failed" in told
    assert tuple(heard) == run(extract_audio.main, corpus, "alone", "other.sqlite")[:2]
    assert tuple(together) == run(extract_visual.main, corpus, "seen", "other.sqlite")[:2]
    assert "silent: 1.0" in heard[1]


def test_sound_that_one_pass_cannot_give_to_the_bit_is_read_by_its_own_stage(corpus, opened):
    """The packets of MPEG-PS are cut anew after a seek, so what lies within such a file is read on its own."""
    how = {"picture_codec": "mpeg2video", "sound_codec": "mp2", "rate_hz": 48000}
    write_clip(corpus / "c.mpg", sound=tone(4.0, 48000), pictures=[np.zeros((32, 48), np.uint8)] * 40, **how)
    write_rows(corpus, [make_row("within", "c.mpg", 3.0, start_s=1.6), make_row("a", "a.mp4", 4.0)])
    told = run(main, corpus, "together")[2]
    assert [name for kind, name in opened if kind == "sound"] == ["c.mpg"]  # and not a.mp4
    assert "1 heard with their picture or before, 1 on their own" in told
    opened.clear()
    heard = run(extract_audio.main, corpus, "heard")
    assert not opened
    assert heard[:2] == run(extract_audio.main, corpus, "alone", "other.sqlite")[:2]


@pytest.mark.parametrize(("stage", "kind"), [(extract_audio, "picture"), (extract_visual, "sound")])
def test_what_is_finished_is_not_read_again(corpus, opened, stage, kind):
    run(stage.main, corpus, "before")
    opened.clear()
    assert "0 absent; kept for the stage" in run(main, corpus, "together")[2]
    assert {each for each, _ in opened} == {kind}
    opened.clear()
    run(extract_audio.main, corpus, "heard")
    assert not opened


def test_an_edit_of_how_sound_is_read_with_its_picture_makes_its_records_anew(tmp_path):
    settings = load_settings(REPOSITORY / "params.yaml").corpus("demo").extract_audio
    with Scratch(tmp_path / "scratch.sqlite") as scratch:
        extractor = extract_audio.make_extractor([], settings, tmp_path, scratch, engine.HERE)
    assert pictures.__name__ in imported_modules(*extractor.code)


def test_a_speech_encoder_is_refused(corpus, tmp_path):
    params = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(params.replace("encoder: IS10", "encoder: microsoft/wavlm-base"))
    outcome = run_stage(main, corpus, params=tmp_path / "params.yaml", face=corpus, workers=0)
    assert outcome.exit_code == 1
    assert "microsoft/wavlm-base, a speech encoder" in " ".join(outcome.stderr.split())
