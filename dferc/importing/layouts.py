"""The pickles that the field passes around, recognised by what they hold, not by their name.

A layout is the order of a tuple's parts. A file has the one whose number of parts, kinds of parts and kind of dialogue
keys it has: MELD's pickles number their dialogues, IEMOCAP's name them. Widths are read from the file: the same layout
carries 100, 300 or 1582 audio values.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dferc import SPLITS
from dferc.console import InputError
from dferc.corpus import Note
from dferc.importing.known import (
    CORPORA,
    COSMIC_VALIDATION,
    IEMOCAP,
    M3ED,
    MELD,
    MELD_SPLITS,
    is_iemocap_dialogue,
    meld_dialogue,
)
from dferc.importing.rebuild import is_key, text_of
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

LAYERS = ("1", "2", "3", "4", "mean")
ROBERTA = ("text1", "text2", "text3", "text4")
"""COSMIC's last four layers."""

_MMGCN = ("ids", "speakers", "labels", "text", "audio", "visual", "sentences", "train", "test")
_SDT = ("ids", "speakers", "labels", *ROBERTA, "audio", "visual", "sentences", "train", "test")

KINDS = {
    "ids": {"texts", "numbers"},
    "speakers": {"texts", "vectors", "numbers"},
    "labels": {"numbers"},
    "sentiments": {"numbers"},
    "sentences": {"texts"},
    "train": {"keys"},
    "validation": {"keys"},
    "test": {"keys"},
    "other": {"numbers", "texts", "vectors", "keys", "else"},
}
"""What a part may be; any part not listed holds vectors."""


@dataclass(frozen=True)
class Layout:
    """The parts of a tuple, in order.

    Attributes:
        name: who uses it.
        corpus: whose dialogues it holds.
        parts: names of `KINDS`, or of modalities.
    """

    name: str
    corpus: str
    parts: tuple[str, ...]


LAYOUTS = (
    Layout("9-tuple of MMGCN, MM-DFN, DFERC, conv-emotion, COGMEN, CORECT, MultiEMO's Speakers", IEMOCAP.name, _MMGCN),
    Layout(
        "9-tuple of bc-LSTM and DialogueRNN, without pictures",
        MELD.name,
        ("ids", "speakers", "labels", "text", "audio", "sentences", "train", "test", "sentiments"),
    ),
    Layout("10-tuple of MMGCN, MM-DFN, MultiEMO's Speakers", MELD.name, (*_MMGCN, "other")),
    Layout("10-tuple of M3ED", M3ED.name, (*_MMGCN[:-1], "validation", "test")),
    Layout(
        "10-list of COSMIC", IEMOCAP.name, ("speakers", "labels", *ROBERTA, "sentences", "train", "test", "validation")
    ),
    Layout(
        "11-list of COSMIC",
        MELD.name,
        ("speakers", "labels", "sentiments", *ROBERTA, "sentences", "train", "test", "validation"),
    ),
    Layout("12-tuple of SDT, GraphSmile, CFN-ESA, M3Net", IEMOCAP.name, _SDT),
    Layout("13-tuple of SDT", MELD.name, (*_SDT, "other")),
    Layout("14-tuple of GraphSmile", MELD.name, (*_SDT[:3], "sentiments", *_SDT[3:], "other")),
)
ONE_MODALITY = "dictionary of dialogues, as MultiEMO's TextFeatures, AudioFeatures and VisualFeatures"

MULTIEMO = {768: "text", 512: "audio", 1000: "visual"}
"""By width: EmoBERTa, openSMILE reduced, VisExtNet."""


def recognise(content: object, about: About, layer: str) -> Source:
    """Turn an unpickled feature file into dialogues.

    Args:
        content: from `parse_pickle`.
        about: the file.
        layer: which of COSMIC's four text layers, or their mean.

    Raises:
        InputError: it has no known layout, or contradicts itself.
    """
    parts = list(content) if isinstance(content, (tuple, list)) else []
    if isinstance(content, dict) and part_kind(content) == "vectors":
        return _one_modality(content, replace(about, layout=ONE_MODALITY))
    found = [layout for layout in LAYOUTS if _fits(layout, parts)]
    if len(found) != 1:
        seen = ", ".join(part_kind(part) for part in parts) if parts else kind(content)
        keys = [key for part in parts if isinstance(part, dict) for key in list(part)[:1]]
        seen += f" (dialogues such as {clean_text(keys[0]) or keys[0]!s:.40})" if keys else ""
        raise InputError(
            f"{about.path}: no known layout: found {kind(content)}{': ' + seen if parts else ''}. "
            f"Recognised are: {'; '.join(layout.name for layout in LAYOUTS)}; a {ONE_MODALITY}. "
            "For anything else write an .npz with one row per utterance (see `dferc import --help`)."
        )
    layout = found[0]
    named = f"{layout.name} ({layout.corpus})" + (f", text layer {layer}" if ROBERTA[0] in layout.parts else "")
    return _read(layout, dict(zip(layout.parts, parts)), replace(about, layout=named), layer)


def part_kind(part: object) -> str:
    """What one part of a tuple is, judged by its first dialogue: numbers, texts, vectors, keys or else."""
    if isinstance(part, (set, frozenset)) or _is_list(part):
        return "keys" if all(is_key(key) or isinstance(key, np.generic) for key in part) else "else"
    first = next(iter(part.values()), None) if isinstance(part, dict) else None
    if isinstance(first, np.ndarray) and first.ndim == 2:
        return "vectors"
    if not _is_list(first) or not len(first):
        return "else"
    row = first[0]
    if text_of(row) is not None:
        return "texts"
    if isinstance(row, (int, np.integer)):
        return "numbers"
    return "vectors" if vector_of(row) is not None else "else"


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 1)


