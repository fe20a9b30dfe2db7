"""MELD (Poria et al., ACL 2019): three CSVs and a folder of clips per split, wherever below the raw folder they lie.

Known layouts are found by pattern: `MELD.Raw/train/train_splits`, the doubled `MELD.Raw/MELD.Raw`, renamed folders,
CSVs beside or inside them. The CSVs alone give a text-only corpus. The corpus is GPL-3 and not ours to ship: what to
put where is in data/raw/meld/README.md.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dferc.core.console import console
from dferc.core.files import file_hash
from pipeline.corpora import RawCorpus
from pipeline.corpora._published import (
    NAMES,
    Counts,
    Key,
    PublishedTable,
    count_problems,
    find_table,
    list_files,
    number_fault,
    published_counts,
    read_table,
    show_counts,
)
from pipeline.corpora.meld.checks import Turn, check_turns, describe_turns
from pipeline.corpora.meld.clips import Clips, find_clips, media, unused_clips
from pipeline.rows.utterances import Utterance
from pipeline.settings import Prepare

CLASSES = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
SENTIMENTS = ("neutral", "positive", "negative")
"""MELD's own class ids are positions here (some toolkits use another order)."""

LABELS = {"emotion": CLASSES, "sentiment": SENTIMENTS}
"""By the option `labels`."""

PUBLISHED = {
    ("multiparty", "emotion"): published_counts(
        ("dialogues", *CLASSES),
        (1038, 4710, 1205, 268, 683, 1743, 271, 1109),
        (114, 470, 150, 40, 111, 163, 22, 153),
        (280, 1256, 281, 50, 208, 402, 68, 345),
    ),
    ("multiparty", "sentiment"): published_counts(
        ("dialogues", *SENTIMENTS), (1038, 4710, 2334, 2945), (114, 470, 233, 406), (280, 1256, 521, 833)
    ),
    **dict.fromkeys(
        [("dyadic", "emotion"), ("dyadic", "sentiment")],
        published_counts(("dialogues", "utterances"), (2160, 12840), (270, 1462), (577, 3400)),
    ),
}
"""Counts of the published CSVs, by options. (MELD's README says 1039 dialogues: the dialogue 60 is absent.)"""

_GITHUB_COPIES = {
    "d2fa2d6529cf03cac2989efec05c9b27d8fd2f4c8fc5974c7ae88aa537fa02db",
    "2e89c6f8aa182d6f62f8c6331aece905ac7273ca4999660bfb5213e1d0370c1c",
    "8d37103938f7067600839fe29d5a114a6cd1bcdafb75bec101e06464c5006888",
}
"""SHA-256 of the multiparty CSVs in the authors' repository; those in the tar say the same in a broken encoding."""

_KEY = ("Dialogue_ID", "Utterance_ID")
_TIMES = ("Season", "Episode", "StartTime", "EndTime")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What differs between MELD and its dyadic variant.

    Attributes:
        name: for the protocol and the screen.
        csv: name of a split's CSV.
        dialogue: what a dialogue is called before its number.
        clip_key: columns that name the clip: the dyadic dialogues are cut out of the others and keep their clips.
    """

    name: str
    csv: str
    dialogue: str
    clip_key: tuple[str, str]

    def clip(self, row: Mapping[str, str]) -> Key:
        """Dialogue and utterance in the clip's name."""
        return tuple(int(row[column]) for column in self.clip_key)


VARIANTS = {
    "multiparty": Variant(name="MELD", csv="{}_sent_emo.csv", dialogue="dia", clip_key=_KEY),
    "dyadic": Variant(
        name="MELD dyadic",
        csv="{}_sent_emo_dya.csv",
        dialogue="dya",
        clip_key=("Old_Dialogue_ID", "Old_Utterance_ID"),
    ),
}
"""By the option `dialogues`."""


