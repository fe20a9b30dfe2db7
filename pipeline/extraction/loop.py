"""Loop of the three extractors: look up finished records, compute the others, keep each, write one file.

N utterances, D feature width. A run that was killed at any moment computes only what is missing when it runs again, and
writes the same bytes as an undisturbed run: the file is assembled in corpus order from records, whatever their origin.
"""

import contextlib
import datetime
import importlib.metadata
import itertools
import os
import platform
import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dferc import engine
from dferc.core.console import console, progress_bar
from dferc.core.errors import InputError, Problem
from dferc.core.files import write_json
from dferc.core.sources import code_hash
from dferc.core.tables import write_table
from dferc.store.hdf5 import read_utterances, write_features
from dferc.store.rows import Features, Utterances
from pipeline.extraction.places import Places
from pipeline.extraction.records import Clock, Record
from pipeline.extraction.scratch import Scratch, key_of
from pipeline.media.files import MediaError
from pipeline.rows.utterances import Utterance

Progress = Callable[[float], None] | None  # receives the share of the work that is done; None = a bar is shown
PREFETCHED = 8  # most results that wait for their consumer: a kill loses them
_PACKAGES = ("dferc", "av", "h5py", "numpy", "opencv-python-headless", "opensmile", "torch", "transformers")
_MOST_LOST = 0.1  # share of the media that may have gone since `prepare`: above it a drive is not there


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """Definition of an extractor."""

    modality: str
    width: int  # D, also where no utterance has the modality
    identity: Mapping[str, object]
    """Extractor and versions, params section, model and weight hash: everything that determines the values, and nothing
    else (the hash of the utterance list is added here)."""
    code: tuple[str, ...]
    """Modules whose functions compute the values. With their imports they are part of the key of finished work
    (`dferc.core.sources`), so that an edit computes it again. Not part of the identity."""
    wants: Callable[[Utterance], bool]
    """Whether an utterance has this modality at all; if not, nothing is opened and nothing is a problem."""
    content: Callable[[Utterance], object]
    """What determines an utterance's values, in JSON's types; may raise `MediaError`."""
    compute: Callable[[list[int]], Iterable[tuple[int, Record | engine.WorkerDied]]]
    """Rows (of utterances.csv) -> (row, record) as they finish, in any order. A record must be bit-identical whatever
    the other rows, their order and the number of workers. It holds `features` [D] or a problem or both, and a scalar
    for each of `quality`."""
    names: tuple[str, ...] = ()  # of the D features, or none
    quality: tuple[str, ...] = ()  # names of further columns
    file: Callable[[Utterance], str] = lambda row: row.media  # named in its problem
    length_s: Callable[[Utterance], float] = lambda row: 0.0  # length of what is decoded
    clock: Clock = field(default_factory=Clock)  # of the steps of `compute`, also in workers; printed and logged

    @property
    def stage(self) -> str:
        """Name of the DVC stage."""
        return f"extract_{self.modality}"


@dataclass(kw_only=True)
class ExtractionTally:
    """Counts of utterances by outcome; done, reused, failed and absent add up to all of them."""

    done: int  # computed now, and present
    reused: int  # finished earlier, and present
    failed: int  # without values because of a problem (now or earlier); listed in the problems table
    absent: int  # the utterance has no such modality
    seconds: float  # time of computing
    media_s: float  # length of the computed sound or picture


class _Assembly:
    """Features file and problems table in the making, filled record by record."""

    def __init__(self, rows: Sequence[Utterance], extractor: Extractor):
        self.rows, self.extractor = rows, extractor
        self.features = np.zeros((len(rows), extractor.width), np.float32)
        self.present = np.zeros(len(rows), bool)
        self.quality = {name: np.zeros(len(rows), np.float32) for name in extractor.quality}
        self.problems: dict[int, Problem] = {}

    def add(self, index: int, record: Record) -> None:
        """Put one record into its row."""
        values = record.arrays.get("features")
        if values is not None:
            self.features[index], self.present[index] = values, True
        for name, column in self.quality.items():
            column[index] = record.arrays.get(name, 0.0)
        if record.problem:
            row = self.rows[index]
            consequence = f"{self.extractor.modality} not present" if values is None else "what there is was used"
            self.problems[index] = Problem(row.utterance_id, self.extractor.file(row), record.problem, consequence)


