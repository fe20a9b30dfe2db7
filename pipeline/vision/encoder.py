"""Encoders of pictures and video: one vector per picture, or per clip of as many pictures as a video encoder sees.

Encoders are those of transformers, and the networks of torchvision and timm by name, with the weights that these
libraries publish or a file of the user's own.

B inputs of a batch, H, W height and width of a picture, T pictures of a clip, P patches, D width of the encoder.
"""

import hashlib
import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig

from dferc.core.device import Device, choose_device
from dferc.core.errors import InputError, did_you_mean
from pipeline.encoders import opening
from pipeline.encoders.kinds import Wanted, kinds_of, tower
from pipeline.encoders.refusals import first_line, refuse_code_from_elsewhere
from pipeline.encoders.states import LAST, count_layers, layer_states, pool, read_layer
from pipeline.extraction.records import Clock, Measured

SETTING = "extract_visual.encoder"
IMAGE, VIDEO = Wanted("image", SETTING), Wanted("video", SETTING)

_LIBRARIES = ("torchvision", "timm")  # whose networks are opened by name: `torchvision:NAME`, `timm:NAME`
_CLASS_TOKENS = ("cls", "class_")  # in the names of their weights; SigLIP, VideoMAE and Swin have none
_OF_VIDEO = "pixel_values_videos"  # input of a clip, which most models call pixel_values
_SIDE = 224  # of a picture, for processors that state no size
_CPU = Device(torch.device("cpu"), torch.float32, "")

AT_ONCE = {"cuda": 16, "cpu": 4}
"""Inputs of a forward pass, always: the last is padded, since rounding may depend on the size of a batch. Clips are
encoded one by one on a CPU, which is as fast there."""


@dataclass(frozen=True, kw_only=True)
class PictureEncoder:
    """Model, the preparation of its inputs, and how a vector is taken from its output."""

    name: str  # folder, name on the hub, or library:name
    portable: str  # name under which the other machines of a cluster find the same model
    library: str  # name and version
    hash: str  # of everything that decides a vector, but for code that comes with the model
    model: nn.Module
    prepare: Callable[[list[np.ndarray]], Mapping[str, Tensor]]
    side: int = _SIDE  # of the pictures that it is given, in pixels
    clip: int = 0  # pictures that it sees at once; 0 = one by one
    layers: tuple[int, ...] = ()  # whose states are averaged; none = the model's own final states
    tokens: str = "pooled"
    width: int = 0
    code: Mapping[str, str] = field(default_factory=dict)  # part of the identity that names that code

    def forward(self, prepared: Mapping[str, Tensor], where: Device, hidden: bool) -> Any:
        """Return the model's output for what `prepare` made of a batch."""
        known = inspect.signature(self.model.forward).parameters
        prepared = {name: value.to(where.device) for name, value in prepared.items() if name in known}
        options = {"output_hidden_states": True} if hidden else {}
        # TF32, PyTorch's default for convolutions, has three digits: a GPU should give what a CPU gives.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=where.dtype != torch.float32)
        with torch.inference_mode(), opening.autocast(where), exact:
            return self.model(**prepared, **options)

    def vectors(self, inputs: Sequence[np.ndarray], where: Device) -> np.ndarray:
        """Return the vectors [B, D] float32 of RGB pictures [H, W, 3] or clips [T, H, W, 3], uint8."""
        prepared = self.prepare(list(inputs))
        height, width = inputs[0].shape[-3:-1]
        try:
            output = self.forward(prepared, where, bool(self.layers))
        except ValueError as error:
            if height == width:
                raise
            raise InputError(
                f"{self.name} sees square pictures alone, and its processor leaves one of {width}x{height} pixels as "
                f"it is ({first_line(error)}). Set do_center_crop to true in its preprocessor_config.json, or "
                "extract_visual.view to face."
            ) from error
        vectors = self._read(output, prepared.get("pixel_attention_mask")).float().cpu().numpy()
        if len(vectors) == len(inputs):
            return vectors
        if len(inputs) > 1:  # Pixtral's states of a batch are one sequence
            return np.concatenate([self.vectors([each], where) for each in inputs])
        raise InputError(
            f"{self.name}: {len(vectors)} vectors of one picture, which its processor cuts up. Set crop_to_patches to "
            "false in its preprocessor_config.json, or choose another encoder."
        )

    def _read(self, output: Any, mask_BT: Tensor | None = None) -> Tensor:
        if isinstance(output, Tensor):
            return output.flatten(1)
        if self.tokens == "pooled":
            if getattr(output, "pooler_output", None) is None:
                raise InputError(
                    f"extract_visual.tokens: pooled, and {self.name} has no pooled output. Set it to mean, or to first "
                    "where the model has a class token."
                )
            return output.pooler_output.flatten(1)
        states = layer_states(output, self.layers)
        if states.ndim == 4:  # maps [B, D, H, W] of a convolutional network
            if self.tokens == "first":
                raise InputError(
                    f"extract_visual.tokens: first, and {self.name} gives maps, no tokens. Set it to mean."
                )
            config = getattr(self.model, "config", None)
            widths = [getattr(config, name, None) for name in ("hidden_size", "num_features")]
            widths += getattr(config, "backbone_channel_list", [])
            if states.shape[-1] in widths and states.shape[1] not in widths:  # SAM, SAM 2, timm's Swin: [B, H, W, D]
                states = states.permute(0, 3, 1, 2)
            states = states.flatten(2).transpose(1, 2)
        if self.tokens == "first":
            if not any(mark in name for name, _ in self.model.named_parameters() for mark in _CLASS_TOKENS):
                raise InputError(
                    f"extract_visual.tokens: first, and {self.name} has no class token: its first state is that of a "
                    "patch. Set it to mean."
                )
            return states[:, 0]
        if mask_BT is not None and mask_BT.shape == states.shape[:2]:  # SigLIP 2 pads to a fixed number of patches
            return pool(states, mask_BT.to(states.device), "mean")
        return states.float().mean(dim=1)


