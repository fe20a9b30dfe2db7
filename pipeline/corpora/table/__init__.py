"""Your own corpus: a table of utterances beside a folder of clips, or videos with subtitles (docs/own-data.md)."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from dferc.core.errors import InputError
from dferc.core.problems import Problem
from dferc.store.rows import Note
from dferc.store.vocabulary import SPLITS
from pipeline.corpora import RawCorpus
from pipeline.corpora._rows import Row, nearest, read_table, refuse
from pipeline.corpora._splits import split_dialogues
from pipeline.corpora.table.subtitles import EMPTY_CUE
from pipeline.corpora.table.videos import read_videos
from pipeline.rows.utterances import Utterance
from pipeline.settings import Prepare, TableOptions

_FROM_SUBTITLES = "subtitles"
_SPLIT_NAMES = {
    **{name: name for name in SPLITS},
    **dict.fromkeys(("training",), "train"),
    **dict.fromkeys(("dev", "val", "valid"), "validation"),
    **dict.fromkeys(("testing", "eval"), "test"),
}
"""Splits as people write them, and ours."""

Dialogues = dict[str, list[Row]]


def read(raw: Path, settings: Prepare) -> RawCorpus:
    """Read a table of utterances, or the subtitles beside videos; make splits by dialogue where there are none.

    Raises:
        InputError: the folder or a file is missing or faulty, rows contradict each other, or a media path leaves `raw`.
    """
    options = settings.options
    if not raw.is_dir():
        raise InputError(f"{raw}: no such folder. Put the table and the media there, or name it with --raw.")
    found = read_videos(raw, options) if options.table == _FROM_SUBTITLES else read_table(raw / options.table)
    rows, problems = found
    refuse(raw, list(_media_faults(raw, rows)))
    classes = _classes(raw, rows, options)
    dialogues = _group(rows)
    splits, how = _splits(raw, dialogues, options)
    utterances = _utterances(raw, dialogues, splits)
    problems += [problem for each in dialogues.values() for problem in _row_problems(each)]
    problems += _label_problems(utterances, options)
    source = _FROM_SUBTITLES if options.table == _FROM_SUBTITLES else "table"
    protocol = f"own {source}, {len(classes)} classes, {how}" if classes else f"own {source}, unlabelled"
    notes = list(_notes(problems, utterances))
    return RawCorpus(classes=classes, protocol=protocol, utterances=utterances, problems=problems, notes=notes)


def _group(rows: Sequence[Row]) -> Dialogues:
    """Rows by dialogue, in order of first appearance: a table may be sorted by anything else."""
    dialogues = defaultdict(list)
    for row in rows:
        dialogues[row.dialogue_id].append(row)
    return dict(dialogues)


def _utterances(raw: Path, dialogues: Dialogues, splits: dict[str, str]) -> list[Utterance]:
    """Rows as utterances, positions and missing ids counted within the dialogue."""
    utterances, places, faults = [], {}, []
    for dialogue, rows in dialogues.items():
        for position, row in enumerate(rows):
            name = row.utterance_id or f"{dialogue}_{position}"
            if name in places:
                faults.append(f"{row.where}: the utterance_id {name!r} is that of {places[name]} already")
            places[name] = row.where
            utterances.append(_utterance(row, name, position, splits[dialogue]))
    refuse(raw, faults)
    return utterances


def _utterance(row: Row, name: str, position: int, split: str) -> Utterance:
    usable = row.media and not _ends_at_zero(row)
    return Utterance(
        utterance_id=name,
        dialogue_id=row.dialogue_id,
        position=position,
        speaker=row.speaker,
        emotion=row.emotion,
        split=split,
        text=row.text,
        media=row.media if usable else "",
        start_s=(row.start_s or 0.0) if usable else 0.0,
        end_s=(row.end_s or 0.0) if usable else 0.0,
    )


def _notes(problems: Sequence[Problem], utterances: Sequence[Utterance]) -> Iterator[Note]:
    """What of the problems belongs on the protocol card."""
    counts = Counter(problem.kind for problem in problems)
    unlabelled = sum(not row.emotion for row in utterances)
    if counts[EMPTY_CUE]:
        yield Note(action="dropped", what="cues", count=counts[EMPTY_CUE], why="without a text")
    if counts["overlap"]:
        yield Note(action="kept", what="utterances", count=counts["overlap"], why="overlap with the one before")
    if 0 < unlabelled < len(utterances):
        yield Note(action="kept", what="utterances", count=unlabelled, why="without an emotion: context only")


# ---------------------------------------------------------------------------------------------------- media


def _media_faults(raw: Path, rows: Sequence[Row]) -> Iterator[str]:
    """Paths that lead out of the raw folder: what is not in there is not ours to open."""
    inside, seen = raw.resolve(), {}
    for row in rows:
        if row.media and row.media not in seen:
            seen[row.media] = row.where
            path = Path(row.media)
            end = (raw / path).resolve()
            if path.is_absolute() or not end.is_relative_to(inside):
                led = "is an absolute path" if path.is_absolute() else f"leads to {end}"
                yield f"{row.where}: media {row.media!r} {led}; expected a path within {raw}. Put the file there"


def _ends_at_zero(row: Row) -> bool:
    """A span that is empty whatever the file: to `prepare` an end of 0 would mean the end of the file."""
    return row.end_s is not None and row.end_s <= 0


def _row_problems(rows: Sequence[Row]) -> Iterator[Problem]:
    """What is doubtful in the rows of a dialogue: no text, spans that are empty, overlap or run backwards."""
    before: dict[str, Row] = {}
    for row in rows:
        if not row.text:
            yield _problem(row, "empty transcript", "kept, text empty")
        if row.media and _ends_at_zero(row):
            span = f"span empty: {row.start_s or 0:g} s to {row.end_s:g} s"
            yield _problem(row, span, "no audio and no visual; the text is kept")
        if row.start_s is None or not row.media:
            continue
        last = before.get(row.media)
        if last is not None and row.start_s < last.start_s:
            back = f"out of order: begins at {row.start_s:g} s, the row before ({last.where}) at {last.start_s:g} s"
            yield _problem(row, back, "order of the table kept")
        elif last is not None and last.end_s is not None and row.start_s < last.end_s:
            overlap = f"overlap: begins {last.end_s - row.start_s:.3f} s before the end of {last.where}"
            yield _problem(row, overlap, "kept; both have the shared stretch")
        before[row.media] = row


def _problem(row: Row, problem: str, consequence: str) -> Problem:
    return Problem(where=row.where, file=row.media, problem=problem, consequence=consequence)


# ---------------------------------------------------------------------------------------------------- labels and splits


def _classes(raw: Path, rows: Sequence[Row], options: TableOptions) -> tuple[str, ...]:
    """The class names in order; none in a corpus without labels.

    Raises:
        InputError: a label that is no class, labels that differ in case only, or a single class.
    """
    found = Counter(row.emotion for row in rows if row.emotion)
    wanted = tuple(options.classes)
    if wanted:
        strange = [row for row in rows if row.emotion and row.emotion not in wanted]
        expected = f"expected one of {', '.join(wanted)} (prepare.options.classes), or nothing"
        faults = [f"{row.where}: emotion {row.emotion!r}, {expected}.{nearest(row.emotion, wanted)}" for row in strange]
        refuse(raw, faults)
    folded = defaultdict(list)
    for name in sorted(found):
        folded[name.casefold()].append(name)
    clashes = [f"the emotions {' and '.join(names)} differ in case only" for names in folded.values() if names[1:]]
    refuse(raw, clashes)
    if len(found) == 1:
        only = next(iter(found))
        raise InputError(
            f"{raw}: every labelled row has the emotion {only!r} ({found[only]} rows); two classes are needed to learn "
            "anything. Is it the right column? Leave it empty for predictions of a model trained elsewhere."
        )
    return wanted or tuple(sorted(found))


def _splits(raw: Path, dialogues: Dialogues, options: TableOptions) -> tuple[dict[str, str], str]:
    """The split of each dialogue, and how it came about."""
    counts = {name: Counter(row.emotion for row in rows) for name, rows in dialogues.items()}
    labelled = {name for name, emotions in counts.items() if set(emotions) - {""}}
    named = _named_splits(raw, dialogues)
    made = f"by dialogue, seed {options.split_seed}"
    if not named:
        if not labelled:
            return dict.fromkeys(dialogues, "test"), "no split"
        shares = {"validation": options.validation_share, "test": options.test_share}
        shares = {"train": 1 - sum(shares.values())} | shares
        said = ", ".join(f"{split} {share:g}" for split, share in shares.items() if split != "train")
        return _deal(raw, counts, shares, options.split_seed), f"splits made {made}: {said}"
    if "validation" not in named.values() and options.validation_share:
        training = {name: counts[name] for name, split in named.items() if split == "train"}
        shares = {"train": 1 - options.validation_share, "validation": options.validation_share}
        dealt = _deal(raw, training, shares, options.split_seed) if labelled & set(training) else {}
        return named | dealt, f"splits of the table, validation made {made}: {options.validation_share:g} of train"
    here = {split: {name for name in named if named[name] == split} for split in SPLITS}
    if labelled & here["train"] and here["validation"] and not labelled & here["validation"]:
        raise InputError(
            f"{raw}: emotions in the train split only: none of the {len(here['validation'])} validation dialogue(s), "
            f"first {min(here['validation'])!r}, has one, and the best epoch is chosen there. Label some, or leave the "
            "column `split` out: splits are then made by dialogue."
        )
    return named, "splits of the table"


def _deal(raw: Path, counts: dict[str, Counter], shares: dict[str, float], seed: int) -> dict[str, str]:
    try:
        return split_dialogues(counts, shares, seed)
    except InputError as error:
        raise InputError(f"{raw}: {error}") from None


def _named_splits(raw: Path, dialogues: Dialogues) -> dict[str, str]:
    """The table's own split of each dialogue; {} where it says none at all.

    Raises:
        InputError: an unknown name, a dialogue in two splits, or some dialogues with a split and some without.
    """
    splits, faults, without = {}, [], []
    for dialogue, rows in dialogues.items():
        for row in (row for row in rows if row.split):
            split = _SPLIT_NAMES.get(row.split.lower())
            first = next(each for each in rows if each.split)
            if split is None:
                faults.append(f"{row.where}: split {row.split!r}, expected {', '.join(SPLITS)}")
            elif splits.setdefault(dialogue, split) != split:
                both = f"{row.split} here, {first.split} in {first.where}"
                faults.append(f"{row.where}: the dialogue {dialogue!r} is in two splits: {both}")
        if not any(row.split for row in rows):
            without.append(f"{rows[0].where}: the dialogue {dialogue!r} has no split, others have")
    refuse(raw, faults + (without if splits else []))
    return splits


def _label_problems(utterances: Sequence[Utterance], options: TableOptions) -> Iterator[Problem]:
    """Utterances without an emotion, told once; and a test split that cannot be scored."""
    source = options.labels if options.table == _FROM_SUBTITLES and options.labels != "none" else options.table
    without = [row for row in utterances if not row.emotion]
    if without:
        problem = f"no emotion label: {len(without)} of {len(utterances)}, first {without[0].utterance_id}"
        yield Problem(where=source, file="", problem=problem, consequence="context only: in no loss and no score")
    tested = [row for row in utterances if row.split == "test"]
    if tested and not any(row.emotion for row in tested) and len(without) < len(utterances):
        problem = f"test split unlabelled: {len(tested)} utterances"
        yield Problem(where=source, file="", problem=problem, consequence="predicted, not scored")
