"""A table's columns, by the names people give them, as the dialogues of a `Source`."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from dferc.core.errors import InputError
from dferc.importing.corpora import CORPORA, MELD, MELD_NAMES, compare_counts, natural
from dferc.importing.source import About, Source, clean_text, kind
from dferc.store import vocabulary
from dferc.store.rows import UNLABELLED

NAMES = {
    "dialogue": ("dialogue", "dialogue_id", "conversation", "conversation_id"),
    "utterance": ("utterance_id", "utterance", "position"),
    "split": ("split",),
    "emotion": ("emotion", "label"),
    "speaker": ("speaker",),
    "sentence": ("sentence", "transcript", "text"),
}
"""Columns of one value per utterance; the first name that is there counts."""

MODALITY_NAMES = {
    "text": ("text", "text_features"),
    "audio": ("audio", "audio_features"),
    "visual": ("visual", "visual_features", "video"),
    "?": ("features",),
}
"""Columns of one vector per utterance."""

SPLITS = {"train": "train"} | dict.fromkeys(("dev", "val", "valid", "validation"), "validation") | {"test": "test"}


def read_columns(table: Mapping[str, np.ndarray], about: About, corpus: str, classes: tuple[str, ...]) -> Source:
    """Sort a table's rows, as arrays by column name, into dialogues.

    Without the name of a corpus, MELD is recognised by its counts. Without class names in order, they are the corpus's,
    else the names in the table, sorted.
    """
    lower = {name.lower(): _plain(column) for name, column in table.items()}
    if len(lower) < len(table):
        raise InputError(f"{about.path}: columns whose names differ in case only: {', '.join(sorted(table))}.")
    flat, matrices = {}, {}
    for columns, names_of, dimensions in ((flat, NAMES, 1), (matrices, MODALITY_NAMES, 2)):
        for column, names in names_of.items():
            present = [name for name in names if name in lower and lower[name].ndim == dimensions]
            if present:
                columns[column] = lower[present[0]]
    _check(flat, matrices, table, about)
    splits = [str(clean_text(value)).lower() for value in flat.get("split", np.array([])).tolist()]
    row = next((row for row, name in enumerate(splits) if name not in SPLITS), None)
    if row is not None:
        raise InputError(f"{about.path}, row {row}: the split is {splits[row]!r:.40}; expected {', '.join(SPLITS)}.")
    splits = [SPLITS[name] for name in splits]
    if not corpus and _is_meld(flat, splits):
        corpus = MELD.name
    labels, classes = _labels(flat, about, corpus, classes)
    groups = _group(flat, splits, about)

    def by_dialogue(values: list) -> dict[str, list]:
        return {name: [values[row] for row in rows] for name, rows in groups.items()} if values else {}

    columns = {name: flat[name].tolist() if name in flat else [] for name in ("utterance", "speaker", "sentence")}
    return Source(
        about=about,
        corpus=corpus,
        classes=classes,
        splits={name: splits[rows[0]] for name, rows in groups.items()} if splits else {},
        labels=by_dialogue(labels),
        utterances=by_dialogue(columns["utterance"]),
        speakers=by_dialogue([str(clean_text(value) or "") for value in columns["speaker"]]),
        texts=by_dialogue([str(clean_text(value) or "") for value in columns["sentence"]]),
        features={
            modality: {name: matrix[rows].astype(np.float32) for name, rows in groups.items()}
            for modality, matrix in matrices.items()
        },
    )


def _plain(column: np.ndarray) -> np.ndarray:
    """Return a column of Python objects or of floats as whole numbers or text, and others as they are."""
    if column.ndim != 1 or column.dtype.kind not in "fO":
        return column
    values = column.tolist()
    if column.dtype.kind == "f":  # as pandas keeps whole numbers beside a missing one
        whole = np.isnan(column) | (np.trunc(column) == column)
        return np.where(np.isnan(column), UNLABELLED, column).astype(np.int64) if whole.all() else column
    if all(type(value) is int for value in values):
        return np.array(values, dtype=np.int64)
    texts = [clean_text("" if value is None else value) for value in values]
    return np.array([kind(value) if text is None else text for text, value in zip(texts, values)], dtype=object)


def _check(flat: dict, matrices: dict, table: Mapping[str, np.ndarray], about: About) -> None:
    """Check that the columns needed are there, equally long, and of usable types."""
    seen = ", ".join(f"{name} {np.shape(column)}" for name, column in list(table.items())[:12]) or "nothing"
    if not matrices or "dialogue" not in flat:
        lacks = "column `dialogue`" if matrices else "features [N, D] under `text`, `audio`, `visual` or `features`"
        raise InputError(
            f"{about.path}: no {lacks}; found {seen}. A table has one row per utterance (see `dferc import --help`)."
        )
    lengths = {len(column) for column in (*flat.values(), *matrices.values())}
    if len(lengths) > 1:
        raise InputError(f"{about.path}: its columns have different lengths: {seen}. Each needs one row per utterance.")
    if 0 in lengths:
        raise InputError(f"{about.path}: has no rows.")
    for name, matrix in matrices.items():
        if matrix.dtype.kind not in "biuf" or matrix.shape[1] == 0:
            raise InputError(f"{about.path}: {name} is {kind(matrix)}; expected numbers [N, D].")
    for name in {"dialogue", "utterance"} & set(flat):
        if flat[name].dtype.kind not in "iuUSO":
            raise InputError(f"{about.path}: {name} is {kind(flat[name])}; expected names, or whole numbers.")


def _labels(flat: dict, about: About, corpus: str, classes: tuple[str, ...]) -> tuple[list[int], tuple[str, ...]]:
    """Return class ids by row, and the class names; an empty label or -1 is unlabelled."""
    if "emotion" not in flat:
        return [], classes
    known = classes or (CORPORA[corpus].classes if corpus in CORPORA else ())
    column = flat["emotion"]
    if column.dtype.kind not in "iuUSO":
        raise InputError(f"{about.path}: the labels are {kind(column)}; expected names, or whole numbers from 0.")
    if column.dtype.kind in "iu":
        ids = column.tolist()
        known = known or tuple(str(number) for number in range(max(ids, default=0) + 1)[:1000])
        remedy = f"Its numbers are {min(ids)} to {max(ids)}: --classes must name a class for each, from 0."
    else:
        labels = [clean_text(value) or "" for value in column.tolist()]
        names = sorted(set(labels) - {""})
        known = known or tuple(names)
        index = {name.lower(): number for number, name in enumerate(known)} | {"": UNLABELLED}
        ids = [index.get(label.lower(), len(known)) for label in labels]
        listed = f"{', '.join(names[:12])}{', …' if names[12:] else ''}"
        remedy = f"Its labels are {listed}: {'' if classes else 'correct them, or '}name all of them with --classes."
    wrong = next((row for row, number in enumerate(ids) if not UNLABELLED <= number < len(known)), None)
    if wrong is not None:
        raise InputError(
            f"{about.path}, row {wrong}: the label is {column[wrong]!s:.40}; expected one of {', '.join(known)} "
            f"(or its number, 0 to {len(known) - 1}), or -1 or nothing for none. {remedy}"
        )
    return ids, known


def _is_meld(flat: dict, splits: list[str]) -> bool:
    """Return whether these are all of MELD's utterances: the published number of dialogues and of each class."""
    if not splits or "emotion" not in flat or flat["dialogue"].dtype.kind not in "iu":
        return False
    dialogues = Counter(split for split, _ in set(zip(splits, flat["dialogue"].tolist())))
    emotions = Counter(zip(splits, map(clean_text, flat["emotion"].tolist())))
    counts = {split: (dialogues[split], [emotions[split, name] for name in MELD.classes]) for split in MELD.published}
    return not compare_counts(MELD, counts)


