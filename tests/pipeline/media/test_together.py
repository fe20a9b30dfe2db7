"""Picture and sound of a span in one pass over the file: those of two passes."""

import numpy as np
import pytest

from pipeline.media import files, pictures
from pipeline.media.pictures import PictureFile, Span
from pipeline.media.sound import SoundFile
from tests.helpers.clips import SHARED, needs_media, tone, write_clip

LENGTH_S = 6
SPANS = [Span(0.0, 0.7), Span(0.3, 1.1), Span(0.9, 1.5), Span(1.6, 2.4), Span(3.1, 4.4), Span(5.2, 6.0), Span(0.0, 6.0)]
FILES = {  # of those spans, the ones that one pass gives: 0 and 1 begin within the first half second, 2 within a second
    "aac.mp4": {0, 1, 3, 4, 5, 6},
    "aac.mov": {0, 1, 3, 4, 5, 6},
    "aac.mkv": {0, 1, 3, 4, 5, 6},
    "libmp3lame.avi": {3, 4, 5},
    "pcm_s16le.avi": {0, 1, 3, 4, 5, 6},
    "mp2.ts": {0, 1, 3, 4, 5, 6},
    "flac.mkv": {3, 4, 5},
    "ac3.mkv": {0, 1, 3, 4, 5, 6},
    "libopus.webm": set(),  # its decoder cannot be made anew
}
"""Files named by their sound's codec."""

SOUGHT = {".mkv", ".ts"}  # containers in which a seek for the sound may lead elsewhere than one for the picture


def clip_of(path, rate_hz=48000):
    random = np.random.default_rng(0)
    sound = tone(LENGTH_S, rate_hz, channels=2) + 0.02 * random.standard_normal((2, LENGTH_S * rate_hz)).astype(
        np.float32
    )
    shown = [np.kron(random.integers(0, 255, (8, 12)), np.ones((8, 8))).astype(np.uint8) for _ in range(LENGTH_S * 10)]
    picture_codec = {".webm": "libvpx-vp9", ".ts": "mpeg2video", ".mkv": "libx264", ".mp4": "libx264"}.get(
        path.suffix, "mpeg4"
    )
    options = {"deadline": "realtime", "cpu-used": "8"} if path.suffix == ".webm" else {}
    how = {"picture_codec": picture_codec, "picture_options": options, "sound_codec": path.stem, "layout": "stereo"}
    return write_clip(path, pictures=shown, sound=sound, rate_hz=rate_hz, gop=12, **how)


def together(file, span, frames_per_s=5):
    """Return the frames of a span, and its sound from the same pass, or None."""
    sounds = {}
    frames = [sample for _, *sample in file.sample([span], frames_per_s, 50, sounds)]
    return frames, sounds.get(0)


def assert_same_frames(found, expected):
    assert [time_s for time_s, _ in found] == [time_s for time_s, _ in expected]
    for (_, frame), (_, same) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(frame, same)


@pytest.mark.parametrize("name", FILES)
def test_one_pass_gives_the_frames_and_samples_of_two(tmp_path, name):
    """To the bit, but where a seek leads elsewhere: there, after a shift of a millisecond at most."""
    clip, given = clip_of(tmp_path / name), set()
    for number, span in enumerate(SPANS):
        with SoundFile(clip) as file:
            expected_T = file.read(*span)
        with PictureFile(clip) as file:
            expected = [sample for _, *sample in file.sample([span], 5, 50)]
        with PictureFile(clip) as file:
            frames, sound = together(file, span)
            assert_same_frames(frames, expected)
        if sound is None:
            continue
        given.add(number)
        assert sound.exact == (clip.suffix not in SOUGHT or span.start_s <= 0.5)
        if not sound.exact:
            shifts = [abs(np.roll(sound.samples_T, by) - expected_T)[32:-32].mean() for by in range(-16, 17)]
            assert min(shifts) < 0.1 * np.abs(expected_T).mean()
        else:
            np.testing.assert_array_equal(sound.samples_T, expected_T)
    assert given == FILES[name]


