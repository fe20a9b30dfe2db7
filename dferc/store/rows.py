"""Rows of a corpus and its features, as arrays in memory; the constructors refuse contradictions.

N utterances, D feature width. Dialogues are contiguous, utterances in order. `dferc.store.hdf5` has their file layout.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy as np

from dferc.core.errors import InputError
from dferc.core.files import MODALITY_NAME
from dferc.store.vocabulary import SPLITS

OF_ROWS = ("rows_hash", "content_hash")  # of an identity: what is about the utterances, not how values were made
UNLABELLED = -1  # `emotion` of an utterance without a label: context only, never in a loss or a score
TEXT_COLUMNS = ("utterance_id", "dialogue_id", "speaker", "split", "text")
NUMBER_COLUMNS = {"position": np.int64, "emotion": np.int64, "start_s": np.float64, "end_s": np.float64}

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # control characters and line breaks
_BLOCK = 1 << 20  # values that are checked at a time

Action = Literal["dropped", "promoted", "merged", "repaired", "kept"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A change that was made to a corpus: a line of its protocol card."""

    action: Action  # "kept" = wrong or odd, and left unchanged
    what: str  # the things it was made to, in plain words: "turns outside the 6 classes"
    count: int
    why: str  # the rule or the finding behind it

    def __post_init__(self):
        if self.action not in get_args(Action) or not isinstance(self.count, int) or self.count < 0:
            raise InputError(
                f"note {self.action!r}, count {self.count!r} ({self.what}): expected one of "
                f"{', '.join(get_args(Action))} and a count of 0 or more"
            )


