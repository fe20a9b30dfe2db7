"""The feature store: `features/<corpus>/{utterances,text,audio,visual}.h5`, written whole, read whole, verified.

N utterances, D feature width. All files of a corpus are row-aligned: dialogues contiguous, utterances in order.
The schema is documented in features/README.md. Used by both stages; it is the one door between them.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np

from dferc.core.errors import InputError
from dferc.core.files import write_atomically
from dferc.store.rows import NUMBER_COLUMNS, TEXT_COLUMNS, CachedCorpus, Features, Note, Utterances
from dferc.store.vocabulary import MODALITIES

SCHEMA = 1
"""Version of the file layout; raised when old files could be misread (what only adds to it leaves them readable)."""

IMPORT_PROBLEMS = "problems.csv"
"""What `dferc import` lists, and leaves beside the features: by it they are known as imported."""

# ---------------------------------------------------------------------------------------------------- writing


def write_utterances(path: str | Path, utterances: Utterances) -> None:
    """Write utterances.h5 atomically; the same rows give the same bytes."""

    def fill(file: h5py.File) -> None:
        file.attrs["kind"] = "utterances"
        file.attrs["corpus"] = utterances.corpus
        file.attrs["protocol"] = utterances.protocol
        file.attrs["speaker_independent"] = utterances.speaker_independent
        file.attrs["rows_hash"] = utterances.rows_hash
        _write_strings(file, "classes", np.array(utterances.classes, dtype=object))
        for name in TEXT_COLUMNS:
            _write_strings(file, name, getattr(utterances, name))
        for name in NUMBER_COLUMNS:
            file.create_dataset(name, data=getattr(utterances, name))
        if utterances.media_group is not None:
            file.create_dataset("media_group", data=utterances.media_group)
        # Not an attribute: HDF5 caps those at 64 kB.
        notes = [json.dumps(asdict(note), ensure_ascii=False) for note in utterances.notes]
        _write_strings(file, "notes", np.array(notes, dtype=object))

    _write_hdf5(path, fill)


def write_features(path: str | Path, features: Features) -> None:
    """Write one modality's file atomically; the same values give the same bytes."""

    def fill(file: h5py.File) -> None:
        file.attrs["kind"] = features.modality
        file.attrs["corpus"] = features.corpus
        file.attrs["width"] = features.width
        file.attrs["rows"], file.attrs["rows_present"] = len(features.present), int(features.present.sum())
        file.attrs["identity"] = json.dumps(dict(features.identity), sort_keys=True, ensure_ascii=False)
        _write_strings(file, "utterance_id", features.utterance_id)
        if features.names:
            _write_strings(file, "feature_names", np.array(features.names, dtype=object))
        file.create_dataset("features", data=features.features)
        file.create_dataset("present", data=features.present)
        for name in sorted(features.quality):
            file.create_dataset(f"quality/{name}", data=features.quality[name].astype(np.float32))

    _write_hdf5(path, fill)


def _write_hdf5(path: str | Path, fill: Callable[[h5py.File], None]) -> None:
    """Build the file in memory, then write its bytes: on a full disk HDF5 itself can crash the process."""
    with h5py.File(Path(path).name, "w", driver="core", backing_store=False) as file:
        file.attrs["schema"] = SCHEMA
        fill(file)
        file.flush()
        image = file.id.get_file_image()
    write_atomically(path, lambda temporary: temporary.write_bytes(image))


def _write_strings(file: h5py.File, name: str, values: np.ndarray) -> None:
    file.create_dataset(name, data=values.astype(object), dtype=h5py.string_dtype("utf-8"))


# ---------------------------------------------------------------------------------------------------- reading


def read_utterances(path: str | Path) -> Utterances:
    """Read and check utterances.h5.

    Raises:
        InputError: missing, truncated, of another schema, or contradictory.
    """
    with _open(path, "utterances", "python -m pipeline.prepare") as file:
        columns = {name: _strings(file[name]) for name in TEXT_COLUMNS} | {
            name: file[name][()] for name in NUMBER_COLUMNS
        }
        attributes = {name: str(file.attrs[name]) for name in ("corpus", "protocol")}
        utterances = Utterances(
            classes=tuple(_strings(file["classes"])), **attributes, **columns, **_read_protocol(file)
        )
        if file.attrs["rows_hash"] != utterances.rows_hash:
            raise ValueError(f"its rows are not those it was written with ({file.attrs['rows_hash']})")
        return utterances


def _read_protocol(file: h5py.File) -> dict:
    """What the protocol card needs besides the columns; a file from before there were cards says nothing of it."""
    return {
        "media_group": file["media_group"][()] if "media_group" in file else None,
        "speaker_independent": bool(file.attrs.get("speaker_independent", False)),
        "notes": tuple(Note(**json.loads(note)) for note in _strings(file["notes"])) if "notes" in file else (),
    }


