"""The parts of a recognised pickle, each a mapping from dialogues to utterances, as a `Source`."""

import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from dferc.core.errors import InputError
from dferc.importing import corpora
from dferc.importing.corpora import CORPORA, IEMOCAP, M3ED, MELD, is_iemocap_dialogue, meld_dialogue
from dferc.importing.source import About, Source, clean_text, is_cp1252, kind, rows_of, to_matrices, vector_of
from dferc.store.rows import Note
from dferc.store.vocabulary import MODALITIES, SPLITS

ROBERTA = ("text1", "text2", "text3", "text4")  # COSMIC's last four layers
MULTIEMO = {768: "text", 512: "audio", 1000: "visual"}  # by width: EmoBERTa, openSMILE reduced, VisExtNet


def read_parts(corpus: str, parts: dict[str, object], about: About, layer: str) -> Source:
    """Return the dialogues of a file whose layout names its parts so."""
    _check_numbers(parts["labels"], about)
    mappings = {name: part for name, part in parts.items() if isinstance(part, dict) and name != "other"}
    columns = {name: _by_dialogue(part, about) for name, part in mappings.items()}
    _check_same_length(columns, about)
    given = _given_splits(parts, columns["labels"], about)
    splits = true_splits(corpus, given, about)
    left_out = sorted(set(columns["labels"]) - set(splits))
    columns = {name: {key: column[key] for key in splits} for name, column in columns.items()}
    classes = CORPORA[corpus].classes

    def class_id(value: object) -> int | None:
        is_number = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        return int(value) if is_number and 0 <= value < len(classes) else None

    speakers = _each(columns["speakers"], _speaker, about, "speaker")
    if corpus == IEMOCAP.name:  # letters with their session, since each session has two other actors
        for key, names in speakers.items():
            speakers[key] = [key[:5] + name if name in ("F", "M") else name for name in names]
    moved = sum(given[name] != split for name, split in splits.items())
    repaired = sum(is_cp1252(sentence) for rows in columns["sentences"].values() for sentence in rows)
    notes = (
        Note(action="repaired", what="dialogues put into the true split", count=moved, why="elsewhere in the file"),
        Note(action="repaired", what="transcripts with cp1252 marks", count=repaired, why="written in another code"),
        Note(action="dropped", what="dialogues", count=len(left_out), why="in no split list of the file"),
    )
    return Source(
        about=about,
        corpus=corpus,
        classes=classes,
        splits=splits,
        labels=_each(columns["labels"], class_id, about, "label"),
        utterances=_utterances(columns.get("ids", {})),
        speakers=speakers,
        texts=_each(columns["sentences"], clean_text, about, "sentence"),
        features=_features(columns, about, layer),
        problems=tuple((name, "in no split list of the file", "left out") for name in left_out),
        notes=tuple(note for note in notes if note.count),
    )


def _features(columns: dict, about: About, layer: str) -> dict[str, dict[str, np.ndarray]]:
    features = {name: to_matrices(columns[name], about, name) for name in MODALITIES if name in columns}
    if ROBERTA[0] not in columns:
        return features
    chosen = ROBERTA if layer == "mean" else (f"text{layer}",)
    total: dict[str, np.ndarray] = {}
    for name in chosen:  # one layer after the other: the four together are most of the file
        for key, matrix in to_matrices(columns[name], about, name).items():
            if total.setdefault(key, matrix).shape != matrix.shape:
                raise InputError(
                    f"{about}, dialogue {key}: {name} is {matrix.shape[1]} wide, the layer before it "
                    f"{total[key].shape[1]}; the layers of one encoder have one width."
                )
            if total[key] is not matrix:
                total[key] += matrix
    for matrix in total.values():
        matrix /= len(chosen)
    return {"text": total} | features


def read_one_modality(content: dict, about: About) -> Source:
    """Return a dictionary of dialogues with features alone; a name that ends as MultiEMO's shows which."""
    _check_numbers(content, about)
    matrices = to_matrices(_by_dialogue(content, about), about, "features")
    width = next(iter(matrices.values())).shape[1]
    # ContextFeatures are of no text.
    ends = {name: rf"({name.title()}Features|(?<![^\W\d_])(?i:{name}features))$" for name in MODALITIES}
    named = next((name for name in MODALITIES if re.search(ends[name], about.path.stem)), "?")
    names = {corpus_of(key) for key in content} - {M3ED.name}
    corpus = names.pop() if len(names) == 1 else ""
    modality = named if named == MULTIEMO.get(width, named) else "?"  # 768 values are of HuBERT and ViT, too
    return Source(about=about, corpus=corpus, features={modality: matrices})


def corpus_of(key: object) -> str:
    """Return the corpus whose dialogues are named so; M3ED's names have no pattern of their own."""
    if isinstance(key, int):
        return MELD.name
    return IEMOCAP.name if is_iemocap_dialogue(clean_text(key)) else M3ED.name


