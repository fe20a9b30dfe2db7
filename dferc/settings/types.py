"""Value types of the sections of params.yaml."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from dferc.core.files import CORPUS_NAME, MODALITY_NAME, SET_NAME


def _all_different(values: list) -> list:
    """Refuse duplicate values: a seed counted twice would narrow the spread."""
    if duplicates := sorted({value for value in values if values.count(value) > 1}):
        raise ValueError(f"duplicate values: {', '.join(map(str, duplicates))}")
    return values


LARGEST = 2**31 - 1  # of whole numbers: beyond, libraries overflow in ways of their own
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
FaceSide = Annotated[int, Field(ge=16, le=128, multiple_of=4)]  # pixels; FER+ has 48, and 32 faces of 128 take 1 GB
Width = Annotated[int, Field(ge=1, le=8192)]  # of a layer; the paper's are 300 and 500, and memory grows by its square
Threads = Annotated[int, Field(ge=1, le=1024)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Precision = Literal["float32", "bfloat16", "float16"]
Name = Annotated[str, Field(min_length=1)]
CorpusName = Annotated[str, Field(pattern=CORPUS_NAME)]
ModalityName = Annotated[str, Field(pattern=MODALITY_NAME)]
SetName = Annotated[str, Field(pattern=SET_NAME)]
FromList = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)  # YAML has no tuples
Unique = AfterValidator(_all_different)
OneOrMore = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)


class Section(BaseModel):
    """Base of all sections: no unknown keys, no coercion of types, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    usual: ClassVar[Mapping[str, Any]] = {}
    """Values that the message on a missing key proposes: with them the code does what it did before."""
