"""openSMILE functionals, [D], of an utterance's sound, computed in a worker process."""

import warnings
from pathlib import Path

import numpy as np
import opensmile
from opensmile.core.lib import OpenSmileException

from dferc.core.errors import InputError
from pipeline.audio.configuration import configuration_files
from pipeline.extraction.records import Clock, Measured, Record
from pipeline.media import files as media
from pipeline.media import sound

_COVERED = 0.9
"""Share of the utterance below which missing sound is listed as a problem (containers round by a frame or two)."""


def open_smile(feature_set: str) -> opensmile.Smile:
    """Load openSMILE with a feature set by name, or with a .conf file; raise InputError if it knows or reads none."""
    known = {member.name: member for member in opensmile.FeatureSet}
    if feature_set not in known and not Path(feature_set).is_file():
        raise InputError(f"extract_audio.feature_set: {feature_set!r} is neither a file nor one of {', '.join(known)}")
    named_files(feature_set)  # refuses a .conf that reads or writes other files, before openSMILE opens them
    try:
        return opensmile.Smile(known.get(feature_set, feature_set), opensmile.FeatureLevel.Functionals)
    except OpenSmileException as error:
        raise InputError(
            f"{feature_set}: openSMILE cannot use this configuration ({error}). It needs the source and sink "
            "includes of opensmile-python and functionals at the level `func`, as its own .conf files have."
        ) from None


def named_files(feature_set: str) -> list[Path]:
    """Return the files of a feature set of the user's own: a .conf and its includes; none for a set by name."""
    return [] if feature_set in opensmile.FeatureSet.__members__ else configuration_files(feature_set)


class AudioWorker:
    """Computes the functionals of one utterance after another, and keeps the last file open."""

    def __init__(self, feature_set: str):
        self._smile = open_smile(feature_set)
        self._open = media.LastOpened(sound.SoundFile)

    def __call__(self, item: tuple[str, float, float, float]) -> Measured:
        """Return a record: `features` [D], or a problem, or both where part of the sound is missing.

        `item` is path, start_s, end_s, and the shortest sound that has functionals, in seconds.
        """
        path, start_s, end_s, min_s = item
        clock = Clock()
        try:
            with clock.step("decode"):
                file = self._open(path)
                samples = file.read(start_s, end_s)
        except media.MediaError as error:
            return Measured(Record(problem=error.problem), clock.seconds)
        with clock.step("openSMILE"):
            record = self._describe(samples, end_s - start_s, min_s, file.remark)
        return Measured(record, clock.seconds)

    def _describe(self, samples: np.ndarray, expected_s: float, min_s: float, remark: str) -> Record:
        length_s = len(samples) / sound.SAMPLE_RATE_HZ
        if length_s < min_s or not len(samples):
            return Record(problem=f"too short: {length_s:.3f} s of sound, functionals need {min_s} s")
        if not np.isfinite(samples).all():
            return Record(problem=f"samples not finite: {np.sum(~np.isfinite(samples))} of {len(samples)}")
        if sound.is_silent(samples):
            return Record(problem=f"silent: {length_s:.3f} s of digital silence or of a constant level")
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # "Segment too short": listed below
            try:
                values = self._smile(samples, sound.SAMPLE_RATE_HZ).reshape(-1).astype(np.float32)
            except OpenSmileException as error:
                return Record(problem=f"openSMILE failed: {error}")
        if not np.isfinite(values).all():
            return Record(problem=f"values not finite: openSMILE on {length_s:.3f} s of sound")
        partly = length_s < _COVERED * expected_s
        problem = f"sound incomplete: {length_s:.2f} s of {expected_s:.2f} s" if partly else ""
        return Record({"features": values}, "; ".join(filter(None, (problem, remark))))
