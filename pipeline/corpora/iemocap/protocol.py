"""Protocols that the field uses on IEMOCAP: class of each turn, split of each dialogue (docs/data.md, IEMOCAP).

`6way-7433` is the protocol of the field's pickles: the 7380 turns of six classes, and 53 undecided turns counted as
happy. The rule behind the 53 is documented nowhere else; it was derived from the votes of all 2507 undecided turns,
where it gives exactly the ids of the pickles. Only happy is promoted: the same rule would also give 51 frustrated,
50 neutral, ….
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.corpora.iemocap.release import UNDECIDED, Turn
from pipeline.settings import IemocapOptions

_SIX = {"hap": "happy", "sad": "sad", "neu": "neutral", "ang": "angry", "exc": "excited", "fru": "frustrated"}
_FOUR = {"hap": "happy", "exc": "happy", "sad": "sad", "neu": "neutral", "ang": "angry"}


@dataclass(frozen=True, slots=True)
class Protocol:
    """Classes of a protocol, and its published counts of turns."""

    classes: Mapping[str, str]  # class of each majority label
    promotes: bool  # undecided turns are promoted to happy
    per_class: tuple[int, ...]
    per_session: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The classes in order."""
        return tuple(dict.fromkeys(self.classes.values()))

    def emotion(self, turn: Turn) -> str:
        """Return a turn's class; empty = outside the classes."""
        return "happy" if self.promotes and is_promoted(turn) else self.classes.get(turn.code, "")


PROTOCOLS = {
    "6way-7433": Protocol(_SIX, True, (648, 1084, 1708, 1103, 1041, 1849), (1373, 1356, 1569, 1512, 1623)),
    "6way-7380": Protocol(_SIX, False, (595, 1084, 1708, 1103, 1041, 1849), (1365, 1348, 1533, 1512, 1622)),
    "4way-5531": Protocol(_FOUR, False, (1636, 1084, 1708, 1103), (1085, 1023, 1151, 1031, 1241)),
}

PROMOTED = 53
PROMOTED_SHA256 = "4159e7801c0e5fc7c3d420f0be1e844954433d0cf754542d184675ddbaac9e72"
"""Hash of the sorted ids of the 53, joined by newlines."""

COSMIC_VALIDATION = (
    "Ses01M_impro01", "Ses01M_script03_1", "Ses02F_impro02", "Ses02F_impro07", "Ses02M_script01_2", "Ses03F_impro01",
    "Ses03M_impro02", "Ses03M_impro08a", "Ses03M_script02_2", "Ses03M_script03_2", "Ses04F_impro07",
    "Ses04F_script02_1",
)  # fmt: skip
"""Validation dialogues of COSMIC and TelME, in sessions 1 to 4: 647 of 5810 turns."""

VALIDATION_SHARE = 0.1  # share of the training dialogues, for `random-10pct`


def votes(turn: Turn) -> Counter[str]:
    """Count the votes for a promotion: every label of the external raters, only the first of each actor's own."""
    counted = Counter(label for given in turn.external for label in given)
    counted.update(given[0] for given in turn.own if given)
    return counted


def is_promoted(turn: Turn) -> bool:
    """Return whether an undecided turn counts as happy: `Happiness` alone has the most votes."""
    counted = votes(turn)
    most = max(counted.values(), default=0)
    return turn.code == UNDECIDED and [label for label, count in counted.items() if count == most] == ["Happiness"]


def vote_shares(turn: Turn, protocol: Protocol) -> list[float] | None:
    """Return the shares of the external raters' votes for the protocol's classes; None where none is for a class.

    A rater who gives several labels has one vote, split evenly; labels outside the classes are left out.
    """
    counts = dict.fromkeys(protocol.names, 0.0)
    for labels in turn.external:
        for label in labels:
            if emotion := protocol.classes.get(label[:3].lower(), ""):
                counts[emotion] += 1 / len(labels)
    total = sum(counts.values())
    return [count / total for count in counts.values()] if total else None


def hash_of(turn_ids: Iterable[str]) -> str:
    """Return the SHA-256 of turn ids in any order, to compare with `PROMOTED_SHA256`."""
    return hashlib.sha256("\n".join(sorted(turn_ids)).encode()).hexdigest()


def split_of(dialogues: Iterable[str], options: IemocapOptions) -> dict[str, str]:
    """Return the split of each dialogue.

    `random-10pct` takes the tenth of the training dialogues whose names hash lowest with the seed: the same on every
    machine, and nearly the same where a dialogue is missing.
    """
    dialogues = list(dialogues)
    training = [name for name in dialogues if name[4] != options.split[-1]]  # session5, loso-1, …
    if options.validation == "cosmic":
        validation = set(COSMIC_VALIDATION)
    else:
        drawn = sorted(training, key=lambda name: hashlib.sha256(f"{options.split_seed} {name}".encode()).digest())
        validation = set(drawn[: max(1, round(VALIDATION_SHARE * len(training)))])
    splits = dict.fromkeys(dialogues, "test") | dict.fromkeys(training, "train")
    return splits | dict.fromkeys(validation.intersection(training), "validation")
