"""Spoken dialogues with known times, by espeak-ng (the package espeakng-loader carries it)."""

import ctypes
import functools
from typing import NamedTuple

import numpy as np
import pytest

VOICES = (("en-us", 45, 165), ("en-gb", 75, 150), ("en-us", 90, 150), ("en-gb", 30, 175))
"""Accent, pitch (0 to 99) and words a minute of each speaker."""

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_SYNCHRONOUS, _UTF8, _RATE, _PITCH = 2, 1, 1, 3


class SaidTruth(NamedTuple):
    start_s: float
    end_s: float
    speaker: str
    text: str


@functools.cache
def _espeak() -> tuple[ctypes.CDLL, int]:
    loader = pytest.importorskip("espeakng_loader", reason="needs espeakng-loader (extra `dev`)")
    library = ctypes.CDLL(loader.get_library_path())
    rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, loader.get_data_path().encode(), 0)
    return library, rate_hz


def say(text: str, voice: int = 0) -> tuple[np.ndarray, int]:
    """Return what a voice says, from its first to its last sound, [T] float32, and the sampling rate."""
    library, rate_hz = _espeak()
    accent, pitch, speed = VOICES[voice]
    pieces = []

    @_CALLBACK
    def collect(samples, count, _):
        if samples and count:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.espeak_SetSynthCallback(collect)
    library.espeak_SetVoiceByName(accent.encode())
    library.espeak_SetParameter(_RATE, speed, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    content = text.encode() + b"\0"
    library.espeak_Synth(content, len(content), 0, 0, 0, _UTF8, None, None)
    samples = np.concatenate(pieces).astype(np.float32) / 32768
    heard = np.flatnonzero(np.abs(samples) > 0.01)
    return samples[heard[0] : heard[-1] + 1], rate_hz


def dialogue(lines: list[tuple[int, str, float]], noise: float = 0.001) -> tuple[np.ndarray, int, list[SaidTruth]]:
    """Return the sound of (voice, text, pause before it in seconds), its sampling rate, and the times of the lines."""
    pieces, truth, samples = [], [], 0
    for voice, text, pause_s in lines:
        sound, rate_hz = say(text, voice)
        pieces += [np.zeros(round(pause_s * rate_hz), np.float32), sound]
        start = samples + len(pieces[-2])
        samples = start + len(sound)
        truth.append(SaidTruth(start / rate_hz, samples / rate_hz, f"voice {voice}", text))
    pieces.append(np.zeros(rate_hz // 2, np.float32))
    sound = np.concatenate(pieces)
    return sound + noise * np.random.default_rng(0).standard_normal(len(sound)).astype(np.float32), rate_hz, truth
