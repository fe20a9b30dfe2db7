"""Sections of params.yaml that stage 2 reads: `train` of each corpus, and `ablate`."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from dferc.core.errors import did_you_mean
from dferc.core.files import SELECTION
from dferc.core.metrics import MAIN_FIRST
from dferc.settings.types import (
    Count,
    FromList,
    ModalityName,
    Name,
    NonNegative,
    OneOrMore,
    Positive,
    PositiveFloat,
    Precision,
    Rate,
    Section,
    SetName,
    Threads,
    Unique,
    Width,
)

Pair = Annotated[tuple[Rate, Rate], FromList]
ClassWeights = Annotated[
    Annotated[Literal["uniform", "authors", "balanced"], Tag("<name>")]
    | Annotated[dict[str, PositiveFloat], Tag("<table>")],
    Discriminator(lambda value: "<table>" if isinstance(value, dict) else "<name>"),
]

FeatureSets = Annotated[
    dict[ModalityName, Annotated[list[SetName], OneOrMore, Unique]],
    AfterValidator(lambda sets: {name: chosen for name, chosen in sets.items() if chosen != [name]}),
]
"""Feature sets by modality; what is not named has its first set, which is left out here."""

VARIANT_NAMES = (
    "full", "no_ddm", "no_modality_level", "no_utterance_level", "no_cfm", "no_crm", "full_context", "no_alignment",
    "t", "a", "v", "ta", "tv", "av",
)  # fmt: skip
"""The ablation rows; `dferc/model/variants.py` defines what each switches off."""


def _named(name: str) -> str:
    if name not in VARIANT_NAMES and not re.match(SELECTION, name):
        known = ", ".join(VARIANT_NAMES)
        raise ValueError(
            f"expected one of {known}, or modalities as in only-text-physiology or without-audio."
            f"{did_you_mean(name, VARIANT_NAMES)}"
        )
    return name


VariantName = Annotated[str, AfterValidator(_named)]


class Train(Section):
    """The DF-ERC model, its losses and its optimiser; comments give the symbols of docs/method.md."""

    features: FeatureSets
    hidden: Width  # H
    align: Width  # width of z
    dropout: Rate
    context_dropout: Rate
    recurrent_dropout: Rate
    ddm_scale: NonNegative  # alpha
    ddm_temperature: Annotated[float, Field(ge=0.02, allow_inf_nan=False)]  # tau; exp(1/tau) must stay a float32
    contribution_scale: NonNegative  # beta
    context_scale: NonNegative  # gamma
    alignment_margin: NonNegative
    prototype_momentum: Rate
    ddm_weight: NonNegative
    cfm_weight: NonNegative
    alignment_weight: NonNegative
    class_weights: ClassWeights
    labels: Literal["majority", "votes"]
    normalisation: Literal["corpus", "speaker"]
    learning_rate: PositiveFloat
    betas: Pair
    eps: PositiveFloat
    weight_decay: NonNegative
    warmup_steps: Count
    clip_norm: PositiveFloat
    weight_average: Rate
    batch_dialogues: Positive
    epochs: Positive
    patience: Positive
    select_by: Literal[*MAIN_FIRST]
    selection: Literal["validation", "refit"]
    validation_split: Literal["corpus", "by_seed"]
    threads: Threads
    precision: Precision


class Ablate(Section):
    """Which variants and seeds `dvc repro` trains."""

    variants: Annotated[list[VariantName], Field(min_length=1), Unique]
    seeds: Annotated[list[Count], Field(min_length=1), Unique]


class Video(Section):
    """What `dferc-video` and `dferc-serve` use where no option says otherwise; no stage reads it."""

    model: Name


DEFAULTS = Train(
    features={}, hidden=300, align=500, dropout=0.2, context_dropout=0.3, recurrent_dropout=0.0,
    ddm_scale=0.4, ddm_temperature=1.0, contribution_scale=0.9, context_scale=0.8, alignment_margin=0.1,
    prototype_momentum=0.0, ddm_weight=0.4, cfm_weight=1.0, alignment_weight=0.7,
    class_weights={"neutral": 1.0, "other": 1.3}, labels="majority", normalisation="corpus",
    learning_rate=5.0e-4, betas=(0.9, 0.84), eps=1.0e-7, weight_decay=0.01, warmup_steps=100, clip_norm=1.0,
    weight_average=0.0, batch_dialogues=2, epochs=20, patience=10, select_by="weighted_f1",
    selection="validation", validation_split="corpus", threads=1, precision="bfloat16",
)  # fmt: skip
"""The paper's values: the section `train` of params.yaml, for a corpus without a block there. A test compares them."""

DEFAULT_ABLATION = Ablate(variants=["full", "no_crm", "t", "a", "v"], seeds=[0, 1, 2, 3, 4])
"""The section `ablate` of params.yaml, where there is no such file."""


_LATER = ("features", "normalisation", "labels", "select_by", "selection", "validation_split")
"""Settings that records omit at their defaults, as records from before these settings do."""


def recorded_settings(settings: Train) -> dict:
    """Return `train` settings as records hold them, so that the same values give the same bytes as before."""
    values, defaults = (each.model_dump(mode="json") for each in (settings, DEFAULTS))
    return {name: value for name, value in values.items() if name not in _LATER or value != defaults[name]}


_SHAPES = ("hidden", "align")
"""Settings that decide the shapes of the weights; nothing can stand in for them."""


def complete_settings(found: Mapping) -> dict:
    """Return recorded `train` settings with defaults for those that did not exist when they were recorded.

    Settings that decide shapes stay missing.
    """
    defaults = DEFAULTS.model_dump(mode="json")
    return {name: value for name, value in defaults.items() if name not in _SHAPES} | dict(found)
