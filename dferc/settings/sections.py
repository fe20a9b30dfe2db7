"""Sections of params.yaml that stage 2 reads: `train` of each corpus, and `ablate`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, PrivateAttr, Tag, ValidationError, model_validator

from dferc.core.errors import InputError, did_you_mean
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
    "t", "a", "v", "ta", "tv", "av", "plus",
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
    linear_blend: bool
    attention_layers: Annotated[int, Field(ge=0, le=64)]
    attention_width: Annotated[int, Field(ge=32, le=8192, multiple_of=32)]  # heads of 32
    causal: bool
    input_dropout: Rate
    members: Annotated[int, Field(ge=1, le=64)]
    recurrent_members: Annotated[int, Field(ge=0, le=64)]
    label_smoothing: Rate
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

    _given: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def given(self) -> frozenset[str]:
        """Names of the settings that `--set` or a search gives: a variant's own values yield to them."""
        return self._given

    def giving(self, names: Iterable[str]) -> Self:
        """Return a copy in which the settings of these names are given, too."""
        copy = self.model_copy()
        copy._given = self._given | frozenset(names)
        return copy

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Return validated settings with these values; given ones stay given."""
        return type(self).model_validate(self.model_dump() | dict(changes)).giving(self.given)


class Ablate(Section):
    """Which variants and seeds `dvc repro` trains."""

    variants: Annotated[list[VariantName], Field(min_length=1), Unique]
    seeds: Annotated[list[Count], Field(min_length=1), Unique]


class Range(Section):
    """Range of a setting that `dferc tune` searches; whole numbers for settings that are."""

    low: int | float
    high: int | float
    log: bool = False  # drawn evenly by logarithm


NOT_TUNED = ("features", "select_by", "selection", "validation_split", "threads")
"""Settings that `dferc tune` does not search: other data, another objective, or nothing that a score depends on."""


class Tune(Section):
    """What `dferc tune` searches; no stage reads it."""

    variant: VariantName
    seeds: Annotated[list[Count], Field(min_length=1), Unique]
    sampler_seed: Count
    space: Annotated[dict[str, Range | Annotated[list[Any], Field(min_length=2)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_space(self) -> Self:
        for name, search in self.space.items():
            if name in NOT_TUNED or name not in Train.model_fields:
                known = [each for each in Train.model_fields if each not in NOT_TUNED]
                raise ValueError(f"space.{name} is no setting of `train` that can be tuned.{did_you_mean(name, known)}")
            if isinstance(search, list) and any(search.count(choice) > 1 for choice in search):
                raise ValueError(f"space.{name}: a choice is there twice")
            if isinstance(search, Range):
                kind = type(getattr(DEFAULTS, name))
                if kind not in (int, float) or kind is int and {type(search.low), type(search.high)} != {int}:
                    expected = "a list of choices" if kind not in (int, float) else "whole numbers"
                    raise ValueError(f"space.{name}: expected {expected}, found a range of other values")
                if not search.low < search.high or search.log and search.low <= 0:
                    raise ValueError(f"space.{name}: expected low < high, and low > 0 where it is drawn by logarithm")
            whole = isinstance(search, Range) and kind is int  # not every one between two that fit is a width of heads
            for value in search if isinstance(search, list) else (search.low, search.low + whole, search.high):
                is_whole = type(value) is int and abs(value) < 2**63  # a larger one may be no float at all
                given = float(value) if is_whole and type(getattr(DEFAULTS, name)) is float else value
                try:
                    Train.model_validate(DEFAULTS.model_dump() | {name: given})
                except ValidationError as error:
                    raise ValueError(f"space.{name}: {value!r:.40} is refused: {error.errors()[0]['msg']}") from None
        return self


class Video(Section):
    """What `dferc-video` and `dferc-serve` use where no option says otherwise; no stage reads it."""

    model: Name


DEFAULTS = Train(
    features={}, hidden=300, align=500, dropout=0.2, context_dropout=0.3, recurrent_dropout=0.0,
    ddm_scale=0.4, ddm_temperature=1.0, contribution_scale=0.9, context_scale=0.8, alignment_margin=0.1,
    prototype_momentum=0.0, ddm_weight=0.4, cfm_weight=1.0, alignment_weight=0.7,
    class_weights={"neutral": 1.0, "other": 1.3}, labels="majority", normalisation="corpus",
    linear_blend=False, attention_layers=0, attention_width=192, causal=False, input_dropout=0.0,
    members=1, recurrent_members=0, label_smoothing=0.0,
    learning_rate=5.0e-4, betas=(0.9, 0.84), eps=1.0e-7, weight_decay=0.01, warmup_steps=100, clip_norm=1.0,
    weight_average=0.0, batch_dialogues=2, epochs=20, patience=10, select_by="weighted_f1",
    selection="validation", validation_split="corpus", threads=1, precision="bfloat16",
)  # fmt: skip
"""The paper's values: the section `train` of params.yaml, for a corpus without a block there. A test compares them."""
Train.usual = DEFAULTS.model_dump(mode="json")

