"""Picture and sound of a span in one pass over the file: those of two passes."""

import itertools

import av
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
CODECS = "libvpx-vp9", "flv", "mpeg2video", "libx264", "libx264"


def clip_of(path, rate_hz=48000):
    random = np.random.default_rng(0)
    sound = tone(LENGTH_S, rate_hz, channels=2) + 0.02 * random.standard_normal((2, LENGTH_S * rate_hz)).astype(
        np.float32
    )
    shown = [np.kron(random.integers(0, 255, (8, 12)), np.ones((8, 8))).astype(np.uint8) for _ in range(LENGTH_S * 10)]
    picture_codec = dict(zip((".webm", ".flv", ".ts", ".mkv", ".mp4"), CODECS, strict=True)).get(path.suffix, "mpeg4")
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
            if number in sounds:
                np.testing.assert_array_equal(sounds[number].samples_T, heard.read(*span))
                assert sounds[number].remark == heard.remark
    assert sounds.keys() >= FILES[name] & {3, 4, 5}


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


def shifted(clip, path, by):
    """Begin the sound of a clip earlier by so many samples: before the file's begin, as encoders' priming does."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                early = by * (packet.stream.type == "audio")
                packet.dts, packet.pts = packet.dts - early, packet.pts - early
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    return path


def test_the_begin_is_left_to_a_second_pass_where_the_picture_was_read_alone_before(tmp_path):
    """A seek to the begin leaves out the first packets of the sound, though not all that lie before it."""
    clip = shifted(clip_of(tmp_path / "aac.mov"), tmp_path / "early.mov", 2112 - 1024)
    with PictureFile(clip) as file, SoundFile(clip) as heard:
        list(file.sample([Span(2.0, 3.0)], 5, 50))
        sound = together(file, Span(0.0, 2.0))[1]
        assert sound is None or np.array_equal(sound.samples_T, heard.read(0.0, 2.0))


def test_pictures_before_the_first_keyframe_are_the_same_with_sound_and_without(tmp_path):
    clip, cut = clip_of(tmp_path / "pcm_s16le.avi"), tmp_path / "cut.avi"
    with av.open(str(clip)) as source, av.open(str(cut), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in itertools.islice((packet for packet in source.demux() if packet.dts is not None), 1, None):
            packet.stream = streams[packet.stream_index]
            target.mux(packet)
    for span in (Span(0.0, 0.7), Span(0.3, 1.1)):
        with PictureFile(cut) as file, PictureFile(cut) as alone:
            assert_same_frames(together(file, span)[0], [sample for _, *sample in alone.sample([span], 5, 50)])


@pytest.mark.parametrize("suffix", [".avi", ".nut"])
def test_what_refers_to_a_keyframe_that_was_cut_off_is_no_picture(tmp_path, suffix):
    clip, cut, span = clip_of(tmp_path / f"mp2{suffix}"), tmp_path / f"cut{suffix}", Span(0.1, 0.8)
    with av.open(str(clip)) as source, av.open(str(cut), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in (packet for packet in source.demux() if packet.dts is not None):
            if packet.stream.type == "audio" or packet.dts * packet.time_base > 0.25:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    with PictureFile(cut) as file:
        for _ in range(2):
            assert not together(file, span)[0]


def test_the_begin_of_recordings_put_one_behind_the_other_does_not_depend_on_earlier_reads(tmp_path):
    clip, cut = clip_of(tmp_path / "aac.mp4"), tmp_path / "cut.ts"
    clip = write_clip(
        tmp_path / "a.ts", pictures=[frame for _, frame in together(PictureFile(clip), Span(0, 3), 10)[0]]
    )
    with av.open(str(clip)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in itertools.islice((packet for packet in source.demux() if packet.dts is not None), 1, None):
            packet.stream = stream
            target.mux(packet)
    cut.write_bytes(cut.read_bytes() * 2)
    with PictureFile(cut) as file:
        assert_same_frames(*(together(file, Span(0.0, 1.0))[0] for _ in range(2)))


@pytest.mark.parametrize("span", [Span(0.0, 0.7), Span(1.6, 2.4), Span(2.223, 3.0)])
def test_aac_whose_file_begins_within_a_packet_is_the_same_in_one_pass(tmp_path, span):
    """Apple's encoders write 2112 samples before the begin, two packets and a part of one; a seek leads too far."""
    clip = shifted(clip_of(tmp_path / "aac.mp4"), tmp_path / "early.mp4", 2112 - 1024)
    with PictureFile(clip) as file, SoundFile(clip) as heard:
        np.testing.assert_array_equal(together(file, span)[1].samples_T, heard.read(*span))


