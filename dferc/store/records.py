"""Schemas of records that describe a corpus: the protocol card of a run, the features of a training."""

from typing import Any, Literal

from dferc.core.records import Count, Names, StoredRecord, Text
from dferc.store.vocabulary import MODALITIES


class TrainedFeatures(StoredRecord):
    """Part of a training's record: identities of its features."""

    features: dict[Literal[MODALITIES], dict[str, Any]]


class SplitCounts(StoredRecord):
    """Counts of a split in protocol.json."""

    dialogues: Count
    utterances: Count
    labelled: Count
    most_speakers: Count
    classes: dict[str, Count]


class CardSplits(StoredRecord):
    """Counts of the three splits in protocol.json."""

    train: SplitCounts
    validation: SplitCounts
    test: SplitCounts


class ProtocolRecord(StoredRecord):
    """Schema of evaluate/protocol.json, the protocol card."""

    card: Text
    corpus: Text
    protocol: str
    classes: Names
    splits: CardSplits
