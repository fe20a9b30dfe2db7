"""Access to media files: measurements of a clip, and messages about faults."""

import pickle

import av
import numpy as np
import pytest

from pipeline.media import files as media
from pipeline.media.files import MediaError
from pipeline.media.pictures import PictureFile, Span
from pipeline.media.sound import SoundFile
from tests.helpers.clips import SHARED, needs_media, tone, write_clip

GREYS = [np.full((32, 48), 20 * number, np.uint8) for number in range(10)]
"""One second at 10 frames per second: frame k, shown from k/10 s, has the grey level 20 k."""


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


def test_container_that_breaks_off_ends_the_stream(tmp_path):
    clip = write_clip(tmp_path / "a.wav", sound=tone(1))

    class BreaksOff:
        """A container on a failing disk; files that are merely cut off end without an error."""

        def __init__(self, container):
            self.container = container

        def demux(self, stream):
            yield next(self.container.demux(stream))
            raise av.error.InvalidDataError(1, "broken")

    with media.open_media(clip) as container:
        frames = list(media.frames(BreaksOff(container), container.streams.audio[0]))
    assert len(frames) == 1


@needs_media
def test_real_photograph_is_a_clip_with_a_picture_only():
    found = media.probe(SHARED / "media" / "single_face.jpg")
    assert (found.has_audio, found.has_video) == (False, True)


@pytest.mark.parametrize("kind", [PictureFile, SoundFile])
def test_file_that_is_gone_when_it_is_opened_anew_is_an_error_each_time(tmp_path, kind):
    """MPEG-TS is opened anew for each span that is sought."""
    clip = write_clip(tmp_path / "a.ts", pictures=[np.zeros((32, 48), np.uint8)] * 20, sound=tone(2))

    def read(file):
        return list(file.sample([Span(1.2, 1.9)], 2, 9)) if kind is PictureFile else file.read(1.2, 1.9)

    with kind(clip) as file:
        assert len(read(file))
        clip.unlink()
        for _ in range(2):
            with pytest.raises(MediaError, match="unreadable"):
                read(file)
