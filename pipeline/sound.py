"""The sound of an utterance: mono, 16 kHz.

Each utterance opens its file anew (some milliseconds, `python -m benchmarks.decode`), also where many are in one file:
an AAC decoder that has decoded before fills in other noise, so samples would depend on what was asked for earlier.
"""

from pathlib import Path

import av
import numpy as np

from pipeline.media import MediaError, frames, open_media, origin_s, probe, seek, stream_of

SAMPLE_RATE_HZ = 16000

_LOUDEST = np.float32(32767 / 32768)
"""openSMILE multiplies by 32768 into int16 without a check: 1.0 would wrap around to -1."""

_SAFE_PLANES = 7
"""PyAV 18.1 reads past the end of a frame with more channels than this, each in a plane of its own (7.1 in AAC)."""

_PREROLL_S = 0.5
"""Decoded before a span and thrown away: AAC and MP3 frames need their predecessors to come out the same."""


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


def _decode_sound(path: str | Path, start_s: float, end_s: float) -> tuple[np.ndarray, float, int] | None:
    """Mono samples that cover a span, the time of the first, their rate; None where nothing decodes there."""
    chunks, first_s, rate_hz, length = [np.zeros(0, np.float32)], None, 0, 0
    with open_media(path) as container:
        stream, started_s = stream_of(container, path, "audio"), origin_s(container)
        if start_s > _PREROLL_S:
            seek(container, stream, start_s - _PREROLL_S)
        for frame in frames(container, stream):
            time_s = (started_s if frame.time is None else frame.time) - started_s
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


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """Mean over the channels, [samples] float32, whatever the sample format."""
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
