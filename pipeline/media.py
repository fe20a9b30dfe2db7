"""The one decoder of stage 1 (PyAV): what is in a clip, its sound as mono 16 kHz, its picture as grey frames.

Time is in seconds from the start of the file (the first of its streams); nothing is padded, so a sound track that
begins late or ends early gives fewer samples. A damaged file gives what decodes: packets that do not are skipped, a
break in the container ends the stream, and only a file of which nothing decodes is an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from dferc.console import InputError

DECODER = f"av {av.__version__}"
"""Part of every media extractor's identity: another FFmpeg may round differently."""

SAMPLE_RATE_HZ = 16000

_LOUDEST = np.float32(32767 / 32768)
"""openSMILE multiplies by 32768 into int16 without a check: 1.0 would wrap around to -1."""

_PREROLL_S = 0.5
"""Decoded before a span and thrown away: AAC and MP3 frames need their predecessors to come out the same."""

_EPSILON_S = 1e-6
"""Below any frame distance, above the rounding of a time that went through a table."""


class MediaError(InputError):
    """A media file is missing, unreadable, or lacks the stream that is asked for.

    Attributes:
        problem: what was found, as `kind` or `kind: detail`, without the path.
    """

    def __init__(self, path: str | Path, problem: str):
        super().__init__(str(path), problem)
        self.problem = problem

    def __str__(self) -> str:
        return ": ".join(self.args)


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaInfo:
    """What was measured in a clip.

    Attributes:
        duration_s: as the container says, else the end of the last frame.
        has_audio: at least one frame of sound decodes.
        has_video: at least one picture decodes (cover art does not count).
    """

    duration_s: float
    has_audio: bool
    has_video: bool


def probe(path: str | Path) -> MediaInfo:
    """Open a clip and decode the first frame of each stream.

    Raises:
        MediaError: missing, unreadable, or neither sound nor picture decodes.
    """
    found = set()
    with _open(path) as container:
        streams = [stream for kind in ("audio", "video") if (stream := _first(container, kind)) is not None]
        for frame in _frames(container, *streams):
            found.add(type(frame))
            if len(found) == len(streams):
                break
        duration_s = _duration_s(container, path)
    if not found:
        raise MediaError(path, "unreadable: neither a sound nor a picture decodes")
    return MediaInfo(duration_s=duration_s, has_audio=av.AudioFrame in found, has_video=av.VideoFrame in found)


def read_audio(path: str | Path, start_s: float, end_s: float) -> np.ndarray:
    """Decode the sound of a span.

    The channels are averaged at their own rate, the span is cut to the sample, then resampled; the result is clipped
    to what a 16-bit sample holds.

    Args:
        path: media file.
        start_s: begin of the span.
        end_s: its end; what the file lacks of it is left out.

    Returns:
        [samples] float32 in [-1, 32767/32768], mono, 16 kHz; empty where the span has no sound.

    Raises:
        MediaError: missing, unreadable, without a sound track, or nothing of the track decodes.
    """
    decoded = _decode_sound(path, start_s, end_s)
    if decoded is None:
        if probe(path).has_audio:
            return np.zeros(0, np.float32)  # the span lies behind the end of the track
        raise MediaError(path, "empty sound track: nothing of it decodes")
    samples, first_s, rate_hz = decoded
    begin, end = (max(0, round((edge_s - first_s) * rate_hz)) for edge_s in (start_s, end_s))
    samples = _resample(samples[begin:end], rate_hz)[: round((end_s - start_s) * SAMPLE_RATE_HZ)]
    return np.clip(samples, np.float32(-1), _LOUDEST)


def read_frames(
    path: str | Path, start_s: float, end_s: float, frames_per_s: float, max_frames: int
) -> Iterator[tuple[float, np.ndarray]]:
    """Sample the picture of a span evenly, as grey frames the right way up.

    The span is cut into equal parts, one per sample; each sample is the first frame at or after the middle of its
    part. A frame is given once, also where it is the first for several samples; where all frames of the span lie
    before the first sample time, the last of them is given: a span with a frame never comes out empty.

    Args:
        path: media file.
        start_s: begin of the span.
        end_s: its end, exclusive.
        frames_per_s: samples per second.
        max_frames: at most this many, still spread over the whole span.

    Yields:
        Time in the file in seconds, and the frame as [height, width] uint8.

    Raises:
        MediaError: missing, unreadable, or without a picture track (at the first `next`).
    """
    count = min(max_frames, max(1, round((end_s - start_s) * frames_per_s)))
    middles = [start_s + (part + 0.5) * (end_s - start_s) / count - _EPSILON_S for part in range(count)]
    early, taken = None, 0
    for time_s, frame in _span_frames(path, start_s, end_s):
        if time_s < middles[taken]:
            early = (time_s, frame) if taken == 0 else None
            continue
        yield time_s, _grey(frame)
        early, taken = None, sum(middle <= time_s for middle in middles)
        if taken == count:
            return
    if early is not None:
        yield early[0], _grey(early[1])


