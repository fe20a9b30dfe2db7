"""Pictures of utterances: grey frames, sampled evenly, from a file that is opened once for many utterances.

The time stamps of packets determine the sampled frames before anything is decoded. So nothing is decoded behind the
last sample of a group of pictures, groups without a sample are skipped, and pictures that no other refers to are
decoded only if they are samples. The samples are bit-identical to those of decoding everything, so an utterance's
features do not depend on the other utterances of a call.
"""

import contextlib
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from pipeline.media.files import (
    MediaError,
    MediaFile,
    complete_index,
    decode,
    decoding,
    open_media,
    origin_s,
    packets,
    restarts,
    seek,
    stream_of,
    timely,
)
from pipeline.media.sound import Sound, SoundPackets, decode_sound

_EPSILON_S = 1e-6
"""Tolerance: less than any frame distance, more than the rounding of a time that was written to a table."""

_GAP_S = 10.0  # gap between utterances above which the file is sought instead of read on: a usual group of pictures
_RUN_S = 120.0  # longest stretch that is read at once, its packets in memory

_BEHIND_S = 1.0  # by which sound may be behind its picture in a file: beyond, it is read on its own

_HELD_S = 10.0  # longest time for which a frame is shown before a span: beyond, clocks leap (docs/media.md)
_MARGIN_S = 1.0  # time before a span that is sought. It costs nothing: groups of pictures without a sample are skipped

_SKIPPING = {"h264", "hevc", "mpeg2video", "mpeg4"}
"""Decoders that skip single pictures on request, and give the others unchanged (AV1's, for one, does not)."""

_HALVING = {"mjpeg": 3}
"""Decoders that halve the sides of a picture while they decode, and how often at most. That of MPEG-4 drifts from one
keyframe to the next, that of JPEG 2000 fails on files of fewer levels; those of H.264, HEVC, VP9 and AV1 cannot."""


class Span(NamedTuple):
    """Part of a file, in seconds from its start; the end is exclusive."""

    start_s: float
    end_s: float