@pytest.mark.parametrize(("rate_hz", "start_s"), [(48000, 1.396), (48000, 2.292), (32000, 1.876), (24000, 1.396)])
def test_a_packet_that_begins_half_a_second_before_an_utterance_is_rounded_as_a_seek_rounds(tmp_path, rate_hz, start_s):
    clip, span = clip_of(tmp_path / "aac.mp4", rate_hz), Span(start_s, start_s + 0.6)
    with PictureFile(clip) as file, SoundFile(clip) as heard:
        np.testing.assert_array_equal(together(file, span)[1].samples_T, heard.read(*span))


def test_an_utterance_in_the_first_second_of_mpeg_ts_has_all_its_pictures(tmp_path):
    """A seek to just before the begin leads behind the first picture, and what refers to it was lost."""
    shown, sound = [np.full((64, 96), 4 * number, np.uint8) for number in range(60)], tone(LENGTH_S, 48000, channels=2)
    how = {"picture_codec": "libx264", "gop": 12, "sound_codec": "aac", "layout": "stereo", "rate_hz": 48000}
    with PictureFile(write_clip(tmp_path / "a.ts", pictures=shown, sound=sound, **how)) as file:
        for _ in range(2):
            times = [time_s for _, time_s, _ in file.sample([Span(0.935, 1.335)], 10, 50)]
            np.testing.assert_allclose(times, [1.021, 1.121, 1.221, 1.321], atol=1e-3)


def test_a_file_that_is_read_from_its_start_does_not_keep_the_sound_of_hours_in_memory(tmp_path):
    clip = clip_of(tmp_path / "mp2.ts")
    clip.write_bytes(clip.read_bytes() * 2)
    with PictureFile(clip) as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(PictureFile, "_listen", lambda *_: pytest.fail("sound is kept"))
        frames, sound = together(file, Span(7.6, 8.4))
        assert len(frames) == 4 and sound is None


def test_sound_whose_clock_restarts_beside_a_picture_whose_clock_goes_on_is_heard_in_its_place(tmp_path):
    clip = clip_of(tmp_path / "aac.flv", 44100)
    tags, place = bytearray(clip.read_bytes()), 13
    while place < len(tags):  # kind, size and milliseconds of a tag
        time_ms = int.from_bytes(tags[place + 4 : place + 7], "big")
        if tags[place] == 8 and time_ms > 1500:
            tags[place + 4 : place + 7] = (time_ms - 1000).to_bytes(3, "big")
        place += 15 + int.from_bytes(tags[place + 1 : place + 4], "big")
    clip.write_bytes(tags)
    for span in (Span(3.1, 4.4), Span(4.5, 5.9)):
        with PictureFile(clip) as file, SoundFile(clip) as heard:
            sound = together(file, span)[1]
            assert sound is None or np.array_equal(sound.samples_T, heard.read(*span))


def test_a_picture_beside_sound_without_a_decoder_is_seen(tmp_path):
    clip = clip_of(tmp_path / "pcm_s16le.mov")
    clip.write_bytes(clip.read_bytes().replace(b"sowt", b"zzzz"))
    with PictureFile(clip) as file:
        frames, sound = together(file, Span(1.6, 2.4))
        assert len(frames) == 4 and sound is None


@pytest.mark.parametrize("span", [Span(0.2, 2.0), Span(50.0, 52.0)])
def test_the_sound_of_hours_beside_one_picture_is_not_kept_in_memory(tmp_path, span):
    sound, how = np.tile(tone(1, 8000), (1, 100)), {"sound_codec": "pcm_s16le", "rate_hz": 8000}
    clip, kept = write_clip(tmp_path / "a.mov", pictures=[np.zeros((32, 48), np.uint8)], sound=sound, **how), []
    read_on = PictureFile._read_on

    def count(file, following, heard, end_s):
        kept.append(sum(packet.duration * packet.time_base for packet in heard))
        return read_on(file, following, heard, end_s)

    with PictureFile(clip) as file, SoundFile(clip) as heard, pytest.MonkeyPatch.context() as patch:
        patch.setattr(PictureFile, "_read_on", count)
        np.testing.assert_array_equal(together(file, span)[1].samples_T, heard.read(*span))
    assert kept[0] < 5


def test_a_file_without_sound_is_seen(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", pictures=[np.zeros((32, 48), np.uint8)] * 10)
    with PictureFile(clip) as file:
        frames, sound = together(file, Span(0.0, 0.5))
        assert len(frames) == 2 and sound is None


@needs_media
def test_one_pass_over_a_real_clip_gives_what_two_give(monkeypatch):
    clip, span, opened = SHARED / "media" / "WolfgangLanger_Pexels.mp4", Span(1.5, 3.5), []
    monkeypatch.setattr(pictures, "open_media", lambda *file: opened.append(file) or files.open_media(*file))
    with SoundFile(clip) as heard, PictureFile(clip) as seen:
        frames, sound = together(seen, span)
        np.testing.assert_array_equal(sound.samples_T, heard.read(*span))
        assert_same_frames(frames, [sample for _, *sample in seen.sample([span], 5, 50)])
    assert len(opened) == 1
