"""The sound of utterances, on files of known content and known faults."""

import re
import struct

import av
import numpy as np
import pytest

from pipeline.media import sound
from pipeline.media.files import MediaError
from pipeline.media.sound import SAMPLE_RATE_HZ, SoundFile
from tests.helpers.clips import SHARED, needs_media, read_audio, tone, truncate, write_clip

GREYS = [np.full((32, 48), 20 * number, np.uint8) for number in range(10)]
"""One second at 10 frames per second: frame k, shown from k/10 s, has the grey level 20 k."""


@pytest.mark.parametrize(
    ("layout", "levels"), [("mono", [0.25]), ("stereo", [0.5, -0.25]), ("5.1", [0.5, 0.25, 0, 0, 0.125, -0.125])]
)
def test_audio_is_the_mean_of_the_channels(tmp_path, layout, levels):
    sound = np.repeat(np.array(levels, np.float32)[:, None], 1600, axis=1)
    clip = write_clip(tmp_path / "a.wav", sound=sound, layout=layout)
    np.testing.assert_array_equal(read_audio(clip, 0, 0.1), np.full(1600, np.mean(levels), np.float32))


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100, 48000])
def test_audio_is_resampled_to_16_khz_in_place(tmp_path, rate_hz):
    clip = write_clip(tmp_path / "a.wav", sound=tone(0.5, rate_hz), rate_hz=rate_hz)
    samples = read_audio(clip, 0, 0.5)
    assert samples.shape == (8000,) and samples.dtype == np.float32
    np.testing.assert_allclose(samples[400:-400], tone(0.5)[0, 400:-400], atol=0.005)  # a shift by one sample: 0.05


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_audio_of_every_sample_format_has_one_scale(tmp_path, codec):
    clip = write_clip(tmp_path / "a.wav", sound=tone(0.2), sound_codec=codec)
    np.testing.assert_allclose(read_audio(clip, 0, 0.2), tone(0.2)[0], atol=0.01)


def test_audio_never_wraps_around_in_16_bits(tmp_path):
    clip = write_clip(tmp_path / "a.wav", sound=tone(0.2) * 10, sound_codec="pcm_f32le")
    samples = read_audio(clip, 0, 0.2)
    assert samples.min() == -1 and samples.max() < 1
    as_opensmile_does = (samples * 32768).astype(np.int16)
    assert (as_opensmile_does * samples >= 0).all()


def test_audio_span_is_cut_to_the_sample(tmp_path):
    ramp = (np.arange(16000, dtype=np.float32) / 32768)[None]
    clip = write_clip(tmp_path / "a.wav", sound=ramp)
    np.testing.assert_array_equal(read_audio(clip, 0.25, 0.75) * 32768, np.arange(4000, 12000))
    np.testing.assert_array_equal(read_audio(clip, 0.9, 2.0) * 32768, np.arange(14400, 16000))


