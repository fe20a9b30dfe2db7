"""Compute a random sample of a features file again and compare: a check of files that come from others.

    python -m pipeline.verify --corpus meld --modality audio --sample 20

It needs what the file was made from: the media, params.yaml, and the models for text and visual. Deviations are in
standard deviations of the feature over the file, since the trainer scales by them.

N utterances of the file, S of the sample, D feature width with the quality columns.
"""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from dferc import engine
from dferc.core.console import FOLDER, PATH, CorpusName, console, progress_bar, readable_errors, shown_option
from dferc.core.device import DEVICES, choose_device
from dferc.core.errors import InputError
from dferc.core.files import SET_NAME
from dferc.core.records import differences
from dferc.engine.options import engine_options
from dferc.store.hdf5 import find_sets, read_features, read_utterances
from dferc.store.rows import OF_ROWS, Features
from dferc.store.vocabulary import MODALITIES
from pipeline.extraction.loop import Extractor
from pipeline.extraction.records import Record
from pipeline.extraction.scratch import Scratch
from pipeline.rows.utterances import Utterance, read_utterances_csv
from pipeline.settings import load_settings, sets_of, with_set

TOLERANCE = 1e-3
"""Largest accepted deviation, in standard deviations of the feature. Rounding on another CPU or GPU moves a model's
inputs less than this."""

