"""The loop that the three extractors share: look up what is finished, compute the rest, keep each, write one file.

N utterances, D feature width. Killed at any moment and run again, it pays for the rest only, and writes the same bytes
as a run that nobody disturbed: the file is assembled in corpus order from records, wherever they came from.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from dferc import engine
from dferc.core.console import console, progress_bar
from dferc.core.errors import InputError
from dferc.core.problems import Problem
from dferc.core.sources import code_hash
from dferc.core.tables import write_table
from dferc.store.hdf5 import read_utterances, write_features
from dferc.store.rows import Features, Utterances
from pipeline.extraction.places import Places
from pipeline.extraction.scratch import Record, Scratch, key_of
from pipeline.extraction.steps import Clock, write_log
from pipeline.media.files import MediaError
from pipeline.rows.utterances import Utterance

_LOOK_UP = 512
"""Keys per look-up: records are many, and each goes into the matrix at once."""


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """What one extractor is and does.

    Attributes:
        modality: text, audio or visual.
        width: D, also where no utterance has the modality.
        identity: extractor and versions, params section, model and weight hash: all that determines the values, and
            nothing else (the hash of the utterance list is added here).
        code: modules whose functions compute the values; with what they import, part of the key of finished work
            (`dferc.core.sources`), so that an edit is not answered from the scratch cache. Not part of the identity.
        wants: whether an utterance has this modality at all; where not, nothing is opened and nothing is a problem.
        content: what of an utterance determines its values, of JSON's types; may raise `MediaError`.
        compute: rows (of utterances.csv) -> (row, record) as they finish, in any order. A record must be the same to
            the bit whatever the other rows, their order and the number of workers. Records hold `features` [D] or a
            problem or both, and a scalar for each of `quality`.
        names: D feature names, or none.
        quality: names of further columns.
        file: the file that an utterance's problem is about.
        length_s: how much of it is decoded, in seconds.
        clock: counts the steps of `compute`, those in workers included; told at the end and in the log.
    """

    modality: str
    width: int
    identity: Mapping[str, object]
    code: tuple[str, ...]
    wants: Callable[[Utterance], bool]
    content: Callable[[Utterance], object]
    compute: Callable[[list[int]], Iterable[tuple[int, Record | engine.WorkerDied]]]
    names: tuple[str, ...] = ()
    quality: tuple[str, ...] = ()
    file: Callable[[Utterance], str] = lambda row: row.media
    length_s: Callable[[Utterance], float] = lambda row: 0.0
    clock: Clock = field(default_factory=Clock)

    @property
    def stage(self) -> str:
        """Name of the DVC stage."""
        return f"extract_{self.modality}"


@dataclass(kw_only=True)
class Tally:
    """What became of the utterances; the four add up to all of them.

    Attributes:
        done: computed now, and present.
        reused: finished earlier, and present.
        failed: a problem (now or earlier) left it without values; listed in the problems table.
        absent: the utterance has no such modality.
        seconds: spent on computing.
        media_s: length of what was computed, in seconds of sound or picture.
    """

    done: int = 0
    reused: int = 0
    failed: int = 0
    absent: int = 0
    seconds: float = 0.0
    media_s: float = 0.0


@dataclass(kw_only=True)
class _Result:
    """The file in the making."""

    features: np.ndarray
    present: np.ndarray
    quality: dict[str, np.ndarray]
    problems: dict[int, tuple[str, str]] = field(default_factory=dict)


def media_content(
    raw: Path, scratch: Scratch, part: Callable[[Utterance], tuple[str, ...]]
) -> Callable[[Utterance], object]:
    """`Extractor.content` of a modality that is read from a file: the file's content, the time span, the region.

    Args:
        raw: folder that files are relative to.
        scratch: open.
        part: `Utterance.heard` or `Utterance.seen`, as a function.
    """

    def content(row: Utterance) -> object:
        file, *within = part(row)
        try:
            return [scratch.media_hash(raw / file), *within]
        except OSError as error:
            raise MediaError(raw / file, f"unreadable: {error.strerror}") from None

    return content


def extract(rows: list[Utterance], extractor: Extractor, places: Places, scratch: Scratch) -> Tally:
    """Make features/<corpus>/<modality>.h5 and the problems table.

    Raises:
        InputError: utterances.csv and utterances.h5 are not of the same utterances, or something cannot be written.
    """
    utterances = read_utterances(places.utterances)
    _check_rows(rows, utterances, places)
    result = _Result(
        features=np.zeros((len(rows), extractor.width), np.float32),
        present=np.zeros(len(rows), bool),
        quality={name: np.zeros(len(rows), np.float32) for name in extractor.quality},
    )
    wanted = [index for index, row in enumerate(rows) if extractor.wants(row)]
    tally = Tally(absent=len(rows) - len(wanted))
    with extractor.clock.step("hash and look up"):
        keys = _keys(rows, wanted, extractor, result)
        unfinished = _reuse(keys, scratch, result, extractor)
    tally.reused = int(result.present.sum())
    started = time.monotonic()
    _compute(rows, unfinished, extractor, scratch, result, places.corpus)
    tally.seconds = time.monotonic() - started
    tally.done = int(result.present.sum()) - tally.reused
    tally.failed = len(wanted) - tally.done - tally.reused
    tally.media_s = sum(extractor.length_s(rows[index]) for index in unfinished)
    with extractor.clock.step("write"):
        _write(rows, utterances, extractor, places, result)
    if unfinished or not places.log.exists():
        write_log(places.log, extractor.identity, len(unfinished), asdict(tally), extractor.clock)
    _report(tally, len(rows), extractor, places, len(unfinished))
    return tally


def _check_rows(rows: list[Utterance], utterances: Utterances, places: Places) -> None:
    if [row.utterance_id for row in rows] != list(utterances.utterance_id):
        raise InputError(
            f"{places.table} and {places.utterances} are not of the same utterances. "
            f"Make both again: `python -m pipeline.prepare --corpus {places.corpus}`."
        )
    if utterances.corpus != places.corpus:
        raise InputError(f"{places.utterances} is of the corpus {utterances.corpus!r}, expected {places.corpus!r}.")


def _keys(rows: list[Utterance], wanted: list[int], extractor: Extractor, result: _Result) -> dict[int, str]:
    """Key of each wanted row's record; a row whose content cannot be read becomes a problem."""
    code = code_hash(*extractor.code)
    keys = {}
    with progress_bar() as bar:
        for index in bar.track(wanted, description=f"{extractor.stage}: reading"):
            try:
                keys[index] = key_of(dict(extractor.identity), code, extractor.content(rows[index]))
            except MediaError as error:
                _add(index, Record(problem=error.problem), extractor, result)
    return keys


