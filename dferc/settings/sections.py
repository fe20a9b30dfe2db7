"""Sections of params.yaml that stage 2 reads: `train` of each corpus, and `ablate`."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from dferc.settings.types import (
    Count,
    FromList,
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
