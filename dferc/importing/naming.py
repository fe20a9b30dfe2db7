"""The utterances of an import: labels and splits of one file, ids, speakers and texts from wherever they are."""

from collections.abc import Sequence

import numpy as np

from dferc.core.errors import InputError
from dferc.core.problems import Problem
from dferc.importing.corpora import CORPORA, COSMIC_VALIDATION, IEMOCAP, MELD, MELD_NAMES, compare_counts
from dferc.importing.source import Source
from dferc.store.rows import UNLABELLED, Utterances
from dferc.store.vocabulary import SPLITS


def name_utterances(base: Source, namers: Sequence[Source], name: str, problems: list[Problem]) -> Utterances:
    """Every utterance of `base`, in order.

    Args:
        base: the source of labels and splits.
        namers: sources in the order in which they are asked for ids, speakers and texts.
        name: of the corpus.
        problems: what does not fit is added here.

    Raises:
        InputError: the corpus has no name.
    """
    if not name:
        raise InputError(f"{base.path} does not say which corpus it is of; name it with --corpus.")
    columns: dict[str, list] = {column: [] for column in ("utterance_id", "position", "speaker", "text")}
    for dialogue in base.splits:
        ids, positions = _ids(dialogue, base, namers, problems)
        count = len(base.labels[dialogue])
        columns["utterance_id"] += ids
        columns["position"] += positions
        columns["speaker"] += _words("speakers", dialogue, namers, count)
        columns["text"] += _words("texts", dialogue, namers, count)
    lengths = [len(base.labels[dialogue]) for dialogue in base.splits]
    emotion = [label for dialogue in base.splits for label in base.labels[dialogue]]
    words = {column: np.array(columns[column], dtype=object) for column in ("utterance_id", "speaker", "text")}
    return Utterances(
        corpus=name,
        classes=base.classes,
        protocol=_protocol(base, name, problems),
        speaker_independent=base.corpus == IEMOCAP.name,  # no actor is in two sessions
        notes=base.notes,
        dialogue_id=np.repeat(np.array(list(base.splits), dtype=object), lengths),
        split=np.repeat(np.array(list(base.splits.values()), dtype=object), lengths),
        position=np.array(columns["position"], dtype=np.int64),
        emotion=np.array(emotion, dtype=np.int64),
        start_s=np.full(len(emotion), np.nan),
        end_s=np.full(len(emotion), np.nan),
        **words,
    )


def _ids(dialogue: str, base: Source, namers: Sequence[Source], problems: list[Problem]) -> tuple[list[str], list[int]]:
    """Ids and positions: from the first file that has them and the same utterances, else by counting."""
    labels = base.labels[dialogue]
    for source in namers:
        given = source.utterances.get(dialogue)
        if given is None:
            continue
        differs = _difference(given, labels, source.labels.get(dialogue, labels))
        if differs:
            problem = f"{differs} {base.path.name}"
            problems.append(Problem(dialogue, str(source.path), problem, "utterance ids not taken from here"))
        elif all(isinstance(utterance, int) for utterance in given):
            return [_utterance_id(base, dialogue, number) for number in given], list(given)
        else:
            return [str(utterance) for utterance in given], list(range(len(given)))
    counted = "counted from 0: gaps of the corpus are not seen"
    problems.append(Problem(dialogue, str(base.path), "no utterance ids", counted))
    places = list(range(len(labels)))
    mark = "n" if base.corpus == IEMOCAP.name else ""  # IEMOCAP's own numbers count each actor's turns
    return [_utterance_id(base, dialogue, place, mark) for place in places], places


def _difference(given: Sequence, labels: Sequence[int], theirs: Sequence[int]) -> str:
    """Why a file's utterances are not those that have these labels; empty where they can be."""
    if len(given) != len(labels):
        return f"other number of utterances: {len(given)}, {len(labels)} in"
    if len(theirs) != len(labels):
        return f"other number of labels: {len(theirs)}, {len(labels)} in"
    different = sum(a != b for a, b in zip(labels, theirs))
    return f"other labels: {different} of {len(labels)} are not those of" if different else ""


def _utterance_id(base: Source, dialogue: str, number: int, mark: str = "") -> str:
    """As `prepare` names it: MELD's `train_dia0_utt3`, otherwise dialogue and number."""
    split, _, dialogue_number = dialogue.rpartition("_")
    return f"{split}_dia{dialogue_number}_utt{number}" if base.corpus == MELD.name else f"{dialogue}_{mark}{number}"


def _words(column: str, dialogue: str, namers: Sequence[Source], count: int) -> list[str]:
    given = (getattr(source, column).get(dialogue, ()) for source in namers)
    return next((list(words) for words in given if len(words) == count), [""] * count)


# ---------------------------------------------------------------------------------------------------- the protocol


def _protocol(base: Source, name: str, problems: list[Problem]) -> str:
    """Labels and splits in words; own counts where they are not the published ones, which are listed."""
    known = CORPORA.get(base.corpus)
    if known is None:
        return f"{name}, {len(base.classes)} classes, splits of {base.path.name}"
    found = {split: _count(base, (split,)) for split in SPLITS}
    found["train and validation"] = _count(base, ("train", "validation"))
    differs = compare_counts(known, found)
    consequence = "kept as found; scores are not comparable with published ones"
    problems += [Problem(name, str(base.path), f"count differs: {text}", consequence) for text in differs]
    validation = {dialogue for dialogue, split in base.splits.items() if split == "validation"}
    if not differs and (known is not IEMOCAP or validation == COSMIC_VALIDATION):
        return known.protocol
    counts = ", ".join(f"{MELD_NAMES[split]} {sum(found[split][1])}" for split in SPLITS)
    return f"{known.protocol.replace(', published splits', '')}, own selection ({counts} utterances)"


def _count(base: Source, splits: tuple[str, ...]) -> tuple[int, list[int]]:
    """Dialogues, and labelled utterances per class, of these splits together."""
    here = [dialogue for dialogue, split in base.splits.items() if split in splits]
    labels = [label for dialogue in here for label in base.labels[dialogue] if label != UNLABELLED]
    return len(here), np.bincount(np.array(labels, dtype=np.int64), minlength=len(base.classes)).tolist()
