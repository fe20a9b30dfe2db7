"""The decoder, on files of known content and known faults."""

import pickle

import av
import numpy as np
import pytest

from pipeline import media
from tests.clips import SHARED, needs_media, tone, truncate, write_clip

GREYS = [np.full((32, 48), 20 * number, np.uint8) for number in range(10)]
"""One second at 10 frames per second: frame k, shown from k/10 s, has the grey level 20 k."""


def grey_levels(frames):
    return [(round(time_s, 3), int(round(picture.mean(), -1))) for time_s, picture in frames]


# ---------------------------------------------------------------------------------------------------- probe


def test_probe_measures_both_streams(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", sound=tone(1), pictures=GREYS)
    found = media.probe(clip)
    assert (found.has_audio, found.has_video) == (True, True)
    assert found.duration_s == pytest.approx(1.0, abs=0.07)  # AAC pads to whole frames of 64 ms


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"sound": tone(0.5)}, (True, False)),
        ({"pictures": GREYS}, (False, True)),
        ({"pictures": GREYS[:1]}, (False, True)),
    ],
)
def test_probe_tells_absent_streams(tmp_path, content, expected):
    found = media.probe(write_clip(tmp_path / "a.mp4", **content))
    assert (found.has_audio, found.has_video) == expected


def test_probe_counts_a_stream_without_frames_as_absent(tmp_path):
    clip = write_clip(tmp_path / "a.mkv", sound=np.zeros((1, 0), np.float32), pictures=GREYS)
    found = media.probe(clip)
    assert (found.has_audio, found.has_video) == (False, True)


def test_probe_reads_files_that_do_not_tell_their_length(tmp_path):
    clip = write_clip(tmp_path / "a.m4v", pictures=GREYS)  # a raw MPEG-4 stream: no header, no length
    assert media.probe(clip).duration_s == pytest.approx(1.0, abs=0.11)


@pytest.mark.parametrize("content", [b"", b"hello\n" * 50, bytes(20000), np.random.default_rng(0).bytes(20000)])
def test_probe_refuses_what_is_no_media(tmp_path, content):
    clip = tmp_path / "a.mp4"
    clip.write_bytes(content)
    with pytest.raises(media.MediaError, match="a.mp4: unreadable"):
        media.probe(clip)


def test_probe_refuses_missing_files_folders_and_empty_tracks(tmp_path):
    for path, problem in [
        (tmp_path / "none.mp4", "No such file"),
        (tmp_path, "directory"),
        (write_clip(tmp_path / "zero.mp4", pictures=[]), "neither a sound nor a picture"),
    ]:
        with pytest.raises(media.MediaError, match=problem):
            media.probe(path)


def test_probe_opens_names_with_a_colon(tmp_path, monkeypatch):
    write_clip(tmp_path / "a.wav", sound=tone(0.2)).rename(tmp_path / "http:utt2.wav")
    monkeypatch.chdir(tmp_path)
    assert media.probe("http:utt2.wav").has_audio


def test_media_error_survives_the_way_back_from_a_worker():
    error = pickle.loads(pickle.dumps(media.MediaError("clips/a.mp4", "unreadable: why")))
    assert (str(error), error.problem) == ("clips/a.mp4: unreadable: why", "unreadable: why")


# ---------------------------------------------------------------------------------------------------- sound


@pytest.mark.parametrize(
    ("layout", "levels"), [("mono", [0.25]), ("stereo", [0.5, -0.25]), ("5.1", [0.5, 0.25, 0, 0, 0.125, -0.125])]
)
def test_audio_is_the_mean_of_the_channels(tmp_path, layout, levels):
    sound = np.repeat(np.array(levels, np.float32)[:, None], 1600, axis=1)
    clip = write_clip(tmp_path / "a.wav", sound=sound, layout=layout)
    np.testing.assert_array_equal(media.read_audio(clip, 0, 0.1), np.full(1600, np.mean(levels), np.float32))


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100, 48000])
def test_audio_is_resampled_to_16_khz_in_place(tmp_path, rate_hz):
    clip = write_clip(tmp_path / "a.wav", sound=tone(0.5, rate_hz), rate_hz=rate_hz)
    samples = media.read_audio(clip, 0, 0.5)
    assert samples.shape == (8000,) and samples.dtype == np.float32
    np.testing.assert_allclose(samples[400:-400], tone(0.5)[0, 400:-400], atol=0.005)  # a shift by one sample: 0.05


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_audio_of_every_sample_format_has_one_scale(tmp_path, codec):
    clip = write_clip(tmp_path / "a.wav", sound=tone(0.2), sound_codec=codec)
    np.testing.assert_allclose(media.read_audio(clip, 0, 0.2), tone(0.2)[0], atol=0.01)


def test_audio_never_wraps_around_in_16_bits(tmp_path):
    clip = write_clip(tmp_path / "a.wav", sound=tone(0.2) * 10, sound_codec="pcm_f32le")
    samples = media.read_audio(clip, 0, 0.2)
    assert samples.min() == -1 and samples.max() < 1
    as_opensmile_does = (samples * 32768).astype(np.int16)
    assert (as_opensmile_does * samples >= 0).all()


