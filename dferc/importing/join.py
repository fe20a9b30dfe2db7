"""Several sources, one corpus: labels and splits from one file, each modality from the file that has it.

Files are joined by dialogue and place in it. What does not match is listed and absent, never shifted or filled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dferc import MODALITIES, SPLITS, __version__
from dferc.console import InputError
from dferc.corpus import UNLABELLED, CachedCorpus, Features, Utterances
from dferc.importing.known import CORPORA, COSMIC_VALIDATION, IEMOCAP, MELD, Corpus, compare_counts
from dferc.importing.source import Source

MAX_LABELS_DIFFERENT = 0.1
"""Share of utterances whose label may differ between two files before they count as differently ordered."""


class Problem(NamedTuple):
    """One row of problems.csv: what was found wrong, and what follows from it."""

    where: str
    file: str
    problem: str
    consequence: str


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What is to be written, and what there is to say about it."""

    corpus: CachedCorpus
    sources: dict[str, Source]
    """The file of each modality, and under `labels` that of labels and splits."""
    problems: list[Problem]


def join(sources: Sequence[Source], chosen: dict[str, Source], guides: Sequence[Source], name: str) -> Imported:
    """Put a corpus together.

    Args:
        sources: all files, in the order given.
        chosen: files that the user named for a modality.
        guides: transcripts or id lists: they name utterances, and hold labels where no source does.
        name: of the corpus, or empty: as recognised.

    Raises:
        InputError: no labels, no features, two files for one modality, or files of different corpora.
    """
    base = next((source for source in (*sources, *guides) if source.labels and source.splits), None)
    if base is None:
        raise InputError(
            f"{', '.join(str(source.path) for source in sources)}: none has labels and splits. Add a file that does "
            "(such as MultiEMO's Speakers.pkl), a table with the columns emotion and split, or --transcripts for MELD."
        )
    _same_corpus(base, [*sources, *guides])
    known = CORPORA.get(base.corpus)
    problems = [Problem(where, str(base.path), *what) for where, *what in base.problems]
    utterances = _utterances(base, [*guides, base, *sources], name or base.corpus, known, problems)
    taken = _choose(sources, chosen)
    if not taken:
        raise InputError(
            f"{', '.join(str(source.path) for source in sources)}: no features of text, sound or pictures."
        )
    features = {name: _features(base, source, name, utterances, problems) for name, source in taken.items()}
    return Imported(
        corpus=CachedCorpus(utterances=utterances, modalities=features),
        sources={"labels": base} | taken,
        problems=problems,
    )


def _same_corpus(base: Source, others: Sequence[Source]) -> None:
    for source in others:
        if base.corpus and source.corpus and source.corpus != base.corpus:
            raise InputError(
                f"{source.path} is of {source.corpus}, {base.path} of {base.corpus}: features of different corpora "
                "cannot be joined. Give files of one corpus."
            )


def _choose(sources: Sequence[Source], chosen: dict[str, Source]) -> dict[str, Source]:
    """The file of each modality: the one the user named, else one of that modality alone, else the only one with it."""
    found = {}
    for modality in MODALITIES:
        having = [source for source in sources if modality in source.features]
        alone = [source for source in having if len(source.features) == 1 and not source.labels]
        candidates = [chosen[modality]] if modality in chosen else alone or having
        if len(candidates) > 1:
            listed = ", ".join(f"{source.path} ({source.width(modality)} wide)" for source in candidates)
            raise InputError(f"{modality} is in {len(candidates)} files: {listed}. Choose one with --{modality} FILE.")
        if candidates:
            found[modality] = candidates[0]
    unnamed = [source for source in sources if "?" in source.features and source not in chosen.values()]
    if unnamed:
        raise InputError(
            f"{unnamed[0].path} holds one kind of features, {unnamed[0].width('?')} wide, and does not say which. "
            "Give it as --text, --audio or --visual FILE."
        )
    return found


# ---------------------------------------------------------------------------------------------------- utterances