@pytest.mark.parametrize("rate_hz", [44100, 48000])
@pytest.mark.parametrize("name", FILES)
def test_one_pass_over_many_utterances_gives_the_frames_and_samples_of_two(tmp_path, name, rate_hz):
    rate_hz = 24000 if name.startswith("libopus") and rate_hz == 44100 else rate_hz
    spans = [*SPANS, *(Span(start_ms / 1000, start_ms / 1000 + 0.6) for start_ms in range(1105, 5400, 215))]
    clip, sounds, seen = clip_of(tmp_path / name, rate_hz), {}, {number: [] for number in range(len(spans))}
    with PictureFile(clip) as file:
        for number, *sample in file.sample(spans, 5, 50, sounds):
            seen[number].append(sample)
    with PictureFile(clip) as file, SoundFile(clip) as heard:
        for number, span in enumerate(spans):
            assert_same_frames(seen[number], [sample for _, *sample in file.sample([span], 5, 50)])
            if number in sounds and sounds[number].exact:
                np.testing.assert_array_equal(sounds[number].samples_T, heard.read(*span))
                assert sounds[number].remark == heard.remark
    exact = {number for number, sound in sounds.items() if sound.exact}
    assert exact >= (FILES[name] & {3, 4, 5} if clip.suffix in (".mp4", ".mov", ".avi") else set())


@pytest.mark.parametrize("name", FILES)
def test_one_pass_does_not_depend_on_earlier_ones(tmp_path, name):
    """At the begin, only the first pass has a decoder that has decoded nothing: the others leave it to a second."""
    clip = clip_of(tmp_path / name)
    with PictureFile(clip) as used:
        for span in (*SPANS[3:6], *SPANS[::-1]):
            next(used.sample([Span(0.3, 4.9)], 10, 50))
            frames, sound = together(used, span)
            with PictureFile(clip) as file:
                frames_alone, alone = together(file, span)
                assert_same_frames(frames, frames_alone)
            if sound is not None:
                np.testing.assert_array_equal(sound.samples_T, alone.samples_T)
            else:
                assert alone is None or span.start_s <= 0.5


def test_sound_that_lies_far_behind_its_picture_in_the_file_is_left_to_a_pass_of_its_own(tmp_path):
    """All pictures first, then all sound: as some editors write."""
    clip = clip_of(tmp_path / "aac.mp4")
    with PictureFile(clip) as file:
        assert together(file, Span(1.6, 2.4))[1] is not None
    read_packets = PictureFile._read

    def apart(file, spans, heard=None):
        read, following = read_packets(file, spans, heard)
        if heard is None:
            return read, following
        late = [packet for packet in heard if packet.dts * packet.time_base > 2]
        heard[:] = [packet for packet in heard if packet not in late]
        return read, iter([*(packet for packet in following if packet.stream_index == file._stream.index), *late])

    with pytest.MonkeyPatch.context() as patch, PictureFile(clip) as file:
        patch.setattr(PictureFile, "_read", apart)
        frames, sound = together(file, Span(1.6, 2.4))
        assert sound is None and len(frames) == 4


def test_a_file_without_sound_is_an_error(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", pictures=[np.zeros((32, 48), np.uint8)] * 10)
    with PictureFile(clip) as file, pytest.raises(files.MediaError, match="no sound track"):
        together(file, Span(0.0, 0.5))


@needs_media
def test_one_pass_over_a_real_clip_gives_what_two_give(monkeypatch):
    clip, span, opened = SHARED / "media" / "WolfgangLanger_Pexels.mp4", Span(1.5, 3.5), []
    monkeypatch.setattr(pictures, "open_media", lambda *file: opened.append(file) or files.open_media(*file))
    with SoundFile(clip) as heard, PictureFile(clip) as seen:
        frames, sound = together(seen, span)
        np.testing.assert_array_equal(sound.samples_T, heard.read(*span))
        assert_same_frames(frames, [sample for _, *sample in seen.sample([span], 5, 50)])
    assert len(opened) == 1
