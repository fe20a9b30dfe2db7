"""Access to media files (PyAV): opening, probing, seeking, decoding; `sound` and `pictures` build on it.

Time is in seconds from the start of the file (the first of its streams). Nothing is padded, so a sound track that
begins late or ends early gives fewer samples. A damaged file gives what decodes: damaged packets are skipped, a break
in the container ends the stream, and only a file of which nothing decodes is an error. Whatever a decoder raises
becomes a `MediaError`. docs/media.md lists the tested formats.

One file is one file: FFmpeg gets a descriptor of a regular file and no name, so that it recognises formats by their
content alone and has no way of opening another file.
"""

import abc
import contextlib
import os
import re
import resource
import stat
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import av
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.stream import Disposition

from dferc.core.errors import InputError

Item = TypeVar("Item")

DECODER = f"av {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"
"""Part of every media extractor's identity: another FFmpeg may round differently."""

_FORMATS = (
    "3g2 3gp aa aac aax ac3 aea aiff amr ape apng asf ast au av1 avi avs2 avs3 avr bmp_pipe caf cavsvideo dhav dirac "
    "dnxhd dsf dts dtshd dv eac3 evc ffm flac flv gif gxf h261 h263 h264 hevc iff ilbc ircam ivf jpeg_pipe jpegxl_pipe "
    "kux lc3 live_flv loas lxf m4a m4v matroska mj2 mjpeg mlp mov mp3 mp4 mpc mpc8 mpeg mpegts mpegtsraw mpegvideo "
    "mpjpeg mtv mxf nistsphere nsv nut nuv obu ogg oma osq pbm_pipe pgm_pipe png_pipe ppm_pipe pva qcp qoa r3d rm roq "
    "rso shn smjpeg sox spdif swf tak tiff_pipe truehd tta ty vc1 vc1test vivo voc vvc w64 wav webm webp_pipe wsaud "
    "wsvqa wtv wv wve xa xmv xwma yop yuv4mpegpipe"
)
"""FFmpeg's names of the formats that are read. Missing are those that name other files (HLS, DASH, ffconcat, SDP,
image sequences), text, devices, and those without a mark in the content, which anything would be."""

_PLAYLISTS = {b"#EXTM3U": "HLS", b"ffconcat": "ffconcat", b"<MPD": "DASH", b"v=0": "SDP", b"[playlist]": "PLS"}
"""What files that name other media begin with; in `<MPD`'s case, among the first bytes."""

_INDEXED_WHILE_READING = {"matroska", "webm", "mp3", "aac", "flac"}
"""Formats, by FFmpeg's names, whose index FFmpeg builds while it reads."""

_INDEXED = {"mov", "avi", "wav"}  # formats with an index in the file, in which no clock restarts

SOUND_SUFFIXES = frozenset(".wav .mp3 .m4a .flac .ogg .opus .aac .aif .aiff .wma .amr .ac3 .caf".split())
MEDIA_SUFFIXES = SOUND_SUFFIXES.union(
    ".mp4 .mkv .mov .avi .webm .m4v .mpg .mpeg .ts .mts .m2ts .wmv .asf .3gp .flv .ogv .vob .mxf".split()
)
"""Suffixes of files that are media even where nothing decodes: damage is a problem of theirs. Any other file is opened
to find out."""

_NO_TIMES = 0x80  # FFmpeg's AVFMT_NOTIMESTAMPS: raw Motion JPEG and others
_MAX_PIXELS = 36_000_000  # of a picture: 8K has 33 million; FFmpeg itself would take 4 GB for one
_RATES_HZ = range(1000, 768_001)  # sampling rates that are read: the resampler's memory grows with them
_MAX_CHANNELS = 64
_MEMORY_BYTES, _MEMORY_SHARE = 1 << 30, 20  # for opening a file: a gigabyte, and this many times its size
_ADDRESS_SPACE = resource.getrlimit(resource.RLIMIT_AS)  # before it was bounded here
_PATIENCE_S = 600.0  # longest time of reading on from one place: far above any real file, below a night
_ROUNDING_S = 0.1  # by which a file's length may differ from its header's: containers round to a frame
_MOST_ROUNDING_S = 1.0  # the same, where frames are rare: slides have one in minutes
_UNREAD = 0.05  # share of a file behind its last packet above which it may hold another recording
_SEARCHED_BYTES = 1 << 26  # how far it is searched for
_CHUNKS = 64  # parts of a .wav that are looked through for its sound
_RESTART_S = 0.5  # step back of a stream's clock that is no rounding
_JUMP_S = 10.0  # step forward that no pause of a recording explains: FFmpeg's own threshold

