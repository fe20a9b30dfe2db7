"""Sections of params.yaml that stage 2 reads: `train` of each corpus, and `ablate`."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from dferc.settings.types import (
    Count,
    FromList,
    Name,
    NonNegative,
    Positive,
    PositiveFloat,
    Precision,
    Rate,
    Section,
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

VariantName = Literal[
    "full", "no_ddm", "no_modality_level", "no_utterance_level", "no_cfm", "no_crm", "full_context", "no_alignment",
    "t", "a", "v", "ta", "tv", "av",
]  # fmt: skip
"""The ablation rows; `dferc/model/variants.py` defines what each switches off."""


class Train(Section):
    """The DF-ERC model, its losses and its optimiser; comments give the symbols of docs/method.md."""

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
    hidden=300, align=500, dropout=0.2, context_dropout=0.3, recurrent_dropout=0.0,
    ddm_scale=0.4, ddm_temperature=1.0, contribution_scale=0.9, context_scale=0.8, alignment_margin=0.1,
    prototype_momentum=0.0, ddm_weight=0.4, cfm_weight=1.0, alignment_weight=0.7,
    class_weights={"neutral": 1.0, "other": 1.3}, normalisation="corpus",
    learning_rate=5.0e-4, betas=(0.9, 0.84), eps=1.0e-7, weight_decay=0.01, warmup_steps=100, clip_norm=1.0,
    weight_average=0.0, batch_dialogues=2, epochs=20, patience=10, threads=1, precision="bfloat16",
)  # fmt: skip
"""The paper's values: the section `train` of params.yaml, for a corpus without a block there. A test compares them."""

DEFAULT_ABLATION = Ablate(variants=["full", "no_crm", "t", "a", "v"], seeds=[0, 1, 2, 3, 4])
"""The section `ablate` of params.yaml, where there is no such file."""

_SHAPES = ("hidden", "align")
"""Settings that decide the shapes of the weights; nothing can stand in for them."""


def complete_settings(found: Mapping) -> dict:
    """Return recorded `train` settings with defaults for those that did not exist when they were recorded.

    Settings that decide shapes stay missing.
    """
    defaults = DEFAULTS.model_dump(mode="json")
    return {name: value for name, value in defaults.items() if name not in _SHAPES} | dict(found)
