"""Awkward and damaged media, each as a real file, with the consequence that docs/media.md states."""

import av
import numpy as np
import pytest

from pipeline.audio import functionals
from pipeline.faces.speaker_face import FaceWorker, UtteranceMedia
from pipeline.media.files import MediaError
from pipeline.rows.measure import complete, measure
from pipeline.rows.utterances import Region
from tests.helpers.clips import read_audio, read_frames, tone, truncate, write_clip
from tests.helpers.corpora import make_row
from tests.helpers.drawn_faces import draw_scene
from tests.helpers.face_models import visual_settings

RAMP = [np.full((32, 48), 20 * number, np.uint8) for number in range(10)]


def levels(clip, start_s, end_s, frames_per_s):
    """Time and grey level of each sample."""
    sampled = read_frames(clip, start_s, end_s, frames_per_s, 50)
    return [(round(time_s, 3), int(round(picture.mean(), -1))) for time_s, picture in sampled]


def prepared(clip, **span):
    """Return the row that prepare makes of a clip, and its problems as (problem, consequence)."""
    row, problems = complete(
        make_row("u", clip.name, has_audio=False, has_video=False, **span), {clip.name: measure(clip)}, 30.0
    )
    return row, [(problem.problem, problem.consequence) for problem in problems]


def overwrite(clip, old, new):
    clip.write_bytes(clip.read_bytes().replace(old, new))
    return clip


# ---------------------------------------------------------------------------------------------------- what is no media


def test_unknown_picture_codec_leaves_the_sound(tmp_path):
    clip = write_clip(tmp_path / "a.mkv", sound=tone(1), pictures=RAMP, picture_codec="ffv1")
    overwrite(clip, b"V_FFV1", b"V_ZZZZ")
    row, problems = prepared(clip)
    assert (row.has_audio, row.has_video) == (True, False)
    assert problems == [("no picture", "no visual; sound and text are kept")]


def test_unknown_sound_codec_leaves_the_picture(tmp_path):
    clip = overwrite(write_clip(tmp_path / "a.mkv", sound=tone(1), pictures=RAMP), b"A_AAC", b"A_ZZZ")
    row, problems = prepared(clip)
    assert (row.has_audio, row.has_video) == (False, True)
    assert problems == [("no sound track", "no audio; picture and text are kept")]


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.touch(),
        lambda path: path.write_text("00:01 hello\n" * 100),
        lambda path: truncate(write_clip(path, sound=tone(1), pictures=RAMP), 0.5),  # its index is at the end
        lambda path: overwrite(write_clip(path, pictures=RAMP, picture_codec="libx264"), b"avc1", b"zzzz"),
    ],
    ids=["no bytes", "text", "truncated", "unknown codec alone"],
)
def test_what_gives_nothing_is_a_problem(tmp_path, make):
    clip = tmp_path / "a.mp4"
    make(clip)
    row, [(problem, consequence)] = prepared(clip)
    assert problem.startswith("unreadable: ") and consequence == "no audio and no visual; the text is kept"
    assert (row.has_audio, row.has_video) == (False, False)