_LISTED = 6  # places with an odd clock that are listed; the others are counted
_TAIL_PACKETS = {"audio": 16, "video": 600}  # that are kept to decode a stream's end; of pictures, from a keyframe on
_RESTARTS = "clock restarts"  # kind of problem

_NO_FILE = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
_NO_FILE |= dict.fromkeys((stat.S_IFCHR, stat.S_IFBLK), "a device")


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

    duration_s: float  # of what the file holds, whatever its header claims
    has_audio: bool  # at least one frame of sound decodes
    has_video: bool  # at least one picture decodes (cover art does not count)
    remarks: tuple[tuple[str, str], ...] = ()  # what is odd about the file, as problems with consequences


@contextlib.contextmanager
def decoding(path: str | Path) -> Iterator[None]:
    """Raise MediaError for whatever a `with` block raises: libraries raise nearly anything on a damaged file."""
    try:
        yield
    except InputError:
        raise
    except av.FFmpegError as error:
        raise MediaError(path, f"unreadable: {error.strerror}") from error
    except Exception as error:
        raise MediaError(path, f"unreadable: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _bounded(path: str | Path) -> Iterator[None]:
    """Bound the memory that a `with` block takes by the size of a file: some claim gigabytes in a few bytes.

    An allocation beyond it fails, as on a machine with little memory. Linux alone has such a bound.
    """
    pages = Path("/proc/self/statm")
    if not pages.exists():
        yield
        return
    used = int(pages.read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    most = used + _MEMORY_BYTES + _MEMORY_SHARE * os.stat(path).st_size
    soft, hard = _ADDRESS_SPACE
    try:
        if soft == resource.RLIM_INFINITY or most < soft:
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, _ADDRESS_SPACE)


def probe(path: str | Path) -> MediaInfo:
    """Read a file through; decode the first frame of each used stream, and the last ones of that which ends last.

    MediaError is raised if the file is missing or nothing decodes.
    """
    kinds, end_bytes, odd_clock = set(), 0, []
    with decoding(path), open_media(path) as container, _bounded(path):
        streams = [stream for kind in ("audio", "video") if (stream := _used(container, kind)) is not None]
        tails = {stream.index: _Tail(stream) for stream in streams}
        for packet in packets(container, *streams, odd_clock=odd_clock):
            if packet.stream_index in tails:  # streams without a decoder come to their end, too
                tails[packet.stream_index].add(packet)
            end_bytes = max(end_bytes, (packet.pos or 0) + packet.size)
            if packet.stream.type not in kinds and decode(packet.stream.codec_context, packet):
                kinds.add(packet.stream.type)
        rates = [stream.average_rate for stream in streams if stream.type == "video" and stream.average_rate]
        rounding_s = min(max(_ROUNDING_S, *(float(2 / rate) for rate in rates), 0.0), _MOST_ROUNDING_S)
        end_s = _decoded_end_s(path, list(tails.values()), rounding_s)
        claimed_s = None if container.duration is None else container.duration / av.time_base
        measured_s = (claimed_s or 0.0) if end_s is None else max(0.0, end_s - origin_s(container))
        remarks = [*_track_remarks(container), *odd_clock[:_LISTED], *_size_remarks(path, end_bytes)]
        if len(odd_clock) > _LISTED:
            remarks.append((f"clock is odd: at {len(odd_clock) - _LISTED} more places", "as at the first ones"))
        restarted = [problem for problem, _ in odd_clock if problem.startswith(_RESTARTS)]
        if restarted and _is_indexed(container):
            raise MediaError(path, f"unreadable: {restarted[0]}, which this format excludes; write it anew as .mkv")
    if not kinds:
        raise MediaError(path, "unreadable: neither a sound nor a picture decodes")
    # A claim that is right is exact, where packets round.
    exact = claimed_s is not None and abs(claimed_s - measured_s) <= rounding_s
    if claimed_s is not None and not exact:
        claims = f"length claimed wrongly: {claimed_s:.3f} s by header or bit rate, {measured_s:.3f} s by content"
        remarks.append((claims, "the length of the content is used"))
    return MediaInfo(
        duration_s=claimed_s if exact else measured_s,
        has_audio="audio" in kinds,
        has_video="video" in kinds,
        remarks=tuple(remarks),
    )


class _Tail:
    """End of a stream: what its packets claim, and the last of them, from which the end can be decoded."""

    def __init__(self, stream: av.stream.Stream):
        self.stream, self.end_s = stream, None
        self._packets: deque[av.Packet] = deque(maxlen=_TAIL_PACKETS[stream.type])

    def add(self, packet: av.Packet) -> None:
        """Take the next packet of the stream."""
        if packet.pts is not None and not packet.is_discard:
            end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self.end_s = end_s if self.end_s is None else max(self.end_s, end_s)
        if self.stream.type == "video" and packet.is_keyframe:
            self._packets.clear()
        self._packets.append(packet)

    def decodes_to_s(self) -> float | None:
        """Return the end of the last frame that decodes from the last packets; None if none does."""
        self.stream.codec_context.flush_buffers()
        of_tail = (frame for packet in [*self._packets, None] for frame in decode(self.stream.codec_context, packet))
        return _frames_end_s(of_tail, self.stream)


def _frames_end_s(decoded: Iterable[av.frame.Frame], stream: av.stream.Stream) -> float | None:
    """Return the end of the last of a stream's frames in the file's own time; None where none has a time."""

    def end_s(frame: av.frame.Frame) -> float:  # frames that a decoder held back to the end lack their time base
        is_sound = isinstance(frame, av.AudioFrame)
        length_s = frame.samples / frame.sample_rate if is_sound else float(frame.duration * stream.time_base)
        return float(frame.pts * stream.time_base) + length_s

    return max((end_s(frame) for frame in decoded if frame.pts is not None), default=None)


def _decoded_end_s(path: str | Path, tails: list[_Tail], rounding_s: float) -> float | None:
    """Return the end of the content in the file's own time; None where no packet has a time.

    The packets' times are believed where the frames at their end decode. Otherwise, as in a download whose end is
    zeros, the stream is decoded as a whole. A stream that ends before another is not looked at.
    """
    reached_s = None
    for tail in sorted((tail for tail in tails if tail.end_s is not None), key=lambda tail: tail.stream.type):
        if reached_s is not None and tail.end_s <= reached_s + rounding_s:  # sound is first, as it decodes fastest
            reached_s = max(reached_s, tail.end_s)
            continue
        end_s, decoded_s = tail.end_s, tail.decodes_to_s()
        if decoded_s is None or decoded_s < end_s - rounding_s:
            with open_media(path) as other:
                stream = other.streams[tail.stream.index]
                decoded_s = _frames_end_s(frames(other, stream), stream)
            if decoded_s is None:
                continue
            end_s = min(end_s, decoded_s) if decoded_s < end_s - rounding_s else end_s
        reached_s = end_s if reached_s is None else max(reached_s, end_s)
    return reached_s


def decode(decoder: av.CodecContext, packet: av.Packet | None) -> list[av.frame.Frame]:
    """Return the frames of a packet, or those that a decoder holds back; none of a damaged one."""
    try:
        return decoder.decode(packet)
    except av.FFmpegError:
        return []  # the next keyframe mends the stream


def holds_media(path: str | Path) -> bool:
    """Return whether a file is sound or moving pictures by its content, of which it decodes nothing."""
    try:
        with open_media(path) as container:
            still = container.format.name.endswith("_pipe")  # a photograph is no clip
            return not still and any(_tracks(container, kind) for kind in ("audio", "video"))
    except MediaError:
        return False


def open_media(path: str | Path, hwaccel: str | None = None) -> av.container.InputContainer:
    """Open a media file; raise MediaError if it is missing, unreadable, or no regular file.

    `hwaccel` is a kind of device that decodes, such as `cuda`, with the CPU for what it cannot decode; None = the CPU.
    """
    device = HWAccel(hwaccel, allow_software_fallback=True) if hwaccel else None
    with decoding(path):
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise MediaError(path, f"unreadable: {_NO_FILE.get(stat.S_IFMT(mode), 'no file')}, expected a regular file")
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # CUDA reserves far more addresses than it uses
        with decoding(path), _bounded(path) if device is None else contextlib.nullcontext():
            container = av.open(
                "fd:",
                hwaccel=device,
                options={"max_pixels": str(_MAX_PIXELS)},
                container_options={
                    "fd": str(descriptor),
                    "protocol_whitelist": "fd",
                    "format_whitelist": _FORMATS.replace(" ", ","),
                    **({"ignore_length": "1"} if _has_more_sound(descriptor) else {}),
                },
                metadata_errors="replace",  # titles have any encoding
                timeout=_PATIENCE_S,
            )
    except MediaError as error:
        raise MediaError(path, _named_playlist(descriptor) or error.problem) from error.__cause__
    finally:
        os.close(descriptor)  # FFmpeg has its own
    with decoding(path):
        for stream in container.streams:
            if stream.codec_context is not None and stream.type in ("audio", "video"):
                _bound(path, stream)
    return container


def _named_playlist(descriptor: int) -> str:
    """Return the problem of a file that names other media; empty for any other."""
    head = os.pread(descriptor, 512, 0).removeprefix(b"\xef\xbb\xbf").lstrip()
    names = [name for mark, name in _PLAYLISTS.items() if head.startswith(mark) or mark == b"<MPD" and mark in head]
    return f"unreadable: {names[0]}, a list of other media; expected the media file itself" if names else ""


def _bound(path: str | Path, stream: av.stream.Stream) -> None:
    """Set a stream to decode in one thread, the workers being the parallelism, and within bounds of memory.

    MediaError is raised if its declared size would take more memory or time than any recording.
    """
    stream.thread_count = 1
    if stream.type == "video":
        stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}  # also where the size changes on the way
        if stream.width * stream.height > _MAX_PIXELS:
            size = f"pictures of {stream.width}x{stream.height} pixels"
            raise MediaError(path, f"unreadable: {size}; expected at most {_MAX_PIXELS}")
    elif stream.rate and stream.rate not in _RATES_HZ:
        expected = f"expected {_RATES_HZ[0]} to {_RATES_HZ[-1]} Hz"
        raise MediaError(path, f"unreadable: sound of {stream.rate} Hz; {expected}")
    elif stream.channels > _MAX_CHANNELS:
        raise MediaError(path, f"unreadable: sound of {stream.channels} channels; expected at most {_MAX_CHANNELS}")


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


