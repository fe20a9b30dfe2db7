"""MELD (Poria et al., ACL 2019): three CSVs and a folder of clips per split, wherever below the raw folder they lie.

Known layouts are found by pattern: `MELD.Raw/train/train_splits`, the doubled `MELD.Raw/MELD.Raw`, renamed folders,
CSVs beside or inside them. The CSVs alone give a text-only corpus. The corpus is GPL-3 and not ours to ship: what to
put where is in data/raw/meld/README.md.
"""

import csv
import io
import re
from collections import Counter, defaultdict
from pathlib import Path

from rich.table import Table

from dferc.console import InputError, console
from dferc.files import file_hash
from dferc.params import Prepare
from pipeline.corpora import RawCorpus
from pipeline.corpora._meld_clips import NAMES, Clips, Key, Rows, find_clips, list_files, media, unused_clips
from pipeline.utterances import Problem, Utterance

CLASSES = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
"""MELD's own class ids are positions here (some toolkits use another order)."""

PUBLISHED = {
    "train": (1038, (4710, 1205, 268, 683, 1743, 271, 1109)),
    "dev": (114, (470, 150, 40, 111, 163, 22, 153)),
    "test": (280, (1256, 281, 50, 208, 402, 68, 345)),
}
"""Dialogues, and utterances per class, of the published CSVs. (MELD's README says 1039: the dialogue 60 is absent.)"""

_GITHUB_COPIES = {
    "d2fa2d6529cf03cac2989efec05c9b27d8fd2f4c8fc5974c7ae88aa537fa02db",
    "2e89c6f8aa182d6f62f8c6331aece905ac7273ca4999660bfb5213e1d0370c1c",
    "8d37103938f7067600839fe29d5a114a6cd1bcdafb75bec101e06464c5006888",
}
"""SHA-256 of the CSVs in the authors' repository; those in the tar say the same in a broken encoding."""

_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
_TIMES = ("Season", "Episode", "StartTime", "EndTime")
# The CSVs of the tar carry cp1252's punctuation as C1 control characters (0x92 for an apostrophe).
_CP1252 = {code: bytes([code]).decode("cp1252", errors="ignore") or chr(code) for code in range(0x80, 0xA0)}
_CP1252[0xA0] = " "


def read(raw: Path, settings: Prepare) -> RawCorpus:
    """Read MELD's transcripts, labels and splits, and say where the clips are.

    Raises:
        InputError: a CSV is missing or faulty, or there are clips that no split can be told for.
    """
    files = list_files(raw)
    paths = {name: _find_table(raw, files, name) for name in NAMES}
    tables = {name: _read_table(path) for name, path in paths.items()}
    clips, problems = find_clips(raw, files)
    utterances = []
    for name, table in tables.items():
        file = str(paths[name].relative_to(raw))
        problems += unused_clips(name, clips[name], table) + _count_problems(name, file, table)
        problems += _empty_transcripts(name, file, table) + _shared_times(name, file, table)
        utterances += [_utterance(name, key, row, media(name, key, clips)) for key, row in table.items()]
    as_published = not any(problem.kind == "count differs" for problem in problems)
    _report(paths, tables, clips, as_published)
    counts = ", ".join(f"{name} {len(table)}" for name, table in tables.items())
    splits = "published splits" if as_published else f"own selection ({counts} utterances)"
    return RawCorpus(classes=CLASSES, protocol=f"MELD, 7 emotions, {splits}", utterances=utterances, problems=problems)


# ---------------------------------------------------------------------------------------------------- transcripts


def _find_table(raw: Path, files: list[Path], name: str) -> Path:
    wanted = f"{name}_sent_emo.csv"
    found = [path for path in files if path.name.lower() == wanted]
    if not found:
        seen = ", ".join(str(path.relative_to(raw)) for path in files[:5]) or "nothing"
        raise InputError(
            f"{raw}: no {wanted} anywhere below it (found {len(files)} file(s): {seen}). "
            "MELD's three CSVs are needed; data/raw/meld/README.md says where to get them."
        )
    hashes = {path: file_hash(path) for path in found}
    known = [path for path in found if hashes[path] in _GITHUB_COPIES]
    if not known and len(set(hashes.values())) > 1:
        listed = ", ".join(str(path.relative_to(raw)) for path in found)
        raise InputError(f"{raw}: {len(found)} files of the name {wanted} that differ: {listed}. Leave one of them.")
    return (known or found)[0]


def _read_table(path: Path) -> Rows:
    """The checked rows of one CSV, sorted by dialogue and utterance."""
    reader = csv.DictReader(io.StringIO(_decode(path), newline=""), strict=True)
    rows, faults = {}, []
    try:
        missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"{path}: lacks the column(s) {', '.join(missing)}; found {reader.fieldnames}.")
        for row in reader:
            fault = _fault(row)
            key = None if fault else (int(row["Dialogue_ID"]), int(row["Utterance_ID"]))
            if key in rows:
                fault = f"dialogue {key[0]}, utterance {key[1]} is there twice"
            if fault:
                faults.append(f"line {reader.line_num}: {fault}")
            else:
                rows[key] = row
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.reader.line_num}: not readable as CSV: {error}.") from None
    if faults:
        more = f"\n  … and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise InputError(f"{path}: {len(faults)} faulty row(s)\n  " + "\n  ".join(faults[:10]) + more)
    if not rows:
        raise InputError(f"{path} has a header and no rows.")
    return dict(sorted(rows.items()))


