"""Access to media files (PyAV): opening, probing, seeking, decoding; `sound` and `pictures` build on it.

Time is in seconds from the start of the file (the first of its streams). Nothing is padded, so a sound track that
begins late or ends early gives fewer samples. A damaged file gives what decodes: damaged packets are skipped, a break
in the container ends the stream, and only a file of which nothing decodes is an error. docs/media.md lists the tested
formats.
"""

import abc
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.stream import Disposition

from dferc.core.errors import InputError

DECODER = f"av {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"
"""Part of every media extractor's identity: another FFmpeg may round differently."""

_INDEXED_WHILE_READING = {"matroska", "webm", "mp3", "aac", "flac"}
"""Formats, by FFmpeg's names, whose index FFmpeg builds while it reads."""


class MediaError(InputError):
    """A media file is missing, unreadable, or lacks the requested stream; `problem` is `kind` or `kind: detail`."""

    def __init__(self, path: str | Path, problem: str):
        super().__init__(str(path), problem)
        self.problem = problem

    def __str__(self) -> str:
        return ": ".join(self.args)


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaInfo:
    """Measurements of a clip."""

    duration_s: float  # from the container, else the end of the last frame
    has_audio: bool  # at least one frame of sound decodes
    has_video: bool  # at least one picture decodes (cover art does not count)


def probe(path: str | Path) -> MediaInfo:
    """Decode the first frame of each stream; raise MediaError if the file is missing or nothing decodes."""
    kinds = set()
    with open_media(path) as container:
        streams = [stream for kind in ("audio", "video") if (stream := _first(container, kind)) is not None]
        for frame in frames(container, *streams):
            kinds.add(type(frame))
            if len(kinds) == len(streams):
                break
        duration_s = None if container.duration is None else container.duration / av.time_base
    if not kinds:
        raise MediaError(path, "unreadable: neither a sound nor a picture decodes")
    if duration_s is None:  # a raw stream, which is read through
        with open_media(path) as container:
            timed = [packet for packet in container.demux() if packet.pts is not None]
            ends = [float((packet.pts + (packet.duration or 0)) * packet.time_base) for packet in timed]
            duration_s = max(ends, default=0.0) - origin_s(container)
    return MediaInfo(duration_s=duration_s, has_audio=av.AudioFrame in kinds, has_video=av.VideoFrame in kinds)


def open_media(path: str | Path, hwaccel: str | None = None) -> av.container.InputContainer:
    """Open a media file; raise MediaError if it is missing or unreadable.

    `hwaccel` is a kind of device that decodes, such as `cuda`, with the CPU for what it cannot decode; None = the CPU.
    """
    device = HWAccel(hwaccel, allow_software_fallback=True) if hwaccel else None
    try:
        return av.open(f"file:{path}", hwaccel=device)  # `file:` keeps a colon in a name from being read as a protocol
    except av.FFmpegError as error:
        raise MediaError(path, f"unreadable: {error.strerror}") from None


class MediaFile(contextlib.AbstractContextManager):
    """Open file that the context manager closes."""

    path: str | Path
    _container: av.container.InputContainer

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    @abc.abstractmethod
    def _open(self) -> None:
        """Open the file at `path` as `_container`."""

    def _reopen(self) -> None:
        """Open the file again; the old one is closed last, so that a missing file stays an error and no more."""
        old = self._container
        self._open()
        old.close()


def complete_index(container: av.container.InputContainer, stream: av.stream.Stream) -> None:
    """Make seeks deterministic, whatever is read in between.

    MP4 and AVI have an index in the file. For some other formats FFmpeg builds its index while reading, and a later
    seek leads elsewhere: there the file is read once, without decoding. (For yet others, such as MPEG-TS and WMV, the
    index is never complete.)
    """
    if _INDEXED_WHILE_READING & set(container.format.name.split(",")):
        seek(container, stream, 0.0)
        for _ in packets(container, stream):
            pass


class LastOpened:
    """Opens files with `open_file` and keeps the last one open: the utterances of a file follow one another."""

    def __init__(self, open_file: Callable[[str], MediaFile]):
        self._open_file = open_file
        self._file: MediaFile | None = None

    def __call__(self, path: str) -> Any:
        """Return the open file; raises what `open_file` raises."""
        if self._file is None or self._file.path != path:
            if self._file is not None:
                self._file.close()
            self._file = None
            self._file = self._open_file(path)
        return self._file


def verify_hwaccel(kind: str) -> None:
    """Raise InputError if this machine has no device of this kind that decodes H.264."""
    try:
        HWAccel(kind).create(av.Codec("h264", "r"))
    except (av.FFmpegError, NotImplementedError) as error:
        known = ", ".join(hwdevices_available())
        raise InputError(
            f"--hwaccel {kind}: no such device decodes here ({error}). PyAV knows {known}; omit the option to decode "
            "on the CPU."
        ) from None


def stream_of(container: av.container.InputContainer, path: str | Path, kind: str) -> av.stream.Stream:
    """Return the first stream of a kind, audio or video; raise MediaError if there is none."""
    stream = _first(container, kind)
    if stream is None:
        raise MediaError(path, "no sound track" if kind == "audio" else "no picture track")
    return stream


def _first(container: av.container.InputContainer, kind: str) -> av.stream.Stream | None:
    """Return the first stream of a kind, set to decode in one thread: the workers are the parallelism."""
    for stream in getattr(container.streams, kind):
        if not stream.disposition & Disposition.attached_pic:
            stream.thread_count = 1
            return stream
    return None


def packets(container: av.container.InputContainer, *streams: av.stream.Stream) -> Iterator[av.Packet]:
    """Yield all packets of the streams, from the current position to the end or to where the container breaks off."""
    try:
        yield from container.demux(*streams) if streams else ()
    except av.FFmpegError:
        return


def frames(container: av.container.InputContainer, *streams: av.stream.Stream) -> Iterator[av.frame.Frame]:
    """Yield all frames that decode, each stream's in order of presentation."""
    for packet in packets(container, *streams):
        try:
            decoded = packet.decode()
        except av.FFmpegError:
            continue  # a damaged packet; the next keyframe mends the stream
        yield from decoded


def seek(container: av.container.InputContainer, stream: av.stream.Stream, time_s: float) -> bool:
    """Seek to a keyframe at or before a time of the file, else to the first; return False if the file cannot seek."""
    for target_s in (time_s, 0.0):  # some containers refuse a time before their first keyframe
        try:
            container.seek(int((origin_s(container) + target_s) / stream.time_base), stream=stream)
        except av.FFmpegError:
            continue
        return True
    return False


def origin_s(container: av.container.InputContainer) -> float:
    """Return the container's time at the start of the file: not zero in a recording cut from a broadcast."""
    return (container.start_time or 0) / av.time_base