def complete_index(container: av.container.InputContainer, stream: av.stream.Stream) -> bool:
    """Make seeks deterministic, whatever is read in between; return whether the file was read for it.

    MP4 and AVI have an index in the file. For some other formats FFmpeg builds its index while reading, and a later
    seek leads elsewhere: there the file is read once, without decoding. (For yet others, such as MPEG-TS and WMV, the
    index is never complete.)
    """
    reads = bool(_INDEXED_WHILE_READING & set(container.format.name.split(",")))
    if reads:
        seek(container, stream, 0.0)
        for _ in packets(container, stream):
            pass
    return reads


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
    """Return the used stream of a kind, audio or video; raise MediaError if there is none."""
    stream = _used(container, kind)
    if stream is None:
        raise MediaError(path, "no sound track" if kind == "audio" else "no picture track")
    return stream


def _tracks(container: av.container.InputContainer, kind: str) -> list[av.stream.Stream]:
    """Return the streams of a kind that FFmpeg has a decoder for, without cover art and thumbnails."""
    stills = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = getattr(container.streams, kind)
    return [stream for stream in streams if stream.codec_context is not None and not stream.disposition & stills]


_BESIDE = Disposition.visual_impaired | Disposition.hearing_impaired | Disposition.comment | Disposition.clean_effects
"""Tracks beside the programme's own: a description for the blind, a mix for the deaf, a commentary, no voices."""
_COVERS = {"mjpeg", "png", "bmp", "webp"}  # codecs of cover art, which FFmpeg copies to Matroska as a track like others


