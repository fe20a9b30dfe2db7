"""Models and their processors from a folder or the Hugging Face hub; refusals explain.

Code that comes with a model runs only where a setting allows it (`Wanted.trust`).
"""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import logging as transformers_logging

from dferc.core.device import Device
from dferc.core.errors import InputError
from dferc.core.files import file_hash
from pipeline.encoders.kinds import Wanted, refuse_kind, tower
from pipeline.encoders.refusals import explain, refuse_code_from_elsewhere, refuse_description, refuse_files

_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.spm", "*.bpe", "*.codes", "*.tiktoken", "*.vocab")
_NOT = ("*/*", "consolidated*")  # other formats, and second copies of the weights
_DECIDING = ("config.json", "*processor_config.json", "*.safetensors")
_PROCESSORS = {
    "text": transformers.AutoTokenizer,
    "audio": transformers.AutoFeatureExtractor,
    "image": transformers.AutoImageProcessor,
    "video": transformers.AutoVideoProcessor,
}
_UNUSED = ("pooler.", "masked_spec_embed", "mask_token")
"""Parts of names of weights that no features need, and that many published files lack."""


def model_folder(name: str | Path, wanted: Wanted) -> Path:
    """Return the folder of a model: `name` itself, or a snapshot of the hub, from its cache without network.

    `model@revision` names a commit, branch or tag of the hub; `model` alone is the newest commit of its main branch.
    The name of a snapshot's folder is its commit.

    Raises:
        InputError: there is neither.
    """
    if Path(name).is_dir():
        return Path(name)
    model, _, revision = str(name).partition("@")
    with explained(name, wanted):
        files = [*_FILES, *["*.py"] * wanted.trust]
        found = Path(snapshot_download(model, revision=revision or None, allow_patterns=files, ignore_patterns=_NOT))
        if not (found / "config.json").is_file():
            raise FileNotFoundError("config.json is not in the repository, or not in its cached part")
        if not any(found.glob("*.safetensors")):
            raise InputError(
                f"{name} has no safetensors weights on the hub (or the cached copy {found} is incomplete), and pickled "
                f"ones are not loaded. `hf download {model} --local-dir FOLDER`, then `python -m "
                f"pipeline.encoders.convert FOLDER`; set {wanted.setting} to that folder."
            )
        return found


def open_model(name: str | Path, wanted: Wanted, pooled: bool = False) -> PreTrainedModel:
    """Load a model in float32, in evaluation mode, from a folder or the hub; `pooled`: its pooled output is needed.

    Raises:
        InputError: it asks for code of its own, encodes another kind of input, has pickled, quantised or no weights,
            lacks some of them, or cannot be loaded for another reason.
    """
    with explained(name, wanted):
        folder = model_folder(name, wanted)
        raw, _ = PreTrainedConfig.get_config_dict(folder)
        refuse_description(str(name), raw, get_tokenizer_config(folder), wanted)
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=wanted.trust)
        if not (wanted.trust and raw.get("auto_map")):  # a trial shows what a class of strangers encodes
            refuse_kind(str(name), config, wanted)
        refuse_files(folder)
        model, report = transformers.AutoModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, trust_remote_code=wanted.trust
        )
        used = _names_within(model, tower(model, wanted.kind))
        lacking = [key for key in report["missing_keys"] if key in used]
        missing = sorted(key for key in lacking if not any(part in key for part in _UNUSED))
        if pooled and any("pooler." in key for key in lacking):
            raise InputError(
                f"{name} was published without the weights of its pooled output. Set tokens to first (the class token) "
                "or mean."
            )
        if missing:
            raise InputError(
                f"{name} lacks {len(missing)} of the {type(model).__name__}'s weights, first {missing[0]!r}; "
                "they would be random. Is it a checkpoint of another architecture?"
            )
        if wanted.kind == "text" and hasattr(model, "pooler"):
            model.pooler = nn.Identity()  # only states are used; an unused layer would dilute the weight hash
        return model.eval()


def open_processor(name: str | Path, wanted: Wanted) -> Any:
    """Load the tokenizer, feature extractor, image or video processor of a model.

    Raises:
        InputError: there is none, or it cannot be loaded.
    """
    with explained(name, wanted):
        folder = model_folder(name, wanted)
        own = wanted.kind == "text" or "pretrained_cfg" in PreTrainedConfig.get_config_dict(folder)[0]  # timm's
        if not own and not any(folder.glob("*processor_config.json")):
            raise InputError(
                f"{name} has no preprocessor_config.json, which describes how its input is prepared (rates, sizes, "
                "means). Copy the file from the model that it was made from."
            )
        if wanted.trust:
            described = [json.loads(path.read_bytes()) for path in folder.glob("*processor_config.json")]
            refuse_code_from_elsewhere(str(name), *described)
        return _PROCESSORS[wanted.kind].from_pretrained(folder, trust_remote_code=wanted.trust)


def code_identity(folder: Path, trust: bool) -> dict[str, str]:
    """Return the part of an identity that names the code in a model's folder, if it may run."""
    files = sorted(folder.glob("*.py")) if trust else []
    return {"remote_code": hashlib.sha256("".join(map(file_hash, files)).encode()).hexdigest()} if trust else {}


def model_hash(folder: Path) -> str:
    """Hash everything in a model's folder that decides its vectors: see `deciding_files`."""
    return hashlib.sha256("".join(map(file_hash, deciding_files(folder))).encode()).hexdigest()


def deciding_files(folder: Path) -> list[Path]:
    """Return the files of a model's folder that decide its vectors: configuration, preparation of input, weights."""
    return sorted({path for pattern in _DECIDING for path in folder.glob(pattern)})


def autocast(where: Device) -> contextlib.AbstractContextManager:
    """Compute in the precision of a device; nothing changes in float32."""
    return torch.autocast(where.device.type, where.dtype, enabled=where.dtype != torch.float32)


@contextlib.contextmanager
def explained(name: str | Path, wanted: Wanted) -> Iterator[None]:
    """Turn whatever a load raises into InputError, with the cause and the remedy, and keep transformers quiet."""
    try:
        with quiet_transformers():
            yield
    except InputError:
        raise
    except Exception as error:  # files of strangers reach code of some hundred architectures, which raises anything
        raise explain(str(name), error, wanted) from error


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Switch off progress bars and the report of missing weights, which `open_model` checks itself."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.enable_progress_bar()
        transformers_logging.set_verbosity(verbosity)


def _names_within(model: nn.Module, part: nn.Module) -> set[str]:
    """Return the names in a model of the weights of one of its parts."""
    inside = {id(tensor) for tensor in itertools.chain(part.parameters(), part.buffers())}
    tensors = itertools.chain(model.named_parameters(), model.named_buffers())
    return {name for name, tensor in tensors if id(tensor) in inside}