def media_content(raw: Path, scratch: Scratch, part: Callable[[Utterance], tuple]) -> Callable[[Utterance], object]:
    """Return `Extractor.content` of the part (`heard` or `seen`) of a file below `raw`: bytes, time span, region."""

    def content(row: Utterance) -> object:
        file, *within = part(row)
        if os.path.exists(raw / file) and not os.path.isfile(raw / file):  # a FIFO would never end
            raise MediaError(raw / file, "unreadable: expected a regular file")
        try:
            return [scratch.media_hash(raw / file), *within]
        except OSError as error:
            raise MediaError(raw / file, f"unreadable: {error.strerror}") from None

    return content


def prefetched(items: Generator, ahead: int = PREFETCHED) -> Iterator:
    """Yield items while a thread fetches the next `ahead`, so that workers decode while a network computes.

    If closed early, end the thread and close the generator.
    """
    end = object()
    with contextlib.closing(items), ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, items, end) for _ in range(ahead))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(thread.submit(next, items, end))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)


class Listener(NamedTuple):
    """What makes the records of an audio extractor for the visual one, whose workers read sound and picture at once."""

    make_ear: Callable[[], Callable]  # see `pipeline.faces.speaker_face.FaceWorker`
    file: str  # that it may read, on every machine
    keys: dict[int, str]  # of the rows whose sound is not finished
    scratch: Scratch  # keeps the records

    def kept(self, cuts: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """Pass on rows and their faces, once the record of what was heard with them is kept."""
        for row, faces in cuts:
            if (record := getattr(faces, "heard", None)) and row in self.keys:
                self.scratch.put(self.keys[row], record)
            yield row, faces


def listener_of(
    rows: Sequence[Utterance], extractor: Extractor, scratch: Scratch, make_ear: Callable[[], Callable], file: str
) -> Listener | None:
    """Return what makes the unfinished records of an audio extractor; None if there are none."""
    wanted = [index for index, row in enumerate(rows) if extractor.wants(row)]
    keys = _look_up(wanted, scratch, _Assembly(rows, extractor), lambda share: None)
    return Listener(make_ear, file, keys, scratch) if keys else None


class Extraction(NamedTuple):
    """Result of an extractor for the utterances of a corpus."""

    features: Features
    problems: list[Problem]  # in the corpus' order
    tally: ExtractionTally
    computed: int  # utterances that were computed now


def extract(rows: list[Utterance], extractor: Extractor, places: Places, scratch: Scratch) -> ExtractionTally:
    """Make features/<corpus>/<modality>.h5 and the problems table."""
    utterances = read_utterances(places.utterances)
    of_store = utterances.utterance_id, utterances.dialogue_id, utterances.split, utterances.text
    spans = np.nan_to_num([utterances.start_s, utterances.end_s]).tolist()  # none is NaN there, and 0 in the table
    if list(map(_common, rows)) != list(zip(*of_store, *spans)):
        raise InputError(
            f"{places.table} and {places.utterances} are not of the same utterances, texts, splits and times. "
            f"Make both again: `python -m pipeline.prepare --corpus {places.corpus}`."
        )
    if utterances.corpus != places.corpus:
        raise InputError(f"{places.utterances} is of the corpus {utterances.corpus!r}, expected {places.corpus!r}.")
    features, problems, tally, computed = extract_features(rows, extractor, utterances, scratch)
    with extractor.clock.step("write"):
        write_table(places.problems, problems, Problem)
        unread = [each for each in problems if each.problem.startswith("unreadable")]  # text has problems without media
        lost = [problem for problem in unread if not os.path.exists(places.raw / problem.file)]
        if len(lost) > max(1, _MOST_LOST * (len(rows) - tally.absent)):  # DVC would not run a stage again that succeeds
            raise InputError(
                f"{len(lost)} utterances have media that `prepare` could read and that are not there now, first "
                f"{lost[0].file}; all are in {places.problems}. Is the disk of {places.raw} there? "
                f"{places.out} is as it was; finished work is kept."
            )
        write_features(places.out, features)
    if computed or not places.log.exists():
        write_log(places.log, extractor.identity, computed, asdict(tally), extractor.clock)
    rate = f", {computed / tally.seconds:.1f} utterances/s ({extractor.clock.shares()})" if computed else ""
    hint = f"; see {places.problems}" if tally.failed else ""
    of_what = f"{places.corpus}, {places.set}" if places.set else places.corpus
    console.print(
        f"{extractor.stage} {of_what}: {len(rows)} utterances: {tally.done} done, {tally.reused} reused, "
        f"{tally.failed} failed, {tally.absent} absent{rate}{hint}"
    )
    return tally


def _common(row: Utterance) -> tuple:
    """Return what both files of `prepare` hold of a row: a full disk, a kill or an editor may have left one of them."""
    return row.utterance_id, row.dialogue_id, row.split, row.text, *(row.seen[1:3] if row.has_video else row.heard[1:])


def extract_features(
    rows: Sequence[Utterance], extractor: Extractor, utterances: Utterances, scratch: Scratch, progress: Progress = None
) -> Extraction:
    """Look up finished records, compute and keep the others, and put them into the order of the corpus.

    Args:
        rows: rows of stage 1.
        extractor: one modality.
        utterances: the same rows as the trainer reads them.
        scratch: cache of finished records.
        progress: receives the share of the work that is done, 0 to 1; None = a bar is shown.
    """
    assembly = _Assembly(rows, extractor)
    wanted = [index for index, row in enumerate(rows) if extractor.wants(row)]
    with extractor.clock.step("hash and look up"):
        unfinished = _look_up(wanted, scratch, assembly, progress and (lambda share: None))
    reused = int(assembly.present.sum())
    started = time.monotonic()
    _compute(unfinished, scratch, assembly, utterances.corpus, progress)
    done = int(assembly.present.sum()) - reused
    tally = ExtractionTally(
        done=done,
        reused=reused,
        failed=len(wanted) - done - reused,
        absent=len(rows) - len(wanted),
        seconds=time.monotonic() - started,
        media_s=sum(extractor.length_s(rows[index]) for index in unfinished),
    )
    of_rows = {"rows_hash": utterances.rows_hash, "content_hash": utterances.content_hash(extractor.modality)}
    features = Features(
        modality=extractor.modality,
        corpus=utterances.corpus,
        features=assembly.features,
        present=assembly.present,
        utterance_id=utterances.utterance_id,
        identity={**extractor.identity, **of_rows},
        names=extractor.names,
        quality=assembly.quality,
    )
    problems = [problem for _, problem in sorted(assembly.problems.items())]
    return Extraction(features, problems, tally, len(unfinished))


def _look_up(wanted: list[int], scratch: Scratch, assembly: _Assembly, progress: Progress) -> dict[int, str]:
    """Add the finished records; return the keys of the other rows. A row with unreadable content becomes a problem."""
    extractor, code = assembly.extractor, code_hash(*assembly.extractor.code)
    unfinished = {}
    with progress_bar(progress) as bar:
        for index in bar.track(wanted, description=f"{extractor.stage}: reading"):
            try:
                key = key_of(dict(extractor.identity), code, extractor.content(assembly.rows[index]))
                record = scratch.get(key)
            except MediaError as error:
                record = Record(problem=error.problem)
            if record is None:
                unfinished[index] = key
            else:
                assembly.add(index, record)
    return unfinished


def _compute(
    unfinished: dict[int, str], scratch: Scratch, assembly: _Assembly, corpus: str, progress: Progress
) -> None:
    """Compute and keep records, file by file. Rows with the same key (copies of a clip) are computed once."""
    extractor = assembly.extractor
    copies, by_file = defaultdict(list), defaultdict(list)
    for index, key in unfinished.items():
        copies[key].append(index)
    for index, *_ in copies.values():
        by_file[extractor.file(assembly.rows[index])].append(index)
    with progress_bar(progress) as bar:
        task = bar.add_task(f"{extractor.stage} {corpus}", total=len(unfinished))
        for index, record in extractor.compute(list(itertools.chain(*by_file.values()))):
            key = unfinished[index]
            if isinstance(record, engine.WorkerDied):
                record = Record(problem=str(record))  # not kept: the next run may have more memory
            elif "unreadable" not in record.problem:  # `prepare` has read it: a drive or a limit may be to blame
                with extractor.clock.step("write"):
                    scratch.put(key, record)
            for copy in copies[key]:
                assembly.add(copy, record)
            bar.advance(task, len(copies[key]))


def write_log(path: Path, identity: Mapping, computed: int, tally: Mapping, clock: Clock) -> None:
    """Write versions, counts and times of a run as JSON beside its problems table.

    The log is not part of the features file, whose bytes do not depend on the run, and no output of the DVC stage,
    whose hash would change with every run. `computed` counts the utterances of this run, `tally` all by outcome.
    """
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    log = {
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "identity": dict(identity),
        "versions": versions,
        "computed": computed,
        **tally,
        "steps_s": {name: round(seconds, 3) for name, seconds in clock.seconds.most_common()},
    }
    write_json(path, log)