def _used(container: av.container.InputContainer, kind: str) -> av.stream.Stream | None:
    """Return the track of a kind that is the programme's own and the default, else the first; None without one."""

    def rank(track: av.stream.Stream) -> tuple[bool, bool, bool]:
        is_default = bool(track.disposition & Disposition.default)
        return not track.disposition & _BESIDE, track.codec_context.name not in _COVERS, is_default

    return max(_tracks(container, kind), key=rank, default=None)


def _track_remarks(container: av.container.InputContainer) -> Iterator[tuple[str, str]]:
    """Yield which track is used of each kind that has several, and where the file has no times."""
    if (pictures := _used(container, "video")) is not None and container.format.flags & _NO_TIMES:
        assumed = f"no times in the file: {float(pictures.average_rate or 0):g} frames/s are assumed"
        yield assumed, "if they are not, `ffmpeg -r RATE -i FILE -c copy new.mkv`"
    for kind, name in (("audio", "sound"), ("video", "picture")):
        tracks = _tracks(container, kind)
        if len(tracks) > 1:
            used = _used(container, kind)
            why = "marked as default" if used.disposition & Disposition.default else "the first"
            if any(track.disposition & _BESIDE for track in tracks) and not used.disposition & _BESIDE:
                why += ", no description or commentary"
            if kind == "video" and len({track.codec_context.name in _COVERS for track in tracks}) > 1:
                why += ", no cover"
            number = tracks.index(used) + 1
            yield f"several {name} tracks: number {number} of {len(tracks)} ({why})", "the other tracks are not used"


