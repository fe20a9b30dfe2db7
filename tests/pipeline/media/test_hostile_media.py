"""A stranger's media: lists of other files, claims of gigabytes, what is no file, and whatever a decoder raises."""

import os
import random
import socket
import struct
import sys
import zlib

import av
import numpy as np
import pytest

from pipeline.audio.functionals import AudioWorker
from pipeline.faces.speaker_face import FaceWorker, UtteranceMedia
from pipeline.media import files as media
from pipeline.media.files import MediaError
from pipeline.media.pictures import PictureFile, Span
from pipeline.rows.measure import Faulty, measure
from tests.helpers.clips import tone, write_clip
from tests.helpers.face_models import visual_settings
from tests.helpers.odd_media import LISTS

GREYS = [np.random.default_rng(number).integers(0, 255, (32, 48), dtype=np.uint8) for number in range(10)]
PERTURBATIONS = int(os.environ.get("DFERC_PERTURBATIONS", "200"))

# ---------------------------------------------------------------------------------------------------- other files


@pytest.mark.parametrize("name", ["clip.mp4", "clip", "clip.m3u8", "clip.mpd", "clip.sdp"])
@pytest.mark.parametrize("kind", LISTS)
def test_list_of_other_media_opens_none_of_them(tmp_path, kind, name):
    write_clip(tmp_path / "other.ts", sound=tone(1), pictures=GREYS)
    (tmp_path / name).write_text(LISTS[kind], encoding="utf-8")
    found = measure(tmp_path / name)
    assert isinstance(found, Faulty) and kind.partition(",")[0] in found.problem and "other media" in found.problem


@pytest.mark.parametrize(
    "name", ["shot%03d.png", "shot%d.jpg", "*.png", "concat:a.wav|b.wav", "subfile,,start,0,end,99,,:a.wav", "http://x"]
)
def test_name_is_no_pattern_and_no_protocol(tmp_path, monkeypatch, name):
    """`shot%03d.png` would be a film of the pictures beside it; it is one file, missing or there."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write_clip(tmp_path / f"shot00{number}.png", pictures=GREYS[:1], picture_codec="png", pix_fmt="gray")
    write_clip(tmp_path / "a.wav", sound=tone(1))
    assert measure(tmp_path / name) == Faulty("clip missing")
    if "/" not in name:
        write_clip(tmp_path / "b.wav", sound=tone(0.5)).rename(tmp_path / name)
        assert measure(tmp_path / name).duration_s == pytest.approx(0.5)


# ---------------------------------------------------------------------------------------------------- no file


def _listen(path):
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path.name)
    os.chdir(here)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a FIFO"),
        (_listen, "a socket"),
        (lambda path: path.mkdir(), "a directory"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
    ],
)
def test_what_is_no_regular_file_is_a_problem_and_never_waits(tmp_path, make, kind):
    make(tmp_path / "a.mp4")
    found = measure(tmp_path / "a.mp4")
    assert kind in found.problem and "expected a regular file" in found.problem
    assert kind in AudioWorker("IS10")((str(tmp_path / "a.mp4"), 0.0, 1.0, 0.08)).result.problem


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "a\ud800b"])
def test_name_that_no_file_can_have_is_a_missing_clip(tmp_path, name):
    assert measure(tmp_path / name) == Faulty("clip missing")


# ---------------------------------------------------------------------------------------------------- claims


def png(width, height):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10000)))
        + chunk(b"IEND", b"")
    )


def altered(path, place, value):
    content = bytearray(path.read_bytes())
    content[place : place + len(value)] = value
    path.write_bytes(content)


@pytest.mark.parametrize("size", [(10000, 10000), (60000, 60000), (1, 2**31 - 1)])
def test_picture_of_absurd_size_is_refused(tmp_path, size):
    (tmp_path / "a.png").write_bytes(png(*size))
    assert measure(tmp_path / "a.png").problem.startswith("unreadable: ")


@pytest.mark.parametrize(
    ("place", "value"),
    [(24, struct.pack("<I", 900_000)), (24, struct.pack("<I", 2**32 - 1)), (24, struct.pack("<I", 1))]
    + [(22, struct.pack("<H", channels)) for channels in (0, 300, 65535)],
)
def test_sound_of_absurd_rate_or_channels_is_refused(tmp_path, place, value):
    clip = write_clip(tmp_path / "a.wav", sound=tone(1))
    altered(clip, place, value)
    assert measure(clip).problem.startswith("unreadable: ")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address space is bounded on Linux alone")
def test_table_of_claimed_samples_takes_no_gigabytes(tmp_path):
    """60 million samples in a file of 3 kB: FFmpeg's table of them would take 2 GB."""
    import resource

    clip, many = write_clip(tmp_path / "a.mp4", pictures=GREYS), struct.pack(">I", 60_000_000)
    content = clip.read_bytes()
    altered(clip, content.index(b"stsz") + 8, struct.pack(">I", 1) + many)
    altered(clip, content.index(b"stts") + 12, many)
    altered(clip, content.index(b"stsc") + 16, many)
    before, peak_kib = resource.getrlimit(resource.RLIMIT_AS), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert measure(clip).problem.startswith("unreadable: ")
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < max(peak_kib, 1.9e6) + 1e5  # other tests took much


def test_reading_has_an_end(monkeypatch):
    monkeypatch.setattr(media, "_PATIENCE_S", -1.0)
    with pytest.raises(TimeoutError, match="takes longer"):
        list(media.timely(range(3)))


# ---------------------------------------------------------------------------------------------------- decoders


