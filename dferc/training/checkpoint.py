"""A trained model as a folder: model.safetensors, settings.json, history.csv.

model.safetensors is whole by itself: weights, normalisation and the record (settings, classes, widths, identities of
the features, scores) in its metadata, so that a kill between two files cannot pair new weights with an old record.
settings.json is the record again, for reading, with the run's key and the versions of the software beside it.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from dferc.core.errors import InputError
from dferc.core.files import write_atomically
from dferc.core.records import differences
from dferc.model.dferc import build_model
from dferc.model.variants import get_variant
from dferc.settings.sections import Train, complete_settings
from dferc.store.card import card_hash
from dferc.store.rows import CachedCorpus
from dferc.store.vocabulary import MODALITIES
from dferc.training.data import Normalisation

SCHEMA = 3
"""Version of the checkpoint's layout; raised when old files could be misread."""

WEIGHTS, RECORD, HISTORY = "model.safetensors", "settings.json", "history.csv"


class Checkpoint(NamedTuple):
    """A trained model, ready to predict, and the record of its training."""

    folder: Path
    model: torch.nn.Module
    normalisation: Normalisation
    record: dict

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities of the model, in its order."""
        return modalities_of(self.record)


def save_checkpoint(
    folder: Path,
    weights: Mapping[str, torch.Tensor],
    normalisation: Normalisation,
    record: Mapping,
    remarks: Mapping,
) -> None:
    """Write weights, normalisation and record atomically; the same values give the same bytes.

    Args:
        folder: folder of this run.
        weights: state of the model.
        normalisation: statistics of its training split.
        record: everything that decided the weights, and their scores.
        remarks: versions and revision; in settings.json only, so that they change no weight file.
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
    """Return whether a folder holds this run, finished and whole.

    Args:
        folder: folder of a seed.
        key: `dferc.training.resume.run_key` of the run; settings.json has it as `run`.
    """
    try:
        settings = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            record = json.loads((file.metadata() or {}).get("dferc", "{}"))
    except (OSError, ValueError, SafetensorError):
        return False
    # A kill between the two files leaves records that differ.
    whole = record.items() <= settings.items() and (folder / HISTORY).exists()
    return whole and settings.get("run") == key and record.get("finished", False)


def load_checkpoint(folder: Path, device: torch.device) -> Checkpoint:
    """Rebuild a trained model in evaluation mode.

    Raises:
        InputError: missing, truncated, of another schema, or its weights are not of the model its record describes.
    """
    path = folder / WEIGHTS
    record, tensors = _read(path, device)
    try:
        settings = Train.model_validate(record["settings"])
        variant = replace(get_variant(record["variant"]), modalities=modalities_of(record))
        with torch.device("meta"):  # no weights are drawn: the caller's random state stays as it is
            model = build_model(settings, variant, record["widths"], len(record["classes"]))
        normalisation = Normalisation.from_state(_under("normalisation.", tensors))
    except (InputError, KeyError, ValidationError) as error:
        raise _misfit(path, _explain(error)) from error
    weights = _under("model.", tensors)
    shapes = ({name: tuple(value.shape) for name, value in each.items()} for each in (weights, model.state_dict()))
    differ = [
        f"{name} is {'missing' if found is None else found}, expected {'none' if expected is None else expected}"
        for name, found, expected in differences(*shapes)
    ]
    if differ:
        more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
        raise _misfit(path, "; ".join(differ[:3]) + more)
    model.load_state_dict(weights, assign=True)
    return Checkpoint(folder, model.to(device).eval(), normalisation, record)


def _misfit(path: Path, fault: str) -> InputError:
    return InputError(
        f"{path}: its weights do not fit the model its record describes: {fault}. "
        "Was it written by another version of dferc? Train again."
    )


def _explain(error: Exception) -> str:
    """Describe a fault of a record in one line."""
    if isinstance(error, KeyError):
        return f"the record has no {error}"
    if isinstance(error, ValidationError):
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}" for fault in error.errors()]
        return "settings: " + "; ".join(faults)
    return str(error)


def _read(path: Path, device: torch.device, weights: bool = True) -> tuple[dict, dict[str, torch.Tensor]]:
    if not path.exists():
        raise InputError(f"{path} is missing. Train it: `dferc train` with this corpus, variant and seed.")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            record = json.loads((file.metadata() or {}).get("dferc", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()} if weights else {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable checkpoint (truncated?): {error}. Train again.") from error
    found = record.get("schema") if isinstance(record, dict) else None
    if found != SCHEMA:
        raise InputError(f"{path}: expected a checkpoint of schema {SCHEMA}, found schema {found}. Train again.")
    if isinstance(record.get("settings"), dict):  # an older version may have had fewer
        record["settings"] = complete_settings(record["settings"])
    return record, tensors


def read_record(folder: Path) -> dict:
    """Read the record of a checkpoint without its weights.

    Raises:
        InputError: the checkpoint is missing, truncated or of another schema.
    """
    return _read(folder / WEIGHTS, torch.device("cpu"), weights=False)[0]


def modalities_of(record: Mapping) -> tuple[str, ...]:
    """Return the modalities in the order of `MODALITIES`, which is that of the stacked weights."""
    return tuple(modality for modality in MODALITIES if modality in record["widths"])


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def describe_corpus(corpus: CachedCorpus, modalities: tuple[str, ...]) -> dict:
    """Describe the features of a training, which must be the same when its checkpoint is evaluated."""
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
            "file there, or train a variant without it."
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
