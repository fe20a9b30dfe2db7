"""A trained model as a folder: model.safetensors, settings.json, history.csv.

model.safetensors is whole by itself: weights, normalisation and the record (settings, classes, widths, identities of
the features, scores) in its metadata, so that a kill between two files cannot pair new weights with an old record.
settings.json is the record again, for reading, with the run's key, the versions of the software, the hash of the
weights and the calibration: the temperature by which `dferc.evaluation.predict` divides the logits.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import torch
from pydantic import BeforeValidator, Field, model_validator
from safetensors.torch import save

from dferc.core.device import open_weights, read_weights
from dferc.core.errors import InputError
from dferc.core.files import file_hash, write_atomically, write_json
from dferc.core.records import Count, Finite, Names, Text, check_record, differences, read_record
from dferc.core.tables import read_numbers
from dferc.model.ensemble import build_model
from dferc.model.variants import get_variant
from dferc.settings.sections import Train, VariantName, complete_settings
from dferc.settings.types import LARGEST
from dferc.store.card import card_hash
from dferc.store.records import ModalityKey, TrainedRun
from dferc.store.rows import CachedCorpus
from dferc.store.vocabulary import DRAWN, in_order
from dferc.training.data import Normalisation

SCHEMA = 3
"""Version of the checkpoint's layout; raised when old files could be misread."""

WEIGHTS, RECORD, HISTORY = "model.safetensors", "settings.json", "history.csv"

AGAIN = "Was it written by another version of dferc, or changed? Train again (`--fresh`)."
# Settings that an older version did not have yet are added.
Completed = BeforeValidator(lambda found: complete_settings(found) if isinstance(found, Mapping) else found)


class TrainingRecord(TrainedRun):
    """Schema of the record of a training: in the metadata of the weights, and in settings.json."""

    schema_: Literal[SCHEMA] = Field(alias="schema")
    protocol: str
    classes: Names
    rows_hash: Text
    card: Text
    widths: Annotated[dict[ModalityKey, Annotated[int, Field(ge=1, le=LARGEST)]], Field(min_length=1)]
    variant: VariantName
    settings: Annotated[Train, Completed]
    seed: Count
    best_epoch: Count
    epochs: Count
    finished: bool
    scores: dict[str, Finite]

    @model_validator(mode="after")
    def _describe_each_modality(self) -> Self:
        if self.features.keys() != self.widths.keys():
            raise ValueError(f"have the same modalities in features and widths: {', '.join(self.widths)}")
        return self


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

    @property
    def temperature(self) -> float:
        """Temperature of its probabilities; 1 where an older version trained it, or settings.json is not there."""
        return (self.record.get("calibration") or {"temperature": 1.0})["temperature"]


