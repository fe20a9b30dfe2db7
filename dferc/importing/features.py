"""A file's features, put at their utterances; features that match no utterance are listed and absent, never shifted."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from dferc.core import VERSION
from dferc.core.errors import InputError, Problem, listed
from dferc.importing.source import Source, are_numbers, by_our_dialogues, counted_alike, places_in, renamed, stepped
from dferc.store.cells import fold
from dferc.store.rows import UNLABELLED, Features, Utterances

MAX_LABELS_DIFFERENT = 0.1
"""Share of utterances whose label may differ between two files before they count as differently ordered."""


def place_features(
    base: Source, source: Source, modality: str, utterances: Utterances, problems: list[Problem]
) -> Features:
    """Return one modality of `source` for all utterances, which are those of `base`; mismatches become `problems`."""
    if source is not base:
        source = _by_our_names(source, base, utterances)
    key = modality if modality in source.modalities else source.modalities[0]  # `?`: it does not name them
    values = np.zeros((len(utterances), source.width(key)), dtype=np.float32)
    if key in source.vectors:
        present = _place_by_id(values, key, base, source, modality, utterances, problems)
    else:
        lacking_N = np.zeros(len(utterances), bool)
        if source is not base:
            source, added = counted_alike(source, base)
            if added:
                problem = f"utterances counted from another number than in {base.path.name}"
                problems.append(Problem(source.path.name, str(source.path), problem, f"{added:+} to each"))
            source, lacking_N = _in_our_order(base, source, key, modality, utterances, problems)
        present = _place_by_dialogue(values, source.features[key], base, source, modality, problems) & ~lacking_N
        _compare_labels(base, source, modality, problems)
    # Rows that are not finite are absent, and those of zeros alone, which is how the field writes "no face".
    finite = np.isfinite(values).all(axis=1)
    for fault, rows in (("not finite", present & ~finite), ("all zeros", present & finite & ~values.any(axis=1))):
        for name in utterances.utterance_id[rows]:
            problems.append(Problem(name, str(source.path), f"{modality} {fault}", f"{modality} absent"))
        present &= ~rows
        values[rows] = 0
    about = source.about
    identity = {"extractor": "dferc import", "version": VERSION, "file": about.path.name, "file_sha256": about.sha256}
    identity |= {"file_git_blob": about.git_blob, "layout": about.layout}
    identity |= {"known_as": about.known_as} if about.known_as else {}
    return Features(
        modality=modality,
        corpus=utterances.corpus,
        features=values,
        present=present,
        utterance_id=utterances.utterance_id,
        identity=identity | {"rows_hash": utterances.rows_hash},
    )


def _by_our_names(source: Source, base: Source, utterances: Utterances) -> Source:
    """Return a source by our names of dialogues, and vectors by those of utterances."""
    source = by_our_dialogues(source, base)
    counts = Counter(utterances.dialogue_id)
    pairs = zip(utterances.dialogue_id, utterances.utterance_id)
    alone = {dialogue: name for dialogue, name in pairs if counts[dialogue] == 1}  # perhaps vectors by dialogue
    ids = alone | {name: name for name in utterances.utterance_id}
    return replace(source, vectors={name: renamed(given, ids) for name, given in source.vectors.items()})


def _in_our_order(
    base: Source, source: Source, key: str, modality: str, utterances: Utterances, problems: list[Problem]
) -> tuple[Source, np.ndarray]:
    """Return a source with each dialogue in the order of `utterances`, and which of these it lacks, [N] bool.

    Where both files know the utterances' ids, these decide. Where the ids are others, features go by their place, which
    is listed; not so in a corpus that `prepare` has read, whose ids are certain: there the dialogue's are absent.
    """
    features, labels = dict(source.features[key]), dict(source.labels)
    lacking_N, row = np.zeros(len(utterances), bool), 0
    for dialogue in base.splits:
        count, theirs = len(base.labels[dialogue]), source.utterances.get(dialogue)
        start, row = row, row + count
        if theirs is None or dialogue not in features or len(features[dialogue]) != len(theirs):
            continue
        ids, positions = utterances.utterance_id[start:row].tolist(), utterances.position[start:row].tolist()
        places = places_in(source, base, dialogue, ids, positions)
        if places is not None:
            there = np.array([place is not None for place in places])
            features[dialogue] = np.where(there[:, None], features[dialogue][[place or 0 for place in places]], 0)
            if len(given := labels.get(dialogue, ())) == len(theirs):
                labels[dialogue] = [UNLABELLED if place is None else given[place] for place in places]
            lacking_N[start:row] = ~there
            if not there.all():
                first = ids[int((~there).argmax())]
                problem = f"utterances not there: {int((~there).sum())} of {count}, first {first}"
                problems.append(Problem(dialogue, str(source.path), problem, f"{modality} absent there"))
            if beyond := [theirs[place] for place in sorted(set(range(len(theirs))) - set(places))]:
                problem = f"utterances not in {base.path.name}: {len(beyond)}, first {beyond[0]}"
                problems.append(Problem(dialogue, str(source.path), problem, f"their {modality} left out"))
        elif len(theirs) == count:
            ours = positions if are_numbers(theirs) else ids
            first = next(name for name in ours if name not in theirs)
            problem = f"other utterance ids than {base.path.name}: {first} is not there"
            consequence = f"{modality} absent in this dialogue" if base.rows else f"{modality} joined by place"
            problems.append(Problem(dialogue, str(source.path), problem, consequence))
            if base.rows:
                del features[dialogue]
    return replace(source, features={**source.features, key: features}, labels=labels), lacking_N


def _place_by_dialogue(
    values: np.ndarray, given: Mapping, base: Source, source: Source, modality: str, problems: list[Problem]
) -> np.ndarray:
    """Fill `values` dialogue by dialogue; return which rows are present."""
    path = source.path
    present, row = np.zeros(len(values), dtype=bool), 0
    for dialogue in base.splits:
        count, matrix = len(base.labels[dialogue]), given.get(dialogue)
        if matrix is None or len(matrix) != count:
            problem = "dialogue not there"
            if matrix is not None:
                problem = f"other number of utterances: {len(matrix)}, {count} in {base.path.name}"
            problems.append(Problem(dialogue, str(path), problem, f"{modality} absent in this dialogue"))
        else:
            values[row : row + count], present[row : row + count] = matrix, True
        row += count
    if not present.any():
        theirs, ours = (listed(names, 1) or "no dialogue of the same ids" for names in (base.labels, given))
        hint = ""
        if not source.splits and all(name.isdigit() for name in given):
            hint = " Where numbers of dialogues begin anew in each split, this file needs the column `split`, too."
        elif {str(name) for names in base.utterances.values() for name in names} & given.keys():
            hint = " Its names are those of utterances: frames [T, D]? Save the mean of each, [D] (`mean(axis=0)`)."
        raise InputError(
            f"{path}: its {modality} fits no dialogue of {base.path} ({theirs} there, {ours} here): files of different "
            f"corpora, or of another selection of utterances.{hint}"
        )
    for dialogue in sorted(set(given) - set(base.splits)):
        problems.append(Problem(dialogue, str(path), f"not in {base.path.name}", f"its {modality} left out"))
    return present


def _compare_labels(base: Source, source: Source, modality: str, problems: list[Problem]) -> None:
    """Check by the labels beside the features that both files have one order of utterances."""
    if source is base:
        return
    compared, different = 0, {}
    for dialogue, ours in base.labels.items():
        theirs = source.labels_by(base.classes, dialogue)
        if len(theirs) == len(ours):
            both = [place for place, pair in enumerate(zip(ours, theirs)) if UNLABELLED not in pair]
            compared += len(both)
            places = [place for place in both if ours[place] != theirs[place]]
            different |= {dialogue: places} if places else {}
    if (count := sum(map(len, different.values()))) > MAX_LABELS_DIFFERENT * compared:
        hint = " Where one file has numbers for the other's names, --classes names them in order."
        hint = "" if set(map(fold, base.classes)) & set(map(fold, source.classes)) else hint
        raise InputError(
            f"{source.path}: {count} of {compared} labels are not those of {base.path}, in {len(different)} "
            f"dialogue(s), first {next(iter(different))}: another order of utterances, or another corpus. Give files "
            f"that were made from the same list.{hint}"
        )
    for dialogue, places in different.items():
        listed = ", ".join(map(str, places[:10])) + (", …" if places[10:] else "")
        total = len(base.labels[dialogue])
        problem = f"labels differ from {base.path.name}: {len(places)} of {total}, utterances {listed}"
        consequence = f"{modality} joined by place; labels of {base.path.name} kept"
        problems.append(Problem(dialogue, str(source.path), problem, consequence))


def _place_by_id(
    values: np.ndarray, key: str, base: Source, source: Source, modality: str, utterances: Utterances, problems: list
) -> np.ndarray:
    """Fill `values` utterance by utterance; return which rows are present."""
    given, path, numbered = source.vectors[key], source.path, source.about.layout.startswith("MELD's own features")
    ids = {name: name for name in utterances.utterance_id}
    moved = {by: renamed({stepped(name, by): of for name, of in given.items()}, ids) for by in (0, 1, -1)}
    found = {by: len(ids.keys() & names.keys()) for by, names in moved.items()}
    added = max(found, key=found.__getitem__)
    if added and 2 * found[added] > min(len(given), len(ids)):  # fewer: a running number of other utterances
        given = moved[added]
        problem = f"utterances counted from another number than in {base.path.name}"
        problems.append(Problem(path.name, str(path), problem, f"{added:+} to each"))
    present = np.array([name in given for name in utterances.utterance_id])
    if not present.any():
        raise InputError(
            f"{path}: names none of the utterances of {base.path} ({utterances.utterance_id[0]} there, "
            f"{next(iter(given))} here). Labels must come from a file with the corpus's own utterance ids (MMGCN's "
            "IEMOCAP_features.pkl has them; for IEMOCAP's labels without them, --ids); a set must name these ids."
        )
    for row in np.flatnonzero(present):
        values[row] = given[utterances.utterance_id[row]]
    counts, missing = Counter(utterances.dialogue_id), defaultdict(list)
    for row in np.flatnonzero(~present):
        missing[utterances.dialogue_id[row]].append(utterances.utterance_id[row])
    for dialogue, names in missing.items():
        problem = f"utterances not there: {len(names)} of {counts[dialogue]}, first {names[0]}"
        problems.append(Problem(dialogue, str(path), problem, f"{modality} absent there"))
    beyond = sorted(set(given) - set(utterances.utterance_id))
    lacking = int((~present).sum())
    if numbered and min(lacking, len(beyond)) > MAX_LABELS_DIFFERENT * len(values):
        raise InputError(
            f"{path}: {lacking} of {len(values)} utterances of {base.path} are not there, and {len(beyond)} of its own "
            f"are none of them (first {beyond[0]}): another numbering, or its splits are not in the order train, dev, "
            "test. A dictionary with these names as keys says which is which."
        )
    if beyond:
        problem = f"utterances not in {base.path.name}: {len(beyond)}, first {beyond[0]}"
        problems.append(Problem(modality, str(path), problem, f"their {modality} left out"))
    return present
