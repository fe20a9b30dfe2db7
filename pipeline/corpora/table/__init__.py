"""Your own corpus: a table of utterances beside a folder of clips, or videos with subtitles (docs/own-data.md)."""

import bisect
import itertools
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dferc.core.errors import InputError, Problem
from dferc.store.cells import disordered, fold
from dferc.store.labels import Labels, describe_votes, read_labels, read_votes
from dferc.store.rows import UNLABELLED, Note
from dferc.store.vocabulary import SPLIT_NAMES, SPLITS, eval_beside_test, split_dialogues
from pipeline.corpora import RawCorpus, refuse
from pipeline.corpora._files import files_below, unused_files
from pipeline.corpora._own_tables import TableRow, read_table
from pipeline.corpora.table.rolling import DUPLICATE_CUE, MERGED_CUE
from pipeline.corpora.table.subtitles import EMPTY_CUE, SPLIT_CUE
from pipeline.corpora.table.videos import read_videos
from pipeline.rows.utterances import Utterance
from pipeline.settings import Prepare, TableOptions

_LONGEST_PATH = 4096  # characters: Linux has no longer ones

Dialogues = dict[str, list[TableRow]]


def read(raw: Path, settings: Prepare) -> RawCorpus:
    """Read a table of utterances, or the subtitles beside videos; make splits by dialogue where there are none."""
    options = settings.options
    if not raw.is_dir():
        raise InputError(f"{raw}: no such folder. Put the table and the media there, or name it with --raw.")
    from_subtitles = options.table == "subtitles"
    if options.labels != "none" and not from_subtitles:
        wanted = f"Write the emotions into {options.table}, column emotion"
        raise InputError(f"{raw}: prepare.options.labels is read with table: subtitles only. {wanted}; set it to none.")
    rows, problems = read_videos(raw, options) if from_subtitles else read_table(raw / options.table)
    rows, mended = _mend(raw, rows)
    problems += mended
    refuse(raw, list(_media_faults(raw, rows)))
    if not from_subtitles:
        problems += unused_files(raw, [raw / options.table, *(raw / row.media for row in rows)], "in no row")
        problems += _doubtful_places(rows)
    labels = read_labels(
        [row.emotion for row in rows],
        lambda number: rows[number].where,
        file=raw,
        option="prepare.options.classes",
        declared=options.classes,
    )
    classes = labels.classes
    names = zip(rows, labels.names(), strict=True)
    rows = [row if row.emotion == name else replace(row, emotion=name) for row, name in names]
    dialogues = defaultdict(list)  # in order of first appearance: a table may be sorted by anything else
    for row in rows:
        dialogues[row.dialogue_id].append(row)
    parts = Counter(name for name, _ in itertools.groupby(row.dialogue_id for row in rows))
    if again := [name for name, count in parts.items() if count > 1]:
        problem = f"dialogue that goes on after another: {len(again)}, first {again[0]}"
        problems.append(Problem(options.table, options.table, problem, "one dialogue, in the order of the table"))
    names = {
        name: [row.utterance_id or Path(row.media).stem for row in of]
        for name, of in dialogues.items()
        if any(row.start_s is None or row.media != of[0].media for row in of)  # else `row_problems`
    }
    moved, odd = disordered({} if from_subtitles else names)
    if moved:
        problem = f"{odd}: in {len(moved)} dialogue(s), first {moved[0]}"
        problems.append(Problem(options.table, options.table, problem, "order of the table kept; sort it by the talk"))
    votes, of_votes = _votes(raw, rows, classes) if any(row.votes for row in rows) else ({}, [])
    splits, origin = _splits(raw, dialogues, options)
    utterances = _utterances(raw, dialogues, splits)
    problems += itertools.chain.from_iterable(map(row_problems, dialogues.values()))
    problems += _label_problems(
        labels, utterances, options.labels if from_subtitles and options.labels != "none" else options.table
    )
    problems += of_votes
    ids = {row.where: each.utterance_id for row, each in zip(itertools.chain(*dialogues.values()), utterances)}
    source = options.table if from_subtitles else "table"
    return RawCorpus(
        classes=classes,
        protocol=f"own {source}, {len(classes)} classes, {origin}" if classes else f"own {source}, unlabelled",
        utterances=utterances,
        problems=problems,
        votes={ids[where]: shares for where, shares in votes.items()},
        notes=[*_notes(problems, utterances), *labels.notes],
    )


