"""The picture of utterances: grey frames, sampled evenly, of a file that is opened once for many of them.

The time stamps of packets tell which frames are sampled before anything is decoded. So of a group of pictures nothing
behind its last sample is decoded, groups without a sample are passed over, and pictures that no other refers to are
decoded only where they are samples. What is sampled is the same, to the bit, as if all were decoded: on that rests
that an utterance's features do not depend on which others were asked for along with it.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from pipeline.media.files import MediaFile, learn_places, open_media, origin_s, packets, seek, stream_of

_EPSILON_S = 1e-6
"""Below any frame distance, above the rounding of a time that went through a table."""

_GAP_S = 10.0
"""Between utterances farther apart the file is sought, between nearer ones read on: a usual group of pictures."""

_RUN_S = 120.0
"""Length above which what is read in one go (and its packets held in memory) begins anew."""

_MARGIN_S = 1.0
"""The file is sought this much before a span. It costs nothing: groups of pictures without a sample are passed over."""

_LEAVE_OUT = {"h264", "hevc", "mpeg2video", "mpeg4"}
"""Decoders that leave out single pictures when told to, and give the others unchanged (AV1's, for one, does not)."""


class Span(NamedTuple):
    """Part of a file, in seconds from its start; the end is exclusive."""

    start_s: float
    end_s: float


class PictureFile(MediaFile):
    """A media file from which the picture of many spans is sampled. A context manager: leaving it closes the file.

    Args:
        path: of the file.
        hwaccel: kind of device that decodes; see `media.open_media`.

    Raises:
        MediaError: missing, unreadable, or without a picture track.
    """

    def __init__(self, path: str | Path, hwaccel: str | None = None):
        self.path, self._hwaccel = path, hwaccel
        self._open()

    def sample(
        self, spans: Sequence[Span], frames_per_s: float, max_frames: int
    ) -> Iterator[tuple[int, float, np.ndarray]]:
        """Sample the picture of spans evenly, as grey frames the right way up.

        A span is cut into equal parts, one per sample; each sample is the first frame at or after the middle of its
        part. A frame is given once, also where it is the first for several samples; where all frames of the span lie
        before the first sample time, the last of them is given: a span with a frame that decodes never comes out empty.
        What is given does not depend on what was asked for before.

        Args:
            spans: in any order; those that lie close together are cheapest asked for at once.
            frames_per_s: samples per second.
            max_frames: at most this many for a span, still spread over the whole of it.

        Yields:
            Number of the span, time in the file in seconds, and the frame as [height, width] uint8. Of one span in
            order of time; spans that overlap take turns.
        """
        if not self._seeks or len(self._stream.index_entries) != self._index:
            # FFmpeg has come to know other places: the next seek would lead elsewhere.
            self._reopen()
        self._decoder.flush_buffers()  # whoever asked before may have left in the middle
        middles = [_middles(span, frames_per_s, max_frames) for span in spans]
        for run in _runs(spans):
            yield from self._sample_run({number: (spans[number], middles[number]) for number in run})

    def _open(self) -> None:
        container = open_media(self.path, self._hwaccel)
        self._stream = stream_of(container, self.path, "video")
        self._container = container
        self._decoder, self._origin_s = self._stream.codec_context, origin_s(self._container)
        learn_places(container, self._stream)
        self._index, self._seeks = len(self._stream.index_entries), True

    def _sample_run(
        self, wanted: dict[int, tuple[Span, np.ndarray]], decode_all: bool = False
    ) -> Iterator[tuple[int, float, np.ndarray]]:
        """Sample neighbouring spans; by the times of the frames that decode where those of packets led to nothing.

        Args:
            wanted: spans and the middles of their parts, by number.
            decode_all: learn the times from the frames: the packets have none, or what they promise does not decode.
        """
        read = self._read(
            min(span.start_s for span, _ in wanted.values()), max(span.end_s for span, _ in wanted.values())
        )
        stamps = (
            [frame.pts for frame in self._decode(read)]
            if decode_all
            else [packet.pts for packet in read if not packet.is_discard]
        )
        waiting = {number: _choose(self._times(stamps), *each) for number, each in wanted.items()}
        given = set()
        for frame in self._decode(read, set().union(*waiting.values())):
            grey = _grey(frame)
            for number in (number for number, stamps in waiting.items() if frame.pts in stamps):
                given.add(number)
                waiting[number].remove(frame.pts)  # damaged files have two frames of one time
                yield number, self._time_s(frame.pts), grey
        if not decode_all:
            for number in wanted.keys() - given:
                yield from self._sample_run({number: wanted[number]}, decode_all=True)

    def _time_s(self, stamp: int) -> float:
        """Seconds from the start of the file."""
        return float(stamp * self._stream.time_base) - self._origin_s

    def _times(self, stamps: Iterable[int | None]) -> dict[int, float]:
        """Seconds by stamp."""
        return {stamp: self._time_s(stamp) for stamp in stamps if stamp is not None}

    def _read(self, start_s: float, end_s: float) -> list[av.Packet]:
        """The packets, in the order of decoding, that the frames of a span need: from a keyframe not after its start.

        Where a seek lands behind the start (containers seek by the time of decoding, some to no keyframe at all), it
        is tried again from farther back, at last from before the start of the file.
        """
        back_s = _MARGIN_S
        while True:
            self._seeks &= seek(self._container, self._stream, start_s - back_s)
            read = self._read_until(end_s)
            keys = (number for number, packet in enumerate(read) if self._begins(packet, start_s))
            first = next(keys, None)
            if first is not None or start_s < back_s:
                return read[first or 0 :]
            back_s *= 4

    def _read_until(self, end_s: float) -> list[av.Packet]:
        read = []
        for packet in packets(self._container, self._stream):
            if packet.size:  # the last is empty
                read.append(packet)
            if packet.dts is not None and self._time_s(packet.dts) >= end_s:  # nothing is shown before it is decoded
                break
        return read

    def _begins(self, packet: av.Packet, start_s: float) -> bool:
        """Whether it is a keyframe not after a time."""
        stamp = packet.dts if packet.pts is None else packet.pts
        return packet.is_keyframe and stamp is not None and self._time_s(stamp) <= start_s

    def _decode(self, read: list[av.Packet], wanted: set[int] | None = None) -> Iterator[av.VideoFrame]:
        """The wanted frames of some packets, in order of presentation; None = all that decode."""
        for group in _closed_groups(read):
            needed = [wanted is None or packet.pts is None or packet.pts in wanted for packet in group]
            if not any(needed):
                continue
            last = len(needed) - needed[::-1].index(True)
            for packet, need in [*zip(group, needed, strict=True)][:last] + [(None, True)]:
                self._decoder.skip_frame = "DEFAULT" if need or self._decoder.name not in _LEAVE_OUT else "NONREF"
                yield from (frame for frame in self._frames(packet) if wanted is None or frame.pts in wanted)
            self._decoder.flush_buffers()

    def _frames(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        """What comes out of the decoder where a packet goes in; None: all that is still in it."""
        try:
            return self._decoder.decode(packet)
        except av.FFmpegError:
            return []  # a damaged packet


def _middles(span: Span, frames_per_s: float, max_frames: int) -> np.ndarray:
    length_s = span.end_s - span.start_s
    count = min(max_frames, max(1, round(length_s * frames_per_s)))
    return span.start_s + (np.arange(count) + 0.5) * length_s / count - _EPSILON_S


def _runs(spans: Sequence[Span]) -> Iterator[list[int]]:
    """Numbers of the spans that are read in one go, all in order of time."""
    run, began_s, ended_s = [], 0.0, 0.0
    for number in sorted(range(len(spans)), key=lambda number: spans[number]):
        start_s, end_s = spans[number]
        if run and (start_s > ended_s + _GAP_S or end_s > began_s + _RUN_S):
            yield run
            run = []
        began_s, ended_s = (began_s, max(ended_s, end_s)) if run else (start_s, end_s)
        run.append(number)
    if run:
        yield run


def _choose(times: dict[int, float], span: Span, middles: np.ndarray) -> set[int]:
    """Stamps of the frames that are sampled.

    Args:
        times: seconds, by stamp.
        span: in seconds.
        middles: of its parts, ascending.
    """
    inside = sorted((time, stamp) for stamp, time in times.items() if _within(time, span))
    first = np.searchsorted([time for time, _ in inside], middles)
    chosen = {inside[index][1] for index in first if index < len(inside)}
    return chosen or {stamp for _, stamp in inside[-1:]}


def _within(time_s: float, span: Span) -> bool:
    return span.start_s - _EPSILON_S <= time_s < span.end_s - _EPSILON_S


def _closed_groups(read: list[av.Packet]) -> Iterator[list[av.Packet]]:
    """Packets cut before each keyframe behind which nothing is shown that belongs before it."""
    shown = [-np.inf if packet.pts is None else packet.pts for packet in read]
    earliest = np.minimum.accumulate(shown[::-1])[::-1]  # of this packet and all behind it
    starts = [number for number, packet in enumerate(read) if packet.is_keyframe and shown[number] == earliest[number]]
    for start, end in itertools.pairwise(sorted({0, *starts, len(read)})):
        yield read[start:end]


def _grey(frame: av.VideoFrame) -> np.ndarray:
    """[height, width] uint8, turned as the recording device asks."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="gray"), round(frame.rotation / 90)))