def is_by_name(name: str) -> bool:
    """Return whether a setting names a network of torchvision or timm."""
    return name.partition(":")[0] in _LIBRARIES


def load_picture_encoder(name: str, layer: str, tokens: str, trust: bool = False) -> PictureEncoder:
    """Load an encoder and try it out.

    Args:
        name: folder, name on the hub (`owner/name@commit`), `torchvision:NAME` or `timm:NAME` (both with `@file`).
        layer: as in `pipeline.encoders.states`.
        tokens: pooled, first or mean.
        trust: whether code that comes with a model of transformers may run.

    Raises:
        InputError: it cannot be loaded, encodes no pictures, or has no such layer or output.
    """
    if tokens == "pooled" and layer != LAST:
        raise InputError(
            f"extract_visual.layer is {layer!r}, and tokens: pooled is of the last layer. Set tokens to first or mean."
        )
    encoder = _by_name(name) if is_by_name(name) else _of_transformers(name, tokens == "pooled", trust)
    if is_by_name(name) and (layer, tokens) != (LAST, "pooled"):
        raise InputError(f"{SETTING}: {name} gives the input of its classifier alone. Set layer: last, tokens: pooled.")
    if layer != LAST and hasattr(encoder.model, "timm_model"):
        raise InputError(
            f"extract_visual.layer is {layer!r}, and {name} is a network of timm, whose states are numbered otherwise "
            "than those of others (there are none of the embeddings). Set layer: last."
        )
    encoder = replace(encoder, tokens=tokens)
    shape = (encoder.clip,) * bool(encoder.clip) + (encoder.side, encoder.side, 3)
    trial = [np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)]
    try:
        if layer != LAST:
            output = encoder.forward(encoder.prepare(trial), _CPU, True)
            encoder = replace(encoder, layers=read_layer(layer, count_layers(output, encoder.model), name))
        one, two = encoder.vectors(trial, _CPU), encoder.vectors(trial, _CPU)
        if not np.allclose(one, two, rtol=0, atol=1e-5 * max(1.0, float(np.abs(one).max())), equal_nan=True):
            raise InputError(
                f"{name}: the {type(encoder.model).__name__} gives other vectors for the same picture each time "
                f"(ViTMAE hides patches at random). Choose another encoder, such as {IMAGE.example}."
            )
        return replace(encoder, width=one.shape[1])
    except InputError:
        raise
    except Exception as error:  # code of some hundred architectures
        raise InputError(
            f"{name}: the {type(encoder.model).__name__} does not turn pictures into vectors ({first_line(error)}). "
            f"Choose another encoder, such as {IMAGE.example}."
        ) from error


