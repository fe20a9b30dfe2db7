"""Predicted emotions of one medium: the document (`Emotions`), its other formats, and its page (docs/emotions.md)."""

from dferc.results.emotions.document import FILES, Emotions
from dferc.results.emotions.schema import (
    EU_LAW,
    MEANING,
    OPENSMILE_LICENCE,
    EmotionalUtterance,
    EmotionProblem,
    MediumFacts,
    ModelFacts,
    TranscriptFacts,
    write_schema,
)

__all__ = [
    "EU_LAW",
    "FILES",
    "MEANING",
    "OPENSMILE_LICENCE",
    "EmotionProblem",
    "EmotionalUtterance",
    "Emotions",
    "MediumFacts",
    "ModelFacts",
    "TranscriptFacts",
    "write_schema",
]