def _decode(path: Path) -> str:
    """The text of a CSV in UTF-8, cp1252 or, line by line, both; cp1252 punctuation mended to Unicode's."""
    lines = []
    for number, data in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            line = data.decode("utf-8")
        except UnicodeDecodeError:
            line = data.decode("latin-1")  # maps bytes to the same code points, which the next line mends
        line = line.translate(_CP1252)
        undefined = re.search(r"[\x80-\x9f]", line)
        if undefined:
            raise InputError(
                f"{path}, line {number}: the byte {ord(undefined[0]):#x} is neither UTF-8 nor cp1252: {line!r}"
            )
        lines.append(line)
    return "\n".join(lines)


def _fault(row: dict[str | None, str | None]) -> str | None:
    """What is wrong with a row of the CSV, or None."""
    if None in row or None in row.values():
        return "more or fewer fields than the header has"
    for column in ("Dialogue_ID", "Utterance_ID"):
        if not re.fullmatch(r"[0-9]+", row[column].strip()):
            return f"{column} is {row[column]!r}, expected a whole number"
    if row["Emotion"].strip().lower() not in CLASSES:
        return f"unknown emotion {row['Emotion']!r}, expected one of {', '.join(CLASSES)}"
    return None


def _utterance_id(name: str, key: Key) -> str:
    return f"{name}_dia{key[0]}_utt{key[1]}"


def _utterance(name: str, key: Key, row: dict[str, str], media: str) -> Utterance:
    return Utterance(
        utterance_id=_utterance_id(name, key),
        dialogue_id=f"{name}_{key[0]}",
        position=key[1],
        speaker=row["Speaker"].strip(),
        emotion=row["Emotion"].strip().lower(),
        split=NAMES[name],
        text=row["Utterance"].strip(),
        media=media,
    )


# ---------------------------------------------------------------------------------------------------- self-check


def _empty_transcripts(name: str, file: str, table: Rows) -> list[Problem]:
    empty = [key for key, row in table.items() if not row["Utterance"].strip()]
    return [
        Problem(where=_utterance_id(name, key), file=file, problem="empty transcript", consequence="kept, text empty")
        for key in empty
    ]


def _shared_times(name: str, file: str, table: Rows) -> list[Problem]:
    """Rows of one and the same stretch of an episode: one clip under several labels."""
    if not set(_TIMES) <= set(next(iter(table.values()))):
        return []
    spans = defaultdict(list)
    for key, row in table.items():
        spans[tuple(row[column] for column in _TIMES)].append(key)
    return [
        Problem(
            where=_utterance_id(name, keys[0]),
            file=file,
            problem=f"same times: as {', '.join(_utterance_id(name, key) for key in keys[1:])}",
            consequence=f"kept, labelled {', '.join(table[key]['Emotion'] for key in keys)}",
        )
        for keys in spans.values()
        if len(keys) > 1
    ]


def _count_problems(name: str, file: str, table: Rows) -> list[Problem]:
    dialogues, expected = PUBLISHED[name]
    found = _per_class(table)
    compared = [("dialogues", _dialogues(table), dialogues), *zip(CLASSES, found, expected, strict=True)]
    return [
        Problem(
            where=name,
            file=file,
            problem=f"count differs: {what} {count}, published {published}",
            consequence="kept as found; scores are not comparable with published ones",
        )
        for what, count, published in compared
        if count != published
    ]


def _dialogues(table: Rows) -> int:
    return len({dialogue for dialogue, _ in table})


def _per_class(table: Rows) -> list[int]:
    counts = Counter(row["Emotion"].strip().lower() for row in table.values())
    return [counts[emotion] for emotion in CLASSES]


def _report(
    paths: dict[str, Path],
    tables: dict[str, Rows],
    clips: dict[str, Clips],
    as_published: bool,
) -> None:
    """Print what was found beside what was published."""
    columns = []
    for name, table in tables.items():
        found, published = (_dialogues(table), *_per_class(table)), (PUBLISHED[name][0], *PUBLISHED[name][1])
        cells = [
            str(have) if have == want else f"[bold red]{have} / {want}[/]"
            for have, want in zip(found, published, strict=True)
        ]
        unused = sum(key not in table for key in clips[name])
        known = "published copy" if file_hash(paths[name]) in _GITHUB_COPIES else "other copy"
        columns.append([*cells, str(len(clips[name])), str(unused), known])
    shown = Table("", *tables, title="MELD (where they differ: found / published)")
    rows = ("dialogues", *CLASSES, "clips", "clips without a row", "CSV")
    for row in zip(rows, *columns, strict=True):
        shown.add_row(*row)
    console.print(shown)
    if not as_published:
        console.print("[bold yellow]note:[/] not the published MELD's counts: scores are not comparable with papers.")
    if not any(clips.values()):
        console.print("No clips: a text-only corpus.")