def _mend(raw: Path, rows: Sequence[TableRow]) -> tuple[list[TableRow], list[Problem]]:
    """Return the rows with names of files as the files have them, and with ends, and what was mended."""
    lacking = dict.fromkeys(row.media for row in rows if row.media and not os.path.lexists(raw / row.media))
    files = defaultdict(list)
    for path in files_below(raw) if lacking else ():
        files[fold(path.relative_to(raw).as_posix())].append(path.relative_to(raw).as_posix())
    alike = {name: files.get(fold(name.replace("\\", "/")), []) for name in lacking}
    names = {name: found[0] for name, found in alike.items() if len(found) == 1}
    named = [replace(row, media=names.get(row.media, row.media)) for row in rows]
    starts = defaultdict(set)
    for row in named:
        starts[row.media].add(-math.inf if row.start_s is None else row.start_s)
    starts, ended = {media: sorted(times) for media, times in starts.items()}, []
    for row in named:
        if row.media and row.start_s is not None and row.end_s is None:
            later = bisect.bisect_right(starts[row.media], row.start_s)
            row = replace(row, end_s=next(iter(starts[row.media][later : later + 1]), None))
        ended.append(row)
    problems = [
        Problem(raw.name, found, f"name of a file written otherwise: {name!r}", "the file is used")
        for name, found in names.items()
    ]
    if without := [row for row, given in zip(ended, named, strict=True) if row.end_s != given.end_s]:
        problem = f"no end: {len(without)} row(s), first {without[0].where}"
        problems.append(Problem(without[0].where, without[0].media, problem, "they last until the next of their file"))
    return ended, problems


def _doubtful_places(rows: Sequence[TableRow]) -> Iterator[Problem]:
    """Yield rows that have no start in a file of several rows, and rows with a start in no file."""
    counts = Counter(row.media for row in rows if row.media)
    whole = [row for row in rows if row.start_s is None and counts[row.media] > 1]
    nowhere = [row for row in rows if row.start_s is not None and not row.media and counts]
    for found, kind, then in (
        (whole, "no start in a file of several rows", "from the beginning of the file, which the rows share"),
        (nowhere, "a start and no file", "no audio and no visual; the text is kept"),
    ):
        if found:
            problem = f"{kind}: {len(found)} row(s), first {found[0].where}"
            yield Problem(found[0].where, found[0].media, problem, then)


def _votes(raw: Path, rows: Sequence[TableRow], classes: Sequence[str]) -> tuple[dict[str, list[float]], list[Problem]]:
    """Return the shares of the votes by place in the table, of rows that have any, and problems."""
    votes_NC = read_votes([row.votes for row in rows], classes, lambda number: rows[number].where, raw)
    ids = [classes.index(row.emotion) if row.emotion else UNLABELLED for row in rows]
    found = describe_votes(votes_NC, ids, lambda number: rows[number].where)
    shares = {row.where: each.tolist() for row, each in zip(rows, votes_NC, strict=True) if not np.isnan(each[0])}
    return shares, [Problem("votes", "", *problem) for problem in found]


def _utterances(raw: Path, dialogues: Dialogues, splits: dict[str, str]) -> list[Utterance]:
    """Return the rows as utterances; positions, and ids where missing, are counted within the dialogue."""
    utterances, rows_by_id, faults = [], {}, []
    for dialogue, rows in dialogues.items():
        for position, row in enumerate(rows):
            name = row.utterance_id or f"{dialogue}_{position}"
            if name in rows_by_id:
                faults.append(f"{row.where}: the utterance_id {name!r} is that of {rows_by_id[name]} already")
            rows_by_id[name] = row.where
            media = {"media": row.media, "start_s": row.start_s or 0.0, "end_s": row.end_s or 0.0}
            utterances.append(
                Utterance(
                    utterance_id=name,
                    dialogue_id=dialogue,
                    position=position,
                    speaker=row.speaker,
                    emotion=row.emotion,
                    split=splits[dialogue],
                    text=row.text,
                    **(media if row.media and not _ends_at_zero(row) else {}),
                )
            )
    refuse(raw, faults)
    return utterances


def _notes(problems: Sequence[Problem], utterances: Sequence[Utterance]) -> Iterator[Note]:
    """Yield the problems that belong on the protocol card."""
    counts = Counter(problem.kind for problem in problems)
    unlabelled = sum(not row.emotion for row in utterances)
    reasons = {EMPTY_CUE: "without a text", DUPLICATE_CUE: "duplicates", MERGED_CUE: "rolling captions: each text once"}
    for kind, why in reasons.items():
        if counts[kind]:
            yield Note(action="dropped", what="cues", count=counts[kind], why=why)
    if counts[SPLIT_CUE]:
        yield Note(action="repaired", what="cues of several speakers", count=counts[SPLIT_CUE], why="split by speaker")
    if counts["overlap"]:
        yield Note(action="kept", what="utterances", count=counts["overlap"], why="overlap with the one before")
    if 0 < unlabelled < len(utterances):
        yield Note(action="kept", what="utterances", count=unlabelled, why="without an emotion: context only")


def _media_faults(raw: Path, rows: Sequence[TableRow]) -> Iterator[str]:
    """Yield paths that lead out of the raw folder: files outside of it must not be opened."""
    inside, checked = raw.resolve(), set()
    for row in rows:
        if row.media not in checked:
            checked.add(row.media)
            if len(row.media) > _LONGEST_PATH:
                yield f"{row.where}: media {row.media!r:.60}… has {len(row.media)} characters; expected a path"
                continue
            target, absolute = Path(os.path.realpath(raw / row.media)), Path(row.media).is_absolute()
            if absolute or not target.is_relative_to(inside):
                place = "is an absolute path" if absolute else f"leads to {target}"
                yield f"{row.where}: media {row.media!r} {place}; expected a path within {raw}. Put the file there"