@dataclass(frozen=True, kw_only=True)
class Utterances:
    """Everything that the trainer reads besides features; all arrays have N rows."""

    corpus: str
    classes: tuple[str, ...]  # class names; `emotion` indexes them
    protocol: str  # labels, splits and exclusions, in words: two scores are comparable only under the same protocol
    utterance_id: np.ndarray
    dialogue_id: np.ndarray
    position: np.ndarray  # place in the dialogue as the corpus counts it; gaps of the corpus stay visible
    speaker: np.ndarray
    emotion: np.ndarray  # class id, or `UNLABELLED`
    split: np.ndarray
    text: np.ndarray
    start_s: np.ndarray  # seconds into the utterance's media file; NaN where there is none
    end_s: np.ndarray
    media_group: np.ndarray | None = None
    """Utterances whose media files have the same bytes share a number; -1 = no other; None = never compared."""
    media: np.ndarray | None = None  # media file of each row, relative to the raw corpus; "" = none; None = not known
    heard: np.ndarray | None = None  # file and span of a sound that has a file of its own, else ""; None = no such
    region: np.ndarray | None = None  # part of the picture that shows the speaker, else ""; None = no such
    speaker_independent: bool = False  # the protocol claims that no speaker of the test split occurs in another split
    votes: np.ndarray | None = None
    """Shares of the annotators' votes, [N, C] float64: rows sum to 1, or are NaN where there are none; None = no row
    has any. They can be training targets (`train.labels`); scores are those of `emotion`."""
    notes: tuple[Note, ...] = ()  # things dropped, promoted, merged, repaired or knowingly kept

    def __post_init__(self):
        columns = {name: getattr(self, name) for name in (*TEXT_COLUMNS, *NUMBER_COLUMNS)}
        wrong = {name: column.shape for name, column in columns.items() if column.shape != self.utterance_id.shape}
        if wrong or self.utterance_id.ndim != 1:
            raise InputError(f"columns of different lengths: utterance_id {self.utterance_id.shape}, {wrong}")
        if len(self) == 0:
            raise InputError("no utterances at all")
        group = self.media_group
        if group is not None and (group.shape != self.utterance_id.shape or group.dtype != np.int64):
            raise InputError(f"media_group is {group.dtype} of shape {group.shape}; expected int64 of ({len(self)},)")
        for name in ("media", "heard", "region"):
            if (column := getattr(self, name)) is not None and column.shape != self.utterance_id.shape:
                raise InputError(f"{name} has shape {column.shape}; expected ({len(self)},)")
        if self.votes is not None:
            _verify_votes(self.votes, self.utterance_id, self.classes)
        kinds = {name: columns[name].dtype for name, dtype in NUMBER_COLUMNS.items() if columns[name].dtype != dtype}
        if kinds:
            raise InputError(f"columns of another type than int64 (position, emotion) and float64 (times): {kinds}")
        if len(set(self.classes)) != len(self.classes):
            raise InputError(f"duplicate classes: {', '.join(self.classes)}")
        wrong_names = [name for name in self.classes if not name.strip() or _CONTROL.search(name)]
        if wrong_names:  # tables of scores have a line or a column per class
            raise InputError(f"the class {wrong_names[0]!r:.60} is empty, or has a line break or a control character")
        ids, counts = np.unique(self.utterance_id.astype(str), return_counts=True)
        if (counts > 1).any():
            raise InputError(f"duplicate utterance ids: {', '.join(ids[counts > 1][:5])}")
        if len(self.lengths) != len(set(self.dialogue_id)):
            raise InputError("the utterances of a dialogue are not contiguous")
        if unknown := sorted(set(self.split) - set(SPLITS)):
            raise InputError(f"unknown split(s) {', '.join(map(repr, unknown))}; expected {', '.join(SPLITS)}")
        ids, dialogues = self.utterance_id, self.dialogue_id
        continues_N = np.r_[False, dialogues[1:] == dialogues[:-1]]  # the row above is of the same dialogue
        falls_N = np.r_[False, self.position[1:] <= self.position[:-1]]
        changes_N = np.r_[False, self.split[1:] != self.split[:-1]]
        outside_N = (self.emotion < UNLABELLED) | (self.emotion >= len(self.classes))
        ends_N = self.end_s < self.start_s
        for wrong_N, explain in (
            (continues_N & falls_N, lambda n: f"positions must rise within a dialogue; they do not at {ids[n]}"),
            (continues_N & changes_N, lambda n: f"the dialogue {dialogues[n]} lies in two splits"),
            (outside_N, lambda n: f"{ids[n]}: class id {self.emotion[n]}, expected -1 to {len(self.classes) - 1}"),
            (ends_N, lambda n: f"{ids[n]} ends at {self.end_s[n]} s, before its start {self.start_s[n]} s"),
        ):
            if wrong_N.any():
                raise InputError(explain(wrong_N.argmax()))

    def __len__(self) -> int:
        return len(self.utterance_id)

    @property
    def lengths(self) -> np.ndarray:
        """Number of utterances of each dialogue, in file order."""
        starts = np.flatnonzero(np.r_[True, self.dialogue_id[1:] != self.dialogue_id[:-1]])
        return np.diff(np.r_[starts, len(self)])

    @property
    def speaker_order(self) -> np.ndarray:
        """Number of each speaker by order of first appearance in the dialogue, [N] int64; -1 = no name.

        One-hot, these are the 9-d speaker vectors of MELD's pickles (docs/data.md, Community pickles).
        """
        order, numbers = np.full(len(self), -1, dtype=np.int64), defaultdict(dict)
        for row in np.flatnonzero(self.speaker != ""):
            of_dialogue = numbers[self.dialogue_id[row]]
            order[row] = of_dialogue.setdefault(self.speaker[row], len(of_dialogue))
        return order

    @property
    def rows_hash(self) -> str:
        """Hash of the utterance list (ids, dialogues and order), which every features file must have, too."""
        rows = "\n".join(f"{dialogue}\t{utterance}" for dialogue, utterance in zip(self.dialogue_id, self.utterance_id))
        return hashlib.sha256(rows.encode()).hexdigest()[:16]

    def content_hash(self, modality: str) -> str:
        """Hash of what a modality is made of: the texts, or the places in the media."""
        places = (self.text,) if modality == "text" else (self.media, self.start_s, self.end_s)
        places += () if modality == "text" or self.heard is None else (self.heard,)
        places += () if modality != "visual" or self.region is None else (self.region,)
        parts = (part if part is not None else [""] * len(self) for part in places)
        text = "\n".join(json.dumps([str(value) for value in row]) for row in zip(*parts, strict=True))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def speakers_hash(self) -> str:
        """Hash of who speaks, which some models read and the rows' hash does not hold."""
        return hashlib.sha256("\n".join(self.speaker).encode()).hexdigest()[:16]

    @property
    def together(self) -> list[str]:
        """Dialogue of each row [N]; of those that share a span of media, the first: drawn splits do not part them."""
        from scipy.sparse import coo_array, csgraph

        if self.media_group is None:
            return list(self.dialogue_id)
        dialogue_N, compared_N = np.unique(self.dialogue_id, return_inverse=True)[1], self.media_group >= 0
        places = np.stack([self.media_group, self.start_s, self.end_s])[:, compared_N]
        place = np.unique(places, axis=1, return_inverse=True)[1].ravel()
        count, first = dialogue_N.max() + 1, {}
        nodes = count + place.max(initial=-1) + 1
        links = coo_array((np.ones(len(place)), (dialogue_N[compared_N], count + place)), shape=(nodes, nodes))
        numbers = csgraph.connected_components(links, directed=False)[1][dialogue_N]
        return [first.setdefault(number, name) for number, name in zip(numbers, self.dialogue_id)]

    @property
    def together_hash(self) -> str | None:
        """Hash of `together`, which the rows' hash does not hold; None where no dialogues share a span."""
        names = self.together
        return None if names == list(self.dialogue_id) else hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _verify_votes(votes_NC: np.ndarray, ids: np.ndarray, classes: tuple[str, ...]) -> None:
    if votes_NC.dtype != np.float64 or votes_NC.shape != (len(ids), len(classes)):
        raise InputError(
            f"votes are {votes_NC.dtype} of shape {votes_NC.shape}; expected float64 of ({len(ids)}, {len(classes)}): "
            "a share per utterance and class"
        )
    given_N = ~np.isnan(votes_NC).all(axis=1)
    fits_N = (votes_NC >= 0).all(axis=1) & (np.abs(votes_NC.sum(axis=1) - 1) < 1e-6)  # NaN fits nothing
    if (wrong_N := given_N & ~fits_N).any():
        row = wrong_N.argmax()
        raise InputError(
            f"{ids[row]}: votes {votes_NC[row].tolist()!s:.100}; expected shares of the {len(classes)} classes, from 0 "
            "on, that sum to 1"
        )


