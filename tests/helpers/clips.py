"""Small media files for tests, written by PyAV: known samples, known pictures, known faults."""

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.media.pictures import PictureFile, Span
from pipeline.media.sound import SoundFile

SHARED = Path(os.environ.get("DFERC_SHARED", Path(__file__).parents[3] / "shared"))
"""Material that is not part of the repository."""

needs_media = pytest.mark.skipif(not (SHARED / "media").is_dir(), reason="no real media in $DFERC_SHARED/media")


def tone(seconds: float, rate_hz: int = 16000, channels: int = 1, hz: float = 440.0) -> np.ndarray:
    """Return a voice-like sound [channels, samples] float32: a harmonic tone that swells and fades."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = sum(np.sin(2 * np.pi * hz * harmonic * time_s) / harmonic for harmonic in (1, 2, 3))
    swell = 0.25 * (1 + 0.5 * np.sin(2 * np.pi * 3 * time_s))
    return np.tile((swell * wave / 2).astype(np.float32), (channels, 1))


def write_clip(
    path: Path,
    *,
    sound: np.ndarray | None = None,
    rate_hz: int = 16000,
    layout: str = "mono",
    sound_codec: str | None = None,
    pictures: Iterable[np.ndarray] | None = None,
    frames_per_s: int = 10,
    stamps: Iterable[int] | None = None,
    picture_codec: str = "mpeg4",
    picture_options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    gop: int = 5,
    rotation: int = 0,
    pixel: Fraction | None = None,
    options: dict[str, str] | None = None,
    format: str | None = None,
) -> Path:
    """Write a media file of the kind its suffix says.

    Args:
        path: file to write.
        sound: [channels, samples] float32, or None = no sound track.
        rate_hz: its sampling rate.
        layout: its channel layout, such as "stereo" or "5.1".
        sound_codec: PCM in .wav, else AAC, by default.
        pictures: grey [height, width] or RGB [height, width, 3] uint8 frames (even sides), or None = no picture track;
            may be empty.
        frames_per_s: of the pictures.
        stamps: when each is shown, in units of 1/frames_per_s; one after the other by default.
        picture_codec: encoder of the pictures.
        picture_options: of that encoder.
        pix_fmt: pixel format that it is given.
        gop: frames from one keyframe to the next, at most.
        rotation: counter-clockwise turn in degrees that the file asks of a player.
        pixel: width of a pixel by its height; square by default.
        options: of the container.
        format: of the file, where its suffix does not say.

    Returns:
        The path.
    """
    with same_priority(), av.open(str(path), "w", format=format, options=options or {}) as container:
        encoded = []
        if pictures is not None:
            pictures = iter(pictures)  # ten minutes of them would not fit into the memory
            first = list(itertools.islice(pictures, 1))
            height, width = first[0].shape[:2] if first else (64, 64)
            stream = container.add_stream(picture_codec, rate=frames_per_s, options=picture_options or {})
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, pix_fmt, 4_000_000
            stream.gop_size = gop
            if pixel:
                stream.codec_context.sample_aspect_ratio = pixel
            if rotation:
                stream.set_display_rotation(rotation)
            shown = itertools.count() if stamps is None else stamps
            encoded.append((stream, video_frames(itertools.chain(first, pictures), shown, frames_per_s, pix_fmt)))
        if sound is not None:
            codec = sound_codec or ("pcm_s16le" if path.suffix == ".wav" else "aac")
            stream = container.add_stream(codec, rate=rate_hz, layout=layout)
            encoded.append((stream, audio_frames(stream, sound, rate_hz, layout)))
        container.start_encoding()  # writes the header, also of a file without a frame
        packets = [
            packet
            for stream, frames in encoded
            for frame in itertools.chain(frames, [None])
            for packet in stream.encode(frame)
        ]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


@contextlib.contextmanager
def same_priority() -> Iterator[None]:
    """Give the thread its scheduling back: SVT-AV1 makes root's a real-time one, which all processes it starts inherit.

    Chromium started after that took both cores for eleven minutes.
    """
    before = scheduling()
    try:
        yield
    finally:
        if before:
            os.sched_setscheduler(0, *before)


def scheduling() -> tuple[int, "os.sched_param"] | None:
    """Return policy and parameters of this thread's scheduling; None where the system does not offer them."""
    return (os.sched_getscheduler(0), os.sched_getparam(0)) if hasattr(os, "sched_getscheduler") else None


def truncate(path: Path, share: float) -> Path:
    """Cut a file off, as a broken download."""
    with open(path, "rb+") as file:
        file.truncate(round(path.stat().st_size * share))
    return path


def video_frames(
    pictures: Iterable[np.ndarray], stamps: Iterable[int], frames_per_s: int, pix_fmt: str
) -> Iterable[av.VideoFrame]:
    for stamp, picture in zip(stamps, pictures, strict=False):
        kind = "gray" if picture.ndim == 2 else "rgb24"
        frame = av.VideoFrame.from_ndarray(picture, format=kind).reformat(format=pix_fmt)
        frame.pts, frame.time_base = stamp, Fraction(1, frames_per_s)
        yield frame


def audio_frames(stream: av.AudioStream, sound: np.ndarray, rate_hz: int, layout: str) -> Iterable[av.AudioFrame]:
    resampler = av.AudioResampler(stream.format, layout, rate_hz, frame_size=stream.frame_size or 1024)
    if sound.shape[1]:
        # Channel by channel within a sample: PyAV 18.1 cannot fill eight separate planes.
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.T.reshape(1, -1)), format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        yield from resampler.resample(frame)
        yield from resampler.resample(None)


def read_audio(path: Path, start_s: float, end_s: float) -> np.ndarray:
    """Read the sound of one span of a file opened for it; see `SoundFile.read`."""
    with SoundFile(path) as file:
        return file.read(start_s, end_s)


def read_frames(
    path: Path, start_s: float, end_s: float, frames_per_s: float, max_frames: int
) -> Iterator[tuple[float, np.ndarray]]:
    """Time and picture of the samples of one span of a file opened for it; see `PictureFile.sample`."""
    with PictureFile(path) as file:
        for _, time_s, grey in file.sample([Span(start_s, end_s)], frames_per_s, max_frames):
            yield time_s, grey