def _ends_at_zero(row: TableRow) -> bool:
    """Return whether the span is empty whatever the file: to `prepare` an end of 0 would mean the end of the file."""
    return row.end_s is not None and row.end_s <= 0


def row_problems(rows: Sequence[TableRow]) -> Iterator[Problem]:
    """Yield doubtful rows of a dialogue: no text, spans that are empty, overlap or run backwards."""
    previous: dict[str, TableRow] = {}
    for row in rows:
        if not row.text:
            yield Problem(row.where, row.media, "empty transcript", "kept, text empty")
        if row.media and _ends_at_zero(row):
            span = f"span empty: {row.start_s or 0:g} s to {row.end_s:g} s"
            yield Problem(row.where, row.media, span, "no audio and no visual; the text is kept")
        if row.start_s is None:
            continue
        last = previous.get(row.media)
        if last is not None and row.start_s < last.start_s:
            back = f"out of order: begins at {row.start_s:g} s, the row before ({last.where}) at {last.start_s:g} s"
            yield Problem(row.where, row.media, back, "order of the table kept")
        elif row.media and last is not None and last.end_s is not None and row.start_s < last.end_s:
            overlap = f"overlap: begins {last.end_s - row.start_s:.3f} s before the end of {last.where}"
            yield Problem(row.where, row.media, overlap, "kept; both have the shared stretch")
        previous[row.media] = row


def _splits(raw: Path, dialogues: Dialogues, options: TableOptions) -> tuple[dict[str, str], str]:
    """Return the split of each dialogue, and their origin for the protocol."""
    counts = {name: Counter(row.emotion for row in rows) for name, rows in dialogues.items()}
    labelled = {name for name, emotions in counts.items() if set(emotions) - {""}}
    named = _named_splits(raw, dialogues)
    method = f"by dialogue, seed {options.split_seed}"

    def make(names: Sequence[str], shares: dict[str, float]) -> dict[str, str]:
        try:
            return split_dialogues({name: counts[name] for name in names}, shares, options.split_seed)
        except InputError as error:
            raise InputError(f"{raw}: {error}") from None

    if not named:
        if not labelled:
            return dict.fromkeys(dialogues, "test"), "no split"
        held_out = {"validation": options.validation_share, "test": options.test_share}
        listed = ", ".join(f"{split} {share:g}" for split, share in held_out.items())
        shares = {"train": 1 - sum(held_out.values())} | held_out
        return make(list(counts), shares), f"splits made {method}: {listed}"
    if "validation" not in named.values() and options.validation_share:
        training = [name for name, split in named.items() if split == "train"]
        shares = {"train": 1 - options.validation_share, "validation": options.validation_share}
        dealt = make(training, shares) if labelled & set(training) else {}
        return named | dealt, f"splits of the table, validation made {method}: {options.validation_share:g} of train"
    train, validation = ({name for name in named if named[name] == split} for split in ("train", "validation"))
    if labelled & train and validation and not labelled & validation:
        raise InputError(
            f"{raw}: emotions in the train split only: none of the {len(validation)} validation dialogue(s), "
            f"first {min(validation)!r}, has one, and the best epoch is chosen there. Label some, or leave the column "
            "`split` out: splits are then made by dialogue."
        )
    return named, "splits of the table"


def _named_splits(raw: Path, dialogues: Dialogues) -> dict[str, str]:
    """Return the table's own split of each dialogue; {} if no row has one."""
    splits, faults, without = {}, [], []
    for dialogue, rows in dialogues.items():
        with_split = [row for row in rows if row.split]
        for row in with_split:
            if (split := SPLIT_NAMES.get(row.split.lower())) is None:
                faults.append(f"{row.where}: split {row.split!r:.60}, expected {', '.join(SPLITS)}")
            elif splits.setdefault(dialogue, split) != split:
                both = f"{row.split} here, {with_split[0].split} in {with_split[0].where}"
                faults.append(f"{row.where}: the dialogue {dialogue!r} is in two splits: {both}")
        if not with_split:
            without.append(f"{rows[0].where}: the dialogue {dialogue!r} has no split, others have")
    both = eval_beside_test(row.split.lower() for rows in dialogues.values() for row in rows)
    refuse(raw, faults + (without if splits else []) + ([both] if both else []))
    return splits


def _label_problems(labels: Labels, utterances: Sequence[Utterance], source: str) -> Iterator[Problem]:
    """Yield what was decided about the labels, the utterances without one, and splits that lack labels."""
    unlabelled = [row for row in utterances if not row.emotion]
    if unlabelled:
        yield Problem(source, "", labels.missing_label(unlabelled[0].utterance_id), labels.missing_then)
    for problem in labels.problems:
        yield Problem(source, source, *problem)
    tested = [row for row in utterances if row.split == "test"]
    if tested and not any(row.emotion for row in tested) and len(unlabelled) < len(utterances):
        yield Problem(source, "", f"test split unlabelled: {len(tested)} utterances", "predicted, not scored")