class Block(NamedTuple):
    """Columns of a modality that one feature set fills, and the utterances that it has."""

    columns: slice
    present: np.ndarray  # [N] bool


@dataclass(frozen=True, kw_only=True)
class Features:
    """One modality of one corpus: a feature set, or several side by side (`join_sets`)."""

    modality: str
    corpus: str
    features: np.ndarray  # [N, D] float32; rows that are not present hold zeros and must not be used
    present: np.ndarray  # [N] bool; False = this utterance has no such signal
    utterance_id: np.ndarray  # [N] as in utterances.h5
    identity: Mapping[str, object]
    """Everything that decided the values: extractor and version, params section, model, weight hash, rows hash."""
    names: tuple[str, ...] = ()  # of the D features where the extractor has them, else empty
    quality: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further [N] float32 columns by name, such as the share of frames with a face."""
    joined: tuple[Block, ...] = ()
    """Blocks of the sets of a joined modality: an utterance may lack some of them, and is present if it has any."""

    def __post_init__(self):
        if not re.match(MODALITY_NAME, self.modality) or self.modality == "utterances":
            raise InputError(
                f"{self.modality!r:.60} is no name of a modality: expected lower-case letters, digits and _, from a "
                "letter on, at most 32 in all, and not `utterances`"
            )
        rows, ids = len(self.utterance_id), self.utterance_id
        if self.features.ndim != 2 or not self.width or len(self.features) != rows or self.present.shape != (rows,):
            raise InputError(
                f"{self.modality}: {rows} utterance ids, features of shape {self.features.shape}, present of "
                f"{self.present.shape}; expected [N, D] and [N], D from 1 on"
            )
        if self.features.dtype != np.float32 or self.present.dtype != np.bool_:
            raise InputError(
                f"{self.modality}: features are {self.features.dtype}, present {self.present.dtype}; "
                "expected float32, bool"
            )
        if misshapen := {name: column.shape for name, column in self.quality.items() if column.shape != (rows,)}:
            raise InputError(f"{self.modality}: quality columns of shape {misshapen}; expected ({rows},)")
        step = max(1, _BLOCK // max(1, self.width))  # whole arrays of masks would double the memory
        blocks = [self.features[start : start + step] for start in range(0, rows, step)]
        finite, filled = (
            np.concatenate([np.zeros(0, bool), *(check(block) for block in blocks)])
            for check in (lambda block: np.isfinite(block).all(axis=1), lambda block: block.any(axis=1))
        )
        if len(bad := np.flatnonzero(self.present & ~finite)):
            raise InputError(
                f"{self.modality}: {len(bad)} present utterance(s) have values that are not finite, "
                f"first {ids[bad[0]]!r}; mark them not present"
            )
        if (~self.present & filled).any():
            row = (~self.present & filled).argmax()
            raise InputError(f"{self.modality}: {ids[row]!r} is not present but has values; expected zeros")
        if self.names and len(self.names) != self.width:
            raise InputError(f"{self.modality}: {len(self.names)} feature names for width {self.width}")

    @property
    def width(self) -> int:
        """Number of values per utterance, D."""
        return self.features.shape[1]

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Blocks of columns that are present together: one per feature set."""
        return self.joined or (Block(slice(None), self.present),)