def _of_transformers(name: str, pooled: bool, trust: bool) -> PictureEncoder:
    image = IMAGE._replace(trust=trust)
    folder = opening.model_folder(name, image)
    with opening.explained(name, image):
        if trust:
            refuse_code_from_elsewhere(name, PreTrainedConfig.get_config_dict(folder)[0])
        kinds = kinds_of(AutoConfig.from_pretrained(folder, trust_remote_code=trust))
    wanted = VIDEO._replace(trust=trust) if "video" in kinds and "image" not in kinds else image
    model = tower(opening.open_model(folder, wanted, pooled), wanted.kind)
    processor = opening.open_processor(folder, wanted)
    sizes = [getattr(processor, part, None) or {} for part in ("size", "crop_size")]
    sides = [size[key] for size in sizes for key in ("height", "width", "shortest_edge") if size.get(key)]
    sides = sides or [size["longest_edge"] for size in sizes if size.get("longest_edge")]  # SAM's
    if not sides and hasattr(processor, "max_num_patches"):  # SigLIP 2's
        sides = [round(processor.max_num_patches**0.5 * processor.patch_size)]
    if getattr(processor, "crop_pct", None) and max(sides, default=0) < 384:  # ConvNeXt cuts nothing off from there on
        sides = [int(side / processor.crop_pct) for side in sides]
    of_timm = getattr(processor, "data_config", None)
    if of_timm:  # it resizes to this side before it cuts out the input
        sides = [int(max(of_timm["input_size"][1:]) / of_timm["crop_pct"])]

    def prepare(inputs: list[np.ndarray]) -> Mapping[str, Tensor]:
        options = {"return_tensors": "pt"} | ({} if of_timm else {"input_data_format": "channels_last"})
        prepared = processor(inputs, **options) if wanted is image else processor(videos=inputs, **options)
        if _OF_VIDEO in prepared and _OF_VIDEO not in inspect.signature(model.forward).parameters:
            prepared["pixel_values"] = prepared.pop(_OF_VIDEO)
        return prepared

    frames = getattr(model.config, "num_frames", getattr(model.config, "frames_per_clip", 16))  # the latter: V-JEPA 2's
    return PictureEncoder(
        name=name,
        portable=str(folder.absolute()) if Path(name).is_dir() else f"{name.partition('@')[0]}@{folder.name}",
        library=f"transformers {transformers.__version__}",
        hash=opening.model_hash(folder),
        code=opening.code_identity(folder, trust),
        model=model,
        prepare=prepare,
        side=max(sides, default=_SIDE),
        clip=0 if wanted is image else frames,
    )


def _by_name(setting: str) -> PictureEncoder:
    """Open `torchvision:NAME` or `timm:NAME`, with published weights, or with those of a file: `timm:NAME@FILE`.

    Its classifier is left out: a vector is its input. Published weights are those in the library's cache, or are
    downloaded.

    Raises:
        InputError: there is no such network or file, the file is of another network, or the weights cannot be had.
    """
    library, _, rest = setting.partition(":")
    name, _, file = rest.partition("@")
    if file and not Path(file).is_file():
        raise InputError(f"extract_visual.encoder: {setting}: no file {file}.")
    model, transform, side, version = (_torchvision if library == "torchvision" else _timm)(setting, name, file)
    model.eval()
    digest = hashlib.sha256(f"{library}:{name}".encode())
    for key, value in model.state_dict().items():
        digest.update(key.encode() + value.contiguous().numpy().tobytes())
    argument = next(iter(inspect.signature(model.forward).parameters))
    return PictureEncoder(
        name=setting,
        portable=setting,
        library=f"{library} {version}",
        hash=digest.hexdigest(),
        model=model,
        prepare=lambda inputs: {argument: torch.stack([transform(picture) for picture in inputs])},
        side=side,
    )


def _torchvision(setting: str, name: str, file: str) -> tuple[nn.Module, Callable, int, str]:
    import torchvision
    from torchvision import models

    if name not in models.list_models(module=models):
        raise _unknown(setting, name, models.list_models(module=models))
    weights = models.get_model_weights(name).DEFAULT
    with torch.random.fork_rng([]):
        # As torchvision builds GoogLeNet and Inception for published weights: they scale the input as their training
        # did, have no classifiers on the way, and initialise no weights for a minute. Others have no such options.
        options = {"init_weights": False, "transform_input": True, "aux_logits": False}
        options = options if name in ("googlenet", "inception_v3") else {}
        model = models.get_model(name, weights=None, **options)
    if file:
        _load(model, _tensors(file), setting)
    else:
        place = Path(torch.hub.get_dir(), "checkpoints", os.path.basename(weights.url))
        try:
            _load(model, weights.get_state_dict(progress=False, check_hash=True), setting)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"extract_visual.encoder: {setting}: its weights are not in {place}, and cannot be had "
                f"({first_line(error)}). Put {weights.url} there, or name a file: torchvision:{name}@FILE."
            ) from error
    layers = [key for key, part in model.named_modules() if isinstance(part, nn.Linear)]
    if not layers:
        raise InputError(f"extract_visual.encoder: {setting}: its classifier is no linear layer. Choose another one.")
    owner, _, last = layers[-1].rpartition(".")
    setattr(model.get_submodule(owner), last, nn.Identity())
    preset = weights.transforms()
    side, version = max(*preset.resize_size, *preset.crop_size), torchvision.__version__.split("+")[0]
    return model, lambda picture: preset(torch.from_numpy(picture).permute(2, 0, 1)), side, version


