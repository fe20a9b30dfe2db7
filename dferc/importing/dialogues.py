"""The parts of a recognised file, each a mapping from dialogues to utterances, as a `Source`."""

from collections.abc import Callable, Mapping

import numpy as np

from dferc.core.errors import InputError
from dferc.importing.corpora import CORPORA, IEMOCAP, M3ED, MELD, is_iemocap_dialogue, meld_dialogue
from dferc.importing.source import (
    About,
    Source,
    check_same_length,
    clean_text,
    is_cp1252,
    kind,
    rows_of,
    to_matrices,
    vector_of,
)
from dferc.importing.splits import given_splits, true_splits
from dferc.store.rows import Note

ROBERTA = ("text1", "text2", "text3", "text4")
"""COSMIC's last four layers."""

MULTIEMO = {768: "text", 512: "audio", 1000: "visual"}
"""By width: EmoBERTa, openSMILE reduced, VisExtNet."""


def read_parts(corpus: str, parts: dict[str, object], about: About, layer: str) -> Source:
    """The dialogues of a file of a known layout.

    Args:
        corpus: whose dialogues it holds.
        parts: by the names of the layout.
        about: the file.
        layer: which of the four text layers, or their mean.

    Raises:
        InputError: the file contradicts itself or its corpus.
    """
    name_of = _namer(parts["labels"], about)
    columns = {
        name: _by_dialogue(part, name_of, about)
        for name, part in parts.items()
        if isinstance(part, dict) and name != "other"
    }
    check_same_length({name: columns[name] for name in ("labels", *sorted(set(columns) - {"labels"}))}, about.path)
    given = given_splits(parts, name_of, columns["labels"], about)
    splits = true_splits(corpus, given, about)
    left_out = sorted(set(columns["labels"]) - set(splits))
    columns = {name: {key: column[key] for key in splits} for name, column in columns.items()}
    return Source(
        about=about,
        corpus=corpus,
        classes=CORPORA[corpus].classes,
        splits=splits,
        labels=_each(columns["labels"], _class_id(len(CORPORA[corpus].classes)), about, "label"),
        utterances=_utterances(columns.get("ids", {})),
        speakers=_speakers(corpus, columns["speakers"], about),
        texts=_each(columns["sentences"], clean_text, about, "sentence"),
        features=_features(columns, about, layer),
        problems=tuple((name, "in no split list of the file", "left out") for name in left_out),
        notes=_notes(given, splits, left_out, columns["sentences"]),
    )


def _features(columns: dict, about: About, layer: str) -> dict[str, dict[str, np.ndarray]]:
    features = {
        name: to_matrices(columns[name], about, name) for name in ("text", "audio", "visual") if name in columns
    }
    if ROBERTA[0] not in columns:
        return features
    chosen = ROBERTA if layer == "mean" else (f"text{layer}",)
    total: dict[str, np.ndarray] = {}
    for name in chosen:  # one layer after the other: the four together are most of the file
        for key, matrix in to_matrices(columns[name], about, name).items():
            if key in total and total[key].shape != matrix.shape:
                raise InputError(
                    f"{about.path}, dialogue {key}: {name} is {matrix.shape[1]} wide, the layer before it "
                    f"{total[key].shape[1]}; the layers of one encoder have one width."
                )
            if key in total:
                total[key] += matrix
            else:
                total[key] = matrix
    for matrix in total.values():
        matrix /= len(chosen)
    return {"text": total} | features


def corpus_of(key: object) -> str:
    """Whose dialogues are named so; M3ED's names have no pattern of their own."""
    if isinstance(key, int):
        return MELD.name
    return IEMOCAP.name if is_iemocap_dialogue(clean_text(key)) else M3ED.name


def read_one_modality(content: dict, about: About) -> Source:
    """A dictionary of dialogues with features and nothing else; told by its width, or by its name as MultiEMO's.

    Raises:
        InputError: the file contradicts itself.
    """
    name_of = _namer(content, about)
    matrices = to_matrices(_by_dialogue(content, name_of, about), about, "features")
    width = next(iter(matrices.values())).shape[1]
    stem = about.path.stem.lower()
    named = next((modality for modality in ("text", "audio", "visual") if stem == f"{modality}features"), "?")
    corpora = {corpus_of(key) for key in content} - {M3ED.name}
    corpus = corpora.pop() if len(corpora) == 1 else ""
    return Source(about=about, corpus=corpus, features={MULTIEMO.get(width, named): matrices})


