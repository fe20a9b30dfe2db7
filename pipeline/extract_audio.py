"""Stage extract_audio: openSMILE functionals of each utterance's sound -> features/<corpus>/audio.h5."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import opensmile
from opensmile.core.lib import OpenSmileException

from dferc import engine
from dferc.console import InputError, readable_errors
from dferc.engine.options import engine_options
from dferc.files import file_hash
from dferc.params import ExtractAudio, load_params
from pipeline import media, sound
from pipeline.extraction import Extractor, Tally, extract, media_content
from pipeline.places import Places, stage_options
from pipeline.scratch import Record, Scratch
from pipeline.steps import Clock, Measured
from pipeline.utterances import Utterance, read_utterances_csv

_COVERED = 0.9
"""Share of the utterance below which missing sound is listed as a problem (containers round by a frame or two)."""


@click.command()
@stage_options("audio")
@engine_options
@readable_errors
def main(places: Places, workers: engine.Workers) -> Tally:
    """Extract openSMILE functionals of every utterance with sound."""
    settings = load_params(places.params).corpus(places.corpus).extract_audio
    rows = read_utterances_csv(places.table)
    with Scratch(places.scratch) as scratch:
        return extract(rows, make_extractor(rows, settings, places.raw, scratch, workers), places, scratch)


def make_extractor(
    rows: list[Utterance], settings: ExtractAudio, raw: Path, scratch: Scratch, workers: engine.Workers
) -> Extractor:
    """The audio extractor of a corpus.

    Raises:
        InputError: the feature set is neither known by name nor a readable .conf.
    """
    smile = open_smile(settings.feature_set)

    clock = Clock()

    def compute(indices: list[int]) -> Iterator[tuple[int, Record | engine.WorkerDied]]:
        heard = (rows[i].heard for i in indices)
        items = ((str(raw.absolute() / file), start_s, end_s, settings.min_s) for file, start_s, end_s in heard)
        initargs = (engine.absolute(settings.feature_set),)
        paths = (raw, *(raw / rows[i].heard[0] for i in indices[:1]), Path(settings.feature_set))
        results = engine.run(functionals, items, workers, _start, initargs, paths, together=lambda item: item[0])
        for number, record in clock.unpacked(results):
            yield indices[number], record

    return Extractor(
        modality="audio",
        width=smile.num_features,
        identity={
            "extractor": f"opensmile {opensmile.__version__}",
            "decoder": media.DECODER,
            "params": settings.model_dump(),
            "model": _conf_hash(smile, settings.feature_set),
        },
        code=(__file__, media.__file__, sound.__file__),
        wants=lambda row: row.has_audio,
        content=media_content(raw, scratch, lambda row: row.heard),
        compute=compute,
        names=tuple(smile.feature_names),
        file=lambda row: row.heard[0],
        length_s=lambda row: row.heard[2] - row.heard[1],
        clock=clock,
    )


def open_smile(feature_set: str) -> opensmile.Smile:
    """OpenSMILE's functionals of a feature set by name, or of a .conf file.

    Raises:
        InputError: neither a known name nor a .conf that openSMILE can read.
    """
    known = {member.name: member for member in opensmile.FeatureSet}
    if feature_set not in known and not Path(feature_set).is_file():
        raise InputError(f"extract_audio.feature_set: {feature_set!r} is neither a file nor one of {', '.join(known)}")
    try:
        return opensmile.Smile(known.get(feature_set, feature_set), opensmile.FeatureLevel.Functionals)
    except OpenSmileException as error:
        raise InputError(
            f"{feature_set}: openSMILE cannot use this configuration ({error}). It needs the source and sink "
            "includes of opensmile-python and functionals at the level `func`, as its own .conf files have."
        ) from None


def _conf_hash(smile: opensmile.Smile, feature_set: str) -> str | None:
    """Content of a .conf of one's own (not of what it includes); a named set is told by openSMILE's version."""
    return file_hash(smile.config_path) if Path(feature_set).is_file() else None


# ---------------------------------------------------------------------------------------------------- in a worker

_smile: opensmile.Smile | None = None
_files = media.LastOpened(sound.SoundFile)


def _start(feature_set: str) -> None:
    global _smile
    _smile = open_smile(feature_set)
    _files.close()  # where the process has worked before, on what may be another file by now


def functionals(item: tuple[str, float, float, float]) -> Measured:
    """Decode one utterance's sound and compute its functionals.

    Args:
        item: path, start_s, end_s, and the shortest sound that has functionals, in seconds.

    Returns:
        A record: `features` [D], or a problem, or both where part of the sound is missing.
    """
    path, start_s, end_s, min_s = item
    clock = Clock()
    try:
        with clock.step("decode"):
            samples = _files(path).read(start_s, end_s)
    except media.MediaError as error:
        return Measured(Record(problem=error.problem), clock.seconds)
    with clock.step("openSMILE"):
        record = _described(samples, end_s - start_s, min_s)
    return Measured(record, clock.seconds)


def _described(samples: np.ndarray, asked_s: float, min_s: float) -> Record:
    found_s = len(samples) / sound.SAMPLE_RATE_HZ
    if found_s < min_s or not len(samples):
        return Record(problem=f"too short: {found_s:.3f} s of sound, functionals need {min_s} s")
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # "Segment too short": listed below
        try:
            values = _smile(samples, sound.SAMPLE_RATE_HZ).reshape(-1).astype(np.float32)
        except OpenSmileException as error:
            return Record(problem=f"openSMILE failed: {error}")
    if not np.isfinite(values).all():
        return Record(problem=f"values not finite: openSMILE on {found_s:.3f} s of sound")
    partly = f"sound incomplete: {found_s:.2f} s of {asked_s:.2f} s" if found_s < _COVERED * asked_s else ""
    return Record({"features": values}, partly)


if __name__ == "__main__":
    main()