def _check_numbers(keys: Mapping, about: About) -> None:
    """Check that dialogue keys which are numbers are MELD's."""
    if strange := [key for key in keys if isinstance(key, int) and meld_dialogue(key) is None]:
        raise InputError(
            f"{about}: there is a dialogue {strange[0]}; expected MELD's numbers, 0 to 1432 (train, dev from "
            "1039, test from 1153). For another corpus write an .npz (see `dferc import --help`)."
        )


def _dialogue_id(key: object) -> str:
    if not isinstance(key, (int, np.integer)):
        return str(clean_text(key))
    dialogue, _ = meld_dialogue(int(key)) or (str(key), "")
    return dialogue


def _by_dialogue(part: dict, about: About) -> dict[str, list]:
    named = {}
    for key, value in part.items():
        name = _dialogue_id(key)
        if name in named:
            raise InputError(f"{about}: the dialogue {name} is there twice.")
        named[name] = rows_of(value, f"{about}, dialogue {name}")
    return named


def _check_same_length(columns: Mapping[str, Mapping[str, list]], about: About) -> None:
    """Check that every column has the same dialogues as the labels, and as many utterances in each."""
    labels, remedy = columns["labels"], "The file contradicts itself: get it again, or make it anew."
    for name, column in sorted(columns.items()):
        if missing := sorted(set(labels) ^ set(column)):
            raise InputError(
                f"{about}: labels has {len(labels)} dialogues, {name} {len(column)}; the first that only one has "
                f"is {missing[0]}. {remedy}"
            )
        for key in labels:
            ours, theirs = len(labels[key]), len(column[key])
            if ours != theirs:
                raise InputError(f"{about}, dialogue {key}: {ours} utterances in labels, {theirs} in {name}. {remedy}")


def _given_splits(lists: Mapping[str, Iterable], dialogues: Iterable[str], about: About) -> dict[str, str]:
    """Return the split of each dialogue by the file's own lists."""
    given: dict[str, str] = {}
    for split in SPLITS:
        for key in lists.get(split, ()):
            name = _dialogue_id(key)
            if given.setdefault(name, split) != split:
                raise InputError(f"{about}: the dialogue {name} is in two splits, {given[name]} and {split}.")
    if missing := sorted(set(given) - set(dialogues)):
        raise InputError(
            f"{about}: {len(missing)} dialogue(s) of its split lists are not in its data, first {missing[0]}. The "
            "file contradicts itself: get it again, or make it anew."
        )
    return given


def true_splits(corpus: str, given: Mapping[str, str], about: About) -> dict[str, str]:
    """Return the corpus's own splits: train, validation, test in this order, and dialogues sorted within."""
    if corpus == MELD.name:  # most files count dev to the training; the dialogues' numbers show which are dev
        if strayed := [name for name, split in given.items() if (split == "test") != name.startswith("test")]:
            raise InputError(
                f"{about}: its lists put the dialogue {strayed[0]} into {given[strayed[0]]}, against MELD's "
                "numbering (test begins at 1153). The file is of another corpus or numbering: write an .npz instead."
            )
        given = {name: corpora.MELD_SPLITS[name.split("_")[0]] for name in given}
    elif corpus == IEMOCAP.name and "validation" not in given.values():
        given = {name: "validation" if name in corpora.COSMIC_VALIDATION else split for name, split in given.items()}
    elif corpus == M3ED.name:  # loaders disagree on which of the last two lists is which; published are 7 shows and 11
        swapped = {"validation": "test", "test": "validation"}
        counts = [len({name.split("_")[0] for name in given if given[name] == split}) for split in swapped]
        if counts == [corpora.M3ED_SHOWS["test"], corpora.M3ED_SHOWS["validation"]]:
            given = {name: swapped.get(split, split) for name, split in given.items()}
    return dict(sorted(given.items(), key=lambda item: (SPLITS.index(item[1]), corpora.natural(item[0]))))


def _each(column: dict[str, list], read: Callable, about: About, what: str) -> dict[str, list]:
    """Read every value of a column; name the first that cannot be read."""
    values = {}
    for key, rows in column.items():
        values[key] = [read(row) for row in rows]
        if None in values[key]:
            place = values[key].index(None)
            value = rows[place]
            shown = value if isinstance(value, (int, float, np.number)) else kind(value)
            kinds = {"label": "a class id of its corpus, from 0", "speaker": "a name or a one-hot vector"}
            expected = kinds.get(what, "text")
            raise InputError(f"{about}, dialogue {key}, utterance {place}: the {what} is {shown}; expected {expected}.")
    return values


def _speaker(value: object) -> str | None:
    """Return a name; or `speaker 1` for the first to speak, from a number or a one-hot vector by appearance."""
    if (text := clean_text(value)) is not None:
        return text
    if isinstance(value, (int, np.integer)):
        return f"speaker {int(value) + 1}" if value >= 0 else None
    vector = vector_of(value)
    if vector is not None and len(vector) and vector.max() == vector.sum() == 1:
        return f"speaker {int(vector.argmax()) + 1}"
    return None


def _utterances(column: dict[str, list]) -> dict[str, list]:
    """Return utterance ids where the file has usable ones: rising numbers (MELD), or different names."""
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
