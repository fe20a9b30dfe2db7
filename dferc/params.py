"""params.yaml -> typed, checked, frozen settings. Used by both stages.

The whole file is checked at once: every unknown key, missing key, wrong type and value out of range is reported
together, each with its path, the value received, what is allowed, and the nearest known key.

No setting has a default here: each value stands in params.yaml, where DVC tracks it. That is why editing this file
cannot change a result, and why no stage of dvc.yaml depends on it.
"""

import difflib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML, YAMLError

from dferc.console import CORPUS_NAME, InputError

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Window = Literal["dialogue", "utterance", "overlapping"]
Precision = Literal["float32", "bfloat16", "float16"]
Name = Annotated[str, Field(min_length=1)]
CorpusName = Annotated[str, Field(pattern=CORPUS_NAME)]
_FromList = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)  # YAML has no tuples
Pair = Annotated[tuple[Rate, Rate], _FromList]
ClassWeights = Annotated[
    Annotated[Literal["uniform", "authors", "balanced"], Tag("<name>")]
    | Annotated[dict[str, PositiveFloat], Tag("<table>")],
    Discriminator(lambda value: "<table>" if isinstance(value, dict) else "<name>"),
]


def _all_different(values: list) -> list:
    """Refuse a list that names something twice: a seed counted twice would narrow the spread."""
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"each may stand there once; twice: {', '.join(map(str, twice))}")
    return values


def _no_single_fold(folds: int) -> int:
    """Refuse a single fold: its encoder would have nothing to learn from."""
    if folds == 1:
        raise ValueError("0 for none, or 2 and more; one fold would leave nothing to learn from")
    return folds


Once = AfterValidator(_all_different)


