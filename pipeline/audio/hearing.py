"""The sound of an utterance, decoded and verified, alone or within its surroundings; T samples."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pipeline.extraction.records import Clock, Measured
from pipeline.media.files import LastOpened, MediaError
from pipeline.media.sound import SAMPLE_RATE_HZ, SoundFile, is_silent

_COVERED = 0.9
"""Share of the utterance below which missing sound is listed as a problem (containers round by a frame or two)."""
_OFFSET, _OFFSET_SHARE = 0.005, 0.1  # mean of a sound, and share of its deviation, above those of any voice


class Heard(NamedTuple):
    """Sound of an utterance with its surroundings, or the reason for which it has none that can be used."""

    samples_T: np.ndarray  # float32; empty where it cannot be used
    begin: int = 0  # first sample of the utterance itself
    end: int = 0  # one past its last
    problem: str = ""  # the reason, or what is odd about sound that can be used

    @property
    def usable(self) -> bool:
        """Whether there is sound to compute values from."""
        return self.end > self.begin


def hear(
    open_file: Callable[[str], SoundFile],
    path: str,
    start_s: float,
    end_s: float,
    min_s: float,
    context_s: float = 0.0,
    rate_hz: int = SAMPLE_RATE_HZ,
) -> Heard:
    """Decode the sound of an utterance with `context_s` seconds before and after it, as far as the file has them.

    Not usable is what does not decode, and what `verified` refuses.
    """
    first_s = max(0.0, start_s - context_s) if context_s else start_s
    try:
        file = open_file(path)
        samples_T = file.read(first_s, end_s + context_s, rate_hz)
    except MediaError as error:
        return _unusable(error.problem)
    begin, end = 0, len(samples_T)
    if context_s:
        begin, end = (min(end, max(0, round((edge_s - file.begin_s) * rate_hz))) for edge_s in (start_s, end_s))
    return verified(Heard(samples_T, begin, end, file.remark), end_s - start_s, min_s, rate_hz)


def verified(heard: Heard, expected_s: float, min_s: float, rate_hz: int = SAMPLE_RATE_HZ) -> Heard:
    """Return the sound of an utterance, without a constant offset, and with what is odd about it.

    Not usable is what is shorter than `min_s`, silent, or not finite. `expected_s` is the length of the utterance;
    `heard.problem` says what is odd about the file.
    """
    samples_T, begin, end, remark = heard
    own_T = samples_T[begin:end]
    length_s = len(own_T) / rate_hz
    if length_s < min_s or not len(own_T):
        return _unusable(f"too short: {length_s:.3f} s of sound, expected {min_s} s at least (min_s)")
    if not np.isfinite(samples_T).all():
        return _unusable(f"samples not finite: {np.sum(~np.isfinite(samples_T))} of {len(samples_T)}")
    if is_silent(own_T, rate_hz):
        return _unusable(f"silent: {length_s:.3f} s of digital silence or of a constant level")
    offset, level = own_T.mean(dtype=np.float64), ""
    if abs(offset) > max(_OFFSET, _OFFSET_SHARE * own_T.std()):  # a sound card's: openSMILE would take it for energy
        samples_T, level = samples_T - np.float32(offset), f"constant offset of {offset:.3f} of full scale: taken out"
    partly = length_s < _COVERED * expected_s
    problem = f"sound incomplete: {length_s:.2f} s of {expected_s:.2f} s" if partly else ""
    return Heard(samples_T, begin, end, "; ".join(filter(None, (problem, level, remark))))


def _unusable(problem: str) -> Heard:
    return Heard(np.zeros(0, np.float32), problem=problem)


class SoundWorker:
    """Decodes one utterance after another for an encoder, and keeps the last file open."""

    def __init__(self, min_s: float, context_s: float, rate_hz: int):
        self._open = LastOpened(SoundFile)
        self._how = (min_s, context_s, rate_hz)

    def __call__(self, item: tuple[str, float, float]) -> Measured:
        """Return `Heard` of path, start_s, end_s."""
        clock = Clock()
        with clock.step("decode"):
            heard = hear(self._open, *item, *self._how)
        return Measured(heard, clock.seconds)
