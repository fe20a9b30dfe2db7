"""Sections of params.yaml that stage 1 reads: one per stage, in the block of each corpus.

No setting has a default here: each value is in params.yaml, where DVC tracks it.
"""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from dferc.core.errors import InputError, did_you_mean
from dferc.core.files import FILE_NAME
from dferc.settings.document import Params, load_params
from dferc.settings.sections import Train
from dferc.settings.types import (
    LARGEST,
    CorpusName,
    Count,
    FaceSide,
    FromList,
    Name,
    NonNegative,
    Positive,
    PositiveFloat,
    Precision,
    Rate,
    Section,
    Share,
    Unique,
)

Layer = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    Field(pattern=r"^(last|all|-?[0-9]{1,4}|[0-9]{1,4}-[0-9]{1,4})$"),
]
"""Layers of an encoder: last; a number, negative from the end; a range such as 6-9, or all, which are averaged."""

Window = Literal["dialogue", "utterance", "overlapping"]
TextPooling = Literal["first_last", "mean", "mean_std", "first", "last"]


def _no_single_fold(folds: int) -> int:
    if folds == 1:
        raise ValueError("0 for none, or 2 and more; one fold would leave nothing to learn from")
    return folds


def _has_area(edges: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = edges
    if left >= right or top >= bottom:
        raise ValueError("expected [left, top, right, bottom] with left < right and top < bottom")
    return edges


Crop = Annotated[tuple[Share, Share, Share, Share], FromList, AfterValidator(_has_area)]


class Prepare(Section):
    """Raw corpus -> utterances; `options` are the adapter's own (your own adapter checks its own)."""

    adapter: Name
    max_utterance_s: PositiveFloat
    max_unreadable: Share
    options: dict[str, Any]


class NoOptions(Section):
    """Options of an adapter without options."""


class MeldOptions(Section):
    """Options of MELD (docs/data.md, MELD)."""

    labels: Literal["emotion", "sentiment"]
    dialogues: Literal["multiparty", "dyadic"]


class IemocapOptions(Section):
    """Options of IEMOCAP (docs/data.md, IEMOCAP)."""

    protocol: Literal["6way-7433", "6way-7380", "4way-5531"]
    split: Literal["session5", "loso-1", "loso-2", "loso-3", "loso-4", "loso-5"]
    validation: Literal["cosmic", "random-10pct"]
    split_seed: Count
    context_turns: Literal["drop", "keep"]
    votes: bool
    crop: Crop

    usual = {"votes": False}  # the value of a later setting

    @field_validator("validation")
    @classmethod
    def _cosmic_is_of_session5(cls, validation: str, info: ValidationInfo) -> str:
        if validation == "cosmic" and (split := info.data.get("split", "session5")) != "session5":
            raise ValueError(f"cosmic's dialogues are of sessions 1 to 4, and split is {split}; set random-10pct")
        return validation


class TableOptions(Section):
    """Options of your own corpus: a table of utterances, or subtitles beside videos (docs/own-data.md)."""

    table: Name
    labels: Name
    speaker_prefix: bool | Annotated[list[Name], Unique]
    classes: Annotated[list[Name], Unique]
    validation_share: Rate
    test_share: Rate
    split_seed: Count

    @model_validator(mode="after")
    def _leave_something_to_train_on(self):
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share together must stay below 1: the rest is for training")
        return self


_OPTIONS = {
    **dict.fromkeys(("demo", "emorynlp", "import"), NoOptions),
    "iemocap": IemocapOptions,
    "meld": MeldOptions,
    "table": TableOptions,
}
_OWN_ADAPTER = "<own>"


def _adapter_tag(section: Any) -> str:
    adapter = section.get("adapter") if isinstance(section, dict) else getattr(section, "adapter", None)
    return f"<{adapter}>" if adapter in _OPTIONS else _OWN_ADAPTER


def _prepare_of(adapter: str, options: type[Section]) -> Any:
    fields = {"adapter": (Literal[adapter], ...), "options": (options, ...)}
    return Annotated[create_model(f"Prepare{adapter.capitalize()}", __base__=Prepare, **fields), Tag(f"<{adapter}>")]


AnyPrepare = Annotated[
    Union[*itertools.starmap(_prepare_of, _OPTIONS.items()), Annotated[Prepare, Tag(_OWN_ADAPTER)]],
    Discriminator(_adapter_tag),
]

_OF_ENCODERS = {"layer": "last", "pooling": "mean", "precision": "float32", "trust_remote_code": False}
UNSTATED = {
    "text": {"context_share": 0.0, "layer": "last", "pooling": "first_last", "trust_remote_code": False},
    "audio": _OF_ENCODERS | {"context_s": 0.0, "chunk_s": 30.0},
    "visual": _OF_ENCODERS | {"encoder": "ferplus", "view": "face", "tokens": "pooled", "runtime": "pytorch"},
}
"""By modality: values at which the identity of features omits a setting, as those from before the setting do. Of audio:
those of speech encoders, which openSMILE does without."""


class ExtractText(Section):
    """One vector per utterance from the text encoder (docs/method.md, §0)."""

    window: Window
    context_share: Share
    max_tokens: Annotated[int, Field(ge=8, le=LARGEST)]
    layer: Layer
    pooling: TextPooling
    precision: Precision
    trust_remote_code: bool

    usual = UNSTATED["text"]  # the values of later settings


class FinetuneText(ExtractText):
    """Fine-tuning of the text encoder on the training split's emotions; its windows and vectors as in `ExtractText`."""

    encoder: Name
    epochs: Count
    patience: Positive
    learning_rate: PositiveFloat
    weight_decay: NonNegative
    warmup: Share
    batch_windows: Positive
    dropout: Rate
    lora_rank: Count
    lora_alpha: PositiveFloat
    seed: Count
    threads: Positive
    folds: Annotated[Count, AfterValidator(_no_single_fold)]
    scratch_layers: Positive
    scratch_width: Annotated[int, Field(ge=32, le=LARGEST, multiple_of=32)]
    scratch_vocabulary: Annotated[int, Field(ge=300, le=LARGEST)]

    usual = UNSTATED["text"] | {"lora_rank": 0, "lora_alpha": 32.0}  # the values of later settings


def restored(modality: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a section from those that an identity of features states, or an older bundle."""
    settings = UNSTATED.get(modality, {}) | stated
    if modality == "audio" and "feature_set" in settings:  # as an identity calls openSMILE's encoder
        settings["encoder"] = settings.pop("feature_set")
    return settings


class TrainFace(Section):
    """Training of the FER+ DenseNet."""

    source: Name
    image_size: FaceSide
    epochs: Positive
    batch_size: Annotated[int, Field(ge=2, le=LARGEST)]
    learning_rate: PositiveFloat
    weight_decay: NonNegative
    seed: Count
    threads: Positive


class ExtractAudio(Section):
    """OpenSMILE functionals of the whole utterance, or the pooled states of a speech encoder."""

    encoder: Name
    min_s: NonNegative
    layer: Layer
    pooling: Literal["mean", "mean_std"]
    context_s: NonNegative
    chunk_s: Annotated[float, Field(ge=5, le=LARGEST)]
    precision: Precision
    trust_remote_code: bool

    @model_validator(mode="before")
    @classmethod
    def _name_the_new_key(cls, values: Any) -> Any:
        if isinstance(values, dict) and "feature_set" in values:
            raise ValueError("feature_set is now called encoder: rename the key, its values are as before")
        return values

    usual = UNSTATED["audio"]  # the values of later settings


class ExtractVisual(Section):
    """Pooled features of the sampled faces or frames: of the FER+ DenseNet, or of a published encoder."""

    encoder: Name
    view: Literal["face", "frame", "both"]
    tokens: Literal["pooled", "first", "mean"]
    layer: Layer
    pooling: Literal["mean", "mean_std"]
    precision: Precision
    runtime: Literal["auto", "pytorch", "openvino", "openvino_bfloat16"]
    trust_remote_code: bool
    frames_per_s: PositiveFloat
    max_frames: Positive
    finder: Name
    face: Literal["largest", "longest_track", "most_lip_motion"]
    min_face: Annotated[Share, Field(gt=0)]
    margin: NonNegative

    usual = UNSTATED["visual"]  # the values of later settings

    @model_validator(mode="after")
    def _ferplus_has_no_choice(self):
        usual = UNSTATED["visual"]
        set_ = [name for name in ("view", "tokens", "layer", "precision") if getattr(self, name) != usual[name]]
        if self.encoder == usual["encoder"] and set_:
            values = ", ".join(f"{name}: {usual[name]}" for name in set_)
            raise ValueError(
                f"the encoder {self.encoder} sees faces alone, in float32: set {values}, or another encoder"
            )
        if self.encoder != usual["encoder"] and self.runtime not in ("auto", usual["runtime"]):
            raise ValueError(
                f"runtime {self.runtime} is of the encoder {usual['encoder']}, and {self.encoder} is computed by "
                "PyTorch: set runtime: auto"
            )
        return self


class StageSettings(Section):
    """The block of a corpus: a section per stage."""

    prepare: AnyPrepare
    finetune_text: FinetuneText
    extract_text: ExtractText
    train_face: TrainFace
    extract_audio: ExtractAudio
    extract_visual: ExtractVisual
    train: Train


class FurtherSet(Section):
    """Place of a feature set beside the first of its modality: features/<corpus>/<modality>/<name>.h5."""

    corpus: CorpusName
    name: Annotated[str, Field(pattern=FILE_NAME)]


class TextSet(FurtherSet, ExtractText):
    """A further text set: by an encoder as it is, in a folder that `finetune_text` wrote, or of a published one."""

    encoder: Name


class AudioSet(FurtherSet, ExtractAudio):
    """A further audio set."""


class VisualSet(FurtherSet, ExtractVisual):
    """A further visual set."""


def _of_different_names(sets: list[Any]) -> list[Any]:
    keys = [(each.corpus, each.name.casefold()) for each in sets]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError("two sets of one name: {1} of {0}".format(*twice[0]))
    return sets


class Sets(Section):
    """Feature sets that are extracted beside the first of their modality, of any corpus."""

    text: Annotated[list[TextSet], AfterValidator(_of_different_names)]
    audio: Annotated[list[AudioSet], AfterValidator(_of_different_names)]
    visual: Annotated[list[VisualSet], AfterValidator(_of_different_names)]


def sets_of(settings: Params, corpus: str) -> dict[str, TextSet | AudioSet | VisualSet]:
    """Return the further feature sets of a corpus by name, such as `audio/wavlm`."""
    found = vars(settings.sets).items() if settings.sets else ()
    return {f"{modality}/{each.name}": each for modality, sets in found for each in sets if each.corpus == corpus}


def with_set(settings: Params, corpus: str, name: str | None) -> StageSettings:
    """Return the block of a corpus, with the settings of a further feature set in place of its modality's.

    Raises:
        InputError: there is no such corpus, or it has no such set.
    """
    block = settings.corpus(corpus)
    if name is None:
        return block
    there, section = sets_of(settings, corpus), f"extract_{name.partition('/')[0]}"
    if name not in there:
        raise InputError(
            f"params.yaml has no set {name!r} of {corpus}.{did_you_mean(name, there)} It has "
            f"{', '.join(there) or 'none'}. Add it to `sets`, with the keys of {section} and corpus, name."
        )
    kind = StageSettings.model_fields[section].annotation
    values = there[name].model_dump(include=set(kind.model_fields))
    return block.model_copy(update={section: kind.model_validate(values)})


def load_settings(path: str | Path = "params.yaml", overrides: Iterable[str] = (), corpus: str | None = None) -> Params:
    """Read and check the whole of params.yaml, both stages' sections; see `dferc.settings.document.load_params`."""
    return load_params(path, overrides, corpus, block=StageSettings, sets=Sets)


def default_model() -> str:
    """Return the model that params.yaml names.

    Raises:
        InputError: there is no such file, it names none, or there is no such model.
    """
    there = Path("params.yaml").exists()
    video = load_settings().video if there else None
    if video is None:
        lacks = "params.yaml of this folder has no `video: {model: …}`" if there else "this folder has no params.yaml"
        raise InputError(
            f"no model: --model names none, and {lacks}. Name a bundle "
            "that `dferc bundle` wrote, or a run such as runs/meld/full."
        )
    if video.model.startswith("runs/") and not Path(video.model).exists():
        raise InputError(
            f"params.yaml, video.model: {video.model} is not there. `make repro` trains the demo's; or name a bundle "
            "or a run with --model."
        )
    return video.model
