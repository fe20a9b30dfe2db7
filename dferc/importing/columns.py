"""A table's columns, by the names people give them, as the dialogues of a `Source`."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from dferc.core.errors import InputError, did_you_mean, listed, refuse
from dferc.core.files import MODALITY_NAME
from dferc.importing.corpora import CORPORA, MELD, MELD_NAMES, compare_counts, is_iemocap_dialogue, natural
from dferc.importing.readers.parquet import ROW_BYTES
from dferc.importing.source import FILE_ORDER, About, Source, clean_text, kind, verify_growth
from dferc.store import cells, vocabulary
from dferc.store.labels import describe_votes, read_labels, read_votes
from dferc.store.rows import UNLABELLED
from dferc.store.vocabulary import SPLIT_NAMES

VOTES = ("votes", "soft_labels")
"""Columns of the annotators' votes: cells such as `anger:2 joy:1`, or a number per class [N, C]."""

NAMES = {
    "dialogue": ("dialogue_id", "dialogue", "conversation_id", "conversation"),
    "utterance": ("utterance_id", "utterance"),
    "position": ("position",),
    "split": ("split",),
    "emotion": ("emotion", "label"),
    "speaker": ("speaker",),
    "sentence": ("sentence", "transcript", "text"),
    "votes": VOTES,
}
"""Columns of one value per utterance; the first name that is there counts."""

MODALITY_NAMES = {
    "text": ("text", "text_features"),
    "audio": ("audio", "audio_features"),
    "visual": ("visual", "visual_features", "video"),
    "?": ("features",),
}
"""Columns of one vector per utterance; any other column of vectors is a modality of its own name."""