def _utterances(
    base: Source, namers: Sequence[Source], name: str, known: Corpus | None, problems: list[Problem]
) -> Utterances:
    if not name:
        raise InputError(f"{base.path} does not say which corpus it is of; name it with --corpus.")
    columns: dict[str, list] = {column: [] for column in ("utterance_id", "position", "speaker", "text")}
    for dialogue in base.splits:
        ids, positions = _name_utterances(dialogue, base, namers, problems)
        count = len(base.labels[dialogue])
        columns["utterance_id"] += ids
        columns["position"] += positions
        columns["speaker"] += _words("speakers", dialogue, namers, count)
        columns["text"] += _words("texts", dialogue, namers, count)
    lengths = [len(base.labels[dialogue]) for dialogue in base.splits]
    emotion = [label for dialogue in base.splits for label in base.labels[dialogue]]
    total = len(emotion)
    words = {column: np.array(columns[column], dtype=object) for column in ("utterance_id", "speaker", "text")}
    return Utterances(
        corpus=name,
        classes=base.classes,
        protocol=_protocol(base, name, known, problems),
        speaker_independent=base.corpus == IEMOCAP.name,  # no actor is in two sessions
        notes=base.notes,
        dialogue_id=np.repeat(np.array(list(base.splits), dtype=object), lengths),
        split=np.repeat(np.array(list(base.splits.values()), dtype=object), lengths),
        position=np.array(columns["position"], dtype=np.int64),
        emotion=np.array(emotion, dtype=np.int64),
        start_s=np.full(total, np.nan),
        end_s=np.full(total, np.nan),
        **words,
    )


def _name_utterances(
    dialogue: str, base: Source, namers: Sequence[Source], problems: list[Problem]
) -> tuple[list[str], list[int]]:
    """Ids and positions: from the first file that has them and the same utterances, else by counting."""
    labels = base.labels[dialogue]
    for source in namers:
        given = source.utterances.get(dialogue)
        if given is None:
            continue
        if len(given) != len(labels) or source.labels.get(dialogue, labels) != labels:
            what = f"{len(given)} utterances" if len(given) != len(labels) else "other labels"
            row = Problem(
                dialogue, str(source.path), f"{what}, {len(labels)} in {base.path.name}", "ids not taken from here"
            )
            problems.append(row)
        elif all(isinstance(utterance, int) for utterance in given):
            return [_utterance_id(base, dialogue, number) for number in given], list(given)
        else:
            return [str(utterance) for utterance in given], list(range(len(given)))
    counted = Problem(dialogue, str(base.path), "no utterance ids", "counted from 0: gaps of the corpus are not seen")
    problems.append(counted)
    places = list(range(len(labels)))
    mark = "n" if base.corpus == IEMOCAP.name else ""  # IEMOCAP's own numbers count each actor's turns
    return [_utterance_id(base, dialogue, place, mark) for place in places], places


def _utterance_id(base: Source, dialogue: str, number: int, mark: str = "") -> str:
    """As `prepare` names it: MELD's `train_dia0_utt3`, otherwise dialogue and number."""
    split, _, dialogue_number = dialogue.rpartition("_")
    return f"{split}_dia{dialogue_number}_utt{number}" if base.corpus == MELD.name else f"{dialogue}_{mark}{number}"


def _words(column: str, dialogue: str, namers: Sequence[Source], count: int) -> list[str]:
    given = (getattr(source, column).get(dialogue, ()) for source in namers)
    return next((list(words) for words in given if len(words) == count), [""] * count)


def _protocol(base: Source, name: str, known: Corpus | None, problems: list[Problem]) -> str:
    """Labels and splits in words; own counts where they are not the published ones, which are listed."""
    found = {split: _count(base, (split,)) for split in SPLITS}
    found["train and validation"] = _count(base, ("train", "validation"))
    if known is None:
        return f"{name}, {len(base.classes)} classes, splits of {base.path.name}"
    differs = compare_counts(known, found)
    problems += [
        Problem(
            name,
            str(base.path),
            f"count differs: {text}",
            "kept as found; scores are not comparable with published ones",
        )
        for text in differs
    ]
    validation = {dialogue for dialogue, split in base.splits.items() if split == "validation"}
    if not differs and (known is not IEMOCAP or validation == COSMIC_VALIDATION):
        return known.protocol
    names = {"train": "train", "validation": "dev", "test": "test"}
    counts = ", ".join(f"{names[split]} {sum(found[split][1])}" for split in SPLITS)
    return f"{known.protocol.replace(', published splits', '')}, own selection ({counts} utterances)"


