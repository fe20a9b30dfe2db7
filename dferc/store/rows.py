"""The rows of a corpus and its features, as arrays in memory; contradictions are refused when they are made.

N utterances, D feature width. Dialogues are contiguous, utterances in order; how they lie in files: `dferc.store.hdf5`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from dferc.core.errors import InputError
from dferc.store.vocabulary import MODALITIES, SPLITS

UNLABELLED = -1
"""`emotion` of an utterance without a label: context only, never in a loss or a score."""

TEXT_COLUMNS = ("utterance_id", "dialogue_id", "speaker", "split", "text")
NUMBER_COLUMNS = {"position": np.int64, "emotion": np.int64, "start_s": np.float64, "end_s": np.float64}


Action = Literal["dropped", "promoted", "merged", "repaired", "kept"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """One kind of thing that was done to a corpus on its way here: a line of its protocol card.

    Attributes:
        action: what was done; "kept" = found wrong or odd, and left as it is.
        what: to which things, in plain words: "turns outside the 6 classes".
        count: how many.
        why: the rule or the finding behind it.

    Raises:
        InputError: an unknown action, or a count below 0.
    """

    action: Action
    what: str
    count: int
    why: str

    def __post_init__(self):
        if self.action not in get_args(Action) or not isinstance(self.count, int) or self.count < 0:
            raise InputError(
                f"note {self.action!r}, count {self.count!r} ({self.what}): expected one of "
                f"{', '.join(get_args(Action))} and a count of 0 or more"
            )


@dataclass(frozen=True, kw_only=True)
class Utterances:
    """Everything the trainer must know besides features; all arrays have N rows.

    Raises:
        InputError: the rows contradict each other (duplicate ids, scattered dialogues, unknown splits or classes).
    """

    corpus: str
    classes: tuple[str, ...]
    """Class names; `emotion` indexes them."""
    protocol: str
    """Which labels, splits and exclusions: two scores are comparable only under the same protocol."""
    utterance_id: np.ndarray
    dialogue_id: np.ndarray
    position: np.ndarray
    """Place in the dialogue as the corpus counts it; gaps of the corpus stay visible."""
    speaker: np.ndarray
    emotion: np.ndarray
    """Class id, or `UNLABELLED`."""
    split: np.ndarray
    text: np.ndarray
    start_s: np.ndarray
    """Seconds into the utterance's media file; NaN where there is none."""
    end_s: np.ndarray
    media_group: np.ndarray | None = None
    """Utterances whose media files have the same bytes share a number; -1 = no other; None = never compared."""
    speaker_independent: bool = False
    """The protocol claims that no speaker of the test split occurs in another split."""
    notes: tuple[Note, ...] = ()
    """What was dropped, promoted, merged, repaired or knowingly kept."""

    def __post_init__(self):
        _check_rows(self)

    def __len__(self) -> int:
        return len(self.utterance_id)

    @property
    def lengths(self) -> np.ndarray:
        """Utterances per dialogue, in file order."""
        starts = np.flatnonzero(np.r_[True, self.dialogue_id[1:] != self.dialogue_id[:-1]])
        return np.diff(np.r_[starts, len(self)])

    @property
    def speaker_order(self) -> np.ndarray:
        """[N] int64: the speaker's number by order of first appearance in the dialogue; -1 = no name.

        One-hot, these are the 9-d speaker vectors of the field's MELD pickles: 0 is who speaks first, not a person.
        """
        order, starts = np.full(len(self), -1, dtype=np.int64), np.r_[0, np.cumsum(self.lengths)]
        for start, end in zip(starts[:-1], starts[1:], strict=True):
            numbers = {}
            for row in range(start, end):
                if self.speaker[row]:
                    order[row] = numbers.setdefault(self.speaker[row], len(numbers))
        return order

    @property
    def rows_hash(self) -> str:
        """Hash of the utterance list (ids, dialogues and order): what every features file must have been made for."""
        rows = "\n".join(f"{dialogue}\t{utterance}" for dialogue, utterance in zip(self.dialogue_id, self.utterance_id))
        return hashlib.sha256(rows.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Features:
    """One modality of one corpus.

    Attributes:
        features: [N, D] float32; rows that are not present hold zeros and must not be used.
        present: [N] bool; False = this utterance has no such signal.
        utterance_id: [N] the rows, as in utterances.h5.
        identity: what made the values: extractor and version, params section, model and weight hash, rows hash.
        names: D feature names where the extractor has them, else empty.
        quality: further [N] float32 columns by name, such as the share of frames with a face.
    """

    modality: str
    corpus: str
    features: np.ndarray
    present: np.ndarray
    utterance_id: np.ndarray
    identity: Mapping[str, object]
    names: tuple[str, ...] = ()
    quality: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        _check_features(self)

    @property
    def width(self) -> int:
        """D."""
        return self.features.shape[1]


@dataclass(frozen=True, kw_only=True)
class CachedCorpus:
    """A verified features folder: utterances and the modalities that are there."""

    utterances: Utterances
    modalities: dict[str, Features]


def _check_rows(rows: Utterances) -> None:
    columns = {name: getattr(rows, name) for name in (*TEXT_COLUMNS, *NUMBER_COLUMNS)}
    wrong = {name: column.shape for name, column in columns.items() if column.shape != rows.utterance_id.shape}
    if wrong or rows.utterance_id.ndim != 1:
        raise InputError(f"columns of different lengths: utterance_id {rows.utterance_id.shape}, {wrong}")
    if len(rows) == 0:
        raise InputError("no utterances at all")
    group = rows.media_group
    if group is not None and (group.shape != rows.utterance_id.shape or group.dtype != np.int64):
        raise InputError(f"media_group is {group.dtype} of shape {group.shape}; expected int64 of ({len(rows)},)")
    kinds = {name: columns[name].dtype for name, dtype in NUMBER_COLUMNS.items() if columns[name].dtype != dtype}
    if kinds:
        raise InputError(f"columns of another type than int64 (position, emotion) and float64 (times): {kinds}")
    if len(set(rows.classes)) != len(rows.classes):
        raise InputError(f"a class is there twice: {', '.join(rows.classes)}")
    ids, counts = np.unique(rows.utterance_id.astype(str), return_counts=True)
    if (counts > 1).any():
        raise InputError(f"duplicate utterance ids: {', '.join(ids[counts > 1][:5])}")
    if len(rows.lengths) != len(set(rows.dialogue_id)):
        raise InputError("the utterances of a dialogue are not contiguous")
    within = rows.dialogue_id[1:] == rows.dialogue_id[:-1]
    if (within & (rows.position[1:] <= rows.position[:-1])).any():
        row = np.flatnonzero(within & (rows.position[1:] <= rows.position[:-1]))[0] + 1
        raise InputError(f"positions must rise within a dialogue; they do not at {rows.utterance_id[row]}")
    if (within & (rows.split[1:] != rows.split[:-1])).any():
        row = np.flatnonzero(within & (rows.split[1:] != rows.split[:-1]))[0]
        raise InputError(f"the dialogue {rows.dialogue_id[row]} lies in two splits")
    unknown = sorted(set(rows.split) - set(SPLITS))
    if unknown:
        raise InputError(f"unknown split(s) {', '.join(map(repr, unknown))}; expected {', '.join(SPLITS)}")
    outside = (rows.emotion < UNLABELLED) | (rows.emotion >= len(rows.classes))
    if outside.any():
        row = np.flatnonzero(outside)[0]
        raise InputError(
            f"{rows.utterance_id[row]}: class id {rows.emotion[row]}, expected -1 to {len(rows.classes) - 1}"
        )
    backward = np.flatnonzero(rows.end_s < rows.start_s)
    if len(backward):
        row = backward[0]
        raise InputError(
            f"{rows.utterance_id[row]} ends at {rows.end_s[row]} s, before its start {rows.start_s[row]} s"
        )


def _check_features(made: Features) -> None:
    if made.modality not in MODALITIES:
        raise InputError(f"unknown modality {made.modality!r}; expected {', '.join(MODALITIES)}")
    rows = len(made.utterance_id)
    if made.features.ndim != 2 or len(made.features) != rows or made.present.shape != (rows,):
        raise InputError(
            f"{made.modality}: {rows} utterance ids, features of shape {made.features.shape}, present of "
            f"{made.present.shape}; expected [N, D] and [N]"
        )
    if made.features.dtype != np.float32 or made.present.dtype != np.bool_:
        raise InputError(
            f"{made.modality}: features are {made.features.dtype}, present {made.present.dtype}; expected float32, bool"
        )
    strange = {name: column.shape for name, column in made.quality.items() if column.shape != (rows,)}
    if strange:
        raise InputError(f"{made.modality}: quality columns of shape {strange}; expected ({rows},)")
    bad = np.flatnonzero(made.present & ~np.isfinite(made.features).all(axis=1))
    if len(bad):
        raise InputError(
            f"{made.modality}: {len(bad)} present utterance(s) have values that are not finite, "
            f"first {made.utterance_id[bad[0]]!r}; mark them not present"
        )
    if made.features[~made.present].any():
        row = np.flatnonzero(~made.present & made.features.any(axis=1))[0]
        raise InputError(f"{made.modality}: {made.utterance_id[row]!r} is not present but has values; expected zeros")
    if made.names and len(made.names) != made.width:
        raise InputError(f"{made.modality}: {len(made.names)} feature names for width {made.width}")
