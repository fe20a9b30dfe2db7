"""Files that list the corpus's own utterances: MELD's CSVs, IEMOCAP's utterance ids, or utterances.h5 of `prepare`."""

import csv
import io
import os
from pathlib import Path

from dferc.core.errors import InputError, listed
from dferc.core.files import regular_file
from dferc.core.tables import swallowed_rows
from dferc.importing.corpora import CORPORA, IEMOCAP, MELD, MELD_SPLITS
from dferc.importing.readers.tables import read_npz
from dferc.importing.source import About, Source, about_file, clean_text
from dferc.store.hdf5 import read_utterances

_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")


def read_transcripts(folder: Path) -> Source:
    """Read MELD's `*_sent_emo.csv`, anywhere below a folder: utterance numbers with gaps, speakers, labels, texts."""
    columns: dict[str, dict[str, list]] = {name: {} for name in ("labels", "utterances", "speakers", "texts")}
    splits = {}
    for name, split in MELD_SPLITS.items():
        files = _files_named(folder, f"{name}_sent_emo.csv")
        if not files:
            raise InputError(f"{folder}: no {name}_sent_emo.csv anywhere below it; MELD's three CSVs are needed.")
        if len({regular_file(file).read_bytes() for file in files}) > 1:
            places = listed(str(file.relative_to(folder)) for file in files)
            raise InputError(
                f"{folder}: {len(files)} files {name}_sent_emo.csv that differ: {places}. Leave one of them."
            )
        for dialogue, utterance, row in _rows(files[0]):
            key = f"{name}_{dialogue}"
            splits[key] = split
            values = (MELD.classes.index(row["Emotion"]), utterance, row["Speaker"], row["Utterance"])
            for column, value in zip(columns.values(), values):
                column.setdefault(key, []).append(value)
    about = About(path=folder, bytes=0, sha256="", git_blob="", layout="MELD's transcripts")
    return Source(about=about, corpus=MELD.name, classes=MELD.classes, splits=splits, **columns)


def _files_named(folder: Path, wanted: str) -> list[Path]:
    """Return the files of a name, in any case, below a folder and the folders that it links to, as `prepare` does."""
    found, walked = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in walked:
            folders.clear()  # a link to a folder above
        else:
            found += [Path(place, name) for name in names if name.lower() == wanted]
        walked.add(real)
    return sorted(found)


def _rows(path: Path) -> list[tuple[int, int, dict[str, str]]]:
    """Return (dialogue, utterance, row) of one CSV, sorted; in UTF-8 or cp1252."""
    data = regular_file(path).read_bytes().removeprefix(b"\xef\xbb\xbf")
    text = "\n".join(str(clean_text(line)) for line in data.replace(b"\r\n", b"\n").split(b"\n"))
    rows = []
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        names = reader.fieldnames or ()
        if lacking := [column for column in _COLUMNS if column not in names]:
            has = ", ".join(names) or "an empty file"
            raise InputError(f"{path}: no column {', '.join(lacking)}; found {has}. MELD's own names are expected.")
        if len(set(names)) < len(names):
            raise InputError(f"{path}: columns of one name: {', '.join(names)}. Name each once.")
        for row in reader:
            if None in row or None in row.values():
                fewer = "more" if None in row else "fewer"
                raise InputError(f"{path}, line {reader.line_num}: {fewer} fields than the header has; cut off?")
            if swallowed := swallowed_rows((row[column] for column in _COLUMNS), len(names), ","):
                raise InputError(f"{path}, line {reader.line_num}: {swallowed}.")
            row = {column: row[column].strip() for column in _COLUMNS}
            row["Emotion"] = row["Emotion"].lower()
            numbers = row["Dialogue_ID"], row["Utterance_ID"]
            if not all(number.isdecimal() for number in numbers) or row["Emotion"] not in MELD.classes:
                raise InputError(
                    f"{path}, line {reader.line_num}: dialogue {numbers[0]!r}, utterance {numbers[1]!r}, emotion "
                    f"{row['Emotion']!r}; expected whole numbers and one of {', '.join(MELD.classes)}."
                )
            rows.append((*map(int, numbers), row))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not readable as CSV: {error}.") from None
    return sorted(rows, key=lambda row: row[:2])


def read_ids(path: Path) -> Source:
    """Read IEMOCAP's utterance ids in order: a text file with one per line, or MERBench's label_6way.npz."""
    if regular_file(path).suffix == ".npz":
        corpus = read_npz(path).get("whole_corpus")
        content = corpus.item() if corpus is not None and corpus.size == 1 and corpus.dtype == object else None
        ids = [str(clean_text(key)) for key in content] if isinstance(content, dict) else []
    else:
        ids = path.read_text(encoding="utf-8-sig", errors="replace").split()
    utterances: dict[str, list] = {}
    for name in ids:
        dialogue, _, turn = name.rpartition("_")
        if not dialogue or turn[:1] not in ("F", "M"):
            raise InputError(f"{path}: {name!r:.60} is no IEMOCAP utterance id; expected such as Ses01F_impro01_F000.")
        utterances.setdefault(dialogue, []).append(name)
    if not utterances:
        raise InputError(f"{path}: no utterance ids; expected one per line, or MERBench's label_6way.npz.")
    return Source(about=about_file(path), corpus=IEMOCAP.name, utterances=utterances)


def read_prepared(folder: Path) -> Source | None:
    """Read the utterances, labels and splits that `prepare` or an import left in features/<corpus>/; None: no list."""
    path = folder / "utterances.h5"
    if not path.exists():
        return None
    rows = read_utterances(path)
    columns: dict[str, dict[str, list]] = {name: {} for name in ("labels", "utterances", "speakers", "texts")}
    splits = {}
    values = (rows.emotion.tolist(), rows.utterance_id, rows.speaker, rows.text)
    for dialogue, split, *row in zip(rows.dialogue_id, rows.split, *values):
        splits[dialogue] = split
        for column, value in zip(columns.values(), row):
            column.setdefault(dialogue, []).append(value)
    about = About(path=path, bytes=0, sha256="", git_blob="", layout="utterances of the features folder")
    name = rows.corpus if rows.corpus in CORPORA else ""
    return Source(about=about, corpus=name, classes=rows.classes, splits=splits, rows=rows, **columns)