DEFAULT_TUNING = Tune(
    variant="full", seeds=[0, 1, 2], sampler_seed=0,
    space={
        "learning_rate": Range(low=5.0e-5, high=2.0e-3, log=True),
        "weight_decay": Range(low=1.0e-4, high=0.1, log=True),
        "dropout": Range(low=0.0, high=0.6), "context_dropout": Range(low=0.0, high=0.6), "hidden": [100, 200, 300],
        "batch_dialogues": [1, 2, 4, 8], "ddm_weight": Range(low=0.0, high=1.0), "cfm_weight": Range(low=0.0, high=1.5),
        "alignment_weight": Range(low=0.0, high=1.0), "class_weights": ["uniform", "balanced"],
    },
)  # fmt: skip
"""The section `tune` of params.yaml, where there is none."""

DEFAULT_ABLATION = Ablate(variants=["full", "plus", "no_crm", "t", "a", "v"], seeds=[0, 1, 2, 3, 4])
"""The section `ablate` of params.yaml, where there is no such file."""

_LATER = (
    "features", "normalisation", "labels", "select_by", "selection", "validation_split",
    "linear_blend", "attention_layers", "attention_width", "causal", "input_dropout",
    "members", "recurrent_members", "label_smoothing",
)  # fmt: skip
"""Settings that records omit at their defaults, as records from before these settings do."""


def recorded_settings(settings: Train) -> dict:
    """Return `train` settings as records hold them, so that the same values give the same bytes as before."""
    values, defaults = (each.model_dump(mode="json") for each in (settings, DEFAULTS))
    return {name: value for name, value in values.items() if name not in _LATER or value != defaults[name]}


_SHAPES = ("hidden", "align")  # settings that decide the shapes of the weights; nothing can stand in for them


def complete_settings(found: Mapping) -> dict:
    """Return recorded `train` settings with defaults for those that did not exist when they were recorded.

    Settings that decide shapes stay missing.
    """
    defaults = DEFAULTS.model_dump(mode="json")
    return {name: value for name, value in defaults.items() if name not in _SHAPES} | dict(found)


def class_weights(setting: str | Mapping[str, float], classes: Sequence[str], counts: Sequence[float]) -> list[float]:
    """Resolve the `class_weights` setting to one weight per class; `counts` are those of the training targets.

    The setting is `uniform`; `authors` (first class 1.0, others 1.3: the first is neutral in MELD, but happy in
    IEMOCAP); `balanced` (inverse to the training counts, mean 1 over the utterances); or weights by class name, with
    `other` for the rest (docs/method.md §6).
    """
    if setting == "uniform":
        return [1.0] * len(classes)
    if setting == "authors":
        return [1.0] + [1.3] * (len(classes) - 1)
    if setting == "balanced":
        return [float(sum(counts)) / (len(classes) * max(1.0, float(count))) for count in counts]
    unknown = [name for name in setting if name not in classes and name != "other"]
    missing = [name for name in classes if name not in setting and "other" not in setting]
    if unknown or missing:
        raise InputError(
            f"train.class_weights: not a class: {', '.join(unknown) or 'none'}; without a weight: "
            f"{', '.join(missing) or 'none'}. The classes are {', '.join(classes)}; `other` stands for the rest."
        )
    return [float(setting.get(name, setting.get("other"))) for name in classes]
