"""The feature store: `features/<corpus>/{utterances,text,audio,visual}.h5`, written whole, read whole, verified.

N utterances, D feature width. All files of a corpus are row-aligned: dialogues contiguous, utterances in order.
The schema is documented in features/README.md. Used by both stages; it is the one door between them.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from dferc import MODALITIES, SPLITS
from dferc.console import InputError

SCHEMA = 1
"""Version of the file layout; raised when old files could be misread."""

UNLABELLED = -1
"""`emotion` of an utterance without a label: context only, never in a loss or a score."""

_STRINGS = ("utterance_id", "dialogue_id", "speaker", "split", "text")
_NUMBERS = {"position": np.int64, "emotion": np.int64, "start_s": np.float64, "end_s": np.float64}


@dataclass(frozen=True, kw_only=True)
class Utterances:
    """Everything the trainer must know besides features; all arrays have N rows.

    Raises:
        InputError: the rows contradict each other (duplicate ids, scattered dialogues, unknown splits or classes).
    """

    corpus: str
    classes: tuple[str, ...]
    """Class names; `emotion` indexes them."""
    protocol: str
    """Which labels, splits and exclusions: two scores are comparable only under the same protocol."""
    utterance_id: np.ndarray
    dialogue_id: np.ndarray
    position: np.ndarray
    """Place in the dialogue as the corpus counts it; gaps of the corpus stay visible."""
    speaker: np.ndarray
    emotion: np.ndarray
    """Class id, or `UNLABELLED`."""
    split: np.ndarray
    text: np.ndarray
    start_s: np.ndarray
    """Seconds into the utterance's media file; NaN where there is none."""
    end_s: np.ndarray

    def __post_init__(self):
        _check_rows(self)

    def __len__(self) -> int:
        return len(self.utterance_id)

    @property
    def lengths(self) -> np.ndarray:
        """Utterances per dialogue, in file order."""
        starts = np.flatnonzero(np.r_[True, self.dialogue_id[1:] != self.dialogue_id[:-1]])
        return np.diff(np.r_[starts, len(self)])

    @property
    def rows_hash(self) -> str:
        """Hash of the utterance list (ids, dialogues and order): what every features file must have been made for."""
        rows = "\n".join(f"{dialogue}\t{utterance}" for dialogue, utterance in zip(self.dialogue_id, self.utterance_id))
        return hashlib.sha256(rows.encode()).hexdigest()[:16]

    @property
    def labels_hash(self) -> str:
        """Hash of classes, labels and splits: what makes two scores comparable."""
        rows = "\n".join(f"{u}\t{e}\t{s}" for u, e, s in zip(self.utterance_id, self.emotion, self.split))
        return hashlib.sha256(f"{self.classes}\n{rows}".encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Features:
    """One modality of one corpus.

    Attributes:
        features: [N, D] float32; rows that are not present hold zeros and must not be used.
        present: [N] bool; False = this utterance has no such signal.
        utterance_id: [N] the rows, as in utterances.h5.
        identity: what made the values: extractor and version, params section, model and weight hash, rows hash.
        names: D feature names where the extractor has them, else empty.
        quality: further [N] float32 columns by name, such as the share of frames with a face.
    """

    modality: str
    corpus: str
    features: np.ndarray
    present: np.ndarray
    utterance_id: np.ndarray
    identity: Mapping[str, object]
    names: tuple[str, ...] = ()
    quality: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        _check_features(self)

    @property
    def width(self) -> int:
        """D."""
        return self.features.shape[1]


@dataclass(frozen=True, kw_only=True)
class CachedCorpus:
    """A verified features folder: utterances and the modalities that are there."""

    utterances: Utterances
    modalities: dict[str, Features]


# ---------------------------------------------------------------------------------------------------- writing


def write_utterances(path: str | Path, utterances: Utterances) -> None:
    """Write utterances.h5 atomically; the same rows give the same bytes."""

    def fill(file: h5py.File) -> None:
        file.attrs["kind"] = "utterances"
        file.attrs["corpus"] = utterances.corpus
        file.attrs["protocol"] = utterances.protocol
        file.attrs["rows_hash"] = utterances.rows_hash
        _write_strings(file, "classes", np.array(utterances.classes, dtype=object))
        for name in _STRINGS:
            _write_strings(file, name, getattr(utterances, name))
        for name in _NUMBERS:
            file.create_dataset(name, data=getattr(utterances, name))

    _write_hdf5(path, fill)


def write_features(path: str | Path, features: Features) -> None:
    """Write one modality's file atomically; the same values give the same bytes."""

    def fill(file: h5py.File) -> None:
        file.attrs["kind"] = features.modality
        file.attrs["corpus"] = features.corpus
        file.attrs["width"] = features.width
        file.attrs["identity"] = json.dumps(dict(features.identity), sort_keys=True, ensure_ascii=False)
        _write_strings(file, "utterance_id", features.utterance_id)
        if features.names:
            _write_strings(file, "feature_names", np.array(features.names, dtype=object))
        file.create_dataset("features", data=features.features)
        file.create_dataset("present", data=features.present)
        for name in sorted(features.quality):
            file.create_dataset(f"quality/{name}", data=features.quality[name].astype(np.float32))

    _write_hdf5(path, fill)


def write_atomically(path: str | Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, then rename it over `path`.

    A kill or a full disk at any moment leaves the old file intact or the new one whole.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o644)  # mkstemp made it private; features are for sharing
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} could not be written ({error}); nothing was changed. Is the disk full?") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


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
        columns = {name: _strings(file[name]) for name in _STRINGS} | {name: file[name][()] for name in _NUMBERS}
        attributes = {name: str(file.attrs[name]) for name in ("corpus", "protocol")}
        utterances = Utterances(classes=tuple(_strings(file["classes"])), **attributes, **columns)
        if file.attrs["rows_hash"] != utterances.rows_hash:
            raise ValueError(f"its rows are not those it was written with ({file.attrs['rows_hash']})")
        return utterances


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


