"""Media from the world that are no ordinary clip, yet not damaged: lengths, clocks, tracks, channels."""

import struct

import av
import numpy as np
import pytest
from av.stream import Disposition

from pipeline.audio.functionals import AudioWorker
from pipeline.faces.speaker_face import FaceWorker, UtteranceMedia
from pipeline.media.files import probe
from pipeline.media.sound import SoundFile
from pipeline.rows.measure import Faulty, file_problems, measure
from tests.helpers.clips import read_audio, read_frames, tone, truncate, video_frames, write_clip
from tests.helpers.drawn_faces import draw_scene
from tests.helpers.face_models import visual_settings
from tests.helpers.odd_media import join, shift_matroska, write_tracks

GREYS = [np.full((32, 48), 5 * number, np.uint8) for number in range(40)]
BURST = np.concatenate([np.random.default_rng(0).normal(scale=0.2, size=16000), np.zeros(7 * 16000)])[None]
"""A second of noise and seven of silence: a bit rate measured at its start says little about its length."""


def kinds(info):
    return [problem.partition(": ")[0] for problem, _ in info.remarks]


def loudest_hz(samples):
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return np.fft.rfftfreq(len(samples), 1 / 16000)[power.argmax()]


# ---------------------------------------------------------------------------------------------------- lengths


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.aac", {}), ("a.mp3", {"sound_codec": "libmp3lame", "options": {"write_xing": "0"}})],
)
def test_length_of_a_stream_without_a_header_is_what_decodes(tmp_path, name, options):
    clip = write_clip(tmp_path / name, sound=BURST.astype(np.float32), **options)
    with av.open(str(clip)) as container:
        claimed_s = container.duration / av.time_base
    info = measure(clip)
    assert info.duration_s == pytest.approx(8, abs=0.1)
    assert kinds(info) == (["length claimed wrongly"] if abs(claimed_s - 8) > 0.2 else [])
    assert len(read_audio(clip, 0, info.duration_s)) == pytest.approx(8 * 16000, abs=1600)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp4", {"options": {"movflags": "faststart"}}), ("a.mkv", {}), ("a.avi", {}), ("a.wav", {}), ("a.flac", {})],
)
def test_length_of_a_broken_download_is_what_is_left(tmp_path, name, options):
    pictures = GREYS if name in ("a.mp4", "a.mkv", "a.avi") else None
    codec = "flac" if name == "a.flac" else None
    clip = truncate(write_clip(tmp_path / name, sound=tone(4), pictures=pictures, sound_codec=codec, **options), 0.6)
    info = measure(clip)
    assert 1.5 < info.duration_s < 3.5
    riff = name in ("a.avi", "a.wav")
    assert "length claimed wrongly" in kinds(info) or name == "a.wav"
    problems = file_problems({name: info})
    assert any(("cut off" if riff else "4.0") in problem.problem for problem in problems)
    assert {problem.file for problem in problems} == {name}


@pytest.mark.parametrize("name", ["a.wav", "a.mp4", "a.flv"])
def test_recording_behind_the_end_of_another_is_reported(tmp_path, name):
    """FFmpeg reads on in some formats, whose length is then that of both, and not in these."""
    options = {"pictures": GREYS} if name == "a.mp4" else {}
    content = write_clip(tmp_path / name, sound=tone(4), **options).read_bytes()
    (tmp_path / name).write_bytes(content * 2)
    info = measure(tmp_path / name)
    assert info.duration_s == pytest.approx(4, abs=0.1) and kinds(info) == ["another recording behind its end"]


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.aac", None), ("a.ogg", "libopus")])
def test_sounds_one_behind_the_other_are_one(tmp_path, name, codec):
    content = b"".join(
        write_clip(tmp_path / name, sound=tone(4, hz=hz), sound_codec=codec).read_bytes() for hz in (300, 700)
    )
    (tmp_path / name).write_bytes(content)
    assert measure(tmp_path / name).duration_s == pytest.approx(8, abs=0.3)
    for start_s, hz in [(1.0, 300), (5.0, 700)]:
        assert loudest_hz(read_audio(tmp_path / name, start_s, start_s + 1)) == pytest.approx(hz, abs=5)