def test_audio_span_behind_the_end_is_empty(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", sound=tone(1))
    assert read_audio(clip, 5, 6).shape == (0,)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mp3"])
def test_audio_span_of_compressed_sound_equals_the_whole(tmp_path, name):
    codec = "mp3" if name.endswith("mp3") else "aac"
    clip = write_clip(tmp_path / name, sound=tone(4), sound_codec=codec, pictures=None if "mp3" in name else GREYS * 4)
    whole, span = read_audio(clip, 0, 4), read_audio(clip, 2.5, 3.0)
    shift = np.argmin([np.abs(whole[40000 + lag : 48000 + lag] - span).max() for lag in range(-20, 21)]) - 20
    assert abs(shift) <= (16 if "mkv" in name else 0)  # Matroska rounds times to a millisecond
    np.testing.assert_allclose(span, whole[40000 + shift : 48000 + shift], atol=1e-4)


def test_audio_of_a_clip_without_sound_is_an_error(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", pictures=GREYS)
    with pytest.raises(MediaError, match="no sound track"):
        read_audio(clip, 0, 1)


def test_audio_of_an_empty_track_is_an_error(tmp_path):
    clip = write_clip(tmp_path / "a.mkv", sound=np.zeros((1, 0), np.float32), pictures=GREYS)
    with pytest.raises(MediaError, match="empty sound track"):
        read_audio(clip, 0, 1)


def test_audio_takes_only_the_span_of_a_long_clip(tmp_path):
    clip = write_clip(tmp_path / "a.wav", sound=np.zeros((1, 300 * 16000), np.float32))
    assert read_audio(clip, 0, 30).shape == (30 * 16000,)


def test_truncated_file_gives_what_decodes(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", sound=tone(1), pictures=GREYS, options={"movflags": "faststart"})
    whole = read_audio(clip, 0, 1)
    truncate(clip, 0.6)
    rest = read_audio(clip, 0, 1)
    assert 2000 < len(rest) < 14000
    np.testing.assert_array_equal(rest[:-1024], whole[: len(rest) - 1024])


def test_file_truncated_before_its_index_is_an_error(tmp_path):
    clip = truncate(write_clip(tmp_path / "a.mp4", sound=tone(1), pictures=GREYS), 0.6)
    with pytest.raises(MediaError, match="unreadable: Invalid data"):
        read_audio(clip, 0, 1)


def test_damaged_packets_are_skipped_and_the_span_kept(tmp_path):
    noise = np.random.default_rng(0).normal(scale=0.1, size=(1, 64000)).astype(np.float32)
    clip = write_clip(tmp_path / "a.mp4", sound=noise)
    whole = read_audio(clip, 0, 4)
    content = bytearray(clip.read_bytes())
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 4)
    clip.write_bytes(content)
    with SoundFile(clip) as file:
        damaged = file.read(0, 4)
        assert "no packets of sound" in file.remark
    assert len(damaged) == len(whole) and 8000 < (damaged == 0).sum() < 40000
    np.testing.assert_allclose(damaged[-6000:-4000], whole[-6000:-4000], atol=1e-3)  # goes on in its place
    assert len(read_audio(clip, 0, 3)) == 48000  # and takes nothing from behind the span


@needs_media
def test_real_sound_that_begins_late_is_not_padded():
    clip = SHARED / "media" / "face_noface.mov"  # 6.42 s of picture; its sound begins at 2.43 s
    assert read_audio(clip, 0, 2).shape == (0,)
    whole = read_audio(clip, 0, 6.4)
    assert len(whole) / SAMPLE_RATE_HZ == pytest.approx(6.4 - 2.43, abs=0.01)
    part = read_audio(clip, 2, 3)
    assert len(part) / SAMPLE_RATE_HZ == pytest.approx(3 - 2.43, abs=0.001)
    np.testing.assert_allclose(part[:-20], whole[: len(part) - 20], atol=1e-4)  # the resampler's edge: 20 samples


SPANS = [(2.0, 2.4), (1.2, 1.5), (0.0, 0.3), (2.8, 4.0), (1.1, 2.2), (1.2, 1.5), (9.0, 9.5), (0.6, 2.6), (1.7, 2.9)]
"""Two of them within a second of the begin, where a file is opened anew."""

ONCE = ["aac.mp4", "aac.avi", "ac3.mp4", "eac3.mov", "libmp3lame.mp4", "mp2.mov", "flac.mp4", "alac.mov"]
ONCE += ["pcm_s16le.wav", "pcm_s24le.mov", "pcm_mulaw.avi"]
ONCE += ["aac.mkv", "ac3.mkv", "pcm_s16le.mkv", "aac.aac", "libmp3lame.mp3", "flac.flac"]
ANEW = ["aac.ts", "libopus.mp4", "libopus.mkv", "libopus.ogg", "adpcm_ima_wav.wav"]


def noise(rate_hz=48000):
    """Return noise, of which an AAC encoder keeps the loudness only, with pauses: [2, samples], three seconds."""
    samples = np.random.default_rng(0).normal(scale=0.1, size=(2, 3 * rate_hz))
    return (samples * np.abs(np.sin(np.arange(3 * rate_hz) / 9000))).astype(np.float32)


def assert_spans_as_alone(clip, spans, monkeypatch):
    """Check that samples do not depend on earlier reads; return how often the file was opened for all."""
    alone = [read_audio(clip, *span) for span in spans]
    opened, open_media = [], sound.open_media
    monkeypatch.setattr(sound, "open_media", lambda path: opened.append(path) or open_media(path))
    with SoundFile(clip) as file:
        for span, expected in zip(spans, alone, strict=True):
            np.testing.assert_array_equal(file.read(*span), expected, err_msg=str(span))
    return len(opened)


@pytest.mark.parametrize("name", ONCE + ANEW)
def test_samples_do_not_depend_on_what_was_read_before(tmp_path, name, monkeypatch):
    codec = name.partition(".")[0]
    clip = write_clip(tmp_path / name, sound=noise(), rate_hz=48000, layout="stereo", sound_codec=codec)
    opened = assert_spans_as_alone(clip, SPANS, monkeypatch)
    assert opened <= 4 if name in ONCE else opened > 4


def test_samples_of_a_damaged_file_do_not_depend_on_what_was_read_before(tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "a.mp4", sound=noise(), rate_hz=48000, layout="stereo")
    content = bytearray(clip.read_bytes())
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    clip.write_bytes(content)
    assert_spans_as_alone(clip, SPANS, monkeypatch)


@needs_media
@pytest.mark.parametrize("name", ["face_noface.mov", "WolfgangLanger_Pexels.mp4", "no_face.mp4", "speech.wav"])
def test_samples_of_real_clips_do_not_depend_on_what_was_read_before(name, monkeypatch):
    edges = np.random.default_rng(0).uniform(0, 6.5, (12, 2))
    assert_spans_as_alone(SHARED / "media" / name, [tuple(sorted(pair)) for pair in edges], monkeypatch)


@pytest.mark.parametrize("codec", ["adpcm_ms", "adpcm_ima_wav"])
@pytest.mark.parametrize("suffix", [".wav", ".w64"])
def test_adpcm_whose_header_has_no_exact_bit_rate_is_heard_in_its_place(tmp_path, codec, suffix):
    """FFmpeg seeks in it by the bit rate, which its muxer rounds or leaves out: 3.4 s early after ten minutes."""
    rate_hz, length_s = 8000, 600
    hz_T = 300 + 2 * np.arange(length_s * rate_hz) / rate_hz  # the pitch tells the time
    wave = (0.4 * np.sin(2 * np.pi * np.cumsum(hz_T) / rate_hz)).astype(np.float32)[None]
    clip = write_clip(tmp_path / f"a{suffix}", sound=wave, rate_hz=rate_hz, sound_codec=codec)
    with SoundFile(clip) as file:
        for start_s in (10.0, 590.0, 300.0):
            samples_T = file.read(start_s, start_s + 0.5)
            spectrum = np.abs(np.fft.rfft(samples_T * np.hanning(len(samples_T)))).argmax()
            heard_hz = spectrum * SAMPLE_RATE_HZ / len(samples_T)
            assert heard_hz == pytest.approx(300 + 2 * (start_s + 0.25), abs=3)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_alaw"])
@pytest.mark.parametrize("times", [0.5, 2])
def test_wav_whose_byte_rate_is_wrong_is_heard_in_its_place(tmp_path, codec, times):
    """Recorder.js writes that of stereo into a mono .wav. FFmpeg seeks by it: what is heard at 3 s is that of 6 s."""
    hz_T = 300 + 100 * np.arange(8 * 16000) / 16000  # the pitch tells the time
    wave = (0.4 * np.sin(2 * np.pi * np.cumsum(hz_T) / 16000)).astype(np.float32)[None]
    clip = write_clip(tmp_path / "a.wav", sound=wave, sound_codec=codec)
    expected = read_audio(clip, 3.0, 3.5)
    content = bytearray(clip.read_bytes())
    content[28:32] = struct.pack("<I", int(times * struct.unpack("<I", content[28:32])[0]))
    clip.write_bytes(content)
    np.testing.assert_allclose(read_audio(clip, 3.0, 3.5), expected, atol=1e-6)


def test_flac_in_ogg_is_heard_in_its_place(tmp_path):
    """FFmpeg gives its packets wrong times after a seek, where they differ in size: up to a second late."""
    random = np.random.default_rng(0)
    loud = np.repeat(random.random(240), 1600)  # syllables of a tenth of a second
    sound_CT = (loud * random.normal(scale=0.1, size=len(loud))).astype(np.float32)[None]
    clip = write_clip(tmp_path / "memo.oga", sound=sound_CT, sound_codec="flac")
    with SoundFile(clip) as file:
        whole = file.read(0.0, 24.0)
        for start_s in (5.0, 20.05, 3.0, *np.arange(1.2, 23.0, 0.5).round(1)):
            first = round(start_s * SAMPLE_RATE_HZ)
            np.testing.assert_array_equal(file.read(start_s, start_s + 0.5), whole[first : first + 8000], str(start_s))


def test_floats_beyond_full_scale_are_clipped_and_told(tmp_path):
    """Samples of 16 bits written as floats without a division, as some scripts do."""
    wave = tone(1.0)
    loud = write_clip(tmp_path / "loud.wav", sound=32767 * wave, sound_codec="pcm_f32le")
    usual = write_clip(tmp_path / "usual.wav", sound=1.06 * wave / np.abs(wave).max(), sound_codec="pcm_f32le")
    with SoundFile(loud) as file:
        assert np.median(np.abs(file.read(0.1, 0.9))) > 0.99
        assert re.fullmatch(r"beyond full scale: \d+% of the samples, clipped", file.remark)
    with SoundFile(usual) as file:
        file.read(0.0, 0.1)
        assert file.remark == ""


HOLES = [("a.mp4", "aac"), ("a.mkv", "aac"), ("a.mkv", "libopus"), ("a.mkv", "pcm_s16le"), ("a.ts", "aac")]


@pytest.mark.parametrize(("name", "codec"), HOLES)
def test_sound_behind_a_pause_of_the_time_stamps_keeps_its_time(tmp_path, name, codec):
    """A muted microphone sends nothing: the packets from 4 s to 6.5 s lack."""
    time_T = np.arange(10 * 48000) / 48000
    pitch_T = 300 + 100 * np.floor(time_T)  # tells the second
    wave = (0.4 * np.sin(2 * np.pi * np.cumsum(pitch_T) / 48000)).astype(np.float32)[None]
    whole = write_clip(tmp_path / f"whole-{name}", sound=wave, rate_hz=48000, sound_codec=codec, pictures=GREYS * 10)
    clip = without_packets(whole, tmp_path / name, 4.0, 6.5)
    with SoundFile(clip) as file:
        for start_s, end_s, hole_s in ((6.6, 6.9, 0), (7.2, 7.8, 0), (5.2, 6.9, 0), (9.1, 9.8, 0), (3.2, 7.8, 2.5)):
            samples_T = file.read(start_s, end_s)
            assert (hole_s > 0) == ("no packets of sound" in file.remark), file.remark
            for second in range(int(file.begin_s), int(end_s) + 1):
                first = max(0, round((second + 0.1 - file.begin_s) * SAMPLE_RATE_HZ))
                piece_T = samples_T[first : round((second + 0.9 - file.begin_s) * SAMPLE_RATE_HZ)]
                if second not in (4, 5, 6) and len(piece_T) > 1600:
                    spectrum = np.abs(np.fft.rfft(piece_T * np.hanning(len(piece_T)))).argmax()
                    assert abs(spectrum * SAMPLE_RATE_HZ / len(piece_T) - (300 + 100 * second)) < 20, (start_s, second)
        assert file.begin_s == 3.2 and not file.read(4.6, 5.4).any()


def without_packets(source, target, start_s, end_s):
    """Copy a file but for the packets of sound that begin within a span."""
    with av.open(str(source)) as given, av.open(str(target), "w") as copied:
        streams = {stream.index: copied.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            lacks = packet.stream.type == "audio" and packet.pts is not None
            if packet.dts is None or (lacks and start_s <= packet.pts * packet.time_base < end_s):
                continue
            packet.stream = streams[packet.stream.index]
            copied.mux(packet)
    return target