def read_corpus(folder: str | Path) -> CachedCorpus:
    """Read a features folder and verify that its files belong together.

    A modality whose file is not there is left out; at least one must be.

    Raises:
        InputError: a file is unreadable, or its corpus or rows are not those of utterances.h5.
    """
    folder = Path(folder)
    utterances = read_utterances(folder / "utterances.h5")
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
    maker = f"dvc repro extract_{features.modality}@{utterances.corpus}"
    mend = f"Make it again: `{maker}`, or copy all files of one corpus together."
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


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _open:  # noqa: N801 - reads as the built-in does
    """Open an HDF5 file of this schema and kind; every way it can be broken becomes one readable message."""

    def __init__(self, path: str | Path, kind: str, maker: str):
        self.path, self.kind, self.maker = Path(path), kind, maker

    def __enter__(self) -> h5py.File:
        if not self.path.exists():
            raise InputError(f"{self.path} is missing. Make it with `{self.maker}` (or `dvc repro`), or copy it here.")
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
        return f"Make it again with `{self.maker}` (or `dvc repro`)."


def _strings(dataset: h5py.Dataset) -> np.ndarray:
    return dataset.asstr()[()].astype(object)


# ---------------------------------------------------------------------------------------------------- checks


def _check_rows(rows: Utterances) -> None:
    columns = {name: getattr(rows, name) for name in (*_STRINGS, *_NUMBERS)}
    wrong = {name: column.shape for name, column in columns.items() if column.shape != rows.utterance_id.shape}
    if wrong or rows.utterance_id.ndim != 1:
        raise InputError(f"columns of different lengths: utterance_id {rows.utterance_id.shape}, {wrong}")
    if len(rows) == 0:
        raise InputError("no utterances at all")
    kinds = {name: columns[name].dtype for name, dtype in _NUMBERS.items() if columns[name].dtype != dtype}
    if kinds:
        raise InputError(f"columns of another type than int64 (position, emotion) and float64 (times): {kinds}")
    if len(set(rows.classes)) != len(rows.classes):
        raise InputError(f"a class is there twice: {', '.join(rows.classes)}")
    ids, counts = np.unique(rows.utterance_id.astype(str), return_counts=True)
    if (counts > 1).any():
        raise InputError(f"duplicate utterance ids: {', '.join(ids[counts > 1][:5])}")
    if len(rows.lengths) != len(set(rows.dialogue_id)):
        raise InputError("the utterances of a dialogue are not contiguous")
    within = rows.dialogue_id[1:] == rows.dialogue_id[:-1]
    if (within & (rows.position[1:] <= rows.position[:-1])).any():
        row = np.flatnonzero(within & (rows.position[1:] <= rows.position[:-1]))[0] + 1
        raise InputError(f"positions must rise within a dialogue; they do not at {rows.utterance_id[row]}")
    if (within & (rows.split[1:] != rows.split[:-1])).any():
        row = np.flatnonzero(within & (rows.split[1:] != rows.split[:-1]))[0]
        raise InputError(f"the dialogue {rows.dialogue_id[row]} lies in two splits")
    unknown = sorted(set(rows.split) - set(SPLITS))
    if unknown:
        raise InputError(f"unknown split(s) {', '.join(map(repr, unknown))}; expected {', '.join(SPLITS)}")
    outside = (rows.emotion < UNLABELLED) | (rows.emotion >= len(rows.classes))
    if outside.any():
        row = np.flatnonzero(outside)[0]
        raise InputError(
            f"{rows.utterance_id[row]}: class id {rows.emotion[row]}, expected -1 to {len(rows.classes) - 1}"
        )
    backward = np.flatnonzero(rows.end_s < rows.start_s)
    if len(backward):
        row = backward[0]
        raise InputError(
            f"{rows.utterance_id[row]} ends at {rows.end_s[row]} s, before its start {rows.start_s[row]} s"
        )


def _check_features(made: Features) -> None:
    if made.modality not in MODALITIES:
        raise InputError(f"unknown modality {made.modality!r}; expected {', '.join(MODALITIES)}")
    rows = len(made.utterance_id)
    if made.features.ndim != 2 or len(made.features) != rows or made.present.shape != (rows,):
        raise InputError(
            f"{made.modality}: {rows} utterance ids, features of shape {made.features.shape}, present of "
            f"{made.present.shape}; expected [N, D] and [N]"
        )
    if made.features.dtype != np.float32 or made.present.dtype != np.bool_:
        raise InputError(
            f"{made.modality}: features are {made.features.dtype}, present {made.present.dtype}; expected float32, bool"
        )
    strange = {name: column.shape for name, column in made.quality.items() if column.shape != (rows,)}
    if strange:
        raise InputError(f"{made.modality}: quality columns of shape {strange}; expected ({rows},)")
    bad = np.flatnonzero(made.present & ~np.isfinite(made.features).all(axis=1))
    if len(bad):
        raise InputError(
            f"{made.modality}: {len(bad)} present utterance(s) have values that are not finite, "
            f"first {made.utterance_id[bad[0]]!r}; mark them not present"
        )
    if made.features[~made.present].any():
        row = np.flatnonzero(~made.present & made.features.any(axis=1))[0]
        raise InputError(f"{made.modality}: {made.utterance_id[row]!r} is not present but has values; expected zeros")
    if made.names and len(made.names) != made.width:
        raise InputError(f"{made.modality}: {len(made.names)} feature names for width {made.width}")
