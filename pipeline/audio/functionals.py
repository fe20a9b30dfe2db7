"""openSMILE functionals, [D], of an utterance's sound, computed in a worker process."""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import opensmile
from opensmile.core.lib import OpenSmileException

from dferc.core.errors import InputError
from pipeline.audio.configuration import configuration_files
from pipeline.audio.hearing import Heard, hear, verified
from pipeline.extraction.records import Clock, Measured, Record
from pipeline.media.files import LastOpened
from pipeline.media.sound import SAMPLE_RATE_HZ, Sound, SoundFile

_TRIAL_S = 30  # seconds of sound that a .conf is tried with: as long as any usual utterance


def is_speech_encoder(encoder: str) -> bool:
    """Return whether `extract_audio.encoder` names a folder or a repository of the hub, and no feature set or .conf."""
    return Path(encoder).is_dir() or ("/" in encoder and not encoder.endswith(".conf") and not Path(encoder).is_file())


def verify_encoder(encoder: str) -> None:
    """Raise InputError if `extract_audio.encoder` can be neither openSMILE's nor a speech encoder."""
    if not is_speech_encoder(encoder):
        open_smile(encoder)


def open_smile(feature_set: str) -> opensmile.Smile:
    """Load openSMILE with a feature set by name, or with a .conf file; raise InputError if it knows or reads none."""
    known = {member.name: member for member in opensmile.FeatureSet}
    if feature_set not in known and not Path(feature_set).is_file():
        raise InputError(
            f"extract_audio.encoder: {feature_set!r} is neither a file nor one of {', '.join(known)}; nor is it a "
            "speech encoder: a folder, or a hub name such as microsoft/wavlm-base-plus"
        )
    named_files(feature_set)  # refuses a .conf that reads or writes other files, before openSMILE opens them
    try:
        smile = opensmile.Smile(known.get(feature_set, feature_set), opensmile.FeatureLevel.Functionals)
        noise = np.random.default_rng(0).normal(0, 0.1, _TRIAL_S * SAMPLE_RATE_HZ).astype(np.float32)
        rows = 1 if feature_set in known else smile(noise, SAMPLE_RATE_HZ).shape[2]
    except OpenSmileException as error:
        raise InputError(
            f"{feature_set}: openSMILE cannot use this configuration ({error}). It needs the source and sink "
            "includes of opensmile-python and functionals at the level `func`, as its own .conf files have."
        ) from None
    if rows != 1:
        raise InputError(
            f"{feature_set}: of {_TRIAL_S} s of sound it gives {rows} rows of functionals, expected one of the whole "
            "utterance. Set frameMode = full in its cFunctionals."
        )
    return smile


def named_files(encoder: str) -> list[Path]:
    """Return what `extract_audio.encoder` names: a .conf and its includes, or a folder; nothing for other names."""
    if is_speech_encoder(encoder):
        return [Path(encoder)] if Path(encoder).is_dir() else []
    return [] if encoder in opensmile.FeatureSet.__members__ else configuration_files(encoder)


def make_ear(feature_set: str, min_s: float) -> Callable[[Sound, float], Record]:
    """Return the function that gives the record of an utterance's sound and length in seconds."""
    return functools.partial(AudioWorker(feature_set).listen, min_s=min_s)


class AudioWorker:
    """Computes the functionals of one utterance after another, and keeps the last file open."""

    def __init__(self, feature_set: str):
        self._smile = open_smile(feature_set)
        self._open = LastOpened(SoundFile)

    def __call__(self, item: tuple[str, float, float, float]) -> Measured:
        """Return a record: `features` [D], or a problem, or both where part of the sound is missing.

        `item` is path, start_s, end_s, and the shortest sound that has functionals, in seconds.
        """
        clock = Clock()
        with clock.step("decode"):
            heard = hear(self._open, *item)
        with clock.step("openSMILE"):
            record = self._describe(heard)
        return Measured(record, clock.seconds)

    def listen(self, sound: Sound, length_s: float, min_s: float) -> Record:
        """Return the same record of an utterance of `length_s`, whose sound was read together with its picture."""
        heard = Heard(sound.samples_T, 0, len(sound.samples_T), sound.remark)
        return self._describe(verified(heard, length_s, min_s))

    def _describe(self, heard: Heard) -> Record:
        samples_T, problem = heard.samples_T, heard.problem
        if not heard.usable:
            return Record(problem=problem)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # "Segment too short": listed below
            try:
                values = self._smile(samples_T, SAMPLE_RATE_HZ).reshape(-1).astype(np.float32)
            except OpenSmileException as error:
                return Record(problem=f"openSMILE failed: {error}")
        if not np.isfinite(values).all():
            return Record(problem=f"values not finite: openSMILE on {len(samples_T) / SAMPLE_RATE_HZ:.3f} s of sound")
        return Record({"features": values}, problem)