class PictureFile(MediaFile):
    """Media file whose picture is sampled for many spans; raises MediaError if it has none.

    `hwaccel` as of `open_media`. In `colour`, frames are RGB. `least_px` is what a frame's shorter side may be reduced
    to: where the codec can, frames are decoded at a half, a quarter or an eighth of their sides. None = never.
    """

    def __init__(
        self, path: str | Path, hwaccel: str | None = None, colour: bool = False, least_px: float | None = None
    ):
        self.path, self._hwaccel, self._least_px, self._restarts = path, hwaccel, least_px, False
        self._format = "rgb24" if colour else "gray"
        self._reformatter = VideoReformatter()  # a frame's own one is set up again for each frame
        with decoding(path):
            self._open()
            self._restarts = restarts(self._container, path, "video")

    def sample(
        self, spans: Sequence[Span], frames_per_s: float, max_frames: int, sounds: dict[int, Sound] | None = None
    ) -> Iterator[tuple[int, float, np.ndarray]]:
        """Sample the picture of spans evenly, as frames the right way up, grey or in colour.

        A span is cut into equal parts, one per sample; each sample is the first frame at or after the middle of its
        part. A frame is yielded once, even if it is the first for several samples. Where all frames of the span are
        before the first sample time, the last of them is yielded, so a span with a frame that decodes is never empty.
        The samples do not depend on earlier calls. Spans may have any order; nearby ones are cheapest in one call.
        `max_frames` is the most samples of a span, spread over the whole of it. `sounds` receives the sound of each
        span by its number, from the same pass over the file, before its first frame is yielded; those are left out
        that need a pass of their own (`decode_sound`).

        Yields:
            Number of the span, time in the file in seconds, and the frame as [height, width] uint8, in colour as RGB
            [height, width, 3]; in order of time within a span, interleaved for spans that overlap.
        """
        with decoding(self.path):
            self._prepare()
            middles = [_middles(span, frames_per_s, max_frames) for span in spans]
            for run in _runs(spans):
                wanted = {number: (spans[number], middles[number]) for number in run}
                hears = sounds is not None and self._hears
                read = self._listen({number: spans[number] for number in run}, sounds) if hears else None
                yield from self._sample_run(wanted, read)

    @functools.cached_property
    def _hears(self) -> bool:
        """Whether sound is read with the picture: not where a clock restarts, where all before is read, maybe hours."""
        with contextlib.suppress(MediaError):
            stream_of(self._container, self.path, "audio")
            return not self._restarts and not restarts(self._container, self.path, "audio")
        return False

    def _prepare(self) -> None:
        """Make the file as just opened: an earlier call may have been left in the middle."""
        if len(self._stream.index_entries) != self._index:
            self._reopen()  # FFmpeg's index has changed: the next seek would lead elsewhere
        self._decoder.flush_buffers()

    def _open(self) -> None:
        container = open_media(self.path, self._hwaccel)
        self._stream = stream_of(container, self.path, "video")
        self._container = container
        self._decoder, self._origin_s = self._stream.codec_context, origin_s(self._container)
        halves = self._decoder.name in _HALVING and self._decoder.profile != "Lossless"  # of that, FFmpeg decodes none
        if self._least_px and not self._hwaccel and halves:
            # FFmpeg has decoded a picture to know its format, so these are true sides, whatever the header claims.
            times = max(1.0, min(self._stream.width, self._stream.height) / self._least_px)
            halvings = min(_HALVING[self._decoder.name], math.floor(math.log2(times)))
            self._decoder.options |= {"lowres": str(halvings)}
        # AVI has no times: FFmpeg stamps H.264's packets in their own order, which is not that of its pictures.
        self._counted = container.format.name == "avi" and self._decoder.name == "h264"
        self._unstamped = self._counted and self._decoder.has_b_frames
        # Not known as progressive: a packet may be a field (AVCHD, broadcasts), and two make a frame.
        self._fields = self._decoder.name == "h264" and self._decoder.field_order != 1
        self._indexed = not self._restarts and complete_index(container, self._stream)
        self._untouched = not self._indexed
        self._index, self._sound_unused, self._shown = len(self._stream.index_entries), True, 0

    def _sample_run(
        self, wanted: dict[int, tuple[Span, np.ndarray]], read: list[av.Packet] | None = None, decode_all: bool = False
    ) -> Iterator[tuple[int, float, np.ndarray]]:
        """Sample neighbouring spans (with the middles of their parts, by number) by the times of packets.

        Where the packets have no times or do not decode as they promise, the times of decoded frames are used. `read`
        are the packets, where they have been read.
        """
        if read is None:
            read, _ = self._read([span for span, _ in wanted.values()])
        decode_all = decode_all or self._unstamped or self._fields
        if decode_all:
            stamps = [frame.pts for frame in self._decode(read)]
        else:
            stamps = [packet.pts for packet in read if not packet.is_discard]
        times = {stamp: self._time_s(stamp) for stamp in stamps if stamp is not None}
        ends = [packet.pts + (packet.duration or 0) for packet in read if packet.pts is not None]
        shown_s = max([*map(self._time_s, ends), *times.values()], default=-math.inf)
        waiting = {number: _choose(times, span, middles, shown_s) for number, (span, middles) in wanted.items()}
        sampled = set()
        for frame in self._decode(read, set().union(*waiting.values())):
            # [height, width], turned as the recording device asks
            # Further threads of FFmpeg's would cost more than they save, and their core is another worker's.
            image = self._reformatter.reformat(frame, *self._sides(frame), format=self._format, threads=1).to_ndarray()
            image = np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
            for number in (number for number, stamps in waiting.items() if frame.pts in stamps):
                sampled.add(number)
                waiting[number].remove(frame.pts)  # damaged files have two frames of one time
                yield number, self._time_s(frame.pts), image
        if not decode_all:
            for number in wanted.keys() - sampled:
                yield from self._sample_run({number: wanted[number]}, decode_all=True)

    def _sides(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Return width and height of a frame in square pixels, as a screen shows it: those of DVDs and HDV are not."""
        ratio = float(self._stream.sample_aspect_ratio or 1)
        # Beyond, it is damaged; within 2 %, an even width was rounded (`scale=-2:480`): 1 pixel more would blur all.
        ratio = ratio if 0.25 <= ratio <= 4 and abs(ratio - 1) > 0.02 else 1.0
        return round(frame.width * max(1.0, ratio)), round(frame.height * max(1.0, 1 / ratio))

    def _time_s(self, stamp: int) -> float:
        """Return a time stamp in seconds from the start of the file."""
        base = self._stream.time_base
        return stamp * base.numerator / base.denominator - self._origin_s  # rounded once, as a Fraction, but faster

    def _read(
        self, spans: Sequence[Span], heard: list[av.Packet] | None = None
    ) -> tuple[list[av.Packet], Iterator[av.Packet]]:
        """Return the packets of spans' frames, in the order of decoding, from a keyframe not after their start.

        Where a seek lands behind the start (containers seek by the time of decoding, some to no keyframe at all), it
        is tried again from farther back, at last from before the start of the file. Where the clock restarts, no seek
        is possible, and the file is read from its start. Also returned is what follows in the file. `heard` receives
        the packets of the sound on the way.
        """
        start_s, end_s = min(span.start_s for span in spans), max(span.end_s for span in spans)
        start_s -= 0.1 * self._fields  # a key field may be the second of its frame
        back_s, unsought = _MARGIN_S, False
        while True:
            # A seek to the begin leaves out the sound's first packet, of which decoders drop samples, and in MPEG-TS
            # the first picture.
            at_begin = start_s < back_s
            tried, unsought = unsought, at_begin and self._untouched and not self._restarts
            if not unsought and (self._restarts or not seek(self._container, self._stream, start_s - back_s)):
                self._reopen()  # a seek that failed has lost the packets that were read to recognise the format
            self._untouched, self._sound_unused = False, self._sound_unused and heard is not None
            sound = [] if heard is None else [stream_of(self._container, self.path, "audio")]
            read, first, passing = [], None, packets(self._container, self._stream, *sound)
            for packet in passing:
                if packet.stream_index != self._stream.index:
                    if heard is not None and packet.dts is not None:  # where one picture is shown for hours, not all
                        time_s = float(packet.dts * packet.time_base) - self._origin_s
                        if start_s > _MARGIN_S and time_s <= start_s - _MARGIN_S:
                            heard.clear()
                        if time_s < end_s + _BEHIND_S:
                            heard.append(packet)
                    continue
                if self._counted:
                    packet.pts = None if self._unstamped else packet.dts
                stamp = packet.dts if packet.pts is None else packet.pts
                if packet.size:  # the last is empty
                    if self._restarts and packet.is_keyframe and stamp is not None and self._time_s(stamp) <= start_s:
                        read, first = [], None  # what came before is not needed, and may be hours
                    if first is None and packet.is_keyframe and stamp is not None and self._time_s(stamp) <= start_s:
                        first = len(read)
                    read.append(packet)
                if packet.dts is not None and self._time_s(packet.dts) >= end_s:
                    break  # nothing is shown before it is decoded
            if first is None and at_begin and (unsought or read[:1] and read[0].is_keyframe):  # what is before has none
                first = next((number for number, packet in enumerate(read) if packet.is_keyframe), None)
            if first is not None or self._restarts or at_begin and (self._indexed or tried):
                return read[first or 0 :], passing
            if at_begin and not unsought:
                self._reopen()
            back_s *= 4
            if heard is not None:
                heard.clear()

    def _listen(self, spans: dict[int, Span], sounds: dict[int, Sound]) -> list[av.Packet]:
        """Decode the sound of spans, by their numbers, into `sounds`; return the packets of their picture."""
        heard: list[av.Packet] = []
        read, passing = self._read(list(spans.values()), heard)
        to_end = self._read_on(passing, heard, max(span.end_s for span in spans.values()))
        for number, span in spans.items():
            with contextlib.suppress(MediaError), decoding(self.path):  # a pass of its own shall tell what is wrong
                sound = decode_sound(SoundPackets(heard, to_end, self._sound_unused), self.path, *span, self._origin_s)
                if sound is not None:
                    sounds[number] = sound
            self._sound_unused = False
        return read

    def _read_on(self, passing: Iterator[av.Packet], heard: list[av.Packet], end_s: float) -> bool:
        """Read the sound until a span's end, which may be some way behind its picture's; return whether all is read."""
        for packet in passing:
            time_s = -math.inf if packet.dts is None else float(packet.dts * packet.time_base) - self._origin_s
            if packet.stream_index != self._stream.index:
                heard.append(packet)
                if time_s >= end_s:
                    return False
            elif time_s >= end_s + _BEHIND_S:
                return False
        return True

    def _decode(self, read: list[av.Packet], wanted: set[int] | None = None) -> Iterator[av.VideoFrame]:
        """Yield the wanted frames of packets, in order of presentation; None = all that decode."""
        for group in [read] if self._fields else _closed_groups(read):
            needed = [wanted is None or self._fields or packet.pts is None or packet.pts in wanted for packet in group]
            if not any(needed):
                continue
            last = len(needed) - needed[::-1].index(True)
            drained = [*zip(group, needed, strict=True)][:last] + [(None, True)]  # None: drain the decoder
            for packet, need in timely(drained):
                self._decoder.skip_frame = "DEFAULT" if need or self._decoder.name not in _SKIPPING else "NONREF"
                frames = self._decode_packet(packet)
                yield from (frame for frame in frames if wanted is None or frame.pts in wanted)
            self._decoder.flush_buffers()

    def _decode_packet(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        frames = decode(self._decoder, packet)
        for frame in frames if self._unstamped else ():
            # The packet that is decoded as it is shown; none is where the decoder is drained.
            frame.pts = self._shown = self._shown + 1 if frame.dts is None else frame.dts
        return frames


def _middles(span: Span, frames_per_s: float, max_frames: int) -> np.ndarray:
    """Return the sample times of a span, ascending, in seconds."""
    length_s = span.end_s - span.start_s
    count = min(max_frames, max(1, round(length_s * frames_per_s)))
    return span.start_s + (np.arange(count) + 0.5) * length_s / count - _EPSILON_S


def _runs(spans: Sequence[Span]) -> Iterator[list[int]]:
    """Group the numbers of spans that are read at once, in order of time."""
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


def _choose(times: dict[int, float], span: Span, middles: np.ndarray, shown_s: float) -> set[int]:
    """Return the stamps of the sampled frames, from the seconds by stamp and the span's sample times.

    Where no frame begins in the span, it is the one that is shown until the next, or until `shown_s`.
    """
    begin_s, end_s = span.start_s - _EPSILON_S, span.end_s - _EPSILON_S
    inside = sorted((time_s, stamp) for stamp, time_s in times.items() if begin_s <= time_s < end_s)
    first = np.searchsorted([time for time, _ in inside], middles)
    chosen = {inside[index][1] for index in first if index < len(inside)}
    if inside:
        return chosen or {inside[-1][1]}
    held_s, held = max(((time_s, stamp) for stamp, time_s in times.items() if time_s < begin_s), default=(-math.inf, 0))
    return {held} if shown_s > begin_s + 2 * _EPSILON_S and begin_s - held_s <= _HELD_S else set()


def _closed_groups(read: list[av.Packet]) -> Iterator[list[av.Packet]]:
    """Split packets before each keyframe that no later packet is shown before."""
    shown = [-np.inf if packet.pts is None else packet.pts for packet in read]
    earliest = np.minimum.accumulate(shown[::-1])[::-1]  # of this packet and all later ones
    starts = [number for number, packet in enumerate(read) if packet.is_keyframe and shown[number] == earliest[number]]
    for start, end in itertools.pairwise(sorted({0, *starts, len(read)})):
        yield read[start:end]