def _size_remarks(path: str | Path, read_bytes: int) -> Iterator[tuple[str, str]]:
    """Yield where a file is shorter than its header claims, or another is behind it: FFmpeg reports neither.

    `read_bytes` is the end of the last packet, 0 where the format has no such places.
    """
    with open(path, "rb") as file:
        head, length = file.read(16).ljust(16, b"\0"), file.seek(0, os.SEEK_END)
        file.seek(read_bytes)
        more_sound = _has_more_sound(file.fileno())
        behind = file.read(_SEARCHED_BYTES) if 0 < read_bytes < (1 - _UNREAD) * length else b""
    mark, size = struct.unpack("<4sI", head[:8])
    if more_sound:
        yield "its header claims less sound than there is", "all of it is used"
    further = re.match(rb"\0{0,7}(?:ID3|[\w ]{4})", behind)  # has a name
    if behind and head[:4] in (b"FORM", b"riff", b"caff") and not further:  # AIFF, Wave64, CAF
        claim = f"its header claims less sound than there is: {read_bytes} of {length} bytes"
        yield claim, "the rest is not used; write it anew as .wav"
    # A recorder that was stopped writes none or the largest size; others count the header in or out.
    if mark == b"RIFF" and length + 64 < size < 0xFFFFFFFF:
        yield f"cut off: its header claims {size + 8} bytes, it has {length}", "what is left is used"
    first = 8 if mark == b"RIFF" else 4 if head[4:8] == b"ftyp" else 0  # what comes before is a size
    if head[first : first + 8] in behind:
        another = f"another recording behind its end: in the last {length - read_bytes} of {length} bytes"
        yield another, "not used; split the file"


def _has_more_sound(descriptor: int) -> bool:
    """Return whether sound goes on behind the length that a .wav claims: its recorder stopped, or counts to 4 GB."""
    length, place, head = os.fstat(descriptor).st_size, 12, os.pread(descriptor, 12, 0)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return False
    long_bytes = 0
    for _ in range(_CHUNKS):
        name, size = struct.unpack("<4sI", os.pread(descriptor, 8, place).ljust(8, b"\0"))
        if name == b"ds64":
            [long_bytes] = struct.unpack("<Q", os.pread(descriptor, 8, place + 16).ljust(8, b"\0"))
        size = long_bytes if name == b"data" and size == 0xFFFFFFFF and long_bytes else size
        place += 8 + size
        if name == b"data":  # a further chunk has a name, samples have none
            behind = os.pread(descriptor, 5, place)
            return 0 < size and place + 64 < length and not re.match(rb"\0?(?:ID3|[\w ]{4})", behind)
        place += size % 2
    return False


