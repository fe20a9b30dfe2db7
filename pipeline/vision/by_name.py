"""Networks of torchvision and timm by name, with the weights that these libraries publish or a file of the user's own.

Their classifier is left out: a vector is its input.
"""

import hashlib
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dferc.core.errors import InputError, did_you_mean
from pipeline.encoders.refusals import first_line

_LIBRARIES = ("torchvision", "timm")


class Opened(NamedTuple):
    """A network by name: its library with the version, the hash of its weights, and how pictures are prepared."""

    library: str
    hash: str
    model: nn.Module
    prepare: Callable[[list[np.ndarray]], Mapping[str, Tensor]]
    side: int


def by_name(name: str) -> bool:
    """Return whether a setting names a network of torchvision or timm."""
    return name.partition(":")[0] in _LIBRARIES


def open_by_name(setting: str) -> Opened:
    """Open `torchvision:NAME` or `timm:NAME`, with published weights, or with those of a file: `timm:NAME@FILE`.

    Published weights are those in the library's cache, or are downloaded.

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

    def prepare(inputs: list[np.ndarray]) -> Mapping[str, Tensor]:
        return {argument: torch.stack([transform(picture) for picture in inputs])}

    return Opened(f"{library} {version}", digest.hexdigest(), model, prepare, side)


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

    def transform(picture: np.ndarray) -> Tensor:
        return preset(torch.from_numpy(picture).permute(2, 0, 1))

    return model, transform, max(*preset.resize_size, *preset.crop_size), torchvision.__version__.split("+")[0]


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


def _unknown(setting: str, name: str, known: list[str]) -> InputError:
    return InputError(f"extract_visual.encoder: {setting}: no network is called {name!r}.{did_you_mean(name, known)}")
