"""The utterances of an import: labels and splits of one file; ids, speakers and texts from any file that has them."""

from collections.abc import Sequence

import numpy as np

from dferc.core.errors import InputError, Problem
from dferc.importing.corpora import CORPORA, COSMIC_VALIDATION, IEMOCAP, MELD, MELD_NAMES, MELD_SPLITS, compare_counts
from dferc.importing.source import Source, are_numbers, by_our_dialogues, counted_alike, places_in
from dferc.store.cells import storage_fault
from dferc.store.rows import UNLABELLED, Utterances
from dferc.store.vocabulary import SPLITS


def name_utterances(base: Source, namers: Sequence[Source], name: str, problems: list[Problem]) -> Utterances:
    """Return every utterance of `base`, in order; the namers are asked for ids, speakers and texts one by one."""
    if not name:
        raise InputError(f"{base.path} does not say which corpus it is of; name it with --corpus.")
    namers = [source if source is base else counted_alike(by_our_dialogues(source, base), base)[0] for source in namers]
    columns: dict[str, list] = {column: [] for column in ("utterance_id", "position", "speaker", "text")}
    for dialogue in base.splits:
        ids, positions = _ids(dialogue, base, namers, problems)
        _verify_storable(base, dialogue, "utterance id", ids)
        columns["utterance_id"] += ids
        columns["position"] += positions
        count = len(base.labels[dialogue])
        for column, part in (("speaker", "speakers"), ("text", "texts")):
            given = ((source, _words(source, part, base, dialogue, ids, positions)) for source in namers)
            whole = (pair for pair in given if len(pair[1]) == count)
            source, words = max(whole, key=lambda pair: sum(map(bool, pair[1])), default=(base, [""] * count))
            _verify_storable(source, dialogue, column, words)
            columns[column] += words
    lengths = [len(base.labels[dialogue]) for dialogue in base.splits]
    emotion = [label for dialogue in base.splits for label in base.labels[dialogue]]
    position = np.array(columns.pop("position"), dtype=np.int64)
    return Utterances(
        corpus=name,
        classes=base.classes,
        protocol=_protocol(base, name, problems),
        speaker_independent=base.corpus == IEMOCAP.name,  # no actor is in two sessions
        notes=base.notes,
        votes=np.concatenate([base.votes[dialogue] for dialogue in base.splits]) if base.votes else None,
        dialogue_id=np.repeat(np.array(list(base.splits), dtype=object), lengths),
        split=np.repeat(np.array(list(base.splits.values()), dtype=object), lengths),
        position=position,
        emotion=np.array(emotion, dtype=np.int64),
        start_s=np.full(len(emotion), np.nan),
        end_s=np.full(len(emotion), np.nan),
        **{column: np.array(values, dtype=object) for column, values in columns.items()},
    )


def _words(
    source: Source, part: str, base: Source, dialogue: str, ids: Sequence[str], positions: Sequence[int]
) -> Sequence[str]:
    """Return a source's speakers or texts of a dialogue, in the order of the utterances where it knows their ids."""
    words = getattr(source, part).get(dialogue, ())
    places = None if source is base or not words else places_in(source, base, dialogue, ids, positions)
    return words if places is None else ["" if place is None else words[place] for place in places]


def _verify_storable(source: Source, dialogue: str, column: str, words: Sequence[str]) -> None:
    """Check that no text of a dialogue, nor its name, has a character that no file of ours can hold."""
    for place, text in enumerate((dialogue, *words), start=-1):
        if fault := storage_fault(text):
            where = f"utterance {place}: the {column}" if place >= 0 else "its name"
            raise InputError(f"{source.path}, dialogue {dialogue!r:.60}, {where} holds {fault}. Correct it there.")