def _timm(setting: str, name: str, file: str) -> tuple[nn.Module, Callable, int, str]:
    try:
        import timm
    except ImportError:
        raise InputError(f"extract_visual.encoder: {setting} needs the package timm: `pip install timm`.") from None
    from PIL import Image

    if not timm.is_model(name.split(".")[0]):
        raise _unknown(setting, name, timm.list_models())
    try:
        model = timm.create_model(name, pretrained=not file, num_classes=0)
    except Exception as error:  # of the network, the hub or the cache
        raise InputError(
            f"extract_visual.encoder: {setting}: its weights are not in the hub's cache, and cannot be had "
            f"({first_line(error)}). Copy the cache, or name a file: timm:{name}@FILE."
        ) from error
    if file:
        _load(model, _tensors(file), setting)
    config = timm.data.resolve_model_data_config(model)
    preset = timm.data.create_transform(**config)
    side = int(max(config["input_size"][1:]) / config["crop_pct"])
    return model, lambda picture: preset(Image.fromarray(picture)), side, timm.__version__


def _tensors(file: str) -> Mapping[str, Tensor]:
    """Read a state dict; nothing in a pickle is run."""
    from safetensors.torch import load_file

    try:
        return load_file(file) if file.endswith(".safetensors") else torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # an unpickler of strangers' files raises anything
        raise InputError(f"extract_visual.encoder: {file} holds no table of tensors ({first_line(error)}).") from error


def _load(model: nn.Module, tensors: Mapping[str, Tensor], setting: str) -> None:
    """Load weights; those of classifiers that the network lacks here are left out."""
    try:
        faults = model.load_state_dict(tensors, strict=False)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise InputError(f"extract_visual.encoder: {setting}: the weights do not fit ({first_line(error)}).") from error
    if faults.missing_keys:
        raise InputError(
            f"extract_visual.encoder: {setting}: {len(faults.missing_keys)} weights are missing, first "
            f"{faults.missing_keys[0]!r}. Is the file of another network?"
        )
    known = {name for name, part in model.named_modules() if not isinstance(part, nn.Identity)}
    of_body = [key for key in faults.unexpected_keys if not key.startswith(("head", "classifier", "fc"))]
    numbers = [number for key in of_body for number in re.finditer(r"\.\d+(?=\.)", key)]
    further = [at.string for at in numbers if at.string[: at.start()] in known and at.string[: at.end()] not in known]
    if further:
        raise InputError(
            f"extract_visual.encoder: {setting}: the file has {len(further)} weights of further layers, first "
            f"{further[0]!r}. It is of a deeper network: name that one."
        )


def _unknown(setting: str, name: str, known: list[str]) -> InputError:
    return InputError(f"extract_visual.encoder: {setting}: no network is called {name!r}.{did_you_mean(name, known)}")


class PictureEncoderWorker:
    """Encodes batches of pictures or clips; the encoder is loaded, or the arguments of `load_picture_encoder`."""

    def __init__(self, encoder: PictureEncoder | tuple[str, str, str, bool], device: str, precision: str):
        self._encoder = encoder if isinstance(encoder, PictureEncoder) else load_picture_encoder(*encoder)
        self._where = choose_device(device, precision)
        self._encoder.model.to(self._where.device)

    def __call__(self, inputs: Sequence[np.ndarray]) -> Measured:
        """Return the vectors [B, D] float32 of RGB pictures [H, W, 3] or clips [T, H, W, 3], uint8."""
        clock, device = Clock(), self._where.device.type
        at_once = 1 if self._encoder.clip and device == "cpu" else AT_ONCE[device]
        if not len(inputs):
            return Measured(np.zeros((0, self._encoder.width), np.float32), clock.seconds)
        with clock.step("network"):
            vectors, by_shape = np.empty((len(inputs), self._encoder.width), np.float32), {}
            for number, each in enumerate(inputs):  # a processor that cuts nothing off leaves them different shapes
                by_shape.setdefault(each.shape, []).append(number)
            for alike in by_shape.values():
                for part in (alike[first : first + at_once] for first in range(0, len(alike), at_once)):
                    filled = [inputs[number] for number in [*part, *part[-1:] * (at_once - len(part))]]
                    vectors[part] = self._encoder.vectors(filled, self._where)[: len(part)]
        return Measured(vectors, clock.seconds)
