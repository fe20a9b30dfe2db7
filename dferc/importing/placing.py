"""A file's features, put at the utterances they are of; what does not match is listed and absent, never shifted."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dferc.core import VERSION
from dferc.core.errors import InputError
from dferc.core.problems import Problem
from dferc.importing.source import Source
from dferc.store.rows import Features, Utterances

MAX_LABELS_DIFFERENT = 0.1
"""Share of utterances whose label may differ between two files before they count as differently ordered."""


def place_features(
    base: Source, source: Source, modality: str, utterances: Utterances, problems: list[Problem]
) -> Features:
    """One modality of one file, for all utterances.

    Args:
        base: the source of labels and splits.
        source: the file with the features; under `?` where it does not name them.
        modality: what they are.
        utterances: those of `base`.
        problems: what does not fit is added here.

    Raises:
        InputError: nothing fits, or the labels beside the features show another order.
    """
    values = np.zeros((len(utterances), source.width(_key(source, modality))), dtype=np.float32)
    place = _place_by_id if _key(source, modality) in source.vectors else _place_by_dialogue
    present = place(values, base, source, modality, utterances, problems)
    _mark_absent(values, present, modality, source.path, utterances, problems)
    return Features(
        modality=modality,
        corpus=utterances.corpus,
        features=values,
        present=present,
        utterance_id=utterances.utterance_id,
        identity=_identity(source) | {"rows_hash": utterances.rows_hash},
    )


def _key(source: Source, modality: str) -> str:
    """Under what a file has a modality: its name, or what the user says is that."""
    return modality if modality in source.modalities else source.modalities[0]


# ---------------------------------------------------------------------------------------------------- by dialogue


def _place_by_dialogue(
    values: np.ndarray,
    base: Source,
    source: Source,
    modality: str,
    utterances: Utterances,
    problems: list[Problem],
) -> np.ndarray:
    """Fill `values` dialogue by dialogue; returns which rows have some."""
    given = source.features[_key(source, modality)]
    present = np.zeros(len(values), dtype=bool)
    row = 0
    for dialogue in base.splits:
        count, matrix = len(base.labels[dialogue]), given.get(dialogue)
        if matrix is None or len(matrix) != count:
            found = "dialogue not there"
            if matrix is not None:
                found = f"other number of utterances: {len(matrix)}, {count} in {base.path.name}"
            problems.append(Problem(dialogue, str(source.path), found, f"{modality} absent in this dialogue"))
        else:
            values[row : row + count], present[row : row + count] = matrix, True
        row += count
    if not present.any():
        raise InputError(
            f"{source.path}: its {modality} fits no dialogue of {base.path} ({_some(base.labels)} there, "
            f"{_some(given)} here): files of different corpora, or of another selection of utterances."
        )
    problems += [
        Problem(dialogue, str(source.path), f"not in {base.path.name}", f"its {modality} left out")
        for dialogue in sorted(set(given) - set(base.splits))
    ]
    _compare_labels(base, source, modality, problems)
    return present


def _compare_labels(base: Source, source: Source, modality: str, problems: list[Problem]) -> None:
    """Labels beside the features tell whether they are in the same order."""
    if source is base:
        return
    compared, different = 0, {}
    for dialogue, ours in base.labels.items():
        theirs = source.labels.get(dialogue, ())
        if len(theirs) == len(ours):
            compared += len(ours)
            places = [place for place, (a, b) in enumerate(zip(ours, theirs)) if a != b]
            different |= {dialogue: places} if places else {}
    count = sum(map(len, different.values()))
    if count > MAX_LABELS_DIFFERENT * compared:
        raise InputError(
            f"{source.path}: {count} of {compared} labels are not those of {base.path}, in {len(different)} "
            f"dialogue(s), first {next(iter(different))}: another order of utterances, or another corpus. Give files "
            "that were made from the same list."
        )
    for dialogue, places in different.items():
        said = ", ".join(map(str, places[:10])) + (", …" if places[10:] else "")
        found = f"labels differ from {base.path.name}: {len(places)} of {len(base.labels[dialogue])}, utterances {said}"
        consequence = f"{modality} joined by place; labels of {base.path.name} kept"
        problems.append(Problem(dialogue, str(source.path), found, consequence))


def _some(dialogues: Mapping) -> str:
    return f"{next(iter(dialogues))} and {len(dialogues) - 1} more"


# ---------------------------------------------------------------------------------------------------- by utterance id


def _place_by_id(
    values: np.ndarray,
    base: Source,
    source: Source,
    modality: str,
    utterances: Utterances,
    problems: list[Problem],
) -> np.ndarray:
    """Fill `values` utterance by utterance; returns which rows have some."""
    given = source.vectors[_key(source, modality)]
    present = np.array([name in given for name in utterances.utterance_id])
    if not present.any():
        raise InputError(
            f"{source.path}: names none of the utterances of {base.path} ({utterances.utterance_id[0]} there, "
            f"{next(iter(given))} here). Labels must come from a file with the corpus's own utterance ids (MMGCN's "
            "IEMOCAP_features.pkl has them), or give them with --ids."
        )
    for row in np.flatnonzero(present):
        values[row] = given[utterances.utterance_id[row]]
    for dialogue in dict.fromkeys(utterances.dialogue_id[~present]):
        here = utterances.dialogue_id == dialogue
        names = utterances.utterance_id[here & ~present]
        found = f"utterances not there: {len(names)} of {here.sum()}, first {names[0]}"
        problems.append(Problem(dialogue, str(source.path), found, f"{modality} absent there"))
    beyond = sorted(set(given) - set(utterances.utterance_id))
    if beyond:
        found = f"utterances not in {base.path.name}: {len(beyond)}, first {beyond[0]}"
        problems.append(Problem(modality, str(source.path), found, f"their {modality} left out"))
    return present


# ---------------------------------------------------------------------------------------------------- both


def _mark_absent(
    values: np.ndarray, present: np.ndarray, modality: str, path: Path, utterances: Utterances, problems: list[Problem]
) -> None:
    """No values at all (all zeros is how the field writes "no face") or not finite: not present."""
    finite = np.isfinite(values).all(axis=1)
    for found, rows in (("not finite", present & ~finite), ("all zeros", present & finite & ~values.any(axis=1))):
        for name in utterances.utterance_id[rows]:
            problems.append(Problem(name, str(path), f"{modality} {found}", f"{modality} absent"))
        present &= ~rows
        values[rows] = 0


def _identity(source: Source) -> dict[str, object]:
    about = source.about
    identity = {
        "extractor": "dferc import",
        "version": VERSION,
        "file": about.path.name,
        "file_sha256": about.sha256,
        "file_git_blob": about.git_blob,
        "layout": about.layout,
    }
    return identity | ({"known_as": about.known_as} if about.known_as else {})
