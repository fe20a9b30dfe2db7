"""The picture of utterances, sampled from files of known content and known faults."""

import io
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from pipeline.media import files as media
from pipeline.media import pictures
from pipeline.media.files import MediaError
from pipeline.media.pictures import PictureFile, Span
from tests.helpers.clips import SHARED, needs_media, read_frames, scheduling, tone, truncate, write_clip

GREYS = [np.full((32, 48), 20 * number, np.uint8) for number in range(10)]
"""One second at 10 frames per second: frame k, shown from k/10 s, has the grey level 20 k."""


def grey_levels(frames):
    return [(round(time_s, 3), int(round(picture.mean(), -1))) for time_s, picture in frames]


@pytest.fixture
def decoded(monkeypatch):
    """Return the packets that went into a decoder, with those that it skips."""
    fed = []
    feed = pictures.PictureFile._decode_packet

    def counting(track, packet):
        fed.extend([] if packet is None else [packet])
        return feed(track, packet)

    monkeypatch.setattr(pictures.PictureFile, "_decode_packet", counting)
    return fed


@pytest.mark.parametrize("name", ["dialogue.avi", "dialogue.mp4", "dialogue.mkv", "dialogue.ts"])
def test_frames_of_a_late_span_are_decoded_from_the_keyframe_before(tmp_path, decoded, name):
    """A dialogue of a minute, a keyframe each half second: a turn of a second costs its ten frames and a few."""
    greys = [np.full((32, 48), 40 * (number % 5) + 20, np.uint8) for number in range(600)]
    clip = write_clip(tmp_path / name, pictures=greys)
    found = grey_levels(read_frames(clip, 55.3, 56.3, 10, 50))
    assert found == [(round(55.4 + 0.1 * k, 3), 40 * ((554 + k) % 5) + 20) for k in range(9)]
    assert len(decoded) <= 10 + 5 + 1


def test_nothing_is_decoded_behind_a_sample_until_the_next_keyframe(tmp_path, decoded):
    """Keyframes at 0, 0.5, 1.0 … s; samples at 0.3 and 1.1 s: 4 frames of the first group, none of the second, 2."""
    clip = write_clip(tmp_path / "a.mp4", pictures=GREYS * 2, picture_options={"sc_threshold": "1000000000"})
    spans = [Span(0.2, 0.4), Span(1.0, 1.2)]
    assert [(n, round(time_s, 3)) for n, time_s, _ in PictureFile(clip).sample(spans, 1, 50)] == [(0, 0.3), (1, 1.1)]
    assert [packet.pts * packet.time_base * 10 for packet in decoded] == [0, 1, 2, 3, 10, 11]


def noise(count):
    """Pictures that a codec cannot foretell."""
    random = np.random.default_rng(0)
    return [np.kron(random.integers(0, 255, (8, 12)), np.ones((8, 8))).astype(np.uint8) for _ in range(count)]


def every_frame(clip):
    """Time and picture of all frames, decoded one after the other."""
    with media.open_media(clip) as container:
        stream, origin_s = container.streams.video[0], media.origin_s(container)
        frames = [(float(frame.pts * frame.time_base) - origin_s, frame) for frame in container.decode(stream)]
        return [(time_s, frame.to_ndarray(format="gray")) for time_s, frame in frames]