def _ids(dialogue: str, base: Source, namers: Sequence[Source], problems: list[Problem]) -> tuple[list[str], list[int]]:
    """Return ids and positions: from the first file that has them and the same utterances, else by counting."""
    labels = base.labels[dialogue]
    split, _, dialogue_number = dialogue.rpartition("_")
    # As `prepare` names utterances: MELD's `train_dia0_utt3`, otherwise dialogue and number.
    as_meld = base.corpus == MELD.name and split in MELD_SPLITS and dialogue_number.isdecimal()
    prefix = f"{split}_dia{dialogue_number}_utt" if as_meld else f"{dialogue}_"
    for source in namers:
        given = source.utterances.get(dialogue)
        if given is None:
            continue
        difference = _difference(given, labels, source.labels_by(base.classes, dialogue) or labels)
        speakers = base.speakers.get(dialogue, ())
        if source is not base and base.corpus == IEMOCAP.name and not difference and _other_speakers(given, speakers):
            raise InputError(
                f"{source.path}, dialogue {dialogue}: {given[0]} and the ids after it are not in the order of "
                f"{base.path}, where {', '.join(speakers[:4])}, … speak. IEMOCAP's ids must be in the order of the "
                "turns' time, not of the alphabet (MERBench's label_6way.npz has it)."
            )
        if difference:
            problem = f"{difference} {base.path.name}"
            problems.append(Problem(dialogue, str(source.path), problem, "utterance ids not taken from here"))
        elif are_numbers(given):
            return [f"{prefix}{number}" for number in given], list(given)
        else:
            return [str(utterance) for utterance in given], list(range(len(given)))
    counted = "counted from 0: gaps of the corpus are not seen"
    problems.append(Problem(dialogue, str(base.path), "no utterance ids", counted))
    mark = "n" if base.corpus == IEMOCAP.name else ""  # IEMOCAP's own numbers count each actor's turns
    return [f"{prefix}{mark}{place}" for place in range(len(labels))], list(range(len(labels)))


def _other_speakers(given: Sequence, speakers: Sequence[str]) -> bool:
    """Return whether letters of IEMOCAP's ids (`Ses01F_impro01_M000`) are not those of the speakers (`Ses01M`)."""
    pairs = [(str(name).rpartition("_")[2][:1], speaker[-1:]) for name, speaker in zip(given, speakers, strict=False)]
    known = [letter == speaker for letter, speaker in pairs if {letter, speaker} <= {"F", "M"}]
    return known.count(False) > 0.1 * len(known)  # some turns may be labelled otherwise


def _difference(given: Sequence, labels: Sequence[int], theirs: Sequence[int]) -> str:
    """Return why a file's utterances are not those that have these labels; empty where they can be."""
    if len(given) != len(labels):
        return f"other number of utterances: {len(given)}, {len(labels)} in"
    if len(theirs) != len(labels):
        return f"other number of labels: {len(theirs)}, {len(labels)} in"
    different = sum(a != b for a, b in zip(labels, theirs))
    return f"other labels: {different} of {len(labels)} are not those of" if different else ""


def _protocol(base: Source, name: str, problems: list[Problem]) -> str:
    """Return labels and splits in words; list counts that are not the published ones, and name the selection so."""
    known = CORPORA.get(base.corpus)
    if known is None:
        return f"{name}, {len(base.classes)} classes, splits of {base.path.name}"
    counts = {split: _count(base, (split,)) for split in SPLITS}
    counts["train and validation"] = _count(base, ("train", "validation"))
    differences = compare_counts(known, counts)
    consequence = "kept as found; scores are not comparable with published ones"
    problems += [Problem(name, str(base.path), f"count differs: {text}", consequence) for text in differences]
    validation = {dialogue for dialogue, split in base.splits.items() if split == "validation"}
    if not differences and (known is not IEMOCAP or validation == COSMIC_VALIDATION):
        return f"{known.labels}, {known.splits}"
    # A part of IEMOCAP in the usual splits, or the file's own.
    splits = f"{known.splits}, " if known is IEMOCAP and validation and validation <= COSMIC_VALIDATION else ""
    listed = ", ".join(f"{MELD_NAMES[split]} {sum(counts[split][1])}" for split in SPLITS)
    return f"{known.labels}, {splits}own selection ({listed} utterances)"


def _count(base: Source, splits: tuple[str, ...]) -> tuple[int, list[int]]:
    """Count the dialogues, and labelled utterances per class, of these splits together."""
    dialogues = [dialogue for dialogue, split in base.splits.items() if split in splits]
    labels = [label for dialogue in dialogues for label in base.labels[dialogue] if label != UNLABELLED]
    return len(dialogues), np.bincount(np.array(labels, dtype=np.int64), minlength=len(base.classes)).tolist()
