"""The door to media files (PyAV): opening, what is in a clip, seeking, decoding; `sound` and `pictures` build on it.

Time is in seconds from the start of the file (the first of its streams); nothing is padded, so a sound track that
begins late or ends early gives fewer samples. A damaged file gives what decodes: packets that do not are skipped, a
break in the container ends the stream, and only a file of which nothing decodes is an error. docs/media.md lists what
was tried.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import av
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.stream import Disposition

from dferc.core.errors import InputError

DECODER = f"av {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"
"""Part of every media extractor's identity: another FFmpeg may round differently."""


_LEARNT_ON_THE_WAY = {"matroska", "webm", "mp3", "aac", "flac"}
"""Formats, as FFmpeg names them, of which it knows all places once it has come by."""


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
    with open_media(path) as container:
        streams = [stream for kind in ("audio", "video") if (stream := _first(container, kind)) is not None]
        for frame in frames(container, *streams):
            found.add(type(frame))
            if len(found) == len(streams):
                break
        duration_s = _duration_s(container, path)
    if not found:
        raise MediaError(path, "unreadable: neither a sound nor a picture decodes")
    return MediaInfo(duration_s=duration_s, has_audio=av.AudioFrame in found, has_video=av.VideoFrame in found)


def open_media(path: str | Path, hwaccel: str | None = None) -> av.container.InputContainer:
    """Open a media file.

    Args:
        path: of the file.
        hwaccel: kind of device that decodes, such as `cuda`; what it cannot decode is decoded here. None = here.

    Raises:
        MediaError: missing or unreadable.
    """
    device = HWAccel(hwaccel, allow_software_fallback=True) if hwaccel else None
    try:
        return av.open(f"file:{path}", hwaccel=device)  # `file:` keeps a colon in a name from being read as a protocol
    except av.FFmpegError as error:
        raise MediaError(path, f"unreadable: {error.strerror}") from None


class MediaFile:
    """An open file (`_container`, `path`). A context manager: leaving it closes the file."""

    path: str | Path
    _container: av.container.InputContainer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()

    def _open(self) -> None:
        raise NotImplementedError

    def _reopen(self) -> None:
        """Open it anew; the old one goes last, so that a file that is gone is an error each time, and no more."""
        old = self._container
        self._open()
        old.close()


def learn_places(container: av.container.InputContainer, stream: av.stream.Stream) -> None:
    """See to it that a seek leads where every other seek to that time will, whatever is read in between.

    Where an index stands in the file (MP4, AVI), it does. Of some formats FFmpeg learns only on the way where something
    is, and the next seek leads elsewhere: there the file is gone through once, and nothing decoded. (Of yet others,
    such as MPEG-TS and WMV, it never knows all.)
    """
    if _LEARNT_ON_THE_WAY & set(container.format.name.split(",")):
        seek(container, stream, 0.0)
        for _ in packets(container, stream):
            pass


class LastOpened:
    """Opens files and keeps the last one: the utterances of a file follow one another.

    Args:
        open_file: by its path.
    """

    def __init__(self, open_file: Callable[[str], MediaFile]):
        self._open_file = open_file
        self._file: MediaFile | None = None

    def __call__(self, path: str) -> Any:
        """The open file; what `open_file` raises where it cannot be opened."""
        if self._file is None or self._file.path != path:
            self.close()
            self._file = self._open_file(path)
        return self._file

    def close(self) -> None:
        """Let go of the file, if there is one."""
        if self._file is not None:
            self._file.close()
        self._file = None


def verify_hwaccel(kind: str) -> None:
    """Check that this machine has a device that decodes H.264.

    Raises:
        InputError: it has none of this kind.
    """
    try:
        HWAccel(kind).create(av.Codec("h264", "r"))
    except (av.FFmpegError, NotImplementedError) as error:
        known = ", ".join(hwdevices_available())
        raise InputError(
            f"--hwaccel {kind}: no such device decodes here ({error}). PyAV knows {known}; leave the option away to "
            "decode on the CPU."
        ) from None


def stream_of(container: av.container.InputContainer, path: str | Path, kind: str) -> av.stream.Stream:
    """The first stream of a kind, audio or video.

    Raises:
        MediaError: there is none.
    """
    stream = _first(container, kind)
    if stream is None:
        raise MediaError(path, "no sound track" if kind == "audio" else "no picture track")
    return stream


def _first(container: av.container.InputContainer, kind: str) -> av.stream.Stream | None:
    """The first stream of a kind, set to decode in one thread: the workers are the parallelism."""
    for stream in getattr(container.streams, kind):
        if not stream.disposition & Disposition.attached_pic:
            stream.thread_count = 1
            return stream
    return None


def packets(container: av.container.InputContainer, *streams: av.stream.Stream) -> Iterator[av.Packet]:
    """All packets of some streams, from where the container stands to its end or to where it breaks off."""
    found = container.demux(*streams) if streams else iter(())
    while True:
        try:
            packet = next(found, None)
        except av.FFmpegError:
            return  # the container breaks off here
        if packet is None:
            return
        yield packet


def frames(container: av.container.InputContainer, *streams: av.stream.Stream) -> Iterator[av.frame.Frame]:
    """All frames that decode, each stream's in order of presentation."""
    for packet in packets(container, *streams):
        try:
            decoded = packet.decode()
        except av.FFmpegError:
            continue  # a damaged packet; the next keyframe mends the stream
        yield from decoded


def seek(container: av.container.InputContainer, stream: av.stream.Stream, time_s: float) -> bool:
    """Go to a keyframe at or before a time of the file, to the first where there is none.

    A file that cannot seek stays where it is: False.
    """
    for at_s in (time_s, 0.0):  # some containers refuse a time before their first keyframe
        try:
            container.seek(int((origin_s(container) + at_s) / stream.time_base), stream=stream)
        except av.FFmpegError:
            continue
        return True
    return False


def origin_s(container: av.container.InputContainer) -> float:
    """What the container's clock says at the start of the file: not zero in a recording cut from a broadcast."""
    return (container.start_time or 0) / av.time_base


def _duration_s(container: av.container.InputContainer, path: str | Path) -> float:
    """Length of the file; one that does not say (a raw stream) is read through."""
    if container.duration is not None:
        return container.duration / av.time_base
    with open_media(path) as again:
        timed = [packet for packet in again.demux() if packet.pts is not None]
        ends = [float((packet.pts + (packet.duration or 0)) * packet.time_base) for packet in timed]
        return max(ends, default=0.0) - origin_s(again)