def test_cover_art_is_no_picture(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=16000, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width = cover.height = 16
        cover.pix_fmt, cover.disposition = "rgb24", av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame(16, 16, "rgb24")))
        frame = av.AudioFrame.from_ndarray(tone(1), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux([packet for part in (frame, None) for packet in sound.encode(part)])
    row, problems = prepared(tmp_path / "a.m4a")
    assert (row.has_audio, row.has_video) == (True, False) and problems[0][0] == "no picture"


# ---------------------------------------------------------------------------------------------------- times


def test_variable_frame_rate_is_sampled_by_time(tmp_path):
    """Ten frames, five within 0.5 s and five over 2.5 s: frame numbers would give other levels."""
    stamps = [0, 1, 2, 3, 4, 5, 10, 15, 20, 25]
    clip = write_clip(tmp_path / "a.mp4", pictures=RAMP, stamps=stamps)
    assert levels(clip, 0.0, 3.0, 2) == [(0.3, 60), (1.0, 120), (1.5, 140), (2.0, 160), (2.5, 180)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_streams_that_begin_late_keep_their_place(tmp_path, name):
    """The picture begins 2 s after the sound; in a transport stream the clock itself begins at 1.4 s."""
    clip = write_clip(tmp_path / name, sound=tone(3.5), pictures=RAMP, stamps=range(20, 30))
    padding_s = 0.07  # AAC's priming may be counted or not
    sampled = levels(clip, 0.0, 4.0, 5)
    assert len(sampled) >= 5 and all(abs(level / 200 + 2.0 - time_s) <= padding_s for time_s, level in sampled)
    assert levels(clip, 0.0, 1.5, 5) == []
    assert len(read_audio(clip, 0.0, 2.0)) == pytest.approx(32000, abs=16000 * padding_s)


def test_start_beyond_the_end_is_a_problem_and_nothing_decodes(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", sound=tone(1), pictures=RAMP)
    row, [(problem, consequence)] = prepared(clip, start_s=5.0, end_s=6.0)
    assert problem.startswith("span outside its file: 5 s to 6 s, the file has 1.")
    assert consequence == "no audio and no visual; the text is kept" and not row.has_audio and not row.has_video
    assert len(read_audio(clip, 5, 6)) == 0 and levels(clip, 5, 6, 5) == []


def test_sound_shorter_than_the_picture_is_used_and_listed(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", sound=tone(0.5), pictures=RAMP)
    row, problems = prepared(clip)
    assert row.end_s == pytest.approx(1.0, abs=0.01) and problems == []
    record = functionals.AudioWorker("IS10")((str(clip), 0.0, 1.0, 0.08)).result
    assert record.problem.startswith("sound incomplete: 0.5") and record.arrays["features"].shape == (1582,)


# ---------------------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize("size", [(17, 33), (1, 1), (1, 48), (481, 3)])
def test_odd_sizes_decode_and_show_no_face(tmp_path, size):
    pictures = [np.full(size, 100, np.uint8)] * 5
    clip = write_clip(tmp_path / "a.mkv", pictures=pictures, picture_codec="ffv1", pix_fmt="gray")
    [(_, picture), *_] = read_frames(clip, 0, 0.5, 10, 50)
    assert picture.shape == size and (picture == 100).all()
    settings = visual_settings()
    cut_faces = FaceWorker(settings, 24)
    found = cut_faces([UtteranceMedia(str(clip), 0.0, 0.5, Region(right=0.5))]).result[0]
    assert found.frames > 0 and len(found.faces) == 0


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_faces_stand_upright_whichever_way_the_camera_was_held(tmp_path, turn):
    """The scene is stored turned, with the turn noted; the finder knows upright faces only."""
    scene, _ = draw_scene()
    stored = np.ascontiguousarray(np.rot90(scene, -turn // 90))
    clip = write_clip(tmp_path / "a.mp4", pictures=[stored] * 5, rotation=turn)
    cut_faces = FaceWorker(visual_settings(), 24)
    found = cut_faces([UtteranceMedia(str(clip), 0.0, 0.5)]).result[0]
    assert found.frames == len(found.faces) > 0


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "options"),
    [
        ("libx264", "yuv420p10le", {}),
        ("prores", "yuv422p10le", {}),
        ("ffv1", "gray16le", {}),
        ("libx264", "yuv420p", {"x264-params": "tff=1"}),
        ("mpeg2video", "yuv420p", {"flags": "+ildct+ilme"}),
    ],
    ids=["10 bit", "10 bit 4:2:2", "16 bit", "interlaced", "interlaced MPEG-2"],
)
def test_pixel_formats_give_one_grey_scale(tmp_path, codec, pix_fmt, options):
    pictures = [np.full((64, 96), level, np.uint8) for level in (20, 120, 220) for _ in range(5)]
    name = "a.mov" if codec == "prores" else "a.mkv"
    clip = write_clip(tmp_path / name, pictures=pictures, picture_codec=codec, pix_fmt=pix_fmt, picture_options=options)
    assert [level for _, level in levels(clip, 0, 1.5, 2)] == [20, 120, 220]


# ---------------------------------------------------------------------------------------------------- sound


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.mp4", "aac"), ("a.mkv", "flac")])
def test_eight_channels_are_averaged(tmp_path, name, codec):
    """Both with the channels sample by sample (PCM, FLAC) and each by itself (AAC)."""
    sound = tone(1) * np.linspace(-0.5, 0.9, 8, dtype=np.float32)[:, None]
    clip = write_clip(tmp_path / name, sound=sound, layout="7.1", sound_codec=codec)
    samples = read_audio(clip, 0, 1)[2000:14000]
    assert np.corrcoef(samples, tone(1)[0, 2000:14000])[0, 1] > 0.99
    assert samples.std() == pytest.approx(0.2 * tone(1)[0, 2000:14000].std(), rel=0.1)


@pytest.mark.parametrize("rate_hz", [8000, 96000])
def test_unusual_rates_come_out_at_16_khz(tmp_path, rate_hz):
    clip = write_clip(tmp_path / "a.wav", sound=tone(1, rate_hz), rate_hz=rate_hz)
    np.testing.assert_allclose(read_audio(clip, 0.25, 0.75)[200:-200], tone(1)[0, 4200:11800], atol=0.005)


def test_rate_that_changes_on_the_way_is_a_problem(tmp_path):
    """Two MP3 files, one behind the other: what a careless cut makes."""
    parts = [
        write_clip(tmp_path / f"{hz}.mp3", sound=tone(1, hz), rate_hz=hz, sound_codec="mp3") for hz in (16000, 48000)
    ]
    (tmp_path / "a.mp3").write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(MediaError, match="sampling rate changes: 16000 Hz, then 48000 Hz"):
        read_audio(tmp_path / "a.mp3", 0, 2)


def test_raw_stream_without_time_stamps_gives_no_frame(tmp_path):
    clip = write_clip(tmp_path / "a.h264", pictures=RAMP, picture_codec="libx264")
    cut_faces = FaceWorker(visual_settings(), 24)
    [found] = cut_faces([UtteranceMedia(str(clip), 0.0, 1.0)]).result
    assert (found.frames, found.problem) == (0, "no frame between 0.00 s and 1.00 s")
