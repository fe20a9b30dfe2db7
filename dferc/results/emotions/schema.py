"""Schema of the document (docs/emotions.md), and what every result says about itself: meaning, law, licences."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from dferc.core import VERSION
from dferc.core.records import Finite, Names, Score, StoredRecord, Text

SCHEMA = 1  # of the document; a change that older readers would misread raises it
UNDECIDED = "undecided"  # in every format but JSON, which has null

MEANING = (
    "A probability is the model's own estimate of how annotators would have labelled the utterance. "
    "It is no measurement of what a person feels."
)
EU_LAW = (
    "In the EU, emotion recognition in workplaces and in education is prohibited, except for medical or safety reasons "
    "(AI Act, Regulation (EU) 2024/1689, Article 5(1)(f), since 2 February 2025). Other uses are high-risk (Annex III)."
)
OPENSMILE_LICENCE = (
    "The model uses openSMILE features. openSMILE is free of charge for private, research and educational use only; "
    "commercial products need a licence of audEERING."
)

# Half characters, such as Python's of a file name that is not UTF-8, are replaced: no file could hold them.
AnyText = Annotated[
    str, AfterValidator(lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
]
Name = Annotated[AnyText, Field(min_length=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class MediumFacts(StoredRecord):
    """The medium that the emotions are of."""

    name: Name = Field(description="file name without folders")
    length_s: Seconds | None = Field(description="length in seconds; null for a transcript alone")
    has_sound: bool
    has_picture: bool
    sha256: Text | None = Field(None, description="SHA-256 of the file; null in older results")


class ModelFacts(StoredRecord):
    """The model that predicted."""

    name: Name = Field(description="name of the bundle or run")
    corpus: Text = Field(description="corpus that the model was trained on")
    classes: Names = Field(description="emotions that the model knows, in the order of all probabilities")
    modalities: list[Text] = Field(description="modalities that the model was trained with")
    seeds: list[int] = Field(min_length=1, description="seeds whose mean the probabilities are")
    temperature: float | None = Field(
        None, gt=0, description="of the calibration, as a mean over the seeds; null for an uncalibrated model"
    )
    temperature_of_mean: float | None = Field(
        None, gt=0, description="by which the mean over the seeds is calibrated once more; null where there is none"
    )
    synthetic: list[Text] = Field(
        default_factory=list, description="sentences on synthetic or simulated training data; empty where all is real"
    )
    licences: list[Text] = Field(default_factory=list, description="remarks on licences that bind users of the model")


class TranscriptFacts(StoredRecord):
    """The origin of texts, times and speakers."""

    origin: Name = Field(description="a file name, or the speech recognition")
    language: str = Field("", description="language code, or empty where unknown")
    speakers_from: AnyText = Field("", description="the transcript, a diarization model, or nothing: one speaker")


class EmotionProblem(StoredRecord):
    """A fault of the input and its consequence."""

    where: AnyText
    problem: Name
    consequence: AnyText = ""


class EmotionalUtterance(StoredRecord):
    """An utterance and its predicted emotion."""

    id: Name
    start_s: Seconds | None = Field(description="begin in seconds; null where unknown, as in a text without times")
    end_s: Seconds | None = Field(description="end in seconds; null where the begin is")
    speaker: AnyText = Field(description="name, or empty where unknown")
    text: AnyText = Field(description="words, or empty where there is no transcript")
    emotion: Text | None = Field(description="most probable class; null = undecided: less probable than `abstain`")
    probabilities: dict[str, Score] = Field(min_length=1, description="probability of each class, mean over the seeds")
    disagreement: Score | None = Field(
        None, description="standard deviation over the seeds of the most probable class' probability; null for one seed"
    )
    contributions: dict[str, Score] = Field(
        default_factory=dict, description="share of each modality in the fusion; they sum to 1"
    )
    context_weight: Finite | None = Field(None, description="how much of its neighbours the utterance lets in")
    face_share: Score | None = Field(None, description="share of the sampled frames that show the speaker's face")
    absent: dict[str, AnyText] = Field(default_factory=dict, description="absent modalities, each with the reason")

    @property
    def label(self) -> str:
        """The emotion, or `UNDECIDED`."""
        return self.emotion or UNDECIDED

    @property
    def most_probable(self) -> str:
        """The class of the highest probability, also where the utterance is undecided."""
        return self.emotion or max(self.probabilities, key=self.probabilities.get)

    @property
    def confidence(self) -> float:
        """The highest probability."""
        return max(self.probabilities.values())

    @model_validator(mode="after")
    def _times(self) -> Self:
        if (self.start_s is None) != (self.end_s is None):
            raise ValueError("have both of start_s and end_s, or null for both")
        if self.start_s is not None and self.end_s < self.start_s:
            raise ValueError(f"end after it begins: {self.start_s} to {self.end_s} s")
        return self


class EmotionsRecord(StoredRecord):
    """The emotions of one medium, in the order of its utterances."""

    model_config = ConfigDict(strict=True, extra="allow", populate_by_name=True)

    schema_: Literal[SCHEMA] = Field(SCHEMA, alias="schema", description="version of this schema")
    made_by: Text = Field(f"dferc {VERSION}", description="program that wrote the document")
    media: MediumFacts
    model: ModelFacts
    transcript: TranscriptFacts | None = Field(None, description="null where there are no words at all")
    abstain: Score = Field(0.0, description="probability below which an utterance is left undecided")
    notes: list[Name] = Field(default_factory=list, description="what a reader should know of this result")
    problems: list[EmotionProblem] = Field(default_factory=list, description="faults of the input")
    notices: list[Text] = Field(default=[MEANING, EU_LAW], description="what the numbers mean, and the law")
    utterances: list[EmotionalUtterance]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ids, classes = set(), set(self.model.classes)
        for utterance in self.utterances:
            if utterance.id in ids:
                raise ValueError(f"have each utterance once; {utterance.id[:60]!r} is there twice")
            ids.add(utterance.id)
            if set(utterance.probabilities) != classes:
                raise ValueError(f"have a probability of each class of the model in {utterance.id[:60]!r}")
            if utterance.emotion is not None and utterance.emotion not in classes:
                raise ValueError(f"name a class of the model in {utterance.id[:60]!r}: {utterance.emotion[:60]!r}")
        return self

    @property
    def timed(self) -> list[EmotionalUtterance]:
        """The utterances whose times are known, in the order of their begin."""
        return sorted((each for each in self.utterances if each.start_s is not None), key=lambda each: each.start_s)
