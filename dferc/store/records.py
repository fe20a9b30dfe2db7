"""Schemas of records: the protocol card of a run, the features of a training, its calibration, a bundle."""

from typing import Annotated, Any, Literal

from pydantic import Field

from dferc.core.files import MODALITY_NAME, SET_NAME
from dferc.core.metrics import MAIN_FIRST
from dferc.core.records import Count, Loss, Names, Score, StoredRecord, Text
from dferc.store.vocabulary import MODALITIES

BUNDLE_SCHEMA = 1
"""Version of a bundle's layout; raised when older programs could misread newer bundles."""

ModalityKey = Annotated[str, Field(pattern=MODALITY_NAME)]
Ends = Annotated[list[Score], Field(min_length=2, max_length=2)]


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
    transductive: str = ""  # a sentence, where scores use unlabelled rows of the split that is scored
    selected_by: Literal[*MAIN_FIRST] | None = None  # validation score that chose the epoch; None = weighted F1
    labels: Literal["votes"] | None = None  # what training learnt; None = the labels
    selection: Literal["refit"] | None = None  # trained anew on training and validation
    validation_split: Literal["by_seed"] | None = None  # each seed drew its own
    sets: dict[ModalityKey, list[Annotated[str, Field(pattern=SET_NAME)]]] = Field(default_factory=dict)
    """Feature sets of the run's modalities that were read from others than their first set."""


Temperature = Annotated[float, Field(ge=0.01, le=100)]  # beyond any fit; powers of probabilities stay finite


class Calibration(StoredRecord):
    """Temperature of one seed, in settings.json beside its weights, or of the mean over the seeds, in metrics.json."""

    temperature: Temperature  # fitted on the validation split
    utterances: Count  # labelled ones of the validation split
    note: str = ""  # a sentence where the fit is degenerate


class TrainedRun(StoredRecord):
    """Part of a training's record: what notes on its run read."""

    corpus: Text
    variant: Text
    settings: dict[str, Any]
    features: dict[ModalityKey, dict[str, Any]]  # identities
    calibration: Calibration | None = None  # in settings.json; older ones have none


class RunCalibration(StoredRecord):
    """Part of metrics.json: what calibrates the mean over the seeds."""

    card: Text
    temperatures: dict[str, Temperature] | None = None  # by seed; runs of older versions have none
    mean: Calibration | None = None  # of the mean over these seeds


class BundleScores(StoredRecord):
    """Scores of a split in bundle.json: means over the seeds, with the 95 % interval of the mean."""

    weighted_f1: Score
    macro_f1: Score
    accuracy: Score
    uar: Score | None = None  # older bundles and runs have no UAR, precision and recall
    weighted_f1_interval: Ends | None = None
    macro_f1_interval: Ends | None = None
    accuracy_interval: Ends | None = None
    uar_interval: Ends | None = None
    ece: Score | None = None  # calibration error; older ones have none
    ece_calibrated: Score | None = None
    ece_of_mean: Score | None = None
    ece_of_mean_calibrated: Score | None = None
    votes_loss: Loss | None = None  # mean cross-entropy to the annotators' votes, where the corpus has any
    votes_loss_calibrated: Loss | None = None
    f1: dict[str, Score]
    precision: dict[str, Score] | None = None
    recall: dict[str, Score] | None = None


class BundleManifest(StoredRecord):
    """Schema of bundle.json: what a bundle holds, what it was trained on, and the hash of every other file."""

    schema_: Literal[BUNDLE_SCHEMA] = Field(alias="schema")
    corpus: Text  # of the training
    protocol: str
    card: Text  # hash of its protocol card
    counts: dict[str, SplitCounts]  # by split, of its protocol card; empty where the run was never scored
    classes: Names
    variant: Text
    seeds: Annotated[list[Count], Field(min_length=1)]
    modalities: Annotated[list[Literal[MODALITIES]], Field(min_length=1)]
    training: dict[str, Any] = Field(default_factory=dict)  # `train` settings other than the paper's
    settings: dict[Annotated[str, Field(pattern=r"^extract_" + SET_NAME.removeprefix("^"))], dict[str, Any]]
    """Sections of params.yaml by which the features were extracted, of the modalities above, or of each of several sets
    that a modality joins: `extract_audio/wavlm`."""
    identities: dict[Literal[MODALITIES], dict[str, Any]]
    calibration: dict[str, Calibration]  # by seed; a seed of an older version has none
    calibration_of_mean: Calibration | None = None  # of the mean over all its seeds; None in older versions
    synthetic: list[Text]  # sentences: training data that is no recording of people
    scores: dict[Literal["validation", "test"], BundleScores]  # empty where the run was never scored
    scored_seeds: Count  # number of seeds of these scores
    opensmile: bool  # whether it needs openSMILE, whose licence is non-commercial
    licences: list[dict[str, str]]  # part, licence
    versions: dict[str, Any]
    files: dict[Text, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]  # SHA-256 by path within the bundle
    digest: str = ""  # SHA-256 of all of the above; "" in older bundles