def _namer(keys: Mapping, about: About) -> Callable[[object], str]:
    """How this file's dialogue keys become dialogue ids: MELD's numbers are told apart, text is decoded."""
    strange = [key for key in keys if isinstance(key, int) and meld_dialogue(key) is None]
    if strange:
        raise InputError(
            f"{about.path}: there is a dialogue {strange[0]}; expected MELD's numbers, 0 to 1432 (train, dev from "
            "1039, test from 1153). For another corpus write an .npz (see `dferc import --help`)."
        )
    return lambda key: meld_dialogue(int(key))[0] if isinstance(key, (int, np.integer)) else str(clean_text(key))


def _by_dialogue(part: dict, name_of: Callable[[object], str], about: About) -> dict[str, list]:
    named = {}
    for key, value in part.items():
        name = name_of(key) if not isinstance(key, int) or meld_dialogue(key) else str(key)
        if name in named:
            raise InputError(f"{about.path}: the dialogue {name} is there twice.")
        named[name] = rows_of(value, f"{about.path}, dialogue {name}")
    return named


def _each(column: dict[str, list], read: Callable, about: About, what: str) -> dict[str, list]:
    """Read every value of a column; the first that cannot be read is named."""
    values = {}
    for key, rows in column.items():
        values[key] = [read(row) for row in rows]
        if None in values[key]:
            place = values[key].index(None)
            found = rows[place]
            shown = found if isinstance(found, (int, float, np.number)) else kind(found)
            expected = {"label": "a class id of its corpus, from 0", "speaker": "a name or a one-hot vector"}.get(
                what, "text"
            )
            raise InputError(
                f"{about.path}, dialogue {key}, utterance {place}: the {what} is {shown}; expected {expected}."
            )
    return values


def _class_id(classes: int) -> Callable[[object], int | None]:
    def read(value: object) -> int | None:
        is_id = isinstance(value, (int, np.integer)) and not isinstance(value, bool) and 0 <= value < classes
        return int(value) if is_id else None

    return read


def _speaker(value: object) -> str | None:
    """A name; or `speaker 1` for the first to speak, from a one-hot vector by order of appearance."""
    text = clean_text(value)
    if text is not None:
        return text
    vector = vector_of(value) if not isinstance(value, (int, np.integer)) else None
    if vector is not None and len(vector) and vector.max() == vector.sum() == 1:
        return f"speaker {int(vector.argmax()) + 1}"
    return f"speaker {int(value) + 1}" if isinstance(value, (int, np.integer)) and value >= 0 else None


def _speakers(corpus: str, column: dict[str, list], about: About) -> dict[str, list[str]]:
    """Names; IEMOCAP's letters with their session, since each session has two other actors."""
    names = _each(column, _speaker, about, "speaker")
    if corpus != IEMOCAP.name:
        return names
    return {key: [key[:5] + name if name in ("F", "M") else name for name in row] for key, row in names.items()}


def _utterances(column: dict[str, list]) -> dict[str, list]:
    """Utterance ids where the file has usable ones: rising numbers (MELD), or different names."""
    usable = {}
    for key, rows in column.items():
        names = [clean_text(row) for row in rows]
        numbers = [int(name) if name and name.isdigit() else row for name, row in zip(names, rows)]
        if all(isinstance(row, (int, np.integer)) for row in numbers):
            if all(a < b for a, b in zip(numbers, numbers[1:])) and all(0 <= row < 1 << 31 for row in numbers):
                usable[key] = [int(row) for row in numbers]
        elif all(names) and len(set(names)) == len(names):
            usable[key] = names
    return usable


def _notes(given: dict, splits: dict, left_out: list[str], sentences: dict[str, list]) -> tuple[Note, ...]:
    """What was mended, for the protocol card."""
    moved = sum(given[name] != split for name, split in splits.items())
    mended = sum(is_cp1252(sentence) for rows in sentences.values() for sentence in rows)
    notes = (
        Note(action="repaired", what="dialogues put into the true split", count=moved, why="elsewhere in the file"),
        Note(action="repaired", what="transcripts with cp1252 marks", count=mended, why="written in another code"),
        Note(action="dropped", what="dialogues", count=len(left_out), why="in no split list of the file"),
    )
    return tuple(note for note in notes if note.count)