def _count(base: Source, splits: tuple[str, ...]) -> tuple[int, list[int]]:
    here = [dialogue for dialogue, split in base.splits.items() if split in splits]
    labels = np.array(
        [label for dialogue in here for label in base.labels[dialogue] if label != UNLABELLED], dtype=np.int64
    )
    return len(here), np.bincount(labels, minlength=len(base.classes)).tolist()


# ---------------------------------------------------------------------------------------------------- features


def _features(base: Source, source: Source, modality: str, utterances: Utterances, problems: list[Problem]) -> Features:
    given = source.features[modality if modality in source.features else "?"]
    width = next(iter(given.values())).shape[1]
    values = np.zeros((len(utterances), width), dtype=np.float32)
    present = np.zeros(len(utterances), dtype=bool)
    row, joined, different, compared = 0, 0, 0, 0
    for dialogue in base.splits:
        count, matrix = len(base.labels[dialogue]), given.get(dialogue)
        if matrix is None or len(matrix) != count:
            found = "dialogue not there" if matrix is None else f"{len(matrix)} utterances, {count} in {base.path.name}"
            problems.append(Problem(dialogue, str(source.path), found, f"{modality} absent in this dialogue"))
        else:
            values[row : row + count], present[row : row + count] = matrix, True
            joined += 1
        other = source.labels.get(dialogue, [])
        if len(other) == count and len(source.labels) and source is not base:
            compared += count
            different += sum(a != b for a, b in zip(base.labels[dialogue], other))
        row += count
    _check_joined(base, source, modality, joined, different, compared)
    problems += [
        Problem(dialogue, str(source.path), f"not in {base.path.name}", f"its {modality} left out")
        for dialogue in sorted(set(given) - set(base.splits))
    ]
    if different:
        found = f"{different} of {compared} labels differ from {base.path.name}"
        problems.append(Problem(modality, str(source.path), found, f"joined by place; labels of {base.path.name} kept"))
    _mark_absent(values, present, modality, source.path, utterances, problems)
    return Features(
        modality=modality,
        corpus=utterances.corpus,
        features=values,
        present=present,
        utterance_id=utterances.utterance_id,
        identity=_identity(source) | {"rows_hash": utterances.rows_hash},
    )


def _check_joined(base: Source, source: Source, modality: str, joined: int, different: int, compared: int) -> None:
    if not joined:
        theirs, ours = next(iter(source.features.values())), base.labels
        raise InputError(
            f"{source.path}: its {modality} fits no dialogue of {base.path} (there {next(iter(ours))}, "
            f"{len(ours)} dialogues; here {next(iter(theirs))}, {len(theirs)}): files of different corpora, or of "
            "another selection of utterances."
        )
    if different > MAX_LABELS_DIFFERENT * compared:
        raise InputError(
            f"{source.path}: {different} of {compared} labels are not those of {base.path}: another order of "
            "utterances, or another corpus. Give files that were made from the same list."
        )


def _mark_absent(
    values: np.ndarray, present: np.ndarray, modality: str, path: Path, utterances: Utterances, problems: list[Problem]
) -> None:
    """No values at all (all zeros is how the field writes "no face") or not finite: not present."""
    finite = np.isfinite(values).all(axis=1)
    for found, rows in (("not finite", present & ~finite), ("all zeros", present & finite & ~values.any(axis=1))):
        for name in utterances.utterance_id[rows]:
            problems.append(Problem(name, str(path), f"{modality}: {found}", f"{modality} absent"))
        present &= ~rows
        values[rows] = 0


def _identity(source: Source) -> dict[str, object]:
    about = source.about
    identity = {
        "extractor": "dferc import",
        "version": __version__,
        "file": about.path.name,
        "file_sha256": about.sha256,
        "file_git_blob": about.git_blob,
        "layout": about.layout,
    }
    return identity | ({"known_as": about.known_as} if about.known_as else {})