def save_checkpoint(
    folder: Path, weights: Mapping[str, torch.Tensor], normalisation: Normalisation, record: Mapping, remarks: Mapping
) -> None:
    """Write weights, normalisation and record atomically; the same values give the same bytes.

    Args:
        folder: folder of this run.
        weights: state of the model.
        normalisation: statistics of its training split.
        record: everything that decided the weights, and their scores.
        remarks: versions, revision and calibration; in settings.json only, so that they change no weight file.
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
    write_json(folder / RECORD, record | remarks | {"weights": hashlib.sha256(content).hexdigest()})


def holds_run(folder: Path, key: str) -> bool:
    """Return whether a folder holds this run, finished and whole.

    Args:
        folder: folder of a seed.
        key: `dferc.training.resume.run_key` of the run; settings.json has it as `run`.
    """
    try:
        settings, record = read_training_record(folder / RECORD), record_of_weights(folder)
        verify_digest(folder)
        read_numbers(folder / HISTORY)
    except (OSError, InputError):  # damaged: the run is trained again
        return False
    # A kill between the two files leaves records that differ.
    return record.items() <= settings.items() and settings.get("run") == key and record.get("finished", False)


def load_checkpoint(folder: Path, device: torch.device) -> Checkpoint:
    """Rebuild a trained model in evaluation mode.

    Raises:
        InputError: missing, truncated, changed, of another schema, or the weights are not of the model that its record
            describes.
    """
    path = folder / WEIGHTS
    if not path.exists():
        raise InputError(f"{path} is missing. Train it: `dferc train` with this corpus, variant and seed.")
    with open_weights(path, AGAIN) as file:
        record = _record_of(file, path)
        variant = replace(get_variant(record["variant"]), modalities=modalities_of(record))
        settings = Train.model_validate(record["settings"])
        with torch.device("meta"):  # no weights are drawn: the caller's random state stays as it is
            model = build_model(settings, variant, record["widths"], len(record["classes"]))
            statistics = {modality: torch.empty(width) for modality, width in record["widths"].items()}
            expected = {f"model.{name}": value for name, value in model.state_dict().items()}
            for name, value in Normalisation(statistics, statistics).state().items():
                expected[f"normalisation.{name}"] = value
        tensors = read_weights(file, expected, path, AGAIN)
    if calibration := verify_digest(folder).get("calibration"):
        record["calibration"] = calibration
    normalisation = Normalisation.from_state(_under("normalisation.", tensors), settings.normalisation == "speaker")
    if flat := [modality for modality, scale_D in normalisation.scale.items() if not (scale_D > 0).all()]:
        raise InputError(f"{path}: the scales of {', '.join(flat)} are not all above 0. {AGAIN}")
    model.load_state_dict(_under("model.", tensors), assign=True)
    return Checkpoint(folder, model.to(device).eval(), normalisation, record)


def read_training_record(path: Path) -> dict:
    """Read settings.json, with defaults for settings that an older version did not have yet.

    Raises:
        InputError: it is missing, or does not fit the schema.
    """
    return _completed(read_record(path, TrainingRecord, AGAIN))


def _completed(record: dict) -> dict:
    return record | {"settings": complete_settings(record["settings"])}


def verify_digest(folder: Path) -> dict:
    """Return the settings.json beside some weights, {} without one; refuse one that describes other weights."""
    if not (folder / RECORD).exists():
        return {}
    beside = read_record(folder / RECORD, TrainingRecord, AGAIN)
    if beside.get("weights") not in (None, file_hash(folder / WEIGHTS)):  # older ones have none
        raise InputError(
            f"{folder / WEIGHTS} is not the file that {RECORD} beside it describes: was it copied there or "
            "changed? Bring back both files of one training, or train again."
        )
    return beside


def _record_of(file: Any, path: Path) -> dict:
    """Return the record in the metadata of an open file of weights."""
    text = (file.metadata() or {}).get("dferc", "null")
    return _completed(check_record(text.encode("utf-8"), TrainingRecord, f"{path}, its record", AGAIN))


def record_of_weights(folder: Path) -> dict:
    """Read the record of a checkpoint without its weights.

    Raises:
        InputError: the checkpoint is missing, truncated or of another schema.
    """
    with open_weights(folder / WEIGHTS, AGAIN) as file:
        return _record_of(file, folder / WEIGHTS)


def modalities_of(record: Mapping) -> tuple[str, ...]:
    """Return the modalities in the order of the stacked weights."""
    return in_order(record["widths"])


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
        "values": {modality: corpus.learnt_hashes[modality] for modality in modalities},
    }


def verify_corpus(checkpoint: Checkpoint, corpus: CachedCorpus) -> None:
    """Check that a checkpoint was trained on exactly these features and labels.

    Raises:
        InputError: with every difference, both sides named.
    """
    record = checkpoint.record
    if missing := [modality for modality in checkpoint.modalities if modality not in corpus.modalities]:
        raise InputError(
            f"{checkpoint.folder} was trained with {', '.join(missing)}, which the features folder lacks. Copy the "
            "file there, or train a variant without it."
        )
    here = describe_corpus(corpus, checkpoint.modalities)
    del here["values"]  # those of training decide no score
    if "speakers" in record:  # the model reads them
        here["speakers"] = corpus.utterances.speakers_hash
    if record["settings"].get("validation_split") == "by_seed":  # else other rows are drawn than those of its training
        here |= {"together": corpus.utterances.together_hash, "drawn": DRAWN}
    found = [
        f"  - {key}: trained on {one!r}, found {two!r}"
        for key, one, two in differences({key: record.get(key) for key in here}, here)
    ]
    if found:
        raise InputError(
            f"{checkpoint.folder} was trained on other features than these:\n" + "\n".join(found) + "\n"
            "Train again on these features, or bring back those it was trained on (`dvc checkout`)."
        )