@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
def test_title_in_latin_1_is_no_fault(tmp_path, name):
    content = write_clip(tmp_path / name, sound=tone(1), sound_codec="mp3" if name == "a.mp3" else None).read_bytes()
    title = b"K\xfcche"
    if name == "a.wav":
        listed = b"INFOINAM" + struct.pack("<I", len(title) + 1) + title + b"\0"
        content = content[:12] + b"LIST" + struct.pack("<I", len(listed)) + listed + content[12:]
    else:
        content = content + b"TAG" + title.ljust(125, b"\0")
    (tmp_path / name).write_bytes(content)
    assert measure(tmp_path / name).has_audio


ERRORS = [
    UnicodeDecodeError("utf-8", b"\xfc", 0, 1, "no"),
    ValueError("no"),
    ZeroDivisionError("no"),
    MemoryError("no"),
]
ERRORS += [NotImplementedError("no"), AssertionError("no"), OSError(5, "no"), av.error.InvalidDataError(1, "no")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_a_decoder_raises_is_a_problem_of_that_clip(tmp_path, monkeypatch, error):
    """At opening, demuxing and decoding; in `prepare` and in both extractors."""
    clip = write_clip(tmp_path / "a.mp4", sound=tone(1), pictures=GREYS)
    cut_faces = FaceWorker(visual_settings(), 24)

    def fail(*_, **__):
        raise error

    for place in ("pipeline.media.files.av.open", "pipeline.media.files.timely", "pipeline.media.files.origin_s"):
        with monkeypatch.context() as patch:
            patch.setattr(place, fail)
            if place.endswith("origin_s"):
                patch.setattr("pipeline.media.sound.origin_s", fail)
                patch.setattr("pipeline.media.pictures.origin_s", fail)
            found = measure(clip)
            heard = AudioWorker("IS10")((str(clip), 0.0, 1.0, 0.08)).result
            [seen] = cut_faces([UtteranceMedia(str(clip), 0.0, 1.0)]).result
        assert isinstance(found, Faulty)
        assert heard.problem and not heard.arrays and seen.problem and not len(seen.faces)
    assert measure(clip).has_audio  # and nothing lasts


# ---------------------------------------------------------------------------------------------------- mutations

MUTATED = {
    "a.wav": {"sound": tone(0.5)},
    "b.wav": {"sound": tone(0.3, channels=2), "layout": "stereo", "sound_codec": "pcm_s24le"},
    "a.mp4": {"sound": tone(0.6), "pictures": GREYS},
    "b.mp4": {"pictures": GREYS, "picture_codec": "libx264"},
    "a.mkv": {"sound": tone(0.6), "pictures": GREYS},
    "a.mp3": {"sound": tone(0.6), "sound_codec": "libmp3lame"},
    "a.ts": {"sound": tone(0.6), "pictures": GREYS, "picture_codec": "mpeg2video"},
    "b.ts": {"sound": tone(0.6), "pictures": GREYS, "picture_codec": "libx264"},
    "a.aac": {"sound": tone(0.6)},
    "a.flv": {"sound": tone(0.6), "pictures": GREYS, "picture_codec": "flv"},
    "a.ogg": {"sound": tone(0.6), "sound_codec": "libopus"},
    "a.avi": {"sound": tone(0.6), "pictures": GREYS},
}


def mutate(content, draw):
    """Change some bytes, cut, repeat, blank, swap or insert a part, or write letters in another encoding."""
    content, length = bytearray(content), len(content)
    begin, end = sorted((draw.randrange(length), draw.randrange(length)))
    match draw.randrange(8):
        case 0:
            for _ in range(draw.choice((1, 3, 10, 50))):
                content[draw.randrange(length)] = draw.randrange(256)
        case 1:
            for _ in range(draw.choice((1, 2, 5))):
                content[draw.randrange(min(length, 400))] = draw.choice((0, 127, 128, 255))
        case 2:
            del content[begin:]
        case 3:
            content[begin:begin] = content[begin:end]
        case 4:
            end = min(length, begin + draw.choice((4, 100, 2000)))
            content[begin:end] = draw.choice((b"\0", b"\xff")) * (end - begin)
        case 5:
            part = content[begin : begin + 300]
            content[begin : begin + 300] = content[end : end + 300]
            content[end : end + 300] = part
        case 6:
            content[begin:begin] = draw.randbytes(draw.choice((1, 4, 188, 1000)))
        case 7:
            content[begin:end] = bytes(byte | 128 if 97 <= byte <= 122 else byte for byte in content[begin:end])
    return bytes(content)


def test_mutated_file_is_measured_or_a_problem(tmp_path):
    """Nothing else may happen: no exception in `prepare` or an extractor, no length that is no number."""
    good = [write_clip(tmp_path / name, **content).read_bytes() for name, content in MUTATED.items()]
    draw, describe = random.Random(0), AudioWorker("IS10")
    for number in range(PERTURBATIONS):
        clip = tmp_path / f"{number}.mp4"
        clip.write_bytes(mutate(draw.choice(good), draw))
        found = measure(clip)
        if isinstance(found, Faulty):
            assert found.problem.startswith("unreadable: ")
            continue
        assert 0 <= found.duration_s < np.inf
        end_s = min(found.duration_s, 30.0)
        if found.has_audio:
            record = describe((str(clip), 0.0, end_s, 0.08)).result
            assert record.problem or np.isfinite(record.arrays["features"]).all()
        if found.has_video:
            try:
                with PictureFile(clip) as file:
                    assert all(grey.ndim == 2 for *_, grey in file.sample([Span(0.0, end_s)], 5, 50))
            except MediaError as error:
                assert error.problem
        clip.unlink()
