"""Protocol card of a corpus: all that decides whether scores are comparable (equal hashes), and a search for leaks."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Literal, NamedTuple

import numpy as np

from dferc.store.rows import Utterances
from dferc.store.vocabulary import SPLITS, in_order

SHORTEST_TRANSCRIPT = 3
"""Least utterances for two dialogues of the same words to be one: shorter ones ("Hi." "Hi!") repeat by chance."""

EXAMPLES = 5  # most instances of a leak that the card names


class Check(NamedTuple):
    """Result of the search for one kind of leak."""

    leak: str
    verdict: Literal["none", "found", "not claimed", "not checked"]  # not claimed: found, and the protocol allows it
    detail: str  # counts, or why it was not checked
    examples: list[str]  # at most `EXAMPLES` instances


def protocol_card(rows: Utterances) -> dict:
    """Return the card as plain data: its hash, what it is of, counts per split, notes, and the leaks searched for."""
    splits = {}
    for split in SPLITS:
        members = rows.split == split
        emotion = rows.emotion[members & (rows.emotion >= 0)]
        counts = np.bincount(emotion, minlength=len(rows.classes)).tolist()
        splits[split] = {
            "dialogues": len(set(rows.dialogue_id[members])),
            "utterances": int(members.sum()),
            "labelled": len(emotion),
            "most_speakers": int(rows.speaker_order[members].max(initial=-1)) + 1,
            "classes": dict(zip(rows.classes, counts, strict=True)),
        }
    return {
        "card": card_hash(rows),
        "corpus": rows.corpus,
        "protocol": rows.protocol,
        "classes": list(rows.classes),
        "splits": splits,
        "notes": [asdict(note) for note in rows.notes],
        "checks": [check._asdict() for check in check_leaks(rows)],
    }


def card_hash(rows: Utterances) -> str:
    """Hash classes, dialogues, utterance ids, labels by name, and splits: all that a protocol decides.

    Left out: wording (the protocol's name, notes, transcripts), the corpus' name, the order of classes and dialogues.
    """
    labels = np.array([*rows.classes, ""], dtype=object)[rows.emotion]  # -1, unlabelled, is the last
    lines = zip(rows.dialogue_id, rows.utterance_id, rows.split, labels, strict=True)
    in_dialogues = sorted(lines, key=lambda line: line[0])  # stable: the order inside a dialogue counts
    return hashlib.sha256(json.dumps([sorted(rows.classes), in_dialogues]).encode()).hexdigest()[:16]


def simulations(record: Mapping) -> Iterator[str]:
    """Yield a sentence for the corpus and for each modality that a run's record declares synthetic or simulated.

    Args:
        record: `protocol`, and `features`: identity of each modality.
    """
    if is_simulated(str(record.get("protocol", ""))):
        yield f"the corpus is no recording: {record['protocol']}"
    yield from simulated_modalities(record.get("features", {}))


def simulated_modalities(identities: Mapping[str, Mapping]) -> Iterator[str]:
    """Yield a sentence for each modality whose identity declares it synthetic or simulated."""
    for name in in_order(identities):
        for one, identity in identities[name].get("sets", {name: identities[name]}).items():
            if is_simulated(json.dumps(identity)):
                yield f"{one} features are simulated: {identity.get('extractor', 'so their identity says')}"


def is_simulated(declaration: str) -> bool:
    """Return whether a protocol or an identity declares synthetic or simulated data."""
    return any(word in declaration.lower() for word in ("synthetic", "simulat"))


def check_leaks(rows: Utterances) -> list[Check]:
    """Search for what must not be in two splits: dialogues by id and by words, speakers, media."""
    same_id = shared(rows.dialogue_id, rows.split)
    by_id = _check("a dialogue in two splits", same_id, f"{len(same_id)} of {len(set(rows.dialogue_id))} dialogues")
    return [by_id, _dialogues_by_words(rows), _speakers(rows), _media(rows)]


def shared(values: Sequence, splits: Sequence[str]) -> dict:
    """Return the values that occur in more than one split, with those splits, in order of first appearance."""
    splits_of = defaultdict(set)
    for value, split in zip(values, splits, strict=True):
        splits_of[value].add(split)
    return {value: sorted(where, key=SPLITS.index) for value, where in splits_of.items() if len(where) > 1}


def _dialogues_by_words(rows: Utterances) -> Check:
    """Search for the same conversation under two ids: speakers and words alike, letter case and spaces aside."""
    leak = "a dialogue word by word in two splits"
    words, splits, first_id = [], [], {}
    for dialogue in np.split(np.arange(len(rows)), np.cumsum(rows.lengths)[:-1]):
        spoken = tuple(" ".join(f"{rows.speaker[row]}: {rows.text[row]}".casefold().split()) for row in dialogue)
        if len(spoken) >= SHORTEST_TRANSCRIPT and any(rows.text[dialogue]):
            words.append(spoken)
            splits.append(rows.split[dialogue[0]])
            first_id.setdefault(spoken, rows.dialogue_id[dialogue[0]])
    if not words:
        return Check(leak, "not checked", f"no dialogue of {SHORTEST_TRANSCRIPT} and more utterances has text", [])
    repeated = {first_id[spoken]: where for spoken, where in shared(words, splits).items()}
    detail = f"{len(repeated)} of {len(words)} dialogues of {SHORTEST_TRANSCRIPT} and more utterances"
    return _check(leak, repeated, detail)


def _speakers(rows: Utterances) -> Check:
    """Search for speakers of the test split in another one, where the protocol claims that there are none."""
    leak, named = "a test speaker in another split", rows.speaker != ""
    speakers = set(rows.speaker[named & (rows.split == "test")])
    if rows.speaker_independent and not speakers:
        return Check(leak, "not checked", "claimed, but no test utterance names its speaker", [])
    overlap = shared(rows.speaker[named], rows.split[named])
    overlap = {speaker: where for speaker, where in overlap.items() if "test" in where}
    claim = "the protocol claims there is none" if rows.speaker_independent else "the protocol claims nothing of it"
    check = _check(leak, overlap, f"{len(overlap)} of {len(speakers)} test speakers are in another split; {claim}")
    return check if rows.speaker_independent or not overlap else check._replace(verdict="not claimed")


def _media(rows: Utterances) -> Check:
    """Search for media of the same bytes in two splits, where spans overlap (a long video may hold several splits)."""
    leak = "the same media in two splits"
    if rows.media_group is None:
        return Check(leak, "not checked", "the media were never compared", [])
    known = np.flatnonzero(rows.media_group >= 0)
    pairs, members = {}, defaultdict(list)
    for row in known:
        members[int(rows.media_group[row])].append(row)
    for group, where in shared(rows.media_group[known].tolist(), rows.split[known]).items():
        if (pair := _first_overlap(rows, members[group])) is not None:
            pairs[" = ".join(rows.utterance_id[row] for row in pair)] = where
    return _check(leak, pairs, f"{len(pairs)} file(s), compared byte by byte")


def _first_overlap(rows: Utterances, members: Sequence[int]) -> tuple[int, int] | None:
    """Return the first of these rows whose span overlaps one of another split, and the first such row; None without.

    Sorted by their start, the rows that begin before an end are a prefix; its latest end shows whether one overlaps:
    time is linear but for the sorting, where comparing all pairs would take 40,000 x 40,000 values.
    """
    members = np.asarray(members)
    members = members[~np.isnan(rows.start_s[members]) & ~np.isnan(rows.end_s[members])]
    start, end, split = (column[members] for column in (rows.start_s, rows.end_s, rows.split))
    overlaps = np.zeros(len(members), dtype=bool)
    for name in set(split):
        of_split = split == name
        order = np.argsort(start[of_split], kind="stable")
        starts, latest = start[of_split][order], np.maximum.accumulate(end[of_split][order])
        begun = np.searchsorted(starts, end, side="left")  # rows of this split that begin before each end
        overlaps |= ~of_split & (begun > 0) & (latest[np.maximum(begun - 1, 0)] > start)
    if not overlaps.any():
        return None
    one = overlaps.argmax()
    two = ((start < end[one]) & (start[one] < end) & (split != split[one])).argmax()
    return members[one], members[two]


def _check(leak: str, instances: dict, detail: str) -> Check:
    examples = [f"{value} ({', '.join(where)})" for value, where in list(instances.items())[:EXAMPLES]]
    return Check(leak, "found" if instances else "none", detail, examples)