def test_audio_span_is_cut_to_the_sample(tmp_path):
    ramp = (np.arange(16000, dtype=np.float32) / 32768)[None]
    clip = write_clip(tmp_path / "a.wav", sound=ramp)
    np.testing.assert_array_equal(media.read_audio(clip, 0.25, 0.75) * 32768, np.arange(4000, 12000))
    np.testing.assert_array_equal(media.read_audio(clip, 0.9, 2.0) * 32768, np.arange(14400, 16000))


def test_audio_span_behind_the_end_is_empty(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", sound=tone(1))
    assert media.read_audio(clip, 5, 6).shape == (0,)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mp3"])
def test_audio_span_of_compressed_sound_equals_the_whole(tmp_path, name):
    codec = "mp3" if name.endswith("mp3") else "aac"
    clip = write_clip(tmp_path / name, sound=tone(4), sound_codec=codec, pictures=None if "mp3" in name else GREYS * 4)
    whole, span = media.read_audio(clip, 0, 4), media.read_audio(clip, 2.5, 3.0)
    shift = np.argmin([np.abs(whole[40000 + lag : 48000 + lag] - span).max() for lag in range(-20, 21)]) - 20
    assert abs(shift) <= (16 if "mkv" in name else 0)  # Matroska rounds times to a millisecond
    np.testing.assert_allclose(span, whole[40000 + shift : 48000 + shift], atol=1e-4)


def test_audio_of_a_clip_without_sound_is_an_error(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", pictures=GREYS)
    with pytest.raises(media.MediaError, match="no sound track"):
        media.read_audio(clip, 0, 1)


def test_audio_of_an_empty_track_is_an_error(tmp_path):
    clip = write_clip(tmp_path / "a.mkv", sound=np.zeros((1, 0), np.float32), pictures=GREYS)
    with pytest.raises(media.MediaError, match="empty sound track"):
        media.read_audio(clip, 0, 1)


def test_audio_takes_only_the_span_of_a_long_clip(tmp_path):
    clip = write_clip(tmp_path / "a.wav", sound=np.zeros((1, 300 * 16000), np.float32))
    assert media.read_audio(clip, 0, 30).shape == (30 * 16000,)


# ---------------------------------------------------------------------------------------------------- damage


def test_truncated_file_gives_what_decodes(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", sound=tone(1), pictures=GREYS, options={"movflags": "faststart"})
    whole = media.read_audio(clip, 0, 1)
    truncate(clip, 0.6)
    assert media.probe(clip).has_audio and media.probe(clip).has_video
    rest = media.read_audio(clip, 0, 1)
    assert 2000 < len(rest) < 14000
    np.testing.assert_array_equal(rest[:-1024], whole[: len(rest) - 1024])
    assert grey_levels(media.read_frames(clip, 0, 1, 10, 10))[:2] == [(0.1, 20), (0.2, 40)]


def test_file_truncated_before_its_index_is_an_error(tmp_path):
    clip = truncate(write_clip(tmp_path / "a.mp4", sound=tone(1), pictures=GREYS), 0.6)
    with pytest.raises(media.MediaError, match="unreadable: Invalid data"):
        media.read_audio(clip, 0, 1)


def test_damaged_packets_are_skipped_and_the_span_kept(tmp_path):
    noise = np.random.default_rng(0).normal(scale=0.1, size=(1, 64000)).astype(np.float32)
    clip = write_clip(tmp_path / "a.mp4", sound=noise)
    whole = media.read_audio(clip, 0, 4)
    content = bytearray(clip.read_bytes())
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 4)
    clip.write_bytes(content)
    damaged = media.read_audio(clip, 0, 4)
    assert 24000 < len(damaged) < len(whole) - 8000
    piece = damaged[-6000:-4000]  # goes on behind the damage
    assert min(np.abs(whole[lag : lag + 2000] - piece).max() for lag in range(56000, 62000)) < 1e-3
    shorter = media.read_audio(clip, 0, 3)  # and takes nothing from behind the span, but for a part of a frame
    assert abs(len(damaged) - len(shorter) - 16000) <= 1024


def test_container_that_breaks_off_ends_the_stream(tmp_path):
    clip = write_clip(tmp_path / "a.wav", sound=tone(1))

    class BreaksOff:
        """A container on a failing disk; files that are merely cut off end without an error."""

        def __init__(self, container):
            self.container = container

        def demux(self, stream):
            yield next(self.container.demux(stream))
            raise av.error.InvalidDataError(1, "broken")

    with media._open(clip) as container:
        frames = list(media._frames(BreaksOff(container), container.streams.audio[0]))
    assert len(frames) == 1


# ---------------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize("name", ["dialogue.avi", "dialogue.mp4"])
def test_frames_of_a_late_span_are_decoded_from_the_keyframe_before(tmp_path, monkeypatch, name):
    """A dialogue of a minute, a keyframe each half second: a turn of a second costs its ten frames and a few."""
    greys = [np.full((32, 48), 40 * (number % 5) + 20, np.uint8) for number in range(600)]
    clip = write_clip(tmp_path / name, pictures=greys)
    decoded = []
    frames = media._frames
    monkeypatch.setattr(
        media, "_frames", lambda *streams: (decoded.append(frame) or frame for frame in frames(*streams))
    )

    found = grey_levels(media.read_frames(clip, 55.3, 56.3, 10, 50))

    assert found == [(round(55.4 + 0.1 * k, 3), 40 * ((554 + k) % 5) + 20) for k in range(9)]
    assert len(decoded) <= 10 + 5 + 1


@pytest.mark.parametrize(
    ("start_s", "end_s", "frames_per_s", "max_frames", "expected"),
    [
        (0, 1, 5, 50, [(0.1, 20), (0.3, 60), (0.5, 100), (0.7, 140), (0.9, 180)]),
        (0, 1, 5, 2, [(0.3, 60), (0.8, 160)]),  # middles of the halves: 0.25 and 0.75
        (0.5, 1, 5, 50, [(0.7, 140), (0.9, 180)]),  # round(2.5) = 2 samples: 0.625 and 0.875
        (0, 1, 100, 500, [(k / 10, 20 * k) for k in range(1, 10)]),  # each frame at most once
        (0.31, 0.39, 5, 50, []),  # between two frames
        (0.35, 0.45, 1, 50, [(0.4, 80)]),
        (5, 6, 5, 50, []),
    ],
)
def test_frames_are_sampled_at_the_middles(tmp_path, start_s, end_s, frames_per_s, max_frames, expected):
    clip = write_clip(tmp_path / "a.mp4", pictures=GREYS)
    assert grey_levels(media.read_frames(clip, start_s, end_s, frames_per_s, max_frames)) == expected


def test_frames_of_a_short_clip_are_never_none(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", pictures=GREYS[2:3], sound=tone(1))
    assert grey_levels(media.read_frames(clip, 0, 1, 5, 50)) == [(0.0, 40)]


def test_frames_after_seeking_are_those_of_the_whole(tmp_path):
    random = np.random.default_rng(0)
    pictures = [np.kron(random.integers(0, 255, (4, 6)), np.ones((8, 8))).astype(np.uint8) for _ in range(30)]
    clip = write_clip(tmp_path / "a.mp4", pictures=pictures)
    whole = {round(time_s, 3): frame for time_s, frame in media.read_frames(clip, 0, 3, 20, 100)}
    for time_s, frame in media.read_frames(clip, 1.7, 2.6, 5, 50):
        np.testing.assert_array_equal(frame, whole[round(time_s, 3)])


def test_frames_stand_upright(tmp_path):
    quarters = np.kron([[0, 80], [160, 240]], np.ones((32, 48))).astype(np.uint8)
    clip = write_clip(tmp_path / "a.mp4", pictures=[quarters] * 3, rotation=90)
    [(_, frame)] = media.read_frames(clip, 0, 0.3, 1, 1)
    assert frame.shape == (96, 64) and frame.dtype == np.uint8 and frame.flags.c_contiguous
    corners = [[int(frame[0, 0]), int(frame[0, -1])], [int(frame[-1, 0]), int(frame[-1, -1])]]
    np.testing.assert_allclose(corners, [[80, 240], [0, 160]], atol=6)


def test_frames_of_a_clip_without_picture_are_an_error(tmp_path):
    clip = write_clip(tmp_path / "a.wav", sound=tone(0.2))
    with pytest.raises(media.MediaError, match="no picture track"):
        next(media.read_frames(clip, 0, 1, 5, 50))


# ---------------------------------------------------------------------------------------------------- real files


@needs_media
def test_real_sound_that_begins_late_is_not_padded():
    clip = SHARED / "media" / "face_noface.mov"  # 6.42 s of picture; its sound begins at 2.43 s
    assert media.read_audio(clip, 0, 2).shape == (0,)
    whole = media.read_audio(clip, 0, 6.4)
    assert len(whole) / media.SAMPLE_RATE_HZ == pytest.approx(6.4 - 2.43, abs=0.01)
    part = media.read_audio(clip, 2, 3)
    assert len(part) / media.SAMPLE_RATE_HZ == pytest.approx(3 - 2.43, abs=0.001)
    np.testing.assert_allclose(part[:-20], whole[: len(part) - 20], atol=1e-4)  # the resampler's edge: 20 samples


@needs_media
def test_real_photograph_is_a_clip_of_one_frame():
    clip = SHARED / "media" / "single_face.jpg"
    found = media.probe(clip)
    assert (found.has_audio, found.has_video) == (False, True)
    assert len(list(media.read_frames(clip, 0, found.duration_s, 5, 50))) == 1
