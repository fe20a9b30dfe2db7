"""Files of the feature store: `features/<corpus>/{utterances,text,audio,visual}.h5`, written whole, read and verified.

All files of a corpus are row-aligned. features/README.md documents the schema. Nothing else passes between the stages.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np

from dferc.core.errors import InputError
from dferc.core.files import write_atomically
from dferc.store.closed import DAMAGE, ClosedHdf5, open_hdf5
from dferc.store.rows import NUMBER_COLUMNS, TEXT_COLUMNS, CachedCorpus, Features, Note, Utterances
from dferc.store.vocabulary import MODALITIES

SCHEMA = 1
"""Version of the file layout; raised when old files could be misread (what only adds to it leaves them readable)."""

IMPORT_PROBLEMS = "problems.csv"  # left by `dferc import` beside the features, which it marks as imported


def write_utterances(path: str | Path, utterances: Utterances) -> None:
    """Write utterances.h5 atomically; the same rows give the same bytes."""

    def fill(file: h5py.File) -> None:
        file.attrs["kind"] = "utterances"
        for name in ("corpus", "protocol", "speaker_independent", "rows_hash"):
            file.attrs[name] = getattr(utterances, name)
        _write_strings(file, "classes", np.array(utterances.classes, dtype=object))
        for name in TEXT_COLUMNS:
            _write_strings(file, name, getattr(utterances, name))
        for name in NUMBER_COLUMNS:
            file.create_dataset(name, data=getattr(utterances, name))
        if utterances.media_group is not None:
            file.create_dataset("media_group", data=utterances.media_group)
        if utterances.media is not None:
            _write_strings(file, "media", utterances.media)
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


def read_utterances(path: str | Path) -> Utterances:
    """Read and check utterances.h5."""
    with _open(path, "utterances", "python -m pipeline.prepare") as opened:
        file = opened.file
        columns = {name: opened.texts(name) for name in TEXT_COLUMNS}
        columns |= {name: opened.read(name) for name in NUMBER_COLUMNS}
        utterances = Utterances(
            corpus=str(opened.attribute("corpus")),
            protocol=str(opened.attribute("protocol")),
            classes=tuple(opened.texts("classes")),
            **columns,
            # Older files lack these.
            media=opened.texts("media") if "media" in file else None,
            media_group=opened.read("media_group") if "media_group" in file else None,
            speaker_independent="speaker_independent" in file.attrs and bool(opened.attribute("speaker_independent")),
            notes=tuple(Note(**json.loads(note)) for note in opened.texts("notes")) if "notes" in file else (),
        )
        if (written := opened.attribute("rows_hash")) != utterances.rows_hash:
            raise ValueError(f"its rows are not those it was written with ({written!s:.40})")
        return utterances


def read_features(path: str | Path, modality: str) -> Features:
    """Read and check one modality's file."""
    with _open(path, modality, f"python -m pipeline.extract_{modality}") as opened:
        file = opened.file
        values, identity = opened.read("features"), json.loads(opened.attribute("identity"))
        if values.ndim != 2 or values.shape[1] != opened.attribute("width"):
            raise ValueError(
                f"features of shape {values.shape}, but the attribute width is {opened.attribute('width')}"
            )
        if not isinstance(identity, dict):
            raise ValueError(f"its identity is {identity!r:.100}; expected an object")
        return Features(
            modality=modality,
            corpus=str(opened.attribute("corpus")),
            features=values,
            present=opened.read("present"),
            utterance_id=opened.texts("utterance_id"),
            identity=identity,
            names=tuple(opened.texts("feature_names")) if "feature_names" in file else (),
            quality={name: opened.read(name, file["quality"]) for name in file.get("quality", {}).keys()},
        )


def read_corpus(folder: str | Path, expected: str | None = None) -> CachedCorpus:
    """Read the modalities of features/<corpus>, at least one; verify that all is of one corpus (None expected: any)."""
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
            modalities[modality] = read_features(path, modality)
            verify_rows(path, modalities[modality], utterances)
    if not modalities:
        raise InputError(
            f"{folder} has utterances.h5 but none of {', '.join(f'{m}.h5' for m in MODALITIES)}. "
            "Make them with `dvc repro`, or copy them here."
        )
    return CachedCorpus(utterances=utterances, modalities=modalities)


def verify_rows(path: str | Path, features: Features, utterances: Utterances) -> None:
    """Check that a features file was made for exactly these utterances, in this order."""
    maker = _maker(path, f"`dvc repro extract_{features.modality}@{utterances.corpus}`")
    ids, fault = features.utterance_id, ""
    if features.corpus != utterances.corpus:
        fault = f" is of the corpus {features.corpus!r}, its utterances.h5 of {utterances.corpus!r}"
    elif len(ids) != len(utterances):
        fault = f" has {len(ids)} rows, its utterances.h5 {len(utterances)}"
    elif len(differs := np.flatnonzero(ids != utterances.utterance_id)):
        row = differs[0]
        fault = (
            f": {len(differs)} row(s) are of other utterances than in utterances.h5; the first is row {row}: "
            f"{ids[row]!r}, expected {utterances.utterance_id[row]!r}"
        )
    elif (made_for := features.identity.get("rows_hash")) != utterances.rows_hash:
        fault = f" was made for another utterance list ({made_for}, here {utterances.rows_hash})"
    if fault:
        raise InputError(f"{path}{fault}. Make it again: {maker}, or copy all files of one corpus together.")


@contextlib.contextmanager
def _open(path: str | Path, kind: str, command: str) -> Iterator[ClosedHdf5]:
    """Open an HDF5 file of this schema and kind; every way it can be broken becomes one readable message."""
    path, maker = Path(path), _maker(path, f"`{command}` (or `dvc repro`)")
    again = f"Make it again with {maker}."
    if not path.exists():
        raise InputError(f"{path} is missing. Make it with {maker}, or copy it here.")
    fault = "is not a readable HDF5 file (truncated?)"
    try:
        with open_hdf5(path) as opened:
            fault = "is damaged or of another layout"
            schema, stored = (
                opened.attribute(name) if name in opened.file.attrs else None for name in ("schema", "kind")
            )
            if schema != SCHEMA or stored != kind:
                raise InputError(
                    f"{path}: expected schema {SCHEMA} of kind {kind!r}, found schema {schema!s:.40} of kind "
                    f"{stored!r:.40}. {again}"
                )
            yield opened
    except InputError as error:
        raise error if str(path) in str(error) else InputError(f"{path}: {error}") from None
    except DAMAGE as error:
        raise InputError(f"{path} {fault}: {error!s:.300}. {again}") from error


def _maker(path: str | Path, command: str) -> str:
    """Return how a file is made again: by `command`, or by an import where its folder was imported."""
    return "`dferc import FILE… --replace`" if (Path(path).parent / IMPORT_PROBLEMS).exists() else command
