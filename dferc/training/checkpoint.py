"""A trained model as a folder: model.safetensors, settings.json, history.csv.

model.safetensors is whole by itself: weights, normalisation and the record (settings, classes, widths, identities of
the features, scores) in its metadata, so that a kill between two files cannot pair new weights with an old record.
settings.json is the record again, for reading, with the run's key and the versions of the software beside it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from dferc.core.errors import InputError
from dferc.core.files import write_atomically
from dferc.model.dferc import build_model
from dferc.model.variants import get_variant
from dferc.settings.sections import Train
from dferc.store.card import card_hash
from dferc.store.rows import CachedCorpus
from dferc.store.vocabulary import MODALITIES
from dferc.training.data import Normalisation

SCHEMA = 3
"""Version of the checkpoint's layout; raised when old files could be misread."""

WEIGHTS, RECORD, HISTORY = "model.safetensors", "settings.json", "history.csv"


class Checkpoint(NamedTuple):
    """A trained model, ready to predict, and how it came about."""

    folder: Path
    model: torch.nn.Module
    normalisation: Normalisation
    record: dict

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the model sees, in its order."""
        return _modalities(self.record)


def save_checkpoint(
    folder: Path,
    weights: Mapping[str, torch.Tensor],
    normalisation: Normalisation,
    record: Mapping,
    remarks: Mapping,
) -> None:
    """Write weights, normalisation and record atomically; the same values give the same bytes.

    Args:
        folder: of this run.
        weights: the model's state.
        normalisation: of its training split.
        record: what decided the weights, and their scores.
        remarks: what did not (versions, revision); in settings.json only, so that it changes no weight file.
    """
    tensors = {f"model.{name}": value for name, value in weights.items()}
    tensors |= {f"normalisation.{name}": value for name, value in normalisation.state().items()}
    # Clones: safetensors refuses tensors that share memory, as a fused LSTM's do.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    record = {"schema": SCHEMA, **record}
    # One metadata key: safetensors does not order several, and the same run must give the same bytes.
    metadata = {"dferc": json.dumps(record, ensure_ascii=False)}
    content = save(tensors, metadata)  # in memory first: a full disk is then an OSError like any other
    write_atomically(folder / WEIGHTS, lambda path: path.write_bytes(content))
    text = json.dumps(record | remarks, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / RECORD, lambda path: path.write_text(text, encoding="utf-8"))


def holds_run(folder: Path, key: str) -> bool:
    """Whether a folder holds this very run, finished and whole: a kill between its files leaves records that differ.

    Args:
        folder: of a seed.
        key: what `dferc.training.resume.run_key` says of the run; settings.json has it as `run`.
    """
    try:
        said = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            record = json.loads((file.metadata() or {}).get("dferc", "{}"))
    except (OSError, ValueError, SafetensorError):
        return False
    whole = record.items() <= said.items() and (folder / HISTORY).exists()
    return whole and said.get("run") == key and record.get("finished", False)


def load_checkpoint(folder: Path, device: torch.device) -> Checkpoint:
    """Rebuild a trained model in evaluation mode.

    Raises:
        InputError: missing, truncated, of another schema, or its weights are not of the model its record describes.
    """
    path = folder / WEIGHTS
    record, tensors = _read(path, device)
    try:
        settings = Train.model_validate(record["settings"])
        variant = replace(get_variant(record["variant"]), modalities=_modalities(record))
        with torch.device("meta"):  # no weights are drawn: the caller's random state stays as it is
            model = build_model(settings, variant, record["widths"], len(record["classes"]))
        normalisation = Normalisation.from_state(_under("normalisation.", tensors))
        weights = _under("model.", tensors)
        _verify_weights(weights, model.state_dict())
    except (InputError, KeyError, ValidationError) as error:
        raise InputError(
            f"{path}: its weights do not fit the model its record describes: {_explain(error)}. "
            "Was it written by another version of dferc? Train again."
        ) from error
    model.load_state_dict(weights, assign=True)
    return Checkpoint(folder, model.to(device).eval(), normalisation, record)


def _verify_weights(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Say in a line how weights differ from a model's, by name and shape."""
    shapes = ({name: tuple(value.shape) for name, value in weights.items()} for weights in (found, expected))
    differ = [
        f"{name} is {'missing' if one is None else one}, expected {'none' if two is None else two}"
        for name, one, two in differences(*shapes)
    ]
    if differ:
        more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
        raise InputError("; ".join(differ[:3]) + more)


def _explain(error: Exception) -> str:
    """A fault of a record in one line."""
    if isinstance(error, KeyError):
        return f"the record has no {error}"
    if isinstance(error, ValidationError):
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}" for fault in error.errors()]
        return "settings: " + "; ".join(faults)
    return str(error)


def _read(path: Path, device: torch.device) -> tuple[dict, dict[str, torch.Tensor]]:
    if not path.exists():
        raise InputError(f"{path} is missing. Train it: `dferc train` with this corpus, variant and seed.")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            record = json.loads((file.metadata() or {}).get("dferc", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable checkpoint (truncated?): {error}. Train again.") from error
    found = record.get("schema") if isinstance(record, dict) else None
    if found != SCHEMA:
        raise InputError(f"{path}: expected a checkpoint of schema {SCHEMA}, found schema {found}. Train again.")
    return record, tensors


def differences(one: object, two: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Where two nested mappings differ: path, and both values (None = not there)."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in one | two:
            yield from differences(one.get(key), two.get(key), f"{path}.{key}" if path else key)
    elif one != two:
        yield path, one, two


def _modalities(record: Mapping) -> tuple[str, ...]:
    """Never the order of the record's keys: the stacked weights are in the order of `MODALITIES`."""
    return tuple(modality for modality in MODALITIES if modality in record["widths"])


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def describe_corpus(corpus: CachedCorpus, modalities: tuple[str, ...]) -> dict:
    """What a checkpoint remembers of the features it was trained on, and must find again to be evaluated."""
    rows = corpus.utterances
    return {
        "corpus": rows.corpus,
        "protocol": rows.protocol,
        "classes": list(rows.classes),
        "rows_hash": rows.rows_hash,
        "card": card_hash(rows),
        "widths": {modality: corpus.modalities[modality].width for modality in modalities},
        "features": {modality: dict(corpus.modalities[modality].identity) for modality in modalities},
    }


def verify_corpus(checkpoint: Checkpoint, corpus: CachedCorpus) -> None:
    """Check that a checkpoint was trained on exactly these features and labels.

    Raises:
        InputError: with every difference, both sides named.
    """
    record = checkpoint.record
    missing = [modality for modality in checkpoint.modalities if modality not in corpus.modalities]
    if missing:
        raise InputError(
            f"{checkpoint.folder} was trained with {', '.join(missing)}, which the features folder lacks. Copy the "
            "file there, or train a variant that does without."
        )
    here = describe_corpus(corpus, checkpoint.modalities)
    found = [
        f"  - {key}: trained on {one!r}, found {two!r}"
        for key, one, two in differences({key: record.get(key) for key in here}, here)
    ]
    if found:
        raise InputError(
            f"{checkpoint.folder} was trained on other features than these:\n" + "\n".join(found) + "\n"
            "Train again on these features, or bring back those it was trained on (`dvc checkout`)."
        )