def _decode_sound(path: str | Path, start_s: float, end_s: float) -> tuple[np.ndarray, float, int] | None:
    """Mono samples that cover a span, the time of the first, their rate; None where nothing decodes there."""
    chunks, first_s, rate_hz, length = [np.zeros(0, np.float32)], None, 0, 0
    with _open(path) as container:
        stream, origin_s = _stream(container, path, "audio"), _origin_s(container)
        _seek(container, stream, origin_s + start_s - _PREROLL_S)
        for frame in _frames(container, stream):
            time_s = (origin_s if frame.time is None else frame.time) - origin_s
            if first_s is None:
                first_s, rate_hz = time_s, frame.sample_rate
            if frame.sample_rate != rate_hz:
                raise MediaError(path, f"sampling rate changes: {rate_hz} Hz, then {frame.sample_rate} Hz")
            # Frames are laid end to end: their own time stamps are often coarser than a sample.
            if time_s >= end_s or first_s + length / rate_hz >= end_s:
                break
            chunks.append(_mono(frame))
            length += frame.samples
    return None if first_s is None else (np.concatenate(chunks), first_s, rate_hz)


def _span_frames(path: str | Path, start_s: float, end_s: float) -> Iterator[tuple[float, av.VideoFrame]]:
    """Pictures with start_s <= time < end_s, decoded from the keyframe before."""
    with _open(path) as container:
        stream, origin_s = _stream(container, path, "video"), _origin_s(container)
        _seek(container, stream, origin_s + start_s)
        for frame in _frames(container, stream):
            time_s = (origin_s if frame.time is None else frame.time) - origin_s
            if time_s >= end_s - _EPSILON_S:
                return
            if time_s >= start_s - _EPSILON_S:
                yield time_s, frame


# ---------------------------------------------------------------------------------------------------- container


def _open(path: str | Path) -> av.container.InputContainer:
    """Open a media file; `file:` keeps a colon in its name from being read as a protocol."""
    try:
        return av.open(f"file:{path}")
    except av.FFmpegError as error:
        raise MediaError(path, f"unreadable: {error.strerror}") from None


def _first(container: av.container.InputContainer, kind: str) -> av.stream.Stream | None:
    """The first stream of a kind, set to decode in one thread: the workers are the parallelism."""
    for stream in getattr(container.streams, kind):
        if not stream.disposition & Disposition.attached_pic:
            stream.thread_count = 1
            return stream
    return None


def _stream(container: av.container.InputContainer, path: str | Path, kind: str) -> av.stream.Stream:
    stream = _first(container, kind)
    if stream is None:
        raise MediaError(path, "no sound track" if kind == "audio" else "no picture track")
    return stream


def _frames(container: av.container.InputContainer, *streams: av.stream.Stream) -> Iterator[av.frame.Frame]:
    """All frames that decode, each stream's in order of presentation."""
    packets = container.demux(*streams) if streams else iter(())
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return  # the container breaks off here
        if packet is None:
            return
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue  # a damaged packet; the next keyframe mends the stream
        yield from frames


def _seek(container: av.container.InputContainer, stream: av.stream.Stream, time_s: float) -> None:
    """Go to the last keyframe at or before a time; a file that cannot seek is decoded from its start."""
    if time_s <= _origin_s(container):
        return
    try:
        container.seek(int(time_s / stream.time_base), stream=stream)
    except av.FFmpegError:
        return


def _origin_s(container: av.container.InputContainer) -> float:
    return (container.start_time or 0) / av.time_base


def _duration_s(container: av.container.InputContainer, path: str | Path) -> float:
    """Length of the file; one that does not say (a raw stream) is read through."""
    if container.duration is not None:
        return container.duration / av.time_base
    with _open(path) as again:
        packets = [packet for packet in again.demux() if packet.pts is not None]
        ends = [float((packet.pts + (packet.duration or 0)) * packet.time_base) for packet in packets]
        return max(ends, default=0.0) - _origin_s(again)


# ---------------------------------------------------------------------------------------------------- samples


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """Mean over the channels, [samples] float32, whatever the sample format."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:  # the one unsigned format
        samples = samples.astype(np.float32) / 128 - 1
    elif samples.dtype.kind == "i":
        samples = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples.sum(axis=0, dtype=np.float32) / np.float32(len(samples))  # np.mean takes twice as long on one frame


def _resample(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """To 16 kHz with FFmpeg's resampler, in one go: chunks would round differently."""
    if rate_hz == SAMPLE_RATE_HZ or len(samples) == 0:
        return samples
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
    frame.sample_rate = rate_hz
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE_HZ)
    pieces = [piece.to_ndarray()[0] for part in (frame, None) for piece in resampler.resample(part)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def _grey(frame: av.VideoFrame) -> np.ndarray:
    """[height, width] uint8, turned as the recording device asks."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="gray"), round(frame.rotation / 90)))