def _reuse(keys: dict[int, str], scratch: Scratch, result: _Result, extractor: Extractor) -> dict[int, str]:
    """Take what is finished from the scratch cache; return the keys of the rest."""
    rest = dict(keys)
    indices = list(keys)
    for first in range(0, len(indices), _LOOK_UP):
        some = indices[first : first + _LOOK_UP]
        found = scratch.get_many({keys[index] for index in some})
        for index in some:
            if keys[index] in found:
                _add(index, found[keys[index]], extractor, result)
                del rest[index]
    return rest


def _compute(
    rows: list[Utterance],
    unfinished: dict[int, str],
    extractor: Extractor,
    scratch: Scratch,
    result: _Result,
    corpus: str,
) -> None:
    """Compute and keep the rest, file by file. Rows with one key (copies of a clip) are computed once."""
    copies: dict[str, list[int]] = {}
    for index, key in unfinished.items():
        copies.setdefault(key, []).append(index)
    by_file: dict[str, list[int]] = {}
    for index, *_ in copies.values():
        by_file.setdefault(extractor.file(rows[index]), []).append(index)
    with progress_bar() as bar:
        task = bar.add_task(f"{extractor.stage} {corpus}", total=len(unfinished))
        for index, record in extractor.compute(list(itertools.chain(*by_file.values()))):
            if isinstance(record, engine.WorkerDied):
                record = Record(problem=str(record))  # not kept: the next run may have more memory
            else:
                with extractor.clock.step("write"):
                    scratch.put(unfinished[index], record)
            for copy in copies[unfinished[index]]:
                _add(copy, record, extractor, result)
            bar.advance(task, len(copies[unfinished[index]]))


def _add(index: int, record: Record, extractor: Extractor, result: _Result) -> None:
    """Put one record into its row."""
    values = record.arrays.get("features")
    if values is not None:
        result.features[index], result.present[index] = values, True
    for name, column in result.quality.items():
        column[index] = record.arrays.get(name, 0.0)
    if record.problem:
        consequence = f"{extractor.modality} not present" if values is None else "what there is was used"
        result.problems[index] = (record.problem, consequence)


def _write(
    rows: list[Utterance], utterances: Utterances, extractor: Extractor, places: Places, result: _Result
) -> None:
    features = Features(
        modality=extractor.modality,
        corpus=utterances.corpus,
        features=result.features,
        present=result.present,
        utterance_id=utterances.utterance_id,
        identity={**extractor.identity, "rows_hash": utterances.rows_hash},
        names=extractor.names,
        quality=result.quality,
    )
    problems = [
        Problem(
            where=rows[index].utterance_id, file=extractor.file(rows[index]), problem=problem, consequence=consequence
        )
        for index, (problem, consequence) in sorted(result.problems.items())
    ]
    write_table(places.problems, problems, Problem)
    write_features(places.out, features)


def _report(tally: Tally, total: int, extractor: Extractor, places: Places, computed: int) -> None:
    rate = f", {computed / tally.seconds:.1f} utterances/s ({extractor.clock.shares()})" if computed else ""
    hint = f"; see {places.problems}" if tally.failed else ""
    console.print(
        f"{extractor.stage} {places.corpus}: {total} utterances: {tally.done} done, {tally.reused} reused, "
        f"{tally.failed} failed, {tally.absent} absent{rate}{hint}"
    )