def test_number_of_channels_may_change_on_the_way(tmp_path):
    """As in a broadcast, from one programme to the next."""
    content = b"".join(
        write_clip(tmp_path / "a.ts", sound=tone(2, channels=count), layout=layout).read_bytes()
        for count, layout in [(1, "mono"), (2, "stereo")]
    )
    (tmp_path / "a.ts").write_bytes(content)
    assert len(read_audio(tmp_path / "a.ts", 0, 4)) == pytest.approx(4 * 16000, abs=3200)


@pytest.mark.parametrize("part", [b"LIST\xa0\x0f\0\0INFO", b"ID3\4\0\0\0\0", b"\0bext\xa0\x0f\0\0"])
def test_parts_behind_the_sound_of_a_wav_are_no_sound(tmp_path, part):
    clip = write_clip(tmp_path / "a.wav", sound=tone(2))
    clip.write_bytes(clip.read_bytes() + part + bytes(4000))
    assert measure(clip).duration_s == pytest.approx(2, abs=0.01) and len(read_audio(clip, 0, 9)) == 32_000


@pytest.mark.parametrize("claimed", [0, 0xFFFFFFFF, 1000], ids=["none", "endless", "a fraction"])
def test_recording_that_was_still_growing_has_what_it_holds(tmp_path, claimed):
    """A recorder writes the length of a .wav when it stops."""
    content = bytearray(write_clip(tmp_path / "a.wav", sound=tone(2)).read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", claimed)
    (tmp_path / "a.wav").write_bytes(content)
    info = measure(tmp_path / "a.wav")
    assert info.duration_s == pytest.approx(2, abs=0.01) and len(read_audio(tmp_path / "a.wav", 0, 9)) == 32_000
    told = [problem for problem, _ in info.remarks if "claims less sound than there is" in problem]
    assert len(told) == (claimed == 1000)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.avi", "a.wav", "a.ts"])
def test_ordinary_clip_keeps_the_length_of_its_header(tmp_path, name):
    clip = write_clip(tmp_path / name, sound=tone(4), pictures=None if name == "a.wav" else GREYS)
    with av.open(str(clip)) as container:
        assert measure(clip).duration_s == container.duration / av.time_base
    assert measure(clip).remarks == ()


# ---------------------------------------------------------------------------------------------------- clocks


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.MTS"])
def test_recordings_one_behind_the_other_have_one_clock(tmp_path, name):
    options = {"format": "mpegts"} if name == "a.MTS" else {}
    clip = join(tmp_path / name, heights_hz=(300, 700), **options)
    info = measure(clip)
    assert info.duration_s == pytest.approx(8, abs=0.3) and "clock restarts" in kinds(info)
    with SoundFile(clip) as file:
        for start_s, hz in [(5.0, 700), (1.0, 300), (6.5, 700)]:
            samples = file.read(start_s, start_s + 0.8)
            assert (loudest_hz(samples), len(samples)) == (pytest.approx(hz, abs=5), 12800)
    for start_s, level in [(1.0, 20), (5.0, 100)]:
        sampled = list(read_frames(clip, start_s, start_s + 1, 4, 9))
        assert len(sampled) == 4
        assert all(
            grey.mean() == pytest.approx(level + 20 * time_s - (level > 20) * 60, abs=8) for time_s, grey in sampled
        )


def test_clock_that_restarts_where_seeks_need_one_is_refused(tmp_path):
    clip = join(tmp_path / "a.mp4", heights_hz=(300, 700), options={"movflags": "frag_keyframe+empty_moov"})
    found = measure(clip)
    assert isinstance(found, Faulty) and "clock restarts" in found.problem and ".mkv" in found.problem


def test_clock_that_restarts_often_is_listed_in_a_few_lines(tmp_path):
    content = write_clip(tmp_path / "a.ts", sound=tone(1)).read_bytes()
    (tmp_path / "a.ts").write_bytes(content * 40)
    info = measure(tmp_path / "a.ts")
    assert info.duration_s == pytest.approx(40, abs=4) and len(info.remarks) < 10
    assert "clock is odd: at 33 more places" in {problem for problem, _ in info.remarks}


def test_clock_that_jumps_is_reported(tmp_path):
    stamps = [*range(20), *range(400, 420)]
    info = measure(write_clip(tmp_path / "a.ts", pictures=GREYS, stamps=stamps, picture_codec="mpeg2video"))
    [(problem, consequence)] = info.remarks
    assert problem.startswith("clock jumps: from 2.") and " to 40." in problem and consequence


@pytest.mark.parametrize("codec", ["aac", "flac"])
def test_matroska_that_begins_below_0_is_read_from_its_first_packet(tmp_path, codec):
    """Its index has no negative times, so a seek would leave out what is before 0."""
    sound = np.concatenate([tone(2, hz=300), tone(2, hz=700)], axis=1)
    greys = [np.full((64, 96), 20 + 5 * number, np.uint8) for number in range(40)]
    clip = write_clip(tmp_path / "a.mkv", sound=sound, pictures=greys, sound_codec=codec)
    shift_matroska(clip, -1000)
    assert measure(clip).duration_s == pytest.approx(4, abs=0.1)
    with SoundFile(clip) as file:
        for start_s, hz in [(2.6, 700), (0.6, 300), (1.2, 300)]:
            samples = file.read(start_s, start_s + 0.4)
            assert (loudest_hz(samples), len(samples)) == (pytest.approx(hz, abs=10), 6400)
    for start_s in (0.3, 2.0):
        levels = [grey.mean() - 50 * time_s for time_s, grey in read_frames(clip, start_s, start_s + 1, 4, 9)]
        assert len(levels) == 4 and levels == pytest.approx([20] * 4, abs=5)


# ---------------------------------------------------------------------------------------------------- damaged ends


@pytest.mark.parametrize("damage", ["zeros", "noise", "cut"])
@pytest.mark.parametrize("name", ["a.mp4", "silent.mp4", "a.mkv", "a.ts", "a.avi", "a.mp3", "a.flac", "a.aac"])
def test_length_is_what_decodes(tmp_path, name, damage):
    """The second half of a file is lost, though an index before it, as in MP4, still lists all packets."""
    greys = np.random.default_rng(0).integers(0, 255, (40, 64, 96), dtype=np.uint8)
    clip = write_clip(
        tmp_path / name,
        sound=None if name == "silent.mp4" else tone(4),
        sound_codec={"a.mp3": "libmp3lame", "a.flac": "flac"}.get(name),
        pictures=greys if name.endswith(("mp4", "mkv", "ts", "avi")) else None,
        options={"movflags": "faststart"} if name.endswith("mp4") else None,
    )
    good = clip.read_bytes()
    kept = good[: len(good) // 2]
    lost = {"zeros": bytes(len(kept)), "noise": np.random.default_rng(0).bytes(len(kept)), "cut": b""}[damage]
    clip.write_bytes(kept + lost)
    info = measure(clip)
    assert info.duration_s == pytest.approx(1.5 if name == "a.flac" else 2, abs=0.2)
    assert info.remarks or name in ("a.ts", "a.aac")  # these claim no length


def test_end_of_uncompressed_sound_is_measured_by_its_bytes(tmp_path):
    clip = truncate(write_clip(tmp_path / "a.wav", sound=tone(4)), 0.5)
    assert measure(clip).duration_s == pytest.approx(2, abs=0.01) and kinds(measure(clip)) == ["cut off"]


# ---------------------------------------------------------------------------------------------------- tracks


@pytest.mark.parametrize(
    ("default", "used", "why"), [(None, 0, "the first"), (1, 1, "marked as default"), (2, 2, "marked as default")]
)
def test_default_track_is_used_else_the_first(tmp_path, default, used, why):
    pitches = (300, 500, 700)
    clip = write_tracks(tmp_path / "a.mkv", [tone(2, hz=hz) for hz in pitches], default)
    assert loudest_hz(read_audio(clip, 0.5, 1.5)) == pytest.approx(pitches[used], abs=3)
    [(problem, consequence)] = measure(clip).remarks
    assert problem == f"several sound tracks: number {used + 1} of 3 ({why})" and "not used" in consequence


@pytest.mark.parametrize("beside", ["visual_impaired", "comment"])
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_description_and_commentary_are_not_taken_for_the_sound(tmp_path, name, beside):
    clip = write_tracks(tmp_path / name, [tone(2, hz=300), tone(2, hz=700)], beside=Disposition[beside])
    assert loudest_hz(read_audio(clip, 0.5, 1.5)) == pytest.approx(700, abs=3)
    [(problem, _)] = measure(clip).remarks
    assert "number 2 of 2 (marked as default, no description or commentary)" in problem


def test_effects_without_voices_are_not_taken_for_the_sound(tmp_path):
    clip = write_tracks(tmp_path / "a.ts", [tone(2, hz=300), tone(2, hz=700)], beside=Disposition.clean_effects)
    assert loudest_hz(read_audio(clip, 0.5, 1.5)) == pytest.approx(700, abs=3)
    assert measure(clip).remarks[0][0].startswith("several sound tracks: number 2 of 2 (the first, no description")


def test_track_without_a_decoder_is_no_track(tmp_path):
    clip = write_tracks(tmp_path / "a.mkv", [tone(2, hz=300), tone(2, hz=700)], 0)
    clip.write_bytes(clip.read_bytes().replace(b"A_FLAC", b"A_ZZZZ", 1))
    assert measure(clip).has_audio and loudest_hz(read_audio(clip, 0.5, 1.5)) == pytest.approx(700, abs=3)


# ---------------------------------------------------------------------------------------------------- channels


def described(clip, seconds=2.0):
    return AudioWorker("IS10")((str(clip), 0.0, seconds, 0.08)).result


@pytest.mark.parametrize("name", ["a.wav", "a.mp4", "a.mkv"])
@pytest.mark.parametrize(
    ("channels", "layout", "remark"),
    [
        ([1, -1], "stereo", "channels of opposite phase: only channel 1"),
        ([0.4, -1], "stereo", "channels of opposite phase: only channel 2"),
        ([1, 0], "stereo", "one of two channels is silent: only channel 1"),
        ([0, 1], "stereo", "one of two channels is silent: only channel 2"),
        ([0, 0, 1, 0, -1, 0], "5.1", "channels of opposite phase: only channel"),
        ([0, 0, 1, 0, 0, 0], "5.1", "5 of 6 channels are silent: only channel 3 is used"),
    ],
)
def test_channel_is_taken_where_the_mean_would_lose_the_sound(tmp_path, name, channels, layout, remark):
    sound = tone(2, 48000) * np.array(channels, np.float32)[:, None]
    clip = write_clip(tmp_path / name, sound=sound, rate_hz=48000, layout=layout)
    record, alone = described(clip), write_clip(tmp_path / f"alone{name}", sound=tone(2, 48000), rate_hz=48000)
    assert record.problem.startswith(remark)
    loudness = np.abs(read_audio(clip, 0.2, 1.8)).max()
    assert loudness == pytest.approx(np.abs(read_audio(alone, 0.2, 1.8)).max(), rel=0.05)


@pytest.mark.parametrize("channels", [[1, 1], [1, 0.2], [0.5, 0.9]])
def test_ordinary_channels_are_averaged_and_nothing_is_reported(tmp_path, channels):
    sound = tone(2) * np.array(channels, np.float32)[:, None]
    clip = write_clip(tmp_path / "a.wav", sound=sound, layout="stereo")
    assert described(clip).problem == ""
    np.testing.assert_allclose(read_audio(clip, 0, 2), tone(2)[0] * np.mean(channels), atol=1e-4)


# ---------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "libvpx", "mpeg2video"])
def test_picture_that_never_changes_is_reported_and_used(tmp_path, codec):
    scene = draw_scene("joy")[0]
    still = write_clip(tmp_path / "still.mkv", pictures=[scene] * 20, picture_codec=codec)
    moving = [np.roll(scene, number, axis=1) for number in range(20)]
    moves = write_clip(tmp_path / "moves.mkv", pictures=moving, picture_codec=codec)
    cut_faces = FaceWorker(visual_settings(), 24)
    [found], [other] = (cut_faces([UtteranceMedia(str(clip), 0.0, 2.0)]).result for clip in (still, moves))
    assert found.remark.startswith("picture does not change: ") and len(found.faces) == found.frames > 1
    assert other.remark == ""


def test_length_of_slides_that_broke_off_is_what_decodes(tmp_path):
    """One frame in ten seconds, and the index in front: a frame's length is no rounding of the file's."""
    pictures = [np.full((64, 96), 20 * number, np.uint8) for number in range(5)]
    stamps, options = range(0, 50, 10), {"movflags": "faststart"}
    slides = write_clip(
        tmp_path / "a.mp4", pictures=pictures, frames_per_s=1, stamps=stamps, sound=tone(44), options=options
    )
    assert not probe(slides).remarks
    info = probe(truncate(slides, 0.6))
    assert info.duration_s < 32 and "length claimed wrongly: 44" in info.remarks[0][0]


def test_cover_art_that_is_a_track_like_others_is_not_the_picture(tmp_path):
    """FFmpeg copies an MP4's cover so to Matroska (`-map 0 -c copy`)."""
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        packets = []
        for codec, form, pictures in (("mjpeg", "yuvj420p", GREYS[:1]), ("libx264", "yuv420p", GREYS)):
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 48, 32, form
            for frame in [*video_frames(pictures, range(40), 10, form), None]:
                packets += stream.encode(frame)
        for packet in packets:
            container.mux(packet)
    info = measure(tmp_path / "a.mkv")
    assert [problem for problem, _ in info.remarks] == ["several picture tracks: number 2 of 2 (the first, no cover)"]
    [(_, picture)] = read_frames(tmp_path / "a.mkv", 3, 4, 1, 1)
    assert picture.mean() == pytest.approx(5 * 35, abs=6)


def test_rate_that_is_assumed_is_told(tmp_path):
    """Motion JPEG of a network camera has no clock: 10 frames/s would pass in two fifths of their time."""
    for name, told in (("a.mjpeg", ["no times in the file"]), ("a.avi", [])):
        clip = write_clip(tmp_path / name, pictures=GREYS, picture_codec="mjpeg", pix_fmt="yuvj420p")
        assert kinds(measure(clip)) == told


@pytest.mark.parametrize(
    ("name", "mark", "skip", "how", "used_s"),
    [("a.wav", b"ds64", 16, "<Q", 2), ("a.w64", b"data", 16, "<Q", 0.5), ("a.aiff", b"SSND", 4, ">I", 0.5)],
)
def test_sound_behind_the_length_that_a_header_claims_is_used_or_told(tmp_path, name, mark, skip, how, used_s):
    """A recorder that stopped: RF64, Wave64 and AIFF."""
    options = {"rf64": "always"} if name == "a.wav" else {}
    codec = "pcm_s16be" if name == "a.aiff" else "pcm_s16le"
    content = bytearray(write_clip(tmp_path / name, sound=tone(2), sound_codec=codec, options=options).read_bytes())
    struct.pack_into(how, content, content.index(mark) + skip, 16_000)
    (tmp_path / name).write_bytes(content)
    info = measure(tmp_path / name)
    assert info.duration_s == pytest.approx(used_s, abs=0.01)
    assert any("claims less sound than there is" in problem for problem, _ in info.remarks)


def test_further_part_behind_the_sound_of_an_aiff_is_no_sound(tmp_path):
    clip = write_clip(tmp_path / "a.aiff", sound=tone(2), sound_codec="pcm_s16be")
    clip.write_bytes(clip.read_bytes() + b"ID3 \0\0\xa0\0" + bytes(40_960))
    assert kinds(measure(clip)) == []