def _has_area(edges: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Refuse a rectangle without inside."""
    left, top, right, bottom = edges
    if left >= right or top >= bottom:
        raise ValueError("expected [left, top, right, bottom] with left < right and top < bottom")
    return edges


Crop = Annotated[tuple[Share, Share, Share, Share], _FromList, AfterValidator(_has_area)]

VariantName = Literal[
    "full", "no_ddm", "no_modality_level", "no_utterance_level", "no_cfm", "no_crm", "full_context", "no_alignment",
    "t", "a", "v", "ta", "tv", "av",
]  # fmt: skip
"""The ablation rows; `dferc/variants.py` says what each switches off."""


class Section(BaseModel):
    """A section of params.yaml: no unknown keys, no coercion of types, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Prepare(Section):
    """Raw corpus -> utterances; `options` is what else the adapter asks for (your own adapter checks its own)."""

    adapter: Name
    max_utterance_s: PositiveFloat
    max_unreadable: Share
    options: dict[str, Any]


class NoOptions(Section):
    """An adapter without options."""


class MeldOptions(Section):
    """MELD (FIELD §2.1)."""

    labels: Literal["emotion", "sentiment"]
    dialogues: Literal["multiparty", "dyadic"]


class IemocapOptions(Section):
    """IEMOCAP (FIELD §2.3)."""

    protocol: Literal["6way-7433", "6way-7380", "4way-5531"]
    split: Literal["session5", "loso-1", "loso-2", "loso-3", "loso-4", "loso-5"]
    validation: Literal["cosmic", "random-10pct"]
    split_seed: Count
    context_turns: Literal["drop", "keep"]
    crop: Crop

    @field_validator("validation")
    @classmethod
    def _cosmic_is_of_session5(cls, validation: str, info: ValidationInfo) -> str:
        if validation == "cosmic" and info.data.get("split", "session5") != "session5":
            raise ValueError(
                f"cosmic's dialogues are of sessions 1 to 4, and split is {info.data['split']}; set random-10pct"
            )
        return validation


class TableOptions(Section):
    """Your own corpus: a table of utterances, or subtitles beside videos (docs/own-data.md)."""

    table: Name
    labels: Name
    speaker_prefix: bool
    classes: Annotated[list[Name], Once]
    validation_share: Rate
    test_share: Rate
    split_seed: Count

    @model_validator(mode="after")
    def _leave_something_to_train_on(self):
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share together must stay below 1: the rest is for training")
        return self


def _prepare_of(adapter: str, options: type) -> type[Prepare]:
    """The `prepare` section of one of our adapters."""
    name = f"Prepare{adapter.capitalize()}"
    return create_model(name, __base__=Prepare, adapter=(Literal[adapter], ...), options=(options, ...))


_PREPARE = {
    "demo": _prepare_of("demo", NoOptions),
    "emorynlp": _prepare_of("emorynlp", NoOptions),
    "iemocap": _prepare_of("iemocap", IemocapOptions),
    "import": _prepare_of("import", NoOptions),
    "meld": _prepare_of("meld", MeldOptions),
    "table": _prepare_of("table", TableOptions),
}
_OWN_ADAPTER = "<own>"


def _adapter_tag(section: Any) -> str:
    adapter = section.get("adapter") if isinstance(section, dict) else getattr(section, "adapter", None)
    return f"<{adapter}>" if adapter in _PREPARE else _OWN_ADAPTER


AnyPrepare = Annotated[
    Union[
        *(Annotated[section, Tag(f"<{adapter}>")] for adapter, section in _PREPARE.items()),
        Annotated[Prepare, Tag(_OWN_ADAPTER)],
    ],
    Discriminator(_adapter_tag),
]


class FinetuneText(Section):
    """The text encoder, fine-tuned on the training split's emotions."""

    encoder: Name
    epochs: Count
    patience: Positive
    learning_rate: PositiveFloat
    weight_decay: NonNegative
    warmup: Share
    batch_windows: Positive
    window: Window
    context_share: Share
    max_tokens: Annotated[int, Field(ge=8)]
    dropout: Rate
    precision: Precision
    seed: Count
    folds: Annotated[int, Field(ge=0), AfterValidator(_no_single_fold)]
    scratch_layers: Positive
    scratch_width: Annotated[int, Field(ge=32, multiple_of=32)]
    scratch_vocabulary: Annotated[int, Field(ge=300)]


class ExtractText(Section):
    """One vector per utterance from the encoder (METHOD §0)."""

    window: Window
    context_share: Share
    max_tokens: Annotated[int, Field(ge=8)]
    precision: Precision


class TrainFace(Section):
    """The FER+ DenseNet."""

    source: Name
    image_size: Annotated[int, Field(ge=16, multiple_of=4)]
    epochs: Positive
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: PositiveFloat
    weight_decay: NonNegative
    seed: Count


class ExtractAudio(Section):
    """OpenSMILE functionals of the whole utterance."""

    feature_set: Name
    min_s: NonNegative


class ExtractVisual(Section):
    """Pooled DenseNet features of the sampled faces."""

    frames_per_s: PositiveFloat
    max_frames: Positive
    finder: Name
    face: Literal["largest", "longest_track", "most_lip_motion"]
    min_face: Share
    margin: NonNegative


class Train(Section):
    """The DF-ERC model, its losses and its optimiser (METHOD §1-6)."""

    hidden: Positive
    align: Positive
    dropout: Rate
    context_dropout: Rate
    recurrent_dropout: Rate
    ddm_scale: NonNegative
    ddm_temperature: Annotated[float, Field(ge=0.02, allow_inf_nan=False)]  # exp(1/tau) must stay a float32
    contribution_scale: NonNegative
    context_scale: NonNegative
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
    threads: Positive
    precision: Precision


class Ablate(Section):
    """Which variants and seeds `dvc repro` trains."""

    variants: Annotated[list[VariantName], Field(min_length=1), Once]
    seeds: Annotated[list[Count], Field(min_length=1), Once]


class Corpus(Section):
    """One corpus: a section per stage."""

    prepare: AnyPrepare
    finetune_text: FinetuneText
    extract_text: ExtractText
    train_face: TrainFace
    extract_audio: ExtractAudio
    extract_visual: ExtractVisual
    train: Train


STAGES = tuple(Corpus.model_fields)
_FIXED = ("corpora", "ablate", *STAGES)


class Document(Corpus):
    """params.yaml as written: what runs, the sections that blocks take from, and the block of each corpus."""

    corpora: Annotated[list[Name], Field(min_length=1), Once]
    ablate: Ablate
    blocks: dict[CorpusName, Corpus]


class Params(Section):
    """The whole of params.yaml: the corpora that run, the ablation, and a checked block per corpus."""

    corpora: list[Name]
    ablate: Ablate
    blocks: dict[str, Corpus]

    def corpus(self, name: str) -> Corpus:
        """The settings of one corpus.

        Raises:
            InputError: params.yaml has no block of that name.
        """
        if name not in self.blocks:
            raise InputError(
                f"params.yaml has no block for the corpus {name!r}; it has {', '.join(self.blocks)}."
                f"{_nearest(name, self.blocks)} Add a block `{name}:` with a section per stage (see CONTRIBUTING.md)."
            )
        return self.blocks[name]


def read_yaml(text: str) -> Any:
    """Parse YAML 1.2, the version DVC reads (in 1.1 `2e-5` would be a string)."""
    return YAML(typ="safe", pure=True).load(io.StringIO(text))


def load_params(path: str | Path = "params.yaml", overrides: Iterable[str] = (), corpus: str | None = None) -> Params:
    """Read and check the whole params file.

    Args:
        path: the params file.
        overrides: exploratory `section.key=value` settings (YAML values), applied to the block of `corpus`.
        corpus: the corpus that `overrides` are for.

    Raises:
        InputError: every fault of the file and of the overrides, together.
    """
    path = Path(path)
    try:
        raw = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such params file. Run from the repository root, or name it with --params."
        ) from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not readable YAML: {_where(error)}") from None
    if not isinstance(raw, Mapping):
        raise InputError(
            f"{path}: expected sections (corpora, ablate, one block per corpus), found {type(raw).__name__}."
        )

    overrides = list(overrides)
    faults = _apply(raw, overrides, corpus) + _misspelt(raw)
    try:
        checked = Document.model_validate(_with_blocks(raw))
    except ValidationError as error:
        faults += _explain_all(error.errors())
    else:
        faults += [
            f"corpora: {name!r} has no block in this file; blocks: {', '.join(checked.blocks)}."
            f"{_nearest(name, checked.blocks)}"
            for name in checked.corpora
            if name not in checked.blocks
        ]
    if faults:
        raise InputError(_list_faults(path, faults, [f"{corpus}.{each.partition('=')[0]}" for each in overrides]))
    return Params(corpora=checked.corpora, ablate=checked.ablate, blocks=checked.blocks)


