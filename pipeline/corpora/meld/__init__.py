"""MELD (Poria et al., ACL 2019): three CSVs and a folder of clips per split, anywhere below the raw folder.

Known layouts are found by pattern: `MELD.Raw/train/train_splits`, the doubled `MELD.Raw/MELD.Raw`, renamed folders,
CSVs beside or inside them. The CSVs alone give a text-only corpus. The corpus is GPL-3 and not ours to ship:
data/raw/meld/README.md lists the files, docs/data.md the facts of the corpus.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from dferc.core.console import console
from dferc.core.files import file_hash
from pipeline.corpora import RawCorpus
from pipeline.corpora import _published_csv as csvs
from pipeline.corpora.meld.checks import MeldRow, check_rows
from pipeline.corpora.meld.clips import Clips, clip_path, find_clips
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
    clips, problems = find_clips(raw, files)
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
    row_problems, notes = check_rows(rows, names)
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
            media=clip_path(split, variant.clip(row), clips),
        )
        # Times are written 00:01:02,345 and 0:01:02,345.
        span = tuple(row[name].strip().lstrip("0") for name in _TIMES) if set(_TIMES) <= set(row) else None
        yield MeldRow(utterance, variant.clip(row), span)
