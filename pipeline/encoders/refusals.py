"""Folders of encoders made by others: what is refused before anything is loaded, and why a load failed.

Nothing here unpickles weights of a model, or runs its code.
"""

import importlib.util
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import transformers
from huggingface_hub import constants
from huggingface_hub.errors import RevisionNotFoundError
from transformers import CONFIG_MAPPING

from dferc.core.errors import InputError
from pipeline.encoders.kinds import Wanted

_PACKAGES = ("sentencepiece", "tiktoken", "protobuf", "sacremoses", "jieba", "fugashi", "sudachipy", "rhoknp", "ftfy")
"""Packages that tokenizers of transformers ask for, by their names on the package registry."""

_SENTENCEPIECE = ("spm.model", "spiece.model", "tokenizer.model", "*.bpe.model", "*.spm")
_MOST_LAYERS, _LARGEST_SIZE = 1000, 1 << 24  # beyond any encoder; building such a model would not end
_ATTENTION = (None, "eager", "sdpa")  # implementations that are PyTorch's own; others may be code from a hub


def refuse_description(
    name: str, config: Mapping[str, object], tokenizer: Mapping[str, object], wanted: Wanted
) -> None:
    """Raise InputError if an encoder's config.json or tokenizer_config.json asks for code that may not run."""
    if wanted.trust:
        refuse_code_from_elsewhere(name, config, tokenizer)
    else:
        known = tokenizer.get("tokenizer_class")
        if tokenizer.get("auto_map") and not (isinstance(known, str) and hasattr(transformers, known)):
            raise _own_code(name, "tokenizer_config.json", wanted)
        known = config.get("model_type")
        if config.get("auto_map") and not (isinstance(known, str) and known in CONFIG_MAPPING):
            raise _own_code(name, "config.json", wanted)
    for key, value in _entries(config):
        if key.lstrip("_").startswith("attn_implementation") and value not in _ATTENTION:
            raise InputError(
                f"{name}: config.json asks for the attention {value!r}, whose code is not PyTorch's own. "
                f"Remove {key} from config.json."
            )
        most = _MOST_LAYERS if "layers" in key else _LARGEST_SIZE
        if isinstance(value, int) and value > most and "theta" not in key:
            raise InputError(
                f"{name}: {key} in config.json is {value}, expected at most {most:,}. Copy the file again."
            )
    if config.get("quantization_config"):
        raise InputError(
            f"{name}: the weights are quantised (quantization_config in config.json), and features are computed in "
            "float32. Choose the encoder that it was made from."
        )


def refuse_files(folder: Path) -> None:
    """Raise InputError if a folder holds no weights that can be read, an adapter alone, or lacks a package."""
    if not folder.is_dir():
        return
    if (folder / "adapter_config.json").exists():
        raise InputError(
            f"{folder} holds an adapter (adapter_config.json), whose base model is elsewhere. Merge both with peft's "
            "merge_and_unload() and save_pretrained(), and give that folder."
        )
    pickled = [path.name for path in sorted(folder.glob("pytorch_model*.bin"))]
    if pickled and not any(folder.glob("model*.safetensors")):
        raise InputError(
            f"{folder}: the weights are pickled ({', '.join(pickled[:3])}), and a pickle may hold any program. "
            f"Expected model.safetensors; `python -m pipeline.encoders.convert {folder}` writes it from them, without "
            "internet and without running what they hold."
        )
    sentencepiece = [path.name for pattern in _SENTENCEPIECE for path in sorted(folder.glob(pattern))]
    if sentencepiece and not (folder / "tokenizer.json").exists() and not importlib.util.find_spec("sentencepiece"):
        raise InputError(
            f"{folder}: the tokenizer is {sentencepiece[0]} alone, for which the package sentencepiece is needed: "
            "`pip install sentencepiece protobuf`. Or add the tokenizer.json of the same model to the folder."
        )


def explain(name: str, error: Exception, wanted: Wanted) -> InputError:
    """Return the error of a load that failed, with its cause and the remedy."""
    text = str(error)
    if not wanted.trust and ("trust_remote_code" in text or "custom code" in text):
        return _own_code(name, "its configuration", wanted)
    packages = [package for package in _PACKAGES if package in text.lower()]
    if isinstance(error, ModuleNotFoundError) and error.name:
        packages = packages or [error.name]
    if "tiktoken" in packages and not importlib.util.find_spec("sentencepiece"):
        packages.insert(0, "sentencepiece")  # transformers names the one that it tried last
    if packages:
        return InputError(
            f"The {wanted.kind} encoder {name!r} needs a package that is not installed: "
            f"`pip install {' '.join(packages)}`. ({first_line(error)})"
        )
    model, _, revision = name.partition("@")
    if isinstance(error, RevisionNotFoundError):
        return InputError(
            f"The {wanted.kind} encoder {name!r}: {model} is on the Hugging Face hub and has no revision {revision!r}. "
            f"Name a branch, tag or commit that its page there lists, or omit `@{revision}` ({wanted.setting})."
        )
    if Path(name).is_dir():
        files = ", ".join(sorted(path.name for path in Path(name).iterdir())[:20]) or "nothing"
        needed = "the tokenizer's files" if wanted.kind == "text" else "preprocessor_config.json"
        state = f"The folder is there and holds {files}; expected config.json, model.safetensors and {needed}."
    else:
        offline = constants.HF_HUB_OFFLINE
        setting = "HF_HUB_OFFLINE forbids to ask the hub" if offline else "HF_HUB_OFFLINE=1 asks the cache alone"
        state = (
            "There is no such folder, and no such model could be had from the Hugging Face hub or its local cache "
            f"({constants.HF_HUB_CACHE}; {setting})."
        )
    return InputError(
        f"The {wanted.kind} encoder {name!r} could not be loaded. {state} ({first_line(error)}) Set {wanted.setting} "
        "to a folder with the model; where there is internet, `hf download NAME --local-dir FOLDER` makes one to copy."
    )


def first_line(error: Exception) -> str:
    """Return the type and the first line of an error of a library, at most 300 characters."""
    line = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    return line if len(line) <= 300 else f"{line[:297]}..."


def refuse_code_from_elsewhere(name: str, *described: Mapping[str, object]) -> None:
    """Raise InputError if a JSON of an encoder's folder names code of another repository."""
    for key, code in itertools.chain.from_iterable(map(_entries, described)):
        if key == "auto_map" and "--" in str(code):
            raise InputError(
                f"{name}: auto_map names code of another repository ({code}), which no commit pins. Copy its .py files "
                "into the folder of the model, and remove the part up to `--` from auto_map."
            )


def _own_code(name: str, where: str, wanted: Wanted) -> InputError:
    return InputError(
        f"{name}: {where} asks for code that comes with the model (auto_map), and such code does not run. Choose an "
        f"encoder that transformers knows by itself, such as {wanted.example}; or read the code, and set "
        f"{wanted.setting.partition('.')[0]}.trust_remote_code: true."
    )


def _entries(value: object) -> Iterator[tuple[str, object]]:
    """Yield all keys and values of nested JSON; of values that are objects, each `auto_map` alone."""
    if isinstance(value, Mapping):
        inner = (key for key, part in value.items() if key == "auto_map" or not isinstance(part, Mapping))
        yield from ((str(key), value[key]) for key in inner)
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    yield from itertools.chain.from_iterable(map(_entries, parts))