def _list_faults(path: Path, faults: list[str], overridden: list[str]) -> str:
    """The message: faults of the file under its name, those of overridden settings under `--set`."""
    starts = ("--set ", *(f"{name}{mark}" for name in overridden for mark in ":."))
    of_set = [fault for fault in faults if fault.startswith(starts)]
    of_file = [fault for fault in faults if fault not in of_set]
    return "\n".join(
        f"{where}: {len(found)} fault(s)\n" + "\n".join(f"  - {fault}" for fault in found)
        for where, found in ((path, of_file), ("--set", of_set))
        if found
    )


def _where(error: YAMLError | UnicodeDecodeError) -> str:
    """Line, column and fault, without the parser's advice to programmers."""
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}" if mark else str(error)


def _misspelt(raw: dict) -> list[str]:
    """Take out top-level keys that are a slip of a missing one: their content would be read as a corpus block."""
    faults = []
    for key in [key for key in raw if key not in _FIXED]:
        nearest = _nearest(str(key), [name for name in _FIXED if name not in raw])
        if nearest:
            faults.append(f"{key}: unknown key.{nearest}")
            del raw[key]
    return faults


def _with_blocks(raw: Mapping) -> dict[str, Any]:
    """Gather the corpus blocks, which are all top-level keys without a fixed meaning, under one key."""
    fixed = {key: value for key, value in raw.items() if key in _FIXED}
    return fixed | {"blocks": {str(key): value for key, value in raw.items() if key not in _FIXED}}


