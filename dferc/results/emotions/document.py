"""Emotions of one video, recording or transcript: one JSON document, from which every other format is written.

    >>> emotions = Emotions.read("talk.emotions/emotions.json")
    >>> [utterance.emotion for utterance in emotions.utterances if utterance.confidence > 0.8]
    >>> emotions.write("results", media="talk.mp4", formats=("csv", "html"))

docs/emotions.md describes the formats, and docs/emotions.schema.json is the JSON Schema of the document.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from dferc.core import VERSION
from dferc.core.records import Names, Score, StoredRecord, Text

SCHEMA = 1  # of the document; a change that older readers would misread raises it
REMEDY = "Write it again with `dferc-video`, or read it with the version of dferc that wrote it."

MEANING = (
    "A probability is the model's own estimate of how annotators would have labelled the utterance. "
    "It is no measurement of what a person feels, and says nothing certain about anybody."
)
EU_LAW = (
    "In the EU, emotion recognition in workplaces and in education is prohibited (Regulation (EU) 2024/1689, the AI Act, "
    "Article 5(1)(f), since 2 February 2025), except for medical or safety reasons; other uses are high-risk (Annex III)."
)
OPENSMILE_LICENCE = (
    "The model uses openSMILE features. openSMILE may be used free of charge for private, research and education "
    "purposes only; commercial products need a licence of audEERING."
)

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
FORMATS = ("json", "csv", "srt", "vtt", "eaf", "textgrid", "html")


class MediumFacts(StoredRecord):
    """The medium that the emotions are of."""

    name: Text = Field(description="file name without folders")
    length_s: Seconds | None = Field(description="length in seconds; null for a transcript alone")
    has_sound: bool
    has_picture: bool


class ModelFacts(StoredRecord):
    """The model that predicted."""

    name: Text = Field(description="name of the bundle or run")
    corpus: Text = Field(description="corpus that the model was trained on")
    classes: Names = Field(description="emotions that the model knows, in the order of all probabilities")
    modalities: list[Text] = Field(description="modalities that the model was trained with")
    seeds: list[int] = Field(min_length=1, description="seeds whose mean the probabilities are")
    temperature: float | None = Field(None, gt=0, description="of the calibration; null for an uncalibrated model")
    synthetic: list[Text] = Field(
        default_factory=list, description="sentences on synthetic or simulated training data; empty where all is real"
    )
    licences: list[Text] = Field(default_factory=list, description="remarks on licences that bind users of the model")


class TranscriptFacts(StoredRecord):
    """The origin of texts, times and speakers."""

    origin: Text = Field(description="a file name, or the speech recognition")
    language: str = Field("", description="language code, or empty where unknown")
    speakers_from: str = Field("", description="the transcript, a diarization model, or nothing: one speaker")


class EmotionProblem(StoredRecord):
    """A fault of the input and its consequence."""

    where: str
    problem: Text
    consequence: str = ""


class EmotionalUtterance(StoredRecord):
    """An utterance and its predicted emotion."""

    id: Text
    start_s: Seconds | None = Field(description="begin in seconds; null where unknown, as in a text without times")
    end_s: Seconds | None = Field(description="end in seconds; null where the begin is")
    speaker: str = Field(description="name, or empty where unknown")
    text: str = Field(description="words, or empty where there is no transcript")
    emotion: str | None = Field(description="most probable class; null = undecided: below `abstain`")
    probabilities: dict[str, Score] = Field(description="probability of each class, mean over the seeds")
    disagreement: Score | None = Field(
        None, description="standard deviation over the seeds of the most probable class' probability; null for one seed"
    )
    contributions: dict[str, Score] = Field(
        default_factory=dict, description="share of each modality in the fusion; they sum to 1"
    )
    context_weight: float | None = Field(None, description="how much of its neighbours the utterance lets in")
    face_share: Score | None = Field(None, description="share of the sampled frames that show the speaker's face")
    absent: dict[str, str] = Field(default_factory=dict, description="absent modalities, each with the reason")

    @property
    def most_probable(self) -> str:
        """The class of the highest probability, also where the utterance is undecided."""
        return max(self.probabilities, key=self.probabilities.get)

    @property
    def confidence(self) -> float:
        """The highest probability."""
        return max(self.probabilities.values())

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.start_s is None) != (self.end_s is None):
            raise ValueError("start_s and end_s must both be numbers or both null")
        if self.start_s is not None and self.end_s < self.start_s:
            raise ValueError(f"end_s ({self.end_s}) must not be before start_s ({self.start_s})")
        if not self.probabilities:
            raise ValueError("probabilities must have at least one class")
        return self


class Emotions(StoredRecord):
    """The emotions of one medium, in the order of its utterances."""

    model_config = ConfigDict(strict=True, extra="allow", populate_by_name=True)

    schema_: Literal[SCHEMA] = Field(SCHEMA, alias="schema", description="version of this schema")
    made_by: str = Field(f"dferc {VERSION}", description="program that wrote the document")
    media: MediumFacts
    model: ModelFacts
    transcript: TranscriptFacts | None = Field(description="null where there are no words at all")
    abstain: Score = Field(0.0, description="probability below which an utterance is left undecided")
    notes: list[Text] = Field(default_factory=list, description="what a reader should know of this result")
    problems: list[EmotionProblem] = Field(default_factory=list, description="faults of the input")
    notices: list[Text] = Field(default=[MEANING, EU_LAW], description="what the numbers mean, and the law")
    utterances: list[EmotionalUtterance]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read emotions.json.

        Raises:
            InputError: it is missing, damaged, of a newer schema, or inconsistent.
        """
        raise NotImplementedError

    def to_json(self, path: str | Path) -> None:
        """Write the document itself."""
        raise NotImplementedError

    def to_csv(self, path: str | Path) -> None:
        """Write a row per utterance."""
        raise NotImplementedError

    def to_srt(self, path: str | Path) -> None:
        """Write SubRip subtitles, the emotion before the text."""
        raise NotImplementedError

    def to_vtt(self, path: str | Path) -> None:
        """Write WebVTT subtitles, the emotion before the text."""
        raise NotImplementedError

    def to_eaf(self, path: str | Path) -> None:
        """Write an annotation file of ELAN, two tiers per speaker: words and emotions."""
        raise NotImplementedError

    def to_textgrid(self, path: str | Path) -> None:
        """Write a TextGrid of Praat, two tiers per speaker: words and emotions."""
        raise NotImplementedError

    def to_html(self, path: str | Path, media: str | Path | None = None, embed: bool = False) -> None:
        """Write the page, which refers to `media` by its place relative to the page, or embeds it."""
        raise NotImplementedError

    def write(
        self,
        folder: str | Path,
        media: str | Path | None = None,
        formats: Sequence[str] = FORMATS,
        embed: bool = False,
    ) -> list[Path]:
        """Write emotions.json, .csv, .srt, .vtt, .eaf, .TextGrid and index.html into a folder; return their paths.

        Args:
            folder: made where it is missing.
            media: the medium, for the page; None writes a page without a player.
            formats: some of `FORMATS`.
            embed: whether the page contains the medium instead of referring to it.

        Raises:
            InputError: an unknown format, a library that is not installed, or a place that cannot be written.
        """
        raise NotImplementedError