def read(raw: Path, settings: Prepare) -> RawCorpus:
    """Read MELD's transcripts, labels and splits, and say where the clips are.

    Raises:
        InputError: a CSV is missing or faulty, or there are clips that no split can be told for.
    """
    labels, variant = settings.options.labels, VARIANTS[settings.options.dialogues]
    published = PUBLISHED[settings.options.dialogues, labels]
    files = list_files(raw, "MELD")
    tables = {name: _read_table(raw, files, name, labels, variant) for name in NAMES}
    names = {name: str(table.path.relative_to(raw)) for name, table in tables.items()}
    clips, problems = find_clips(raw, files)
    turns = [turn for name, table in tables.items() for turn in _turns(name, table, labels, variant, clips)]
    unnamed = {name: _unnamed(clips[name], table, variant) for name, table in tables.items()}
    counts = {name: _count(table, labels) for name, table in tables.items()}
    differing = count_problems(counts, published, names)
    problems += [*unused_clips(unnamed), *differing, *check_turns(turns, names)]
    _report(variant, counts, published, tables, clips, unnamed)
    splits = "published splits"
    if differing:
        splits = f"own selection ({', '.join(f'{name} {len(tables[name].rows)}' for name in NAMES)} utterances)"
    return RawCorpus(
        classes=LABELS[labels],
        protocol=f"{variant.name}, {len(LABELS[labels])} {labels}s, {splits}",
        utterances=[turn.utterance for turn in turns],
        problems=problems,
        notes=describe_turns(turns, sum(table.mended for table in tables.values()), sum(map(len, unnamed.values()))),
    )


def _read_table(raw: Path, files: list[Path], name: str, labels: str, variant: Variant) -> PublishedTable:
    column, known = labels.capitalize(), LABELS[labels]

    def fault(row: dict[str, str]) -> str | None:
        if _class(row[column]) not in known:
            return f"unknown {labels} {row[column]!r}, expected one of {', '.join(known)}"
        return number_fault(row, variant.clip_key)

    path = find_table(raw, files, variant.csv.format(name), "MELD", _GITHUB_COPIES)
    return read_table(path, ("Utterance", "Speaker", column, *variant.clip_key), _KEY, fault)


def _class(value: str) -> str:
    return value.strip().lower()


def _turns(name: str, table: PublishedTable, labels: str, variant: Variant, clips: dict[str, Clips]) -> Iterator[Turn]:
    """The utterances of one split."""
    for (dialogue, position), row in table.rows.items():
        utterance = Utterance(
            utterance_id=f"{name}_{variant.dialogue}{dialogue}_utt{position}",
            dialogue_id=f"{name}_{dialogue}",
            position=position,
            speaker=row["Speaker"].strip(),
            emotion=_class(row[labels.capitalize()]),
            split=NAMES[name],
            text=row["Utterance"].strip(),
            media=media(name, variant.clip(row), clips),
        )
        # Times are written 00:01:02,345 and 0:01:02,345.
        span = tuple(row[column].strip().lstrip("0") for column in _TIMES) if set(_TIMES) <= set(row) else None
        yield Turn(utterance, variant.clip(row), span)


def _unnamed(clips: Clips, table: PublishedTable, variant: Variant) -> Clips:
    """The clips of a split that no row of its CSV names."""
    named = {variant.clip(row) for row in table.rows.values()}
    return {key: path for key, path in clips.items() if key not in named}


def _count(table: PublishedTable, labels: str) -> dict[str, int]:
    classes = Counter(_class(row[labels.capitalize()]) for row in table.rows.values())
    return {
        "dialogues": len({dialogue for dialogue, _ in table.rows}),
        "utterances": len(table.rows),
        **{name: classes[name] for name in LABELS[labels]},
    }


def _report(
    variant: Variant,
    counts: Counts,
    published: Counts,
    tables: Mapping[str, PublishedTable],
    clips: Mapping[str, Clips],
    unnamed: Mapping[str, Clips],
) -> None:
    """Print what was found beside what was published."""
    known = [file_hash(table.path) in _GITHUB_COPIES for table in tables.values()]
    further = {
        "clips": [str(len(clips[name])) for name in tables],
        "clips without a row": [str(len(unnamed[name])) for name in tables],
        "CSV": ["published copy" if copy else "other copy" for copy in known],
    }
    show_counts(variant.name, counts, published, further)
    if not any(clips.values()):
        console.print("No clips: a text-only corpus.")
