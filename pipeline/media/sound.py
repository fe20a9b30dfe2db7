"""Sound of utterances: mono, 16 kHz unless another rate is asked for.

A file is opened once for many utterances (opening takes some milliseconds, `python -m benchmarks.decode`), yet each
utterance has a new decoder: an AAC decoder that has decoded before fills in other noise, so samples would depend on
earlier reads. For the same reason a file is opened again where a seek would depend on earlier reads.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from pipeline.media.files import (
    MediaError,
    MediaFile,
    complete_index,
    decode,
    decoding,
    open_media,
    origin_s,
    packets,
    probe,
    restarts,
    seek,
    stream_of,
)

SAMPLE_RATE_HZ = 16000

_LOUDEST = np.float32(32767 / 32768)
"""openSMILE multiplies by 32768 into int16 without a check: 1.0 would wrap around to -1."""

_SAFE_PLANES = 7
"""Most planar channels: PyAV 18.1 reads past the end of a frame with more planes than this (7.1 in AAC)."""

_HOLE_S = 0.1  # pause of the time stamps that is no rounding: packets lack (a muted microphone, a lost network)

_PREROLL_S = 0.5  # time that is decoded before a span and dropped: AAC and MP3 frames depend on their predecessors

_CONFIGURED_BY_EXTRADATA = {"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "mp3float"}
"""Decoders that need nothing of a stream but its extradata: a new one decodes the same."""

_FAINT = 3 / 32768  # deviation that is no signal: three steps of 16 bits, which dither and codecs leave
_CLICK_S = 0.02  # longest sound that is none: the edges of a constant level, a click
_AUDIBLE_HZ = 100  # codecs make a constant level waver below this
_LEVEL = 1e-4  # share of the power above it that a constant level has at most (measured: 4e-5, in Opus)
_OPPOSITE = -0.9  # correlation of two channels below which their mean cancels the sound
_CANCELLED = 0.1  # power of more channels' mean, as a share of unrelated channels', below which they cancel each other
_BEYOND, _CLIPPED = 1.05, 0.01  # level, and share of samples above it, that no codec's overshoot explains: float WAVs
_UNHEARD = 1e-4  # power of a channel, as a share of the other's, below which it is silent


class SoundFile(MediaFile):
    """Media file whose sound is read for many spans; raises MediaError if it has none."""

    def __init__(self, path: str | Path):
        self.path = path
        self.remark = ""  # what is odd about the channels or the time stamps of the last sound that was read
        self.begin_s = 0.0  # time of its first sample: later than asked for where the track begins later
        with decoding(path):
            self._open()
            self._restarts = restarts(self._container, path, "audio") or _seeks_astray(self._container, self._stream)

    def read(self, start_s: float, end_s: float, rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
        """Decode the sound of a span, bit-identical whatever was read before; what lies beyond the file is left out.

        The channels are averaged at their own rate, the span is cut to the sample, then resampled; the result is
        clipped to the range of a 16-bit sample: [samples] float32 in [-1, 32767/32768], empty where the span has no
        sound. Where averaging would lose the sound, one channel is taken; where packets lack, silence. `remark` says
        so. `rate_hz` is the sampling rate of the result. MediaError is raised if nothing of the track decodes, or its
        sampling rate changes.
        """
        self.remark, self.begin_s = "", start_s
        with decoding(self.path):
            origin = origin_s(self._container)
            decoder = self._go_before(start_s)  # a new one, from some time before the span on
            passing, target_s = packets(self._container, self._stream), start_s - _PREROLL_S
            if not self._restarts and target_s >= self._begin_s + _PREROLL_S:
                passing = _from_last_before(target_s, passing, self._stream, origin)
            frames = (frame for packet in passing for frame in decode(decoder, packet))
            decoded = _join(frames, self.path, start_s, end_s, origin, self._restarts)
            if decoded is None:
                if probe(self.path).has_audio:
                    return np.zeros(0, np.float32)  # the span lies behind the end of the track
                raise MediaError(self.path, "empty sound track: nothing of it decodes")
            samples, self.remark = _cut(decoded, start_s, end_s, rate_hz)
            self.begin_s = max(start_s, decoded.first_s)
            return samples

    def _go_before(self, start_s: float) -> av.AudioCodecContext:
        """Seek to some time before a span, as in a file just opened; return a decoder that has decoded nothing."""
        target_s = 0.0 if self._restarts else start_s - _PREROLL_S
        decoder = _new_decoder(self._stream.codec_context)
        # Only the stream's own decoder knows which of a track's first samples to leave out.
        if decoder is not None and target_s >= self._begin_s + _PREROLL_S and self._seeks_alike():
            self._untouched = False
            if seek(self._container, self._stream, target_s):
                return decoder
        if not self._untouched:
            self._reopen()
        self._untouched = False
        if target_s > 0 and not seek(self._container, self._stream, target_s):
            self._reopen()  # the seek has lost the packets that were read to recognise the format
            self._untouched = False
        return self._stream.codec_context

    def _open(self) -> None:
        container = open_media(self.path)
        self._stream = stream_of(container, self.path, "audio")
        self._container = container
        self._begin_s = _begin_s(self._stream, origin_s(container))
        self._untouched, self._index = True, None

    def _seeks_alike(self) -> bool:
        """Return whether a seek leads to the same place whatever was read before; in plain .wav it is computed."""
        if self._container.format.name == "wav" and _is_plain(self._stream.codec_context):
            return True
        if self._index is None:
            complete_index(self._container, self._stream)
            self._index = len(self._stream.index_entries)
        return self._index == len(self._stream.index_entries)


class Sound(NamedTuple):
    """Sound of a span, read together with its picture: what `SoundFile.read` and its `remark` would be."""

    samples_T: np.ndarray  # at `SAMPLE_RATE_HZ`
    remark: str
    begin_s: float  # time of the first sample


class SoundPackets(NamedTuple):
    """Packets of a sound track that were read together with pictures, in the order of the file."""

    packets: list[av.Packet]
    to_end: bool  # whether the last is the file's
    own_decoder: bool  # whether the stream's own decoder has decoded nothing yet


def decode_sound(heard: SoundPackets, path: str | Path, start_s: float, end_s: float, origin_s: float) -> Sound | None:
    """Decode the sound of a span of a file, of the file's `origin_s`, as `SoundFile.read` does; MediaError as there.

    It depends on nothing but the span. None where it needs a pass of its own: the packets do not cover the span and
    what is decoded before it, or no decoder would give the same.
    """
    timed = [(float(each.dts * each.time_base) - origin_s, each) for each in heard.packets if each.dts is not None]
    if not timed or not heard.to_end and timed[-1][0] < end_s:
        return None
    stream = timed[0][1].stream
    if _seeks_astray(stream.container, stream) or stream.container.format.name == "mpeg":  # whose packets are cut anew
        return None
    begin_s, decoder, passing = _begin_s(stream, origin_s), None, [packet for _, packet in timed]
    if start_s <= _PREROLL_S:
        # A packet from before the begin is the first of the file: encoders write it, and decoders drop its samples.
        begins = timed[0][0] < begin_s or _is_plain(stream.codec_context) and timed[0][0] <= begin_s
        decoder = stream.codec_context if heard.own_decoder and begins else None
    elif (target_s := start_s - _PREROLL_S) >= begin_s + _PREROLL_S and timed[0][0] < target_s:
        passing = _from_last_before(target_s, passing, stream, origin_s)
        decoder = _new_decoder(stream.codec_context)
    if decoder is None:
        return None
    frames = (frame for packet in passing for frame in decode(decoder, packet))
    decoded = _join(frames, path, start_s, end_s, origin_s)
    if decoded is None:
        return None
    return Sound(*_cut(decoded, start_s, end_s, SAMPLE_RATE_HZ), max(start_s, decoded.first_s))


def _from_last_before(
    time_s: float, passing: Iterable[av.Packet], stream: av.audio.AudioStream, origin_s: float
) -> Iterator[av.Packet]:
    """Yield packets from the last at or before a time on: a seek may lead some packets farther back, or nearly none.

    A decoder that begins with another packet may fill in other noise, and times are rounded from packet to packet.
    """
    held, target = [], int((origin_s + time_s) / stream.time_base)  # as `seek` rounds
    for packet in passing:
        early = packet.dts is not None and packet.dts <= target
        if held and (early or packet.dts is None):
            held = [packet] if early else [*held, packet]
        elif early:
            held = [packet]
        else:
            yield from held
            held = []
            yield packet
    yield from held


class _Decoded(NamedTuple):
    """Sound that covers a span."""

    mono_T: np.ndarray  # mean of the channels
    channels_CT: np.ndarray
    first_s: float  # time of the first sample
    rate_hz: int
    hole_s: float  # silence that stands for packets that lack


def _join(
    frames: Iterable[av.AudioFrame],
    path: str | Path,
    start_s: float,
    end_s: float,
    origin_s: float,
    whole: bool = False,
) -> _Decoded | None:
    """Lay the frames that cover a span end to end; None where nothing decodes. `whole`: they are all of the file's."""
    chunks, first_s, rate_hz, length, hole_s = [], None, 0, 0, 0.0
    for frame in frames:
        # Frames are laid end to end: their own time stamps are often coarser than a sample.
        reached_s = first_s + length / rate_hz if chunks else 0.0
        time_s = reached_s if frame.time is None else frame.time - origin_s
        if first_s is None:
            first_s, rate_hz = time_s, frame.sample_rate
        if frame.sample_rate != rate_hz:
            raise MediaError(path, f"sampling rate changes: {rate_hz} Hz, then {frame.sample_rate} Hz")
        if whole and time_s + _PREROLL_S < start_s:
            chunks, first_s, length = [], None, 0
            continue
        if time_s >= end_s or reached_s >= end_s:
            break
        if chunks and time_s > reached_s + _HOLE_S:
            if reached_s <= start_s:
                chunks, first_s, length = [], time_s, 0
            else:
                chunks.append(np.zeros((len(chunks[-1]), round((time_s - reached_s) * rate_hz)), np.float32))
                length += chunks[-1].shape[1]
                hole_s += time_s - reached_s
        chunks.append(_channels(frame))
        length += frame.samples
    if first_s is None:
        return None
    # np.mean takes twice as long on one frame
    means = [channels.sum(axis=0, dtype=np.float32) / np.float32(len(channels)) for channels in chunks]
    mono_T = np.concatenate([np.zeros(0, np.float32), *means])
    alike = len({len(channels) for channels in chunks}) == 1  # a broadcast changes them between programmes
    return _Decoded(mono_T, np.concatenate(chunks, axis=1) if alike else mono_T[None], first_s, rate_hz, hole_s)


