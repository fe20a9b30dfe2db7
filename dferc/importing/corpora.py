"""Facts of the corpora, and the files that the field passes around (docs/data.md); counts are the published ones."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

COSMIC_VALIDATION = frozenset(
    {
        "Ses01M_impro01", "Ses01M_script03_1", "Ses02F_impro02", "Ses02F_impro07", "Ses02M_script01_2",
        "Ses03F_impro01", "Ses03M_impro02", "Ses03M_impro08a", "Ses03M_script02_2", "Ses03M_script03_2",
        "Ses04F_impro07", "Ses04F_script02_1",
    }
)  # fmt: skip
"""The 12 IEMOCAP dialogues that COSMIC and TelME validate on."""


class Corpus(NamedTuple):
    """Facts of a corpus, equal to those of its adapter in stage 1, where there is one."""

    name: str
    classes: tuple[str, ...]  # names in the order of the class ids
    labels: str  # in words
    splits: str  # in words, where the counts are the published ones
    published: Mapping[str, tuple[int, tuple[int, ...]]]
    """Per split, the number of dialogues, and of utterances per class (or, as one number, in all)."""


MELD = Corpus(
    name="meld",
    classes=("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"),
    labels="MELD, 7 emotions",
    splits="published splits",
    published={
        "train": (1038, (4710, 1205, 268, 683, 1743, 271, 1109)),
        "validation": (114, (470, 150, 40, 111, 163, 22, 153)),
        "test": (280, (1256, 281, 50, 208, 402, 68, 345)),
    },
)
IEMOCAP = Corpus(
    name="iemocap",
    classes=("happy", "sad", "neutral", "angry", "excited", "frustrated"),
    labels="IEMOCAP 6way-7433",
    splits="split session5, validation cosmic, context_turns drop",
    published={
        "train and validation": (120, (504, 839, 1324, 933, 742, 1468)),
        "test": (31, (144, 245, 384, 170, 299, 381)),
    },
)
M3ED = Corpus(
    name="m3ed",
    classes=("happy", "neutral", "sad", "disgust", "anger", "fear", "surprise"),
    labels="M3ED, 7 emotions",
    splits="published splits",
    published={"train": (685, (17_427,)), "validation": (126, (2871,)), "test": (179, (4151,))},
)
M3ED_SHOWS = {"validation": 7, "test": 11}
"""Number of TV shows in each list; a dialogue's name begins with its show. The other 38 shows are for training."""

CORPORA = {corpus.name: corpus for corpus in (MELD, IEMOCAP, M3ED)}

KNOWN_FILES = {
    "889532cad757903e78b3f87445306592eb8e2070": "IEMOCAP_features.pkl of MMGCN and MM-DFN",
    "55873a76e17fa3e054bcc5afc534cd1dde2eb2d8": "MELD_features_raw1.pkl of MMGCN and MM-DFN",
    "48a47d73b4b10c805ac7819fd9bcc61444119c65": "IEMOCAP_features.pkl of conv-emotion, COGMEN and CORECT",
    "a21501009647eb0774a638ccd123aba6668768cc": "IEMOCAP_features_raw.pkl of bc-LSTM",
    "0b2c026fee4f49f453f168c7f866a199fc51d84f": "MELD_features_raw.pkl of bc-LSTM",
}
"""By git blob SHA-1."""

_MELD_RANGES = {"train": range(0, 1039), "dev": range(1039, 1153), "test": range(1153, 1433)}
MELD_SPLITS = {"train": "train", "dev": "validation", "test": "test"}
MELD_NAMES = {split: name for name, split in MELD_SPLITS.items()}


def meld_dialogue(key: int) -> tuple[str, str] | None:
    """Return (dialogue id, MELD's split name) of a number as in the pickles: train, dev + 1039, test + 1153."""
    for name, numbers in _MELD_RANGES.items():
        if key in numbers:
            return f"{name}_{key - numbers.start}", name
    return None


def is_iemocap_dialogue(key: object) -> bool:
    """Return whether a key is named like IEMOCAP's dialogues, such as Ses01F_impro01."""
    return isinstance(key, str) and re.fullmatch(r"Ses0[1-5][FM]_(impro|script)\w+", key) is not None


def natural(name: str) -> tuple[str, int, str]:
    """Return a sorting key: `train_9` before `train_10`, and other names as text."""
    head, _, tail = name.rpartition("_")
    return (head, int(tail), "") if head in MELD_SPLITS and tail.isdigit() else ("", 0, name)


def compare_counts(corpus: Corpus, found: Mapping[str, tuple[int, Sequence[int]]]) -> list[str]:
    """Return the differences from the published counts, in words."""
    differs = []
    for split, (dialogues, per_class) in corpus.published.items():
        have_dialogues, have = found[split]
        names = corpus.classes
        if len(per_class) == 1:
            names, have = ("utterances",), (sum(have),)
        pairs = [("dialogues", have_dialogues, dialogues), *zip(names, have, per_class, strict=True)]
        differs += [f"{split}: {what} {count}, published {want}" for what, count, want in pairs if count != want]
    return differs