def read_columns(table: Mapping[str, np.ndarray], about: About, corpus: str, classes: tuple[str, ...]) -> Source:
    """Sort a table's rows, as arrays by column name, into dialogues.

    Without the name of a corpus, MELD is recognised by its counts. Without class names in order, they are the corpus's,
    else the names in the table, sorted. Cells are read by the rules of `dferc.store.cells` and `dferc.store.labels`.
    """
    flat, matrices, unused = _sort_columns(table, about)
    problems = [("columns", f"unknown column: {listed(map(repr, unused))}", "column not used")] if unused else []
    if own := [name for name in matrices if name not in MODALITY_NAMES]:  # perhaps a name that was mistyped
        problems.append(("columns", f"vectors of another name: {listed(map(repr, own))}", "a modality of its own"))
    _check(flat, matrices, table, about)
    columns = {name: _cells(column) for name, column in flat.items()}
    _verify_texts(columns, about)
    if "utterance" not in columns and "position" in columns:
        columns["utterance"], flat["utterance"] = columns.pop("position"), flat["position"]
    for name in {"dialogue", "utterance"} & set(columns):
        columns[name] = _ids(name, columns[name], flat[name], about, problems)
    if "position" in columns:
        problems += _use_positions(columns)
    splits = _splits(columns.get("split", []), about)
    if not corpus and _is_meld(columns, splits):
        corpus = MELD.name
    labels, notes = [], []
    if "emotion" in columns:
        published = CORPORA[corpus].classes if corpus in CORPORA and not classes else ()
        found = read_labels(
            columns["emotion"], "row {}".format, file=about, option="--classes", declared=classes, published=published
        )
        labels, classes, notes = found.ids, found.classes, found.notes
        problems += [("labels", *problem) for problem in found.problems]
        if found.missing:
            problems.append(("labels", found.missing_label(f"row {labels.index(UNLABELLED)}"), found.missing_then))
    if codes := [name for name in own if _is_code(matrices[name], labels)]:
        raise InputError(
            f"{about}: {listed(codes)}: one vector for each class, such as one-hot labels: a model would read them "
            "there. Remove the column."
        )
    again = _verify_numbers(columns, splits, about)
    if again and corpus != MELD.name:
        problems.append(("dialogue", f"numbers in several splits: {again}", "different dialogues: train_0, test_0"))
    groups, votes_NC = _group(columns, splits, about), None
    names, moved, odd = columns.get("utterance", []), [], ""
    if names and "position" not in columns and isinstance(names[0], str):
        named = {name: [names[row] for row in rows] for name, rows in groups.items()}
        moved, odd = cells.disordered(named)
    if moved:
        problems.append(("utterance", f"{odd}: in {len(moved)} dialogue(s), first {moved[0]}", FILE_ORDER))
    of_votes = [name for name in table if cells.column_name(name) in VOTES]
    if len(of_votes) > 1:
        raise InputError(f"{about}: two columns of votes, {' and '.join(of_votes)}; expected one. Remove the other.")
    if of_votes:
        given = table[of_votes[0]]
        names = [f"row {row} of {name}" for row, name in enumerate(columns["dialogue"])]
        if "utterance" in columns:
            names = [f"{name}, utterance {each}" for name, each in zip(names, columns["utterance"], strict=True)]
        if len(given) != len(names):
            raise InputError(f"{about}: {len(given)} rows of votes for {len(names)} utterances; expected as many.")
        values = np.asarray(given) if np.ndim(given) == 2 else columns["votes"]
        votes_NC = read_votes(values, classes, names.__getitem__, about)
        if labels and values is not columns.get("votes"):
            if order := _other_order(votes_NC, np.array(labels)):
                found = ", ".join(classes[number] for number in order)
                raise InputError(
                    f"{about}: the labels fit {of_votes[0]} as if its columns were {found}, not {', '.join(classes)}. "
                    "Name the classes in its order, --classes; if the labels are numbers, put its columns in theirs."
                )
        if labels:
            problems += [("votes", *problem) for problem in describe_votes(votes_NC, labels, names.__getitem__)]
    speakers, missing = cells.speaker_names(columns.get("speaker", []))
    if missing:
        spelled = listed((f"{name!r} {count}" for name, count in missing.most_common()), 6)
        problems.append(("speaker", f"missing values of speaker: {spelled}", "taken for empty"))
    speakers = [  # IEMOCAP's letters with their session, since each session has two other actors
        f"{dialogue[:5]}{name}" if name in ("F", "M") and is_iemocap_dialogue(dialogue) else name
        for name, dialogue in zip(speakers, columns["dialogue"])
    ]
    utterances = map(str, columns.get("utterance", []))
    for column, names in (("dialogue", groups), ("utterance", utterances), ("speaker", speakers)):
        for several in cells.near_duplicates(names):
            problem = f"{column} in several spellings: {listed(map(repr, several), 6)}"
            problems.append((column, problem, f"kept as {len(several)}"))

    def by_dialogue(values: Sequence) -> dict[str, list]:
        return {name: [values[row] for row in rows] for name, rows in groups.items()} if values else {}

    with np.errstate(over="ignore"):  # beyond float32 is inf, which is marked as absent later
        features = {
            modality: {name: matrix[rows].astype(np.float32) for name, rows in groups.items()}
            for modality, matrix in matrices.items()
        }
    return Source(
        about=about,
        corpus=corpus,
        classes=classes,
        splits={name: splits[rows[0]] for name, rows in groups.items()} if splits else {},
        labels=by_dialogue(labels),
        votes={} if votes_NC is None else {name: votes_NC[rows] for name, rows in groups.items()},
        utterances=by_dialogue(columns.get("utterance", [])),
        speakers=by_dialogue(speakers),
        texts=by_dialogue(["" if text is None else str(text) for text in columns.get("sentence", [])]),
        features=features,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _sort_columns(
    table: Mapping[str, np.ndarray], about: About
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[str]]:
    """Return columns of one value per row and of one vector per row, by our names, and the names of all others."""
    table = {n: given for n, given in table.items() if cells.column_name(n) not in VOTES or np.ndim(given) != 2}
    lower = {cells.column_name(name): name for name in table}
    if len(lower) < len(table):
        raise InputError(f"{about}: columns whose names differ in case only: {', '.join(sorted(table))}.")
    flat, matrices, used, roles = {}, {}, set(), NAMES | MODALITY_NAMES
    for columns, names_of, dimensions in ((flat, NAMES, 1), (matrices, MODALITY_NAMES, 2)):
        for column, names in names_of.items():
            for name in (lower[name] for name in names if name in lower):
                array = np.asarray(table[name])
                if dimensions == 1 and array.ndim == 2 and array.shape[1] == 1 and column != "sentence":
                    array = array[:, 0]  # as MATLAB and scikit-learn keep a column
                if array.ndim == dimensions and column not in columns:
                    columns[column] = array
                    used.add(name)
    words = lower.get("utterance")  # of MELD's columns: `Utterance` beside `Utterance_ID`
    if words and words not in used and "sentence" not in flat and np.ndim(table[words]) == 1:
        if any(" " in str(cell) for cell in table[words].tolist()):
            flat["sentence"] = np.asarray(table[words])
            used.add(words)
    for name in (name for name in table if name not in used):
        array, written = np.asarray(table[name]), cells.column_name(name)
        near = did_you_mean(written, [each for names in roles.values() for each in names], cutoff=0.8)
        vectors = array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "iuf"
        if vectors and re.match(MODALITY_NAME, written) and written not in (*NAMES, "utterances") and not near:
            matrices[written] = array
            used.add(name)
    unused = [name for name in table if name not in used]
    absent = [name for column, names in roles.items() if column not in flat | matrices for name in names]
    faults = []
    for name in unused:
        written, array = cells.column_name(name), np.asarray(table[name])
        if written in absent:
            expected = "one class per row; write the class of the highest score" if written in NAMES["emotion"] else ""
            expected = expected or ("one name or number per row" if written in _FLAT_NAMES else "numbers [N, D]")
            scores = "one-hot or soft scores, " if written in NAMES["emotion"] and array.ndim == 2 else ""
            faults.append(f"{name} is {kind(array)}: {scores}expected {expected}")
        elif nearest := did_you_mean(written, absent, cutoff=0.8):
            faults.append(f"unknown column {name!r:.60}.{nearest} Rename or remove it")
    refuse(about, faults)
    return flat, matrices, unused


_FLAT_NAMES = {name for names in NAMES.values() for name in names} - {"text"}


def _cells(column: np.ndarray) -> list:
    """Return a column's cells as None, bool, int, float or str; equal texts are cleaned once and shared."""
    texts: dict[str | bytes, str | None] = {}
    values = column.tolist()
    for row, value in enumerate(values):
        if isinstance(value, str | bytes):
            if value not in texts:
                texts[value] = clean_text(value)
            values[row] = texts[value]
        else:
            values[row] = cells.plain(value)
    return values


def _verify_texts(columns: Mapping[str, list], about: About) -> None:
    """Check that the texts of a table can be stored, and are not far longer than the file."""
    faults = []
    for name, values in columns.items():
        texts = [(row, cell) for row, cell in enumerate(values) if isinstance(cell, str)]
        verify_growth(about, sum(len(text) for _, text in texts), f"its column {name}")
        faults += [
            f"row {row}: {name} is {kind(cell)}; expected one name or text"
            for row, cell in enumerate(values)
            if name in ("speaker", "sentence") and isinstance(cell, list | tuple | dict | np.ndarray)
        ]
        wrong = {text: fault for text in {text for _, text in texts} if (fault := cells.storage_fault(text))}
        faults += [f"row {row}: {name} holds {wrong[text]}" for row, text in texts if text in wrong]
    refuse(about, faults)


def _check(flat: dict, matrices: dict, table: Mapping[str, np.ndarray], about: About) -> None:
    """Check that the columns needed are there, equally long, and of usable types."""
    seen = ", ".join(f"{name} {np.shape(column)}" for name, column in list(table.items())[:12]) or "nothing"
    if not matrices or "dialogue" not in flat:
        lacks = "column `dialogue`" if matrices else "features [N, D] under `text`, `audio`, `visual` or `features`"
        raise InputError(
            f"{about}: no {lacks}; found {seen}. A table has one row per utterance (see `dferc import --help`)."
        )
    lengths = {len(column) for column in (*flat.values(), *matrices.values())}
    if len(lengths) > 1:
        raise InputError(f"{about}: its columns have different lengths: {seen}. Each needs one row per utterance.")
    if 0 in lengths:
        raise InputError(f"{about}: has no rows.")
    verify_growth(about, ROW_BYTES * lengths.pop(), "its rows")
    for name, matrix in matrices.items():
        if matrix.dtype.kind not in "biuf" or matrix.shape[1] == 0:
            raise InputError(f"{about}: {name} is {kind(matrix)}; expected numbers [N, D].")


_DIGITS = r"[0-9]{1,18}"


def _ids(name: str, values: list, column: np.ndarray, about: About, problems: list) -> list:
    """Return dialogues or utterances as whole numbers, or all as names."""

    def fault(row: int, found: object) -> InputError:
        of = f"{name} is {found}, of {kind(column)}"
        return InputError(f"{about}, row {row}: {of}; expected names, or whole numbers.")

    for row, cell in enumerate(values):
        if isinstance(cell, float):
            if not cell.is_integer():
                raise fault(row, cell)
            if abs(cell) >= cells.whole_below(column.dtype):
                raise fault(row, f"{cell}, a float that may have lost digits")
            values[row] = int(cell)
        elif cell is None or isinstance(cell, str) and cell in ("", *cells.NULLS):
            raise fault(row, "missing" if cell is None else f"{cell!r}, a missing value")
        elif isinstance(cell, bool) or not isinstance(cell, int | str):
            raise fault(row, f"{cell!r:.60}")
        elif isinstance(cell, int) and abs(cell) >> 63:
            raise fault(row, f"{cell}, beyond 64 bits with a sign")
    if all(isinstance(cell, int) for cell in values):
        return values
    try:
        values, problem = cells.whole_ids([str(cell) for cell in values])
    except InputError as error:
        raise InputError(f"{about}: {name}: {error}.") from None
    problems += [(name, problem, "the fraction .0 left out")] if problem else []
    # Numbers that are written as text: of the place in a dialogue, where they come again.
    places = name == "utterance" and len(set(values)) < len(values)
    return list(map(int, values)) if places and all(re.fullmatch(_DIGITS, cell) for cell in values) else values


def _is_code(matrix: np.ndarray, labels: Sequence[int]) -> bool:
    """Return whether vectors are but another way of writing the labels: several rows share them, and no two classes."""
    seen, rows = {}, [row for row, label in enumerate(labels) if label != UNLABELLED]
    most = len(set(labels) - {UNLABELLED})
    same = all(seen.setdefault(matrix[row].tobytes(), labels[row]) == labels[row] and len(seen) <= most for row in rows)
    return same and len(seen) < len(rows)


def _other_order(votes_NC: np.ndarray, labels_N: np.ndarray) -> list[int]:
    """Return the class that each column of votes is of by the labels, where that is another order; else nothing."""
    everyone = [*range(votes_NC.shape[1])]
    column_of = [np.nansum(votes_NC[labels_N == number], axis=0).argmax() for number in everyone]
    return np.argsort(column_of).tolist() if column_of != everyone == sorted(column_of) else []


def _use_positions(columns: dict[str, list]) -> list[tuple[str, str, str]]:
    """Keep `position`, beside utterances that have names, if it can order them; return a problem if it cannot."""
    places, utterances = list(map(cells.number_of, columns.pop("position"))), columns["utterance"]
    if not all(isinstance(place, int) for place in places):
        return [("position", "position is no column of whole numbers", "not used")]
    if isinstance(utterances[0], int) and len(set(utterances)) < len(utterances):
        return [("position", "position beside numbers of utterances in their dialogue", "not used: the numbers order")]
    columns["position"], columns["utterance"] = places, list(map(str, utterances))  # numbers that run on are names
    return []


def _splits(values: Sequence[object], about: About) -> list[str]:
    """Return our split of each row."""
    written = [cells.fold(str(cell)) for cell in values]
    splits = list(map(SPLIT_NAMES.get, written))
    if fault := vocabulary.eval_beside_test(written):
        raise InputError(f"{about}: {fault}.")
    if None in splits:
        row = splits.index(None)
        raise InputError(f"{about}, row {row}: the split is {values[row]!r:.40}; expected {', '.join(SPLIT_NAMES)}.")
    return splits


def _is_meld(columns: Mapping[str, list], splits: list[str]) -> bool:
    """Return whether these are all of MELD's utterances: the published number of dialogues and of each class."""
    if not splits or "emotion" not in columns or not isinstance(columns["dialogue"][0], int):
        return False
    dialogues = Counter(split for split, _ in set(zip(splits, columns["dialogue"])))
    emotions = Counter(zip(splits, map(str, columns["emotion"])))
    counts = {split: (dialogues[split], [emotions[split, name] for name in MELD.classes]) for split in MELD.published}
    return not compare_counts(MELD, counts)


def _verify_numbers(columns: Mapping[str, list], splits: list[str], about: About) -> int:
    """Return how many numbers of dialogues occur in several splits; InputError if it shows that rows were split."""
    if not splits or not isinstance(columns["dialogue"][0], int):
        return 0
    lies_in: dict[int, set[str]] = {}
    for split, number in zip(splits, columns["dialogue"]):
        lies_in.setdefault(number, set()).add(split)
    shared = {number for number, of in lies_in.items() if len(of) > 1}
    rows = [row for row, number in enumerate(columns["dialogue"]) if number in shared]
    numbers = columns.get("utterance", [""])
    running = len(set(numbers)) == len(numbers)  # counted through the table: they show nothing of dialogues
    if rows and isinstance(numbers[0], int) and not running:
        places = {(columns["dialogue"][row], columns["utterance"][row]) for row in rows}
        if len(places) == len(rows):  # where numbers begin anew in each split, so do those of utterances
            number = columns["dialogue"][rows[0]]
            several = " and ".join(sorted(lies_in[number]))
            raise InputError(
                f"{about}, row {rows[0]}: the dialogue {number} is in {several}, with "
                "other utterances in each; a dialogue lies in one split. Split whole dialogues; if they are different "
                "dialogues, name them so: train_0, test_0."
            )
    return len(shared)


def _group(columns: Mapping[str, list], splits: list[str], about: About) -> dict[str, list[int]]:
    """Return rows by dialogue id: splits in order, dialogues sorted, utterances by their number where they have one."""
    names, utterances = list(map(str, columns["dialogue"])), columns.get("utterance")
    if splits and isinstance(columns["dialogue"][0], int):  # numbers begin anew in each split of MELD
        names = [f"{MELD_NAMES[split]}_{name}" for split, name in zip(splits, names)]
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows = groups.setdefault(name, [])
        rows.append(row)
        if splits and splits[row] != splits[rows[0]]:
            raise InputError(
                f"{about}, row {row}: the dialogue {name} is in {splits[row]}, and from row {rows[0]} in "
                f"{splits[rows[0]]}; a dialogue lies in one split."
            )
    if utterances is not None:
        numbered, first, faults = isinstance(utterances[0], int), {}, []
        for row, name in enumerate(names):
            key = (name, utterances[row]) if numbered else utterances[row]
            if key in first:
                faults.append(f"row {row}: the utterance {utterances[row]!r:.60} of row {first[key]} again")
            first.setdefault(key, row)
        spoken = any(" " in str(name) for name in utterances)
        hint = " Are they transcripts? Name that column `sentence`." if spoken else ""
        refuse(about, faults, f"An utterance's name is unique in the table, its number in the dialogue.{hint}")
        if numbered:
            groups = {name: sorted(rows, key=utterances.__getitem__) for name, rows in groups.items()}
        elif positions := columns.get("position"):
            groups = {name: sorted(rows, key=positions.__getitem__) for name, rows in groups.items()}
    order = {name: vocabulary.SPLITS.index(splits[rows[0]]) if splits else 0 for name, rows in groups.items()}
    return dict(sorted(groups.items(), key=lambda item: (order[item[0]], natural(item[0]))))