def _cut(decoded: _Decoded, start_s: float, end_s: float, rate_hz: int) -> tuple[np.ndarray, str]:
    """Return a span's samples at a rate, clipped to 16 bits' range, and what is odd about them."""
    begin, end = (max(0, round((edge_s - decoded.first_s) * decoded.rate_hz)) for edge_s in (start_s, end_s))
    samples, remark = _mix(decoded.mono_T[begin:end], decoded.channels_CT[:, begin:end])
    hole = f"no packets of sound for {decoded.hole_s:.2f} s: silence" if decoded.hole_s else ""
    beyond = np.mean(np.abs(samples) > _BEYOND) if len(samples) else 0.0
    loud = f"beyond full scale: {beyond:.0%} of the samples, clipped" if beyond > _CLIPPED else ""
    samples = _resample(samples, decoded.rate_hz, rate_hz)[: round((end_s - start_s) * rate_hz)]
    return np.clip(samples, np.float32(-1), _LOUDEST), "; ".join(filter(None, (remark, hole, loud)))


def _begin_s(stream: av.AudioStream, origin_s: float) -> float:
    return max(0.0, float((stream.start_time or 0) * stream.time_base) - origin_s)


def _new_decoder(decoder: av.AudioCodecContext) -> av.AudioCodecContext | None:
    """Return an equal decoder that has decoded nothing; None where only opening the file gives one."""
    if _is_plain(decoder):
        return decoder  # has no state
    if decoder.name not in _CONFIGURED_BY_EXTRADATA or (decoder.name == "aac" and decoder.profile != "LC"):
        return None
    new = av.CodecContext.create(decoder.name, "r")
    new.extradata, new.thread_count = decoder.extradata, 1
    return new