CODECS = [
    ("a.mp4", "libx264", {"preset": "veryfast", "bf": "3"}),
    ("open.mp4", "libx264", {"x264-params": "open-gop=1:bframes=3", "preset": "veryfast"}),
    ("b.mkv", "libx265", {"x265-params": "open-gop=1:log-level=none", "preset": "ultrafast"}),
    ("c.avi", "mpeg4", {"bf": "2"}),
    ("d.ts", "mpeg2video", {"bf": "2"}),
    ("e.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    ("f.mp4", "libsvtav1", {"preset": "12"}),
    ("g.wmv", "wmv2", {}),
]
"""A file, its codec and the codec's options."""


def test_encoding_leaves_the_priority_of_the_process_alone(tmp_path):
    before = scheduling()
    write_clip(tmp_path / "clip.mp4", pictures=noise(5), picture_codec="libsvtav1", picture_options={"preset": "12"})
    assert scheduling() == before


@pytest.mark.parametrize(("name", "codec", "options"), CODECS)
def test_samples_are_those_of_decoding_everything(tmp_path, name, codec, options):
    """Alone and together, in and out of order, overlapping or apart: the same frames to the bit."""
    clip = write_clip(
        tmp_path / name, pictures=noise(75), frames_per_s=25, picture_codec=codec, picture_options=options, gop=20
    )
    spans = [Span(1.9, 2.7), Span(0.13, 0.9), Span(0.5, 1.3), Span(2.91, 2.96), Span(0.0, 3.0), Span(9.0, 9.5)]
    whole = every_frame(clip)
    assert len(whole) == 75
    together = {number: [] for number in range(len(spans))}
    for number, *sample in PictureFile(clip).sample(spans, 5, 50):
        together[number].append(sample)
    for number, (start_s, end_s) in enumerate(spans):
        parts = max(1, round((end_s - start_s) * 5))
        middles = [start_s + (part + 0.5) * (end_s - start_s) / parts for part in range(parts)]
        firsts = [next((each for each in whole if middle - 1e-6 <= each[0] < end_s), None) for middle in middles]
        last = [each for each in whole if start_s <= each[0] < end_s][-1:]
        expected = dict([each for each in firsts if each is not None] or last)
        for found in (together[number], list(read_frames(clip, start_s, end_s, 5, 50))):
            assert [time_s for time_s, _ in found] == list(expected)
            for time_s, picture in found:
                np.testing.assert_array_equal(picture, expected[time_s])


@pytest.mark.parametrize(("name", "codec", "options"), CODECS)
def test_samples_do_not_depend_on_what_was_asked_for_before(tmp_path, monkeypatch, name, codec, options):
    """From one file, opened once where FFmpeg can know its places; also where who asked before left in the middle."""
    clip = write_clip(
        tmp_path / name, pictures=noise(75), frames_per_s=25, picture_codec=codec, picture_options=options, gop=20
    )
    spans = [Span(1.9, 2.7), Span(0.13, 0.9), Span(9.0, 9.5), Span(0.5, 1.3), Span(0.0, 3.0), Span(1.9, 2.7)]
    alone = [list(read_frames(clip, *span, 5, 50)) for span in spans]
    opened, open_media = [], pictures.open_media
    monkeypatch.setattr(pictures, "open_media", lambda *file: opened.append(file) or open_media(*file))
    with PictureFile(clip) as file:
        for span, expected in zip(spans, alone, strict=True):
            next(file.sample([Span(0.3, 2.9)], 25, 50))
            found = [sample for _, *sample in file.sample([span], 5, 50)]
            assert [time_s for time_s, _ in found] == [time_s for time_s, _ in expected]
            for (_, picture), (_, same) in zip(found, expected, strict=True):
                np.testing.assert_array_equal(picture, same)
    assert (len(opened) == 1) == (clip.suffix not in (".ts", ".wmv"))


def waves(count, height=256, width=384):
    """Smooth pictures that move."""
    rows, columns = np.mgrid[:height, :width]
    return [(128 + 100 * np.sin(columns / 37 + number) * np.cos(rows / 53)).astype(np.uint8) for number in range(count)]


def test_pictures_of_h264_in_avi_are_in_the_order_in_which_they_are_shown(tmp_path):
    """AVI holds no times: FFmpeg numbers packets as they are stored, and B-frames come two frames astray."""
    greys = [np.full((64, 64), 20 + 2 * number, np.uint8) for number in range(100)]
    clip = write_clip(tmp_path / "a.avi", pictures=greys, picture_codec="libx264", picture_options={"bf": "3"}, gop=25)
    with PictureFile(clip) as file:
        shown = sorted((time_s, grey.mean()) for _, time_s, grey in file.sample([Span(1, 9)], 10, 100))
    assert len(shown) == 79 and (np.diff([level for _, level in shown]) > 0).all()


@pytest.mark.parametrize("options", [{"bf": "0"}, {"tune": "zerolatency"}])
def test_pictures_of_h264_in_avi_without_b_frames_are_at_their_place(tmp_path, options):
    """FFmpeg stamps them a frame late, as if they were reordered."""
    greys = [np.full((64, 64), 20 + 2 * number, np.uint8) for number in range(100)]
    clip = write_clip(tmp_path / "a.avi", pictures=greys, picture_codec="libx264", picture_options=options, gop=25)
    with PictureFile(clip) as file:
        shown = [(time_s, grey.mean()) for _, time_s, grey in file.sample([Span(5, 6)], 10, 100)]
    assert len(shown) == 9
    for time_s, level in shown:
        assert level == pytest.approx(20 + 2 * 10 * time_s, abs=1.2)


@pytest.mark.parametrize(("name", "pix_fmt"), [("a.avi", "yuvj420p"), ("b.mkv", "yuvj422p")])
@pytest.mark.parametrize(
    ("least_px", "halvings"), [(129, 0), (128, 1), (65, 1), (64, 2), (60.5, 2), (33, 2), (10, 3), (1, 3)]
)
def test_frames_are_halved_while_decoding_as_far_as_allowed(tmp_path, name, pix_fmt, least_px, halvings):
    """Against those of the whole size, reduced by area."""
    clip = write_clip(tmp_path / name, pictures=waves(4), picture_codec="mjpeg", pix_fmt=pix_fmt)
    whole = [frame for _, _, frame in PictureFile(clip).sample([Span(0.0, 0.4)], 5, 50)]
    small = [frame for _, _, frame in PictureFile(clip, least_px=least_px).sample([Span(0.0, 0.4)], 5, 50)]
    assert len(whole) == len(small) == 2 and {frame.shape for frame in whole} == {(256, 384)}
    size = (384 >> halvings, 256 >> halvings)
    for frame, half in zip(whole, small, strict=True):
        expected = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        assert half.shape == expected.shape
        assert np.abs(half.astype(int) - expected).max() <= 3


def test_lossless_jpeg_is_decoded_whole(tmp_path):
    """FFmpeg's decoder of Motion JPEG reads it too, and gives nothing where it is to halve it."""
    clip = write_clip(tmp_path / "a.avi", pictures=waves(4), picture_codec="ljpeg", pix_fmt="yuvj420p")
    frames = [frame for _, _, frame in PictureFile(clip, least_px=64).sample([Span(0.0, 0.4)], 5, 50)]
    assert [frame.shape for frame in frames] == [(256, 384)] * 2


@pytest.mark.parametrize("name", ["a.avi", "b.mkv"])
def test_halved_samples_do_not_depend_on_what_was_asked_for_before(tmp_path, name):
    clip = write_clip(tmp_path / name, pictures=waves(20), picture_codec="mjpeg", pix_fmt="yuvj420p")
    file, span = PictureFile(clip, colour=True, least_px=64), Span(0.5, 1.5)
    alone = [*PictureFile(clip, colour=True, least_px=64).sample([span], 5, 50)]
    next(file.sample([Span(0.0, 2.0)], 10, 50))
    found = [*file.sample([span], 5, 50)]
    assert len(found) == 5 and found[0][2].shape == (64, 96, 3)
    for (_, time_s, frame), (_, same_s, same) in zip(found, alone, strict=True):
        assert time_s == same_s
        np.testing.assert_array_equal(frame, same)


@pytest.mark.parametrize(("name", "codec", "options"), CODECS)
def test_frames_of_codecs_that_cannot_halve_them_are_whole(tmp_path, name, codec, options):
    clip = write_clip(tmp_path / name, pictures=noise(20), picture_codec=codec, picture_options=options)
    whole = [*PictureFile(clip).sample([Span(0.0, 2.0)], 5, 50)]
    for (_, _, frame), (_, _, same) in zip(
        PictureFile(clip, least_px=8).sample([Span(0, 2)], 5, 50), whole, strict=True
    ):
        np.testing.assert_array_equal(frame, same)


def test_a_header_that_claims_wider_pictures_does_not_make_them_small(tmp_path):
    clip = write_clip(tmp_path / "a.mkv", pictures=waves(4, 384, 256), picture_codec="mjpeg", pix_fmt="yuvj420p")
    content, width = clip.read_bytes(), b"\xb0\x82\x01\x00"  # of 256, as Matroska writes it
    assert content.count(width) == 1
    clip.write_bytes(content.replace(width, b"\xb0\x82\x0a\x00"))
    frames = [frame for _, _, frame in PictureFile(clip, least_px=190).sample([Span(0.0, 0.4)], 5, 50)]
    assert {frame.shape for frame in frames} == {(384, 256)}


@pytest.mark.parametrize(
    ("start_s", "end_s", "frames_per_s", "max_frames", "expected"),
    [
        (0, 1, 5, 50, [(0.1, 20), (0.3, 60), (0.5, 100), (0.7, 140), (0.9, 180)]),
        (0, 1, 5, 2, [(0.3, 60), (0.8, 160)]),  # middles of the halves: 0.25 and 0.75
        (0.5, 1, 5, 50, [(0.7, 140), (0.9, 180)]),  # round(2.5) = 2 samples: 0.625 and 0.875
        (0, 1, 100, 500, [(k / 10, 20 * k) for k in range(1, 10)]),  # each frame at most once
        (0.31, 0.39, 5, 50, [(0.3, 60)]),  # between two frames: the one that is shown
        (0.35, 0.45, 1, 50, [(0.4, 80)]),
        (0.1 * 3, 0.36, 1, 50, [(0.3, 60)]),  # 0.30000000000000004: the frame at 0.3 is in it
        (5, 6, 5, 50, []),
    ],
)
def test_frames_are_sampled_at_the_middles(tmp_path, start_s, end_s, frames_per_s, max_frames, expected):
    clip = write_clip(tmp_path / "a.mp4", pictures=GREYS)
    assert grey_levels(read_frames(clip, start_s, end_s, frames_per_s, max_frames)) == expected


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_frame_is_shown_until_the_next(tmp_path, suffix):
    """A camera of one frame a second; a screen recorder, which writes what changes."""
    clip = write_clip(tmp_path / f"camera{suffix}", pictures=GREYS, frames_per_s=1)
    spans = [Span(second + 0.3, second + 0.9) for second in range(9)]
    shown = [(number, time_s) for number, time_s, _ in PictureFile(clip).sample(spans, 4.0, 16)]
    assert sorted(shown) == [(second, second) for second in range(9)]
    assert not list(read_frames(clip, 10.5, 11.0, 4.0, 16))  # behind the last


def test_a_frame_is_not_shown_for_longer_than_a_clock_may_leap(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", pictures=GREYS[:5], frames_per_s=2, stamps=[0, 1, 2, 11, 40], sound=tone(21))
    for start_s, time_s in ((2.0, 1.0), (5.0, 1.0), (6.0, 5.5), (15.0, 5.5)):
        assert [time for time, _ in read_frames(clip, start_s, start_s + 0.4, 4.0, 16)] == [time_s]
    assert not list(read_frames(clip, 16.0, 17.0, 4.0, 16))


@pytest.mark.parametrize(
    ("pixel", "rotation", "shape"),
    [
        ("4/3", 0, (108, 192)),
        ("4/3", 90, (192, 108)),
        ("8/9", 0, (122, 144)),
        ("1", 0, (108, 144)),
        ("99", 0, (108, 144)),
        ("1280/1281", 0, (108, 144)),  # of `scale=-2:480`
    ],
)
def test_pixels_that_are_not_square_are_shown_as_on_a_screen(tmp_path, pixel, rotation, shape):
    """DVDs, DV, HDV: else faces are narrow."""
    pictures = [np.full((108, 144), 90, np.uint8)] * 3
    clip = write_clip(tmp_path / "a.mp4", pictures=pictures, pixel=Fraction(pixel), rotation=rotation)
    assert {image.shape for *_, image in PictureFile(clip).sample([Span(0.0, 0.3)], 10.0, 16)} == {shape}


def test_frames_of_a_short_clip_are_never_none(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", pictures=GREYS[2:3], sound=tone(1))
    assert grey_levels(read_frames(clip, 0, 1, 5, 50)) == [(0.0, 40)]


def test_frames_of_a_truncated_file_are_those_that_decode(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", sound=tone(1), pictures=GREYS, options={"movflags": "faststart"})
    truncate(clip, 0.6)
    assert grey_levels(read_frames(clip, 0, 1, 10, 10))[:2] == [(0.1, 20), (0.2, 40)]


def test_frames_that_do_not_decode_are_left_out_and_others_taken_where_none_is_left(tmp_path, monkeypatch):
    """Samples at 0.3 and 0.8 s; the decoder refuses 0.8 s, then both: then what decodes is sampled."""
    clip = write_clip(tmp_path / "a.mp4", pictures=GREYS)
    feed = pictures.PictureFile._decode_packet

    def failing(track, packet):
        frames = feed(track, packet)
        return [frame for frame in frames if round(track._time_s(frame.pts), 3) not in damaged]

    monkeypatch.setattr(pictures.PictureFile, "_decode_packet", failing)
    damaged = {0.8}
    assert grey_levels(read_frames(clip, 0, 1, 2, 50)) == [(0.3, 60)]
    damaged = {0.3, 0.8}
    assert grey_levels(read_frames(clip, 0, 1, 2, 50)) == [(0.4, 80), (0.9, 180)]


def test_spans_far_apart_are_sought_and_not_read_through(tmp_path, monkeypatch):
    greys = [np.full((32, 48), 40 * (number % 5) + 20, np.uint8) for number in range(600)]
    clip = write_clip(tmp_path / "a.mp4", pictures=greys)
    counts, packets = [], pictures.packets

    def counting(*arguments):
        counts.append(0)
        for packet in packets(*arguments):
            counts[-1] += 1
            yield packet

    monkeypatch.setattr(pictures, "packets", counting)
    times = [
        round(time_s, 3) for _, time_s, _ in PictureFile(clip).sample([Span(50, 51), Span(1, 2), Span(3, 4)], 1, 50)
    ]
    assert times == [1.5, 3.5, 50.5]
    assert [count < 50 for count in counts] == [True, True]  # 0 to 4 s at once, then 49 to 51 s


def test_frames_stand_upright(tmp_path):
    quarters = np.kron([[0, 80], [160, 240]], np.ones((32, 48))).astype(np.uint8)
    clip = write_clip(tmp_path / "a.mp4", pictures=[quarters] * 3, rotation=90)
    [(_, frame)] = read_frames(clip, 0, 0.3, 1, 1)
    assert frame.shape == (96, 64) and frame.dtype == np.uint8 and frame.flags.c_contiguous
    corners = [[int(frame[0, 0]), int(frame[0, -1])], [int(frame[-1, 0]), int(frame[-1, -1])]]
    np.testing.assert_allclose(corners, [[80, 240], [0, 160]], atol=6)


def field(number: int, bottom: int) -> bytes:
    """Return a field of 32x16 pixels as H.264: plain samples (I_PCM), of the grey level 20 + 4 * number (+ 2 below)."""

    def golomb(value: int) -> str:
        bits = f"{value + 1:b}"
        return "0" * (len(bits) - 1) + bits

    def unit(head: int, bits: str) -> bytes:
        bits += "1" + "0" * (-(len(bits) + 1) % 8)
        content = int(bits, 2).to_bytes(len(bits) // 8, "big")
        return b"\0\0\0\1" + bytes([head]) + content.replace(b"\0\0\1", b"\0\0\3\1")

    key = number % 5 == 0 and not bottom
    sps = f"{77:08b}{0:08b}{30:08b}" + "1" * 3 + golomb(4) + golomb(1) + "0" + golomb(1) + golomb(0) + "00100"
    header = "1" + golomb(7 if key else 5) + "1" + f"{number % 5 > 0:04b}" + f"1{bottom}" + "1" * key
    header += f"{2 * (number % 5) + bottom:08b}" + ("" if key else "00")
    header += ("00" if key else "0" * (number % 5 == 0)) + "1"
    for _ in range(2):
        header += golomb(25) if key else "1" + golomb(30)
        header += "0" * (-len(header) % 8) + f"{20 + 4 * number + 2 * bottom:08b}" * 256 + f"{128:08b}" * 128
    parameters = unit(0x67, sps) + unit(0x68, "11" + "01" + "111" + "000" + "111" + "000") if key else b""
    return parameters + unit(0x65 if key else 0x61 if number % 5 == 0 else 0x01, header)


@pytest.mark.parametrize("suffix", ["ts", "mkv", "mp4"])
@pytest.mark.parametrize("apart", [True, False])
def test_two_fields_in_packets_of_their_own_are_one_picture(tmp_path, suffix, apart):
    """PAFF of AVCHD camcorders and broadcasts; not `apart`: in the file, the two have one time stamp."""
    fields = [field(number, bottom) for number in range(25) for bottom in (0, 1)]
    units = fields if apart else [one + two for one, two in zip(fields[::2], fields[1::2], strict=True)]
    with av.open(io.BytesIO(b"".join(fields)), format="h264") as raw, av.open(tmp_path / f"a.{suffix}", "w") as file:
        stream = file.add_stream_from_template(raw.streams.video[0])
        for number, unit in enumerate(units):
            packet = av.Packet(b"\0\0\0\1\x09\x10" + unit)
            packet.stream, packet.time_base = stream, Fraction(len(fields) // len(units), 50)
            packet.pts, packet.dts, packet.duration = number, number, 1
            packet.is_keyframe = number % (len(units) // 5) == 0
            file.mux(packet)
    with PictureFile(tmp_path / f"a.{suffix}") as file:
        for rate in (5, 25, 25):
            seen = [(round(25 * time_s), *image[:2, 0]) for _, time_s, image in file.sample([Span(0.2, 0.8)], rate, 50)]
            levels = [np.array([20 + 4 * number, 22 + 4 * number]) for number, *_ in seen]
            np.testing.assert_allclose([rows for _, *rows in seen], 255 / 219 * (np.array(levels) - 16), atol=1)
            assert [number for number, *_ in seen] == ([8, 13, 18] if rate == 5 else [*range(6, 20)])


def test_frames_of_a_clip_without_picture_are_an_error(tmp_path):
    clip = write_clip(tmp_path / "a.wav", sound=tone(0.2))
    with pytest.raises(MediaError, match="no picture track"):
        next(read_frames(clip, 0, 1, 5, 50))


@needs_media
def test_real_photograph_is_one_frame():
    with PictureFile(SHARED / "media" / "single_face.jpg") as file:
        for _ in range(2):
            assert len(list(file.sample([Span(0, 0.04)], 5, 50))) == 1