def _apply(raw: dict, overrides: Iterable[str], corpus: str | None) -> list[str]:
    """Set each `section.key=value` in the block of `corpus`; return the faults of the overrides themselves."""
    faults = []
    for override in overrides:
        name, equals, text = override.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot and section and key):
            faults.append(f"--set {override}: expected section.key=value, such as train.learning_rate=1.0e-3")
            continue
        block = raw.get(corpus)
        if not isinstance(block, dict):
            faults.append(f"--set {override}: there is no block for the corpus {corpus!r}")
            continue
        if not isinstance(block.get(section), dict):
            faults.append(f"--set {override}: {corpus} has no section {section!r}.{_nearest(section, STAGES)}")
            continue
        try:
            value = read_yaml(text)
        except YAMLError:
            faults.append(f"--set {override}: {text!r} is not a YAML value")
            continue
        # A section shared by `<<: *section` or `*section` is one object; the override is for this corpus alone.
        raw[corpus] = raw[corpus] | {section: block[section] | {key: value}}
    return faults


def _explain_all(errors: Iterable[Mapping]) -> list[str]:
    """One line per fault; a fault that a corpus block takes over from its section is told once."""

    def fault(error: Mapping, location: tuple) -> tuple:
        # The input of a missing key is the whole section, which a block may have changed elsewhere.
        location = tuple(part for part in location if not _is_tag(part))  # a block may have another adapter
        return location, error["type"], "" if error["type"] == "missing" else repr(error["input"])

    errors = list(errors)
    of_sections = {fault(error, error["loc"]) for error in errors}
    return [_explain(error) for error in errors if fault(error, error["loc"][2:]) not in of_sections]


def _explain(fault: Mapping) -> str:
    """One line for one pydantic error: path, value received, what is allowed, nearest known key."""
    location = tuple(part for part in fault["loc"] if part != "[key]")
    named = [str(part) for part in location if not _is_tag(part)]
    path = ".".join(named[1:] if named[0] == "blocks" else named)
    if fault["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        return f"{path}: unknown key.{_nearest(str(location[-1]), known)} Known: {', '.join(known) or 'none'}"
    if fault["type"] == "missing":
        return f"{path}: missing; add it"
    received = fault["input"]
    hint = ""
    if isinstance(received, str) and "number" in fault["msg"]:
        hint = " (write floats as 2.0e-5, unquoted)"
    if fault["type"] == "literal_error" and isinstance(received, str):
        expected = fault["ctx"]["expected"].replace(" or ", ",").split(",")
        hint = _nearest(received, [option.strip("' ") for option in expected])
    message = fault["msg"][:1].lower() + fault["msg"][1:]
    return f"{path}: got {received!r} ({type(received).__name__}); {message}{hint}"


def _known_keys(location: tuple) -> list[str]:
    """The keys allowed at a place of the document."""
    model = Document
    if location and location[0] == "blocks":
        model, location = Corpus, location[2:]
    for part in location:
        model = _PREPARE.get(part[1:-1], Prepare) if _is_tag(part) else model.model_fields[part].annotation
    return list(model.model_fields)


def _is_tag(part: object) -> bool:
    """Whether a part of a place is no key but the alternative that pydantic chose there."""
    return isinstance(part, str) and part.startswith("<") and part.endswith(">")


def _nearest(name: str, known: Iterable[str]) -> str:
    """' Did you mean …?' where a known name is close, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