def _group(flat: dict, splits: list[str], about: About) -> dict[str, list[int]]:
    """Return rows by dialogue id: splits in order, dialogues sorted, utterances by their number where they have one."""
    dialogues, utterances = flat["dialogue"], flat.get("utterance")
    names = [str(value if isinstance(value, int) else clean_text(value)) for value in dialogues.tolist()]
    if splits and dialogues.dtype.kind in "iu":  # numbers begin anew in each split of MELD, and may elsewhere
        names = [f"{MELD_NAMES[split]}_{name}" for split, name in zip(splits, names)]
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows = groups.setdefault(name, [])
        rows.append(row)
        if splits and splits[row] != splits[rows[0]]:
            raise InputError(
                f"{about.path}, row {row}: the dialogue {name} is in {splits[row]}, and from row {rows[0]} in "
                f"{splits[rows[0]]}; a dialogue lies in one split."
            )
    if utterances is not None and utterances.dtype.kind in "iu":
        groups = {name: sorted(rows, key=utterances.__getitem__) for name, rows in groups.items()}
    order = {name: vocabulary.SPLITS.index(splits[rows[0]]) if splits else 0 for name, rows in groups.items()}
    return dict(sorted(groups.items(), key=lambda item: (order[item[0]], natural(item[0]))))
