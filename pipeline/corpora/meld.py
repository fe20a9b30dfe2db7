"""MELD (Poria et al., ACL 2019): three CSVs and a folder of clips per split, anywhere below the raw folder.

Known layouts are found by pattern: `MELD.Raw/train/train_splits`, the doubled `MELD.Raw/MELD.Raw`, renamed folders,
CSVs beside or inside them. The CSVs alone give a text-only corpus. The corpus is GPL-3 and not ours to ship:
data/raw/meld/README.md lists the files, docs/data.md the facts of the corpus.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from dferc.core.console import console
from dferc.core.errors import InputError, Problem
from dferc.core.files import file_hash
from dferc.store.rows import Note
from dferc.store.vocabulary import SPLITS
from pipeline.corpora import RawCorpus
from pipeline.corpora import _published_csv as csvs
from pipeline.corpora._files import first_clip
from pipeline.media.files import MEDIA_SUFFIXES
from pipeline.rows.utterances import Utterance
from pipeline.settings import Prepare

CLASSES = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
SENTIMENTS = ("neutral", "positive", "negative")
"""MELD's own class ids are positions here (some toolkits use another order)."""

LABELS = {"emotion": CLASSES, "sentiment": SENTIMENTS}  # classes by the option `labels`

PUBLISHED = {
    ("multiparty", "emotion"): csvs.published_counts(
        ("dialogues", *CLASSES),
        (1038, 4710, 1205, 268, 683, 1743, 271, 1109),
        (114, 470, 150, 40, 111, 163, 22, 153),
        (280, 1256, 281, 50, 208, 402, 68, 345),
    ),
    ("multiparty", "sentiment"): csvs.published_counts(
        ("dialogues", *SENTIMENTS), (1038, 4710, 2334, 2945), (114, 470, 233, 406), (280, 1256, 521, 833)
    ),
    **dict.fromkeys(
        [("dyadic", "emotion"), ("dyadic", "sentiment")],
        csvs.published_counts(("dialogues", "utterances"), (2160, 12840), (270, 1462), (577, 3400)),
    ),
}
"""Counts of the published CSVs, by options. (MELD's README says 1039 dialogues: the dialogue 60 is absent.)"""

_GITHUB_COPIES = {
    "d2fa2d6529cf03cac2989efec05c9b27d8fd2f4c8fc5974c7ae88aa537fa02db",
    "2e89c6f8aa182d6f62f8c6331aece905ac7273ca4999660bfb5213e1d0370c1c",
    "8d37103938f7067600839fe29d5a114a6cd1bcdafb75bec101e06464c5006888",
}
"""SHA-256 of the multiparty CSVs in the authors' repository; those in the tar are the same in a broken encoding."""

_KEY = ("Dialogue_ID", "Utterance_ID")
_TIMES = ("Season", "Episode", "StartTime", "EndTime")

Clips = dict[csvs.Key, PurePath]  # the clips of one split, relative to the raw folder