def packets(
    container: av.container.InputContainer, *streams: av.stream.Stream, odd_clock: list[tuple[str, str]] | None = None
) -> Iterator[av.Packet]:
    """Yield all packets of the streams, from the current position to the end or to where the container breaks off.

    Where a stream's clock steps back, as in recordings put one behind the other, its times go on from the end of what
    came before; `odd_clock` receives such places, and those where the clock leaps, as problems with consequences.
    TimeoutError is raised as by `timely`.
    """
    clock = _Clock(container, odd_clock)
    try:
        for packet in timely(container.demux(*streams)) if streams else ():
            clock.mend(packet)
            yield packet
    except av.FFmpegError:
        return


def timely(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items; raise TimeoutError where they take longer than those of any recording would."""
    deadline = time.monotonic() + _PATIENCE_S
    for item in items:
        if time.monotonic() > deadline:
            raise TimeoutError(f"decoding takes longer than {_PATIENCE_S:g} s")
        yield item


class _Clock:
    """Stamps of packets as one clock goes on, though that of the file restarts."""

    def __init__(self, container: av.container.InputContainer, odd: list[tuple[str, str]] | None):
        self._container, self._odd = container, [] if odd is None else odd
        self._last: dict[int, tuple[float, float]] = {}  # begin and end of each stream's last packet, in seconds
        self._shifts: dict[int, int] = {}  # of the stamps of each stream, in units of its time base

    def mend(self, packet: av.Packet) -> None:
        """Move a packet's stamps to where its stream has come, if the stream's clock has stepped back."""
        if packet.dts is None:
            return
        index, base = packet.stream_index, packet.time_base
        shift = self._shifts.get(index, 0)
        unit, units = base.numerator, base.denominator  # rounded once, as float(Fraction), but faster
        time_s = (packet.dts + shift) * unit / units
        last_s, end_s = self._last.get(index, (time_s, time_s))
        if time_s < last_s - _RESTART_S:
            self._shifts[index] = shift = round(end_s / base) - packet.dts
            self._odd.append((f"{_RESTARTS}: at {self._in_file(end_s)}", "times go on from there"))
        elif time_s > end_s + _JUMP_S:
            leap = f"clock jumps: from {self._in_file(end_s)} to {self._in_file(time_s)}"
            self._odd.append((leap, "times are those of the file; between them is nothing"))
        if shift:
            packet.dts += shift
            packet.pts = None if packet.pts is None else packet.pts + shift
        time_s = packet.dts * unit / units
        self._last[index] = time_s, time_s + (packet.duration or 0) * unit / units

    def _in_file(self, time_s: float) -> str:
        return f"{time_s - origin_s(self._container):.3f} s"


def frames(container: av.container.InputContainer, *streams: av.stream.Stream) -> Iterator[av.frame.Frame]:
    """Yield all frames that decode, each stream's in order of presentation."""
    for packet in packets(container, *streams):
        yield from decode(packet.stream.codec_context, packet)


def restarts(container: av.container.InputContainer, path: str | Path, kind: str) -> bool:
    """Return whether the clock of a file's sound or picture restarts or begins below 0: no seek by time is possible.

    Unless the format of the open file excludes it, the file is opened a second time and read through.
    """
    if _is_indexed(container):
        return False
    if origin_s(container) < -_ROUNDING_S:
        return True  # an index of Matroska has no negative times: a seek would leave out what is before 0
    odd_clock: list[tuple[str, str]] = []
    with open_media(path) as other:
        for _ in packets(other, stream_of(other, path, kind), odd_clock=odd_clock):
            pass
    return any(problem.startswith(_RESTARTS) for problem, _ in odd_clock)


def _is_indexed(container: av.container.InputContainer) -> bool:
    return bool(_INDEXED & set(container.format.name.split(",")))


def seek(container: av.container.InputContainer, stream: av.stream.Stream, time_s: float) -> bool:
    """Seek to a keyframe at or before a time of the file, else to the first; return False if the file cannot seek."""
    # Some containers refuse a time before their first keyframe, and some the start of the file if it is before it.
    for target_s, backward in ((time_s, True), (0.0, True), (0.0, False)):
        try:
            target = int((origin_s(container) + target_s) / stream.time_base)
            container.seek(target, stream=stream, backward=backward)
        except av.FFmpegError:
            continue
        return True
    return False


def origin_s(container: av.container.InputContainer) -> float:
    """Return the container's time at the start of the file: not zero in a recording cut from a broadcast."""
    return (container.start_time or 0) / av.time_base
