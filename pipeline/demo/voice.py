"""Voices of the synthetic demo corpus: harmonic tones through moving formants, in syllables, not words.

T samples, K harmonics, S syllables.
"""

from dataclasses import dataclass

import numpy as np

RATE_HZ = 16_000
HARMONICS = 24  # K, harmonics of the tone; those above 7.5 kHz are silent

VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
"""Formants of a, i, u, e, o (Peterson and Barney's men)."""

BANDWIDTHS_HZ = (90, 120, 180)

LONGEST_S, EDGE_S = 1.9, 0.06  # longest speech, and the quiet before and after it


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """Sound of an emotion, as departures from a neutral voice."""

    pitch: float  # shift of the pitch, in semitones
    swing: float  # rise and fall within a syllable, in semitones
    slope: float  # drift of the pitch over the utterance, in semitones
    level: float  # loudness, in dB
    tempo: float  # log2 of the speaking rate
    tilt: float  # weakening of the upper harmonics, as an exponent
    breath: float  # share of noise in the voice
    tremor: float  # fast wobble of the pitch, in semitones


MANNERS = {
    "neutral": Manner(pitch=-1, swing=-1.5, slope=0, level=0, tempo=0.1, tilt=0.2, breath=-0.03, tremor=-0.2),
    "joy": Manner(pitch=4, swing=3, slope=1, level=4, tempo=0.3, tilt=-0.2, breath=0, tremor=0.1),
    "sadness": Manner(pitch=-3, swing=-1, slope=-4, level=-6, tempo=-0.45, tilt=0.6, breath=0.12, tremor=0),
    "anger": Manner(pitch=1, swing=1.5, slope=-2, level=8, tempo=0.35, tilt=-0.6, breath=-0.03, tremor=0),
    "fear": Manner(pitch=6, swing=-0.5, slope=2, level=-3, tempo=0.5, tilt=0.2, breath=0.15, tremor=1.0),
    "surprise": Manner(pitch=5, swing=3, slope=8, level=3, tempo=-0.2, tilt=0, breath=0.05, tremor=0),
}

SCATTER = Manner(pitch=1.2, swing=0.8, slope=1.5, level=2, tempo=0.12, tilt=0.12, breath=0.03, tremor=0.15)
"""Standard deviation of each departure from one utterance to the next."""

ROOM_DB = (-38.0, -14.0)  # background noise against the voice at reliability 1 and 0
SOFT_DB = -7.0  # loudness of the voice at reliability 0


def speak(rng: np.random.Generator, pitch_hz: float, emotion: str, reliability: float) -> np.ndarray:
    """Return the sound of one utterance, [T] float32 in (-1, 1), at `RATE_HZ`, 0.6 to 2.1 s.

    The reliability (0 to 1) is the strength of the emotion, and the level above the noise of the room.
    """
    # The emotion's manner, weakened by a low reliability, plus this utterance's scatter.
    manner = {
        name: reliability * getattr(MANNERS[emotion], name) + getattr(SCATTER, name) * rng.standard_normal()
        for name in Manner.__dataclass_fields__
    }
    starts_S, lengths_S, samples = _syllables(rng, manner["tempo"])
    pitch_T, envelope_T = _contours(rng, manner, starts_S, lengths_S, samples)
    tone_T = _tone(rng, pitch_hz * 2 ** (pitch_T / 12), starts_S, manner["tilt"])
    breath_T = np.diff(rng.standard_normal(samples + 1)) / 2**0.5  # aspiration: white noise without its lowest part
    voice_T = envelope_T * (tone_T + (0.06 + max(-0.05, manner["breath"])) * 4 * breath_T)
    voice_T *= 0.06 * 10 ** ((manner["level"] + SOFT_DB * (1 - reliability)) / 20) / _rms(voice_T)
    clear, poor = ROOM_DB
    room_T = rng.standard_normal(samples)
    room_T *= _rms(voice_T) * 10 ** ((poor + (clear - poor) * reliability) / 20) / _rms(room_T)
    return np.clip(voice_T + room_T, -0.99, 0.99).astype(np.float32)


def _syllables(rng: np.random.Generator, tempo: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw starts and lengths of the syllables, and the total length, in samples; slow speech has longer pauses."""
    count = int(rng.integers(5, 7))
    stretch = 2.0 ** -np.clip(tempo, -0.7, 0.9)
    lengths = rng.uniform(0.13, 0.19, count) * stretch
    pauses = rng.uniform(0.02, 0.05, count) * stretch**2
    pauses[count // 2] += 0.08 * stretch**2
    fit = min(1.0, LONGEST_S / (lengths + pauses).sum())
    starts = EDGE_S + fit * np.r_[0, np.cumsum(lengths + pauses)[:-1]]
    total = starts[-1] + fit * (lengths + pauses)[-1] + EDGE_S
    return (starts * RATE_HZ).astype(int), (fit * lengths * RATE_HZ).astype(int), int(total * RATE_HZ)


def _contours(rng, manner: dict[str, float], starts_S, lengths_S, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pitch in semitones from the speaker's own, and loudness, for each sample."""
    time = np.arange(samples) / RATE_HZ
    pitch = manner["pitch"] + manner["slope"] * (np.arange(samples) / samples - 0.5)
    pitch += max(0.05, 0.3 + manner["tremor"]) * np.sin(2 * np.pi * (6.5 * time + rng.random()))
    envelope = np.zeros(samples)
    for start, length in zip(starts_S, lengths_S, strict=True):
        stop = start + length
        arch = np.sin(np.pi * np.arange(length) / length)
        envelope[start:stop] = np.sqrt(arch) * rng.uniform(0.75, 1.0)
        pitch[start:stop] += max(0.1, 2 + manner["swing"]) * (arch - 0.5) * rng.choice((-1, 1), p=(0.2, 0.8))
    return pitch, envelope


def _tone(rng: np.random.Generator, pitch_T: np.ndarray, starts_S: np.ndarray, tilt: float) -> np.ndarray:
    """Sum the harmonics of the pitch, weighted by the formants of one vowel per syllable."""
    phase_T = (2 * np.pi * (np.cumsum(pitch_T) / RATE_HZ % 1)).astype(np.float32)  # float32: its sine is much faster
    tone_T = np.zeros_like(phase_T)
    edges = [0, *starts_S[1:], len(phase_T)]
    order_K1 = np.arange(1, HARMONICS + 1, dtype=np.float32)[:, None]
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        formants = VOWELS_HZ[rng.integers(len(VOWELS_HZ))]
        centre_K1 = order_K1 * pitch_T[start:stop].mean()
        resonances = zip(formants, BANDWIDTHS_HZ, strict=True)
        gain_K1 = sum(1 / (1 + ((centre_K1 - formant) / width) ** 2) for formant, width in resonances)
        gain_K1 = (gain_K1 + 0.02) * order_K1 ** -(0.8 + tilt) * (centre_K1 < 7500)
        tone_T[start:stop] = (gain_K1.astype(np.float32) * np.sin(order_K1 * phase_T[start:stop])).sum(axis=0)
    return tone_T / _rms(tone_T)


def _rms(signal: np.ndarray) -> float:
    return float(np.sqrt(np.mean(signal**2))) + 1e-9