_CLIP, _SUFFIX = re.compile(r"(final_videos_test)?dia(\d+)_utt(\d+)", re.IGNORECASE), ".mp4"
_FOLDERS = {
    **dict.fromkeys(("train_splits", "train", "training"), "train"),
    **dict.fromkeys(("dev_splits_complete", "dev_splits", "dev", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("output_repeated_splits_test", "test_splits", "test"), "test"),
}


class MeldVariant(NamedTuple):
    """Differences between MELD and its dyadic variant."""

    name: str  # in the protocol and on the screen
    csv: str  # name of a split's CSV
    prefix: str  # prefix of a dialogue's number
    clip_key: tuple[str, str]  # columns that name the clip: dyadic dialogues are cut out of the others, and share clips

    def clip(self, row: Mapping[str, str]) -> csvs.Key:
        """Return dialogue and utterance in the clip's name."""
        return tuple(int(row[column]) for column in self.clip_key)


VARIANTS = {
    "multiparty": MeldVariant("MELD", "{}_sent_emo.csv", "dia", _KEY),
    "dyadic": MeldVariant("MELD dyadic", "{}_sent_emo_dya.csv", "dya", ("Old_Dialogue_ID", "Old_Utterance_ID")),
}
"""Variants by the option `dialogues`."""


class MeldRow(NamedTuple):
    """A row of the CSVs."""

    utterance: Utterance  # the row as `prepare` needs it
    clip: csvs.Key  # dialogue and utterance in its clip's name; rows of the dyadic variant share clips
    span: tuple[str, ...] | None  # season, episode, begin and end; None where the CSV lacks them


def read(raw: Path, settings: Prepare) -> RawCorpus:
    """Read MELD's transcripts, labels, splits, and the paths of its clips."""
    labels, variant = settings.options.labels, VARIANTS[settings.options.dialogues]
    published = PUBLISHED[settings.options.dialogues, labels]
    column, classes = labels.capitalize(), LABELS[labels]
    files = csvs.list_files(raw, "MELD")
    paths = csvs.find_tables(raw, files, variant.csv, "MELD", _GITHUB_COPIES)

    def fault_of(row: dict[str, str]) -> str | None:
        return csvs.label_fault(row, column, classes) or csvs.number_fault(row, variant.clip_key)

    columns = ("Utterance", "Speaker", column, *variant.clip_key)
    tables = {split: csvs.read_published(path, columns, _KEY, fault_of) for split, path in paths.items()}
    clips, problems = _find_clips(raw, files)
    rows = [row for split, table in tables.items() for row in _rows(split, table, column, variant, clips)]
    unused = {}
    for split, table in tables.items():
        named = {variant.clip(row) for row in table.rows.values()}
        unused[split] = [path for key, path in clips[split].items() if key not in named]
        problems += csvs.grouped_problem(split, unused[split], "no CSV row", "the clip is ignored")
    counts = csvs.count_labels(tables, 1, column, classes)
    names = {split: str(path.relative_to(raw)) for split, path in paths.items()}
    further = {
        "clips": [len(clips[split]) for split in csvs.NAMES],
        "clips without a row": [len(unused[split]) for split in csvs.NAMES],
        "CSV": ["published copy" if file_hash(path) in _GITHUB_COPIES else "other copy" for path in paths.values()],
    }
    splits, differing = csvs.compare_counts(variant.name, counts, published, names, further)
    row_problems, notes = _check_rows(rows, names)
    if not any(clips.values()):
        console.print("No clips: a text-only corpus.")
    return RawCorpus(
        classes=classes,
        protocol=f"{variant.name}, {len(classes)} {labels}s, {splits}",
        utterances=[row.utterance for row in rows],
        problems=problems + differing + row_problems,
        tables=paths.values(),
        notes=csvs.nonzero_notes(tables, sum(map(len, unused.values())), *notes),
    )


def _find_clips(raw: Path, files: list[Path]) -> tuple[dict[str, Clips], list[Problem]]:
    """Return the clip of each utterance, per split; the corrected `final_videos_test*` copies are preferred.

    A clip is `dia{D}_utt{U}.mp4` in a folder that names the split, at whatever depth, or converted, with another
    suffix.
    """
    candidates, unplaced, unnamed = defaultdict(list), [], []
    for path in files:
        match, place = _CLIP.fullmatch(path.stem), path.relative_to(raw)
        if not match:
            unnamed += [place] if path.suffix.lower() == _SUFFIX else []
            continue
        folders = [_FOLDERS[part.lower()] for part in place.parent.parts if part.lower() in _FOLDERS]
        if folders or match[1]:
            split = folders[-1] if folders else "test"  # the innermost folder counts
            candidates[split, (int(match[2]), int(match[3]))].append((not match[1], len(place.parts), path))
        else:
            unplaced += [place] if path.suffix.lower() in MEDIA_SUFFIXES else []
    clips = {split: {} for split in csvs.NAMES}
    repeated = []
    for (split, key), copies in candidates.items():
        best = first_clip([path for *_, path in sorted(copies)], _SUFFIX)
        if best is None:
            continue  # features of a clip, perhaps
        clips[split][key] = best.relative_to(raw)
        others = [path for *_, path in copies if path.suffix.lower() == best.suffix.lower() and path != best]
        repeated += [path.relative_to(raw) for path in others if path.name.lower() == best.name.lower()]
    if unplaced and not any(clips.values()):
        raise InputError(
            f"{raw}: {len(unplaced)} clips, such as {unplaced[0]}, lie in no folder that names a split. "
            f"Name their folders train, dev and test (or as MELD does: {', '.join(_FOLDERS)})."
        )
    problems = csvs.grouped_problem("clips", unnamed, "name not MELD's", "not dia{D}_utt{U}.mp4; ignored")
    problems += csvs.grouped_problem("clips", unplaced, "split unknown", "in no folder that names a split; ignored")
    problems += csvs.grouped_problem("clips", repeated, "clip found twice", "the copy nearest to the top is used")
    return clips, problems


def _rows(
    split: str, table: csvs.PublishedTable, column: str, variant: MeldVariant, clips: dict[str, Clips]
) -> Iterator[MeldRow]:
    """Yield the rows of one split."""
    for (dialogue, position), row in table.rows.items():
        utterance = Utterance(
            utterance_id=f"{split}_{variant.prefix}{dialogue}_utt{position}",
            dialogue_id=f"{split}_{dialogue}",
            position=position,
            speaker=row["Speaker"].strip(),
            emotion=csvs.label_of(row, column),
            split=csvs.NAMES[split],
            text=row["Utterance"].strip(),
            media=_clip_path(split, variant.clip(row), clips),
        )
        # Times are written 00:01:02,345 and 0:01:02,345.
        span = tuple(row[name].strip().lstrip("0") for name in _TIMES) if set(_TIMES) <= set(row) else None
        yield MeldRow(utterance, variant.clip(row), span)


def _clip_path(split: str, key: csvs.Key, clips: dict[str, Clips]) -> str:
    """Return the path of a clip, or its expected path; an empty string in a corpus without any clips."""
    if not any(clips.values()):
        return ""
    path = clips[split].get(key)
    if path is None:
        sibling = next(iter(clips[split].values()), PurePath(split, "clip"))
        path = sibling.with_name(f"dia{key[0]}_utt{key[1]}{sibling.suffix or _SUFFIX}")
    return path.as_posix()


def _check_rows(rows: Sequence[MeldRow], files: Mapping[str, str]) -> tuple[list[Problem], list[Note]]:
    """List empty transcripts, repeated rows, and spans of an episode that several clips share; `files` has the CSVs."""
    spans = defaultdict(dict)
    for utterance, clip, span in rows:
        if span is not None:
            spans[span].setdefault((utterance.split, clip), utterance)  # once, if in several dyadic dialogues
    groups = [list(clips.values()) for clips in spans.values()]
    parts = [[row for row in group if row.split == split] for split in SPLITS for group in groups]
    within = [part for part in parts if len(part) > 1]
    across = [group for group in groups if len({row.split for row in group}) > 1]  # the scenes themselves overlap

    empty = [row.utterance for row in rows if not row.utterance.text]
    faults = [(row, "empty transcript", "kept, text empty") for row in empty]
    for kind, shared in (("same times", within), ("same times in two splits", across)):
        for first, *others in shared:
            labels = ", ".join(row.emotion for row in (first, *others))
            ids = ", ".join(row.utterance_id for row in others)
            faults.append((first, f"{kind}: as {ids}", f"kept, labelled {labels}"))
    file_of = {split: files[name] for name, split in csvs.NAMES.items()}
    problems = [Problem(row.utterance_id, file_of[row.split], *fault) for row, *fault in faults]

    conflicting = sum(len({row.emotion for row in part}) > 1 for part in within)
    overlap = "the two-speaker dialogues are cut out of longer ones and overlap"
    repeated = len(rows) - len({(row.utterance.split, row.clip) for row in rows})
    differing = f"as published; {conflicting} of {len(within)} such spans carry different labels"
    scenes = "; ".join(" = ".join(row.utterance_id for row in group) for group in across[:5])
    kept = (
        ("rows that repeat an utterance of another dialogue", repeated, overlap),
        ("rows that share their time span with another of their split", sum(map(len, within)), differing),
        ("time spans that stand in two splits", len(across), f"as published; {scenes}"),
    )
    return problems, [Note(action="kept", what=what, count=count, why=why) for what, count, why in kept]