def read_features(path: str | Path, modality: str) -> Features:
    """Read and check one modality's file.

    Raises:
        InputError: missing, truncated, of another schema or modality, of inconsistent shape, or not finite.
    """
    with _open(path, modality, f"python -m pipeline.extract_{modality}") as file:
        values, identity = file["features"][()], json.loads(file.attrs["identity"])
        if values.ndim != 2 or values.shape[1] != file.attrs["width"]:
            raise ValueError(f"features of shape {values.shape}, and the width {file.attrs['width']} noted beside them")
        if not isinstance(identity, dict):
            raise ValueError(f"its identity is {identity!r}")
        return Features(
            modality=modality,
            corpus=str(file.attrs["corpus"]),
            features=values,
            present=file["present"][()],
            utterance_id=_strings(file["utterance_id"]),
            identity=identity,
            names=tuple(_strings(file["feature_names"])) if "feature_names" in file else (),
            quality={name: column[()] for name, column in file.get("quality", {}).items()},
        )


def read_corpus(folder: str | Path, expected: str | None = None) -> CachedCorpus:
    """Read a features folder and verify that its files belong together.

    A modality whose file is not there is left out; at least one must be.

    Args:
        folder: features/<corpus>.
        expected: the corpus that these must be of; None = any.

    Raises:
        InputError: a file is unreadable, or its corpus or rows are not those of utterances.h5 or not the expected.
    """
    folder = Path(folder)
    utterances = read_utterances(folder / "utterances.h5")
    if expected not in (None, utterances.corpus):
        raise InputError(
            f"{folder} holds features of the corpus {utterances.corpus!r}; expected {expected!r}. "
            f"Name the right one (--corpus {utterances.corpus}), or copy the folder of {expected} here."
        )
    modalities = {}
    for modality in MODALITIES:
        path = folder / f"{modality}.h5"
        if path.exists():
            features = read_features(path, modality)
            verify_rows(path, features, utterances)
            modalities[modality] = features
    if not modalities:
        raise InputError(
            f"{folder} has utterances.h5 but none of {', '.join(f'{m}.h5' for m in MODALITIES)}. "
            "Make them with `dvc repro`, or copy them here."
        )
    return CachedCorpus(utterances=utterances, modalities=modalities)


def verify_rows(path: str | Path, features: Features, utterances: Utterances) -> None:
    """Check that a features file was made for exactly these utterances, in this order.

    Raises:
        InputError: with the first row that differs, and the command that mends it.
    """
    maker = f"`dvc repro extract_{features.modality}@{utterances.corpus}`"
    maker = _IMPORT if _is_imported(path) else maker
    mend = f"Make it again: {maker}, or copy all files of one corpus together."
    if features.corpus != utterances.corpus:
        raise InputError(
            f"{path} is of the corpus {features.corpus!r}, its utterances.h5 of {utterances.corpus!r}. {mend}"
        )
    if len(features.utterance_id) != len(utterances):
        raise InputError(f"{path} has {len(features.utterance_id)} rows, its utterances.h5 {len(utterances)}. {mend}")
    differs = np.flatnonzero(features.utterance_id != utterances.utterance_id)
    if len(differs):
        row = differs[0]
        raise InputError(
            f"{path}: {len(differs)} row(s) are of other utterances than in utterances.h5; the first is row {row}: "
            f"{features.utterance_id[row]!r}, expected {utterances.utterance_id[row]!r}. {mend}"
        )
    made_for = features.identity.get("rows_hash")
    if made_for != utterances.rows_hash:
        raise InputError(
            f"{path} was made for another utterance list ({made_for}, here {utterances.rows_hash}). {mend}"
        )


class _open:  # noqa: N801 - reads as the built-in does
    """Open an HDF5 file of this schema and kind; every way it can be broken becomes one readable message."""

    def __init__(self, path: str | Path, kind: str, maker: str):
        self.path, self.kind = Path(path), kind
        self.maker = _IMPORT if _is_imported(path) else f"`{maker}` (or `dvc repro`)"

    def __enter__(self) -> h5py.File:
        if not self.path.exists():
            raise InputError(f"{self.path} is missing. Make it with {self.maker}, or copy it here.")
        try:
            self.file = h5py.File(self.path, "r")
        except OSError as error:
            raise InputError(f"{self.path} is not a readable HDF5 file (truncated?): {error}. {self._again}") from None
        schema, kind = self.file.attrs.get("schema"), self.file.attrs.get("kind")
        if schema != SCHEMA or kind != self.kind:
            self.file.close()
            raise InputError(
                f"{self.path}: expected schema {SCHEMA} of kind {self.kind!r}, found schema {schema} of kind {kind!r}. "
                f"{self._again}"
            )
        return self.file

    def __exit__(self, kind, error, traceback) -> None:
        self.file.close()
        if isinstance(error, InputError):
            raise InputError(f"{self.path}: {error}") from None
        if isinstance(error, (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError)):
            raise InputError(f"{self.path} is damaged or of another layout: {error}. {self._again}") from error

    @property
    def _again(self) -> str:
        return f"Make it again with {self.maker}."


_IMPORT = "`dferc import FILE… --replace`"


def _is_imported(path: str | Path) -> bool:
    return (Path(path).parent / IMPORT_PROBLEMS).exists()


def _strings(dataset: h5py.Dataset) -> np.ndarray:
    return dataset.asstr()[()].astype(object)
