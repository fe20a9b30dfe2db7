"""Predicted emotions of one medium: the document (`Emotions`), its other formats, and its page (docs/emotions.md)."""

from dferc.results.emotions.document import Emotions
from dferc.results.emotions.schema import EmotionalUtterance, EmotionProblem, MediumFacts, ModelFacts, TranscriptFacts

__all__ = ["EmotionProblem", "EmotionalUtterance", "Emotions", "MediumFacts", "ModelFacts", "TranscriptFacts"]