def by_set(modality: str, identity: Mapping) -> Mapping[str, Mapping]:
    """Return the identity of each set of a joined modality, or that of the modality."""
    return identity.get("sets") or {modality: identity}


def join_sets(modality: str, sets: Mapping[str, Features]) -> Features:
    """Put feature sets of the same rows side by side as one modality; it is present where any of them is."""
    first, ends = next(iter(sets.values())), np.cumsum([each.width for each in sets.values()])
    spans = zip(ends, sets.values(), strict=True)
    identities = {name: {"width": each.width, **each.identity} for name, each in sets.items()}
    named = all(each.names for each in sets.values())
    return Features(
        modality=modality,
        corpus=first.corpus,
        features=np.concatenate([each.features for each in sets.values()], axis=1),
        present=np.any([each.present for each in sets.values()], axis=0),
        utterance_id=first.utterance_id,
        identity={"sets": identities, "rows_hash": first.identity.get("rows_hash")},
        names=tuple(f"{name}: {column}" for name, each in sets.items() for column in each.names) if named else (),
        joined=tuple(Block(slice(end - each.width, end), each.present) for end, each in spans),
    )


@dataclass(frozen=True, kw_only=True)
class CachedCorpus:
    """A verified features folder: utterances, and the modalities that have a file."""

    utterances: Utterances
    modalities: dict[str, Features]
    sets: Mapping[str, list[str]] = field(default_factory=dict)
    """Feature sets of the modalities that were read from others than their first set."""

    @cached_property
    def learnt_hashes(self) -> dict[str, str]:
        """Hash of each modality's values outside of the test split: an identity written by hand may not tell them."""
        learnt_N, hashes = self.utterances.split != "test", {}
        for name, features in self.modalities.items():
            hashed = hashlib.sha256(features.features[learnt_N])
            hashed.update(features.present[learnt_N])
            hashes[name] = hashed.hexdigest()[:16]
        return hashes
