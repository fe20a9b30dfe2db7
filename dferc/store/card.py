"""The protocol card of a corpus: what decides whether two numbers may be compared, and the leaks that were looked for.

Its hash stands in every result: two scores are comparable where the hashes are equal, and visibly not where they
differ. N utterances.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal, NamedTuple

import numpy as np

from dferc.store.rows import Utterances
from dferc.store.vocabulary import SPLITS

SHORTEST_TRANSCRIPT = 3
"""Utterances from which on two dialogues of the same words are one: shorter ones ("Hi." "Hi!") repeat by chance."""

EXAMPLES = 5
"""Instances of a leak that the card names."""


class Check(NamedTuple):
    """One leak that was looked for.

    Attributes:
        leak: what would be one.
        verdict: "none", "found", "not claimed" (there is overlap, and the protocol allows it), or "not checked".
        detail: what was counted.
        examples: at most `EXAMPLES` instances.
    """

    leak: str
    verdict: Literal["none", "found", "not claimed", "not checked"]
    detail: str
    examples: list[str]


def protocol_card(rows: Utterances) -> dict:
    """The card as plain data.

    Returns:
        card (its hash), corpus, protocol, classes; splits: what `describe_split` says of each; notes: what was dropped,
        promoted, merged, repaired or kept; checks: the leaks looked for.
    """
    return {
        "card": card_hash(rows),
        "corpus": rows.corpus,
        "protocol": rows.protocol,
        "classes": list(rows.classes),
        "splits": {split: describe_split(rows, split) for split in SPLITS},
        "notes": [asdict(note) for note in rows.notes],
        "checks": [check._asdict() for check in check_leaks(rows)],
    }


def card_hash(rows: Utterances) -> str:
    """Hash of classes, dialogues, utterance ids, labels by name and splits.

    Not of wording (the protocol's name, notes, transcripts): all that a protocol decides stands in the rows. Nor of
    what changes no score's meaning: the corpus' name, the numbering of classes, the order of dialogues.
    """
    labels = np.array([*rows.classes, ""], dtype=object)[rows.emotion]  # -1, unlabelled, is the last
    lines = zip(rows.dialogue_id, rows.utterance_id, rows.split, labels, strict=True)
    in_dialogues = sorted(lines, key=lambda line: line[0])  # stable: the order inside a dialogue counts
    return hashlib.sha256(json.dumps([sorted(rows.classes), in_dialogues]).encode()).hexdigest()[:16]


def describe_split(rows: Utterances, split: str) -> dict:
    """Dialogues, utterances, labelled ones, the most speakers of a dialogue, and a count per class."""
    here = rows.split == split
    emotion = rows.emotion[here & (rows.emotion >= 0)]
    counts = np.bincount(emotion, minlength=len(rows.classes)).tolist()
    return {
        "dialogues": len(set(rows.dialogue_id[here])),
        "utterances": int(here.sum()),
        "labelled": len(emotion),
        "most_speakers": int(rows.speaker_order[here].max(initial=-1)) + 1,
        "classes": dict(zip(rows.classes, counts, strict=True)),
    }


# ---------------------------------------------------------------------------------------------------- leaks


def check_leaks(rows: Utterances) -> list[Check]:
    """Look for what must not stand in two splits: dialogues by id and by words, speakers, media."""
    return [
        _dialogues_by_id(rows.dialogue_id, rows.split),
        _dialogues_by_words(rows),
        _speakers(rows),
        _media(rows),
    ]


def shared(values: Sequence, splits: Sequence[str]) -> dict:
    """The values that occur in more than one split, with those splits, in order of first appearance."""
    found = defaultdict(set)
    for value, split in zip(values, splits, strict=True):
        found[value].add(split)
    return {value: sorted(where, key=SPLITS.index) for value, where in found.items() if len(where) > 1}


def _dialogues_by_id(dialogue_N: Sequence[str], split_N: Sequence[str]) -> Check:
    found = shared(dialogue_N, split_N)
    return _check("a dialogue in two splits", found, f"{len(found)} of {len(set(dialogue_N))} dialogues")


def _dialogues_by_words(rows: Utterances) -> Check:
    """The same conversation under two ids: speakers and words alike, letter case and spaces aside."""
    ends = np.cumsum(rows.lengths)
    words, splits, first = [], [], {}
    for start, end in zip(np.r_[0, ends[:-1]], ends, strict=True):
        spoken = tuple(
            " ".join(f"{rows.speaker[row]}: {rows.text[row]}".casefold().split()) for row in range(start, end)
        )
        if len(spoken) >= SHORTEST_TRANSCRIPT and any(rows.text[start:end]):
            words.append(spoken)
            splits.append(rows.split[start])
            first.setdefault(spoken, rows.dialogue_id[start])
    leak = "a dialogue word by word in two splits"
    if not words:
        return Check(leak, "not checked", f"no dialogue of {SHORTEST_TRANSCRIPT} and more utterances has text", [])
    found = {first[spoken]: where for spoken, where in shared(words, splits).items()}
    detail = f"{len(found)} of {len(words)} dialogues of {SHORTEST_TRANSCRIPT} and more utterances"
    return _check(leak, found, detail)


def _speakers(rows: Utterances) -> Check:
    leak, named = "a test speaker in another split", rows.speaker != ""
    speakers = set(rows.speaker[named & (rows.split == "test")])
    overlap = shared(rows.speaker[named], rows.split[named])
    found = {speaker: where for speaker, where in overlap.items() if "test" in where}
    detail = f"{len(found)} of {len(speakers)} test speakers are in another split"
    if rows.speaker_independent and not speakers:
        return Check(leak, "not checked", "claimed, but no test utterance names its speaker", [])
    claim = "the protocol claims there is none" if rows.speaker_independent else "the protocol claims nothing of it"
    check = _check(leak, found, f"{detail}; {claim}")
    return check if rows.speaker_independent or not found else check._replace(verdict="not claimed")


def _media(rows: Utterances) -> Check:
    """Media of the same bytes in two splits, where the utterances' spans overlap (a long video may hold several)."""
    leak = "the same media in two splits"
    if rows.media_group is None:
        return Check(leak, "not checked", "the media were never compared", [])
    known = np.flatnonzero(rows.media_group >= 0)
    found = {}
    for group, where in shared(rows.media_group[known].tolist(), rows.split[known]).items():
        members = known[rows.media_group[known] == group]
        start, end, split = (column[members] for column in (rows.start_s, rows.end_s, rows.split))
        overlap = (start[:, None] < end) & (start < end[:, None]) & (split[:, None] != split)
        if overlap.any():
            one, two = members[np.argwhere(overlap)[0]]
            found[f"{rows.utterance_id[one]} = {rows.utterance_id[two]}"] = where
    return _check(leak, found, f"{len(found)} file(s), compared byte by byte")


def _check(leak: str, found: dict, detail: str) -> Check:
    examples = [f"{value} ({', '.join(where)})" for value, where in list(found.items())[:EXAMPLES]]
    return Check(leak, "found" if found else "none", detail, examples)