def _fits(layout: Layout, parts: list) -> bool:
    """Whether the parts are of this layout's kinds, and their dialogues named as its corpus does."""
    if len(parts) != len(layout.parts):
        return False
    if any(part_kind(part) not in KINDS.get(name, {"vectors"}) for name, part in zip(layout.parts, parts)):
        return False
    return all(_corpus_of(key) == layout.corpus for key in parts[layout.parts.index("labels")])


def _corpus_of(key: object) -> str:
    """Whose dialogues are named so; M3ED's names have no pattern of their own."""
    if isinstance(key, int):
        return MELD.name
    return IEMOCAP.name if is_iemocap_dialogue(clean_text(key)) else M3ED.name


# ---------------------------------------------------------------------------------------------------- reading


def _read(layout: Layout, parts: dict[str, object], about: About, layer: str) -> Source:
    name_of = _namer(parts["labels"], about)
    columns = {
        name: _by_dialogue(part, name_of, about)
        for name, part in parts.items()
        if isinstance(part, dict) and name != "other"
    }
    check_same_length({name: columns[name] for name in ("labels", *sorted(set(columns) - {"labels"}))}, about.path)
    given = _given_splits(parts, name_of, columns["labels"], about)
    splits = _true_splits(layout, given, about)
    left_out = sorted(set(columns["labels"]) - set(splits))
    columns = {name: {key: column[key] for key in splits} for name, column in columns.items()}
    return Source(
        about=about,
        corpus=layout.corpus,
        classes=CORPORA[layout.corpus].classes,
        splits=splits,
        labels=_each(columns["labels"], _class_id(len(CORPORA[layout.corpus].classes)), about, "label"),
        utterances=_utterances(columns.get("ids", {})),
        speakers=_speakers(layout, columns["speakers"], about),
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
            total[key] = total[key] + matrix if key in total else matrix
    return {"text": {key: matrix / np.float32(len(chosen)) for key, matrix in total.items()}} | features


def _one_modality(content: dict, about: About) -> Source:
    name_of = _namer(content, about)
    matrices = to_matrices(_by_dialogue(content, name_of, about), about, "features")
    width = next(iter(matrices.values())).shape[1]
    stem = about.path.stem.lower()
    named = next((modality for modality in ("text", "audio", "visual") if stem == f"{modality}features"), "?")
    corpora = {_corpus_of(key) for key in content} - {M3ED.name}
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


def _speakers(layout: Layout, column: dict[str, list], about: About) -> dict[str, list[str]]:
    """Names; IEMOCAP's letters with their session, since each session has two other actors."""
    names = _each(column, _speaker, about, "speaker")
    if layout.corpus != IEMOCAP.name:
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


def _given_splits(parts: dict, name_of: Callable, labels: dict, about: About) -> dict[str, str]:
    """The split of each dialogue as the file's lists say."""
    given: dict[str, str] = {}
    for split in SPLITS:
        for key in parts.get(split, ()):
            name = name_of(key)
            if given.setdefault(name, split) != split:
                raise InputError(f"{about.path}: the dialogue {name} is in two splits, {given[name]} and {split}.")
    missing = sorted(set(given) - set(labels))
    if missing:
        raise InputError(
            f"{about.path}: {len(missing)} dialogue(s) of its split lists are not in its data, first {missing[0]}. The "
            "file contradicts itself: get it again, or make it anew."
        )
    return given


def _true_splits(layout: Layout, given: dict[str, str], about: About) -> dict[str, str]:
    """Validation pulled out of the training: MELD's dev, which most files count to it, or COSMIC's 12 of IEMOCAP.

    In order: train, validation, test, and sorted within.
    """
    if layout.corpus == MELD.name:
        strayed = [name for name, split in given.items() if (split == "test") != name.startswith("test")]
        if strayed:
            raise InputError(
                f"{about.path}: its lists put the dialogue {strayed[0]} into {given[strayed[0]]}, against MELD's "
                "numbering (test begins at 1153). The file is of another corpus or numbering: write an .npz instead."
            )
        given = {name: MELD_SPLITS[name.split("_")[0]] for name in given}
    elif "validation" not in layout.parts:
        given = {name: "validation" if name in COSMIC_VALIDATION else split for name, split in given.items()}
    return dict(sorted(given.items(), key=lambda item: (SPLITS.index(item[1]), natural(item[0]))))


def _notes(given: dict, splits: dict, left_out: list[str], sentences: dict[str, list]) -> tuple[Note, ...]:
    """What was mended, for the protocol card."""
    moved = sum(given[name] != split for name, split in splits.items())
    mended = sum(is_cp1252(sentence) for rows in sentences.values() for sentence in rows)
    notes = (
        Note(action="repaired", what="dialogues put back into validation", count=moved, why="the file trains on them"),
        Note(
            action="repaired", what="transcripts with cp1252 punctuation", count=mended, why="written in another code"
        ),
        Note(action="dropped", what="dialogues", count=len(left_out), why="in no split list of the file"),
    )
    return tuple(note for note in notes if note.count)


def natural(name: str) -> tuple[str, int, str]:
    """Sorts `train_9` before `train_10`, and other names as text."""
    head, _, tail = name.rpartition("_")
    return (head, int(tail), "") if head in MELD_SPLITS and tail.isdigit() else ("", 0, name)