_ROUNDING = 1e-3  # least scale, as a share of a feature's largest value: with `TOLERANCE`, some eight steps of float32
_LISTED = 10  # most utterances that a message names


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far one utterance's recomputed values are from the file's."""

    utterance_id: str
    largest: float  # in standard deviations of the feature; infinite where only one of the two is present
    what: str  # the feature, or the problem

    def __str__(self) -> str:
        return f"{self.utterance_id}: {self.largest:.3g} ({self.what})"


def deviations(stored: Features, extractor: Extractor, sample: list[int]) -> list[Deviation]:
    """Compute the rows of a sample again with the extractor that would make the file here; compare each, in order."""
    file_ND = _with_quality(stored.features, [stored.quality[name] for name in extractor.quality])
    present_ND, scale_D = file_ND[stored.present], np.ones(file_ND.shape[1])
    if len(present_ND):  # the standard deviations, but no less than the values' own rounding; 1 where all are zero
        scale_D = np.maximum(present_ND.std(axis=0), _ROUNDING * np.abs(present_ND).max(axis=0))
        scale_D = np.where(scale_D > 0, scale_D, 1.0)
    names = [*(stored.names or map(str, range(stored.width))), *extractor.quality]

    def deviation(row: int, record: Record | engine.WorkerDied) -> tuple[float, str]:
        if isinstance(record, engine.WorkerDied):
            return np.inf, str(record)
        values = record.arrays.get("features")
        if values is None:
            only = np.inf, f"present in the file only; here: {record.problem}"
            return only if stored.present[row] else (0.0, "absent in both")
        if not stored.present[row]:
            return np.inf, "absent in the file only"
        quality = [record.arrays[name] for name in extractor.quality]
        off_D = np.abs(_with_quality(values[None], quality)[0] - file_ND[row]) / scale_D
        worst = int(off_D.argmax())
        return float(off_D[worst]), f"feature {names[worst]}"

    by_row = {}
    with progress_bar() as bar:
        for row, record in bar.track(extractor.compute(sample), total=len(sample), description="computing again"):
            by_row[row] = Deviation(stored.utterance_id[row], *deviation(row, record))
    return [by_row[row] for row in sample]


def _with_quality(features: np.ndarray, quality: list) -> np.ndarray:
    """Return features and quality columns side by side [rows, D], in float64."""
    columns = [np.reshape(column, (-1, 1)) for column in quality]
    return np.concatenate([features, *columns], axis=1, dtype=np.float64)


def verify(path: Path, stored: Features, rows: list[Utterance], extractor: Extractor, count: int, seed: int) -> None:
    """Print differences in identity, then the largest deviation of a random sample; raise InputError if it is large."""
    if list(stored.utterance_id) != [row.utterance_id for row in rows]:
        raise InputError(f"{path} has not the utterances prepared here, in this order: expected {len(rows)} rows.")
    identity = {**stored.identity, **dict.fromkeys(OF_ROWS)}  # the rows are compared above, the values below
    differing = sorted(differences(identity, extractor.identity), key=lambda difference: difference[0])
    for name, in_file, current in differing:
        line = f"note: not made as it would be here: {name}: {in_file!r} in the file, {current!r} here"
        console.print(line, style="yellow")
    if stored.width != extractor.width:
        raise InputError(f"{path} has {stored.width} features per utterance; here there would be {extractor.width}.")
    if stored.quality.keys() != set(extractor.quality):
        found, expected = (", ".join(sorted(names)) or "none" for names in (stored.quality, extractor.quality))
        raise InputError(f"{path} has the quality figures {found}; here there would be {expected}. Extract it anew.")
    wanted = [index for index, row in enumerate(rows) if extractor.wants(row)]
    if strange := sorted(set(np.flatnonzero(stored.present).tolist()) - set(wanted)):
        raise InputError(
            f"{path} has features of {len(strange)} utterance(s) that have no {stored.modality} here, "
            f"first {rows[strange[0]].utterance_id}."
        )
    chosen = np.random.default_rng(seed).choice(len(wanted), min(count, len(wanted)), replace=False)
    compared = deviations(stored, extractor, sorted(wanted[index] for index in chosen))
    summary = f"{path}: {len(compared)} of {len(wanted)} utterances computed again"
    if off := sorted((one for one in compared if one.largest > TOLERANCE), key=lambda one: -one.largest):
        listed = "".join(f"\n  {one}" for one in off[:_LISTED])
        listed += f"\n  … and {len(off) - _LISTED} more" if len(off) > _LISTED else ""
        why = " It was made differently, as noted above." if differing else ""
        raise InputError(f"{summary}; {len(off)} differ by more than {TOLERANCE:g} standard deviations:{listed}{why}")
    largest = max(compared, key=lambda one: one.largest, default=None)
    worst = f"; largest deviation: {largest}" if largest is not None and largest.largest else ", and equal to the bit"
    console.print(f"{summary}; all within {TOLERANCE:g} standard deviations{worst}")


def _check_sets(_context: click.Context, _parameter: click.Parameter, value: str | tuple[str, ...]):
    """Refuse what is no name of a feature set; a callback of click."""
    for name in (value,) if isinstance(value, str) else value:
        if not (name.partition("/")[0] in MODALITIES and re.match(SET_NAME, name)):
            expected = f"{', '.join(MODALITIES)}, or a further set such as audio/wavlm"
            raise click.BadParameter(f"{name!r:.80}: expected {expected}.")
    return value


@click.command()
@click.option("--corpus", type=CorpusName(), required=True, help="Name of the corpus block in params.yaml.")
@click.option(
    "--modality", required=True, callback=_check_sets, help="Which file to verify: audio, say, or a set: audio/wavlm."
)
@shown_option("--sample", type=click.IntRange(min=1), default=20, help="Utterances to compute again.")
@shown_option("--seed", type=click.IntRange(min=0), default=0, help="Seed of the sample.")
@shown_option("--params", type=PATH, default="params.yaml", help="Settings.")
@click.option("--raw", type=PATH, help="Folder of the corpus as it came.  [default: data/raw/{corpus}]")
@click.option("--table", type=PATH, help="Utterances.  [default: data/{corpus}/utterances.csv]")
@click.option(
    "--features", type=PATH, help="Folder of the file, or of a folder per corpus.  [default: features/{corpus}]"
)
@click.option("--models", type=PATH, help="Folder of text/ and face/.  [default: models/{corpus}]")
@shown_option("--device", type=click.Choice(DEVICES), default="auto", help="Device of the networks.")
@engine_options
@readable_errors
def main(corpus, modality, sample, seed, params, raw, table, features, models, device, workers) -> None:
    """Compute a random sample of a features file again; exit status 1 where it differs."""
    folder = features or Path("features", corpus)
    path = folder / f"{modality}.h5"
    if not path.exists() and (folder / corpus).is_dir():  # not so where the corpus is called audio, as a folder of sets
        path = folder / corpus / path.relative_to(folder)
    name, (modality, _, further) = modality, modality.partition("/")
    stored = read_features(path, modality)
    if stored.identity.get("extractor") == "dferc import":
        raise InputError(f"{path} was imported: nothing here can compute it again.")
    document = load_settings(params)
    settings = with_set(document, corpus, name if further else None)
    rows = read_utterances_csv(table or Path("data", corpus, "utterances.csv"))
    raw, models = raw or Path("data/raw", corpus), models or Path("models", corpus)
    elsewhere = workers.cluster is not None
    with tempfile.TemporaryDirectory() as folder, Scratch(Path(folder) / "unused.sqlite") as scratch:
        if modality == "audio":
            from pipeline.extract_audio import make_extractor

            extractor = make_extractor(rows, settings.extract_audio, raw, scratch, workers, device)
        elif modality == "visual":
            from pipeline.extract_visual import make_extractor

            where = choose_device(device, "float32", elsewhere).device
            extractor = make_extractor(rows, settings.extract_visual, models / "face", raw, scratch, where, workers)
        else:
            from pipeline.extract_text import make_extractor

            where = choose_device(device, settings.extract_text.precision, elsewhere)
            encoder = Path(sets_of(document, corpus)[name].encoder) if further else models / "text"
            extractor = make_extractor(rows, settings.extract_text, encoder, where, workers=workers)
        verify(path, stored, rows, extractor, sample, seed)


@click.command("verify")
@click.argument("folder", type=FOLDER)
@click.option(
    "--modality",
    "modalities",
    multiple=True,
    callback=_check_sets,
    help="Or a further set, such as audio/wavlm. Repeatable.  [default: the modalities, and their sets that are there]",
)
@shown_option("--sample", type=click.IntRange(min=1), default=20, help="Utterances of each to compute again.")
@shown_option("--seed", type=click.IntRange(min=0), default=0, help="Of the choice of utterances.")
@click.argument("further", nargs=-1, metavar="[-- OPTION ...]")
@readable_errors
def verify_folder(folder, modalities, sample, seed, further) -> None:
    """Compute a random sample of the features in FOLDER again from their media; exit status 1 where one differs.

    For files from others. Needs what made them: the repository (run it at its top), its `pipeline` extra, media,
    params.yaml and models. What follows `--` goes to `python -m pipeline.verify`, whose --help lists it:

        dferc verify features/meld -- --raw /media/meld --device cuda
    """
    corpus = read_utterances(folder / "utterances.h5").corpus
    given = ["--corpus", corpus, "--features", str(folder), "--sample", str(sample), "--seed", str(seed), *further]
    failed = []
    sets = [name for name in find_sets(folder) if name.partition("/")[0] in MODALITIES]
    for modality in modalities or dict.fromkeys((*MODALITIES, *sets)):
        try:
            main(["--modality", modality, *given], prog_name="python -m pipeline.verify")
        except SystemExit as ending:  # as a program of its own: it has printed its message
            if (ending.code or 0) > 128:  # interrupted: the other modalities as well
                raise
            failed += [modality] if ending.code else []
    if failed:
        raise InputError(f"{folder}: {', '.join(failed)} not verified, as reported above.")


if __name__ == "__main__":
    main()
