"""Kinds of models by what they encode: text, sound, pictures or video."""

import inspect
from typing import Literal, NamedTuple

from torch import nn
from transformers import MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING, MODEL_MAPPING, PreTrainedConfig, PreTrainedModel

from dferc.core.errors import InputError

Kind = Literal["text", "audio", "image", "video"]

_INPUTS = {
    "input_ids": "text",
    "input_values": "audio",
    "input_features": "audio",
    "pixel_values": "image",
    "pixel_values_videos": "video",
}
"""Kind by the name of a model's main input."""

_NAMES = {"text": "text", "audio": "sound", "image": "pictures", "video": "video"}
_EXAMPLES = {
    "text": "roberta-large",
    "audio": "microsoft/wavlm-base-plus",
    "image": "facebook/dinov2-base",
    "video": "MCG-NJU/videomae-base",
}
_TOWERS = {
    "text": ("text_model",),
    "audio": ("audio_model", "audio_tower", "audio_encoder", "speech_encoder"),
    "image": ("vision_model", "vision_tower", "visual", "vision_encoder", "image_tower"),
    "video": ("vision_model", "vision_tower", "visual", "vision_encoder"),
}
"""Attributes of models of several kinds (CLIP, CLAP) that hold the encoder of one kind."""


class Wanted(NamedTuple):
    """Kind of encoder that a setting must name."""

    kind: Kind
    setting: str  # such as extract_audio.encoder
    trust: bool = False  # whether code that comes with the model may run: trust_remote_code, beside that setting

    @property
    def example(self) -> str:
        """Name of an encoder of this kind, for messages."""
        return _EXAMPLES[self.kind]


def kinds_of(config: PreTrainedConfig) -> set[str]:
    """Return the kinds of input that the model of a configuration encodes; empty for other models."""
    if type(config) not in MODEL_MAPPING:
        return set()
    model = MODEL_MAPPING[type(config)]
    model = model[0] if isinstance(model, tuple) else model
    main = _INPUTS.get(model.main_input_name, "")
    named = model.input_modalities
    kinds = {main} if isinstance(named, str) else {*named, main}  # one name alone is often an inherited default
    if main in ("audio", "image", "video"):  # a text is no input of it: Whisper's is that of its decoder
        kinds.discard("text")
    if type(config) in MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING:
        kinds = kinds - {"image"} | {"video"}
    return kinds & set(_NAMES)


def refuse_kind(name: str, config: PreTrainedConfig, wanted: Wanted) -> None:
    """Raise InputError if a model encodes another kind of input than the one that is wanted."""
    kinds = kinds_of(config)
    if wanted.kind not in kinds:
        encoded = " and ".join(_NAMES[kind] for kind in sorted(kinds)) or "something else"
        raise InputError(
            f"{name} is a {config.model_type}, which encodes {encoded}; {wanted.setting} needs a model that encodes "
            f"{_NAMES[wanted.kind]}, such as {wanted.example}."
        )


def tower(model: PreTrainedModel, kind: Kind) -> nn.Module:
    """Return the part of a model that encodes one kind of input.

    It is the model itself, the encoder of an encoder-decoder (T5, Whisper), or one of the towers of CLIP and CLAP.
    """
    found = next((getattr(model, name) for name in _TOWERS[kind] if hasattr(model, name)), None)
    if found is not None:
        return found
    # T5EncoderModel saves is_encoder_decoder: false, and AutoModel builds both halves all the same. What Funnel calls
    # its encoder reads embeddings, and is no model.
    encoder = getattr(model, "encoder", None) if hasattr(model, "decoder") else None
    halves = encoder is not None and model.main_input_name in inspect.signature(encoder.forward).parameters
    return model.get_encoder() if model.config.is_encoder_decoder or halves else model