def _seeks_astray(container: av.container.InputContainer, stream: av.audio.AudioStream) -> bool:
    """Return whether sound is not where a seek leads: in a .wav of a guessed or wrong bit rate, and in FLAC in Ogg."""
    name, codec = container.format.name, stream.codec_context.name
    if name in ("wav", "w64") and _is_plain(stream.codec_context):  # a browser's recorder claims that of stereo
        exact = stream.rate * stream.channels * int(re.sub(r"\D", "", codec) or 8)
        return stream.codec_context.bit_rate not in (None, 0, exact)
    return name in ("wav", "w64") and codec.startswith("adpcm_") or name == "ogg" and codec == "flac"


def _is_plain(decoder: av.AudioCodecContext) -> bool:
    return decoder.name.startswith("pcm_")


def is_silent(samples_T: np.ndarray, rate_hz: int = SAMPLE_RATE_HZ) -> bool:
    """Return whether sound holds but a constant level: digital silence, or an offset; False for no samples."""
    if not len(samples_T):
        return False
    heard = np.abs(samples_T - np.median(samples_T)) > _FAINT
    if heard.sum() <= min(_CLICK_S * rate_hz, 0.05 * len(samples_T)):
        return True
    power = np.square(samples_T, dtype=np.float64).sum()
    if np.square(np.diff(samples_T), dtype=np.float64).sum() > 1e-3 * power:
        return False  # cheaper than a spectrum, and enough for nearly every sound
    length = min(round(_CLICK_S * rate_hz), len(samples_T) // 4)
    edge = np.hanning(2 * length)[:length]
    window_T = np.concatenate([edge, np.ones(len(samples_T) - 2 * len(edge)), edge[::-1]])
    spectrum = np.square(np.abs(np.fft.rfft(samples_T * window_T)))
    audible = np.fft.rfftfreq(len(samples_T), 1 / rate_hz) > _AUDIBLE_HZ
    return bool(spectrum[audible].sum() <= _LEVEL * spectrum.sum())


def _mix(mono_T: np.ndarray, channels_CT: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the mean of the channels, or one channel where the mean would lose the sound, with the reason."""
    count = len(channels_CT)
    if count < 2 or not len(mono_T):
        return mono_T, ""
    centred_CT = channels_CT - channels_CT.mean(axis=1, keepdims=True)
    power_C = np.square(centred_CT).mean(axis=1, dtype=np.float64)
    loudest = int(power_C.argmax())
    if power_C[loudest] <= _FAINT**2:
        return mono_T, ""
    if count == 2:
        quiet = int(power_C.argmin())
        if power_C[quiet] <= _UNHEARD * power_C[loudest]:
            return channels_CT[loudest], f"one of two channels is silent: only channel {loudest + 1} is used"
        shared = np.multiply(*centred_CT).mean(dtype=np.float64) / np.sqrt(power_C.prod())
        opposite = shared < _OPPOSITE
        loudest = loudest if power_C[quiet] < 0.5 * power_C[loudest] else 0  # the same in every span
    elif (power_C > _FAINT**2).sum() == 1:  # where two are heard, leaving out the others would change from span to span
        return channels_CT[loudest], f"{count - 1} of {count} channels are silent: only channel {loudest + 1} is used"
    else:
        mixed = float(np.square(mono_T - mono_T.mean()).mean(dtype=np.float64))
        opposite = mixed < _CANCELLED * power_C.sum() / count**2
    if not opposite:
        return mono_T, ""
    return channels_CT[loudest], f"channels of opposite phase: only channel {loudest + 1} of {count} is used"


def _channels(frame: av.AudioFrame) -> np.ndarray:
    """Return the samples [channels, samples] float32 of any sample format."""
    if frame.format.is_planar and frame.layout.nb_channels > _SAFE_PLANES:
        # One at a time and with nothing to resample, each frame comes back whole.
        [frame] = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate).resample(frame)
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:  # the one unsigned format
        samples = samples.astype(np.float32) / 128 - 1
    elif samples.dtype.kind == "i":
        samples = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float32, copy=False)


def _resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Resample with FFmpeg's resampler, at once: chunks would round differently."""
    if from_hz == to_hz or len(samples) == 0:
        return samples
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
    frame.sample_rate = from_hz
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=to_hz)
    pieces = [piece.to_ndarray()[0] for part in (frame, None) for piece in resampler.resample(part)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
