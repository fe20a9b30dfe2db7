"""Files of the feature store: `features/<corpus>/utterances.h5` and feature sets, written whole, read and verified.

A feature set is one file: `text.h5` is the modality's first set, `text/<name>.h5` a further one. All files of a corpus
are row-aligned. features/README.md documents the schema. Nothing else passes between the stages.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np

from dferc.core.errors import InputError, did_you_mean
from dferc.core.files import SET_NAME, write_atomically
from dferc.store.closed import DAMAGE, ClosedHdf5, open_hdf5
from dferc.store.rows import NUMBER_COLUMNS, TEXT_COLUMNS, CachedCorpus, Features, Note, Utterances, join_sets
from dferc.store.vocabulary import MODALITIES, in_order

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
        for name in ("media_group", "votes"):
            if (values := getattr(utterances, name)) is not None:
                file.create_dataset(name, data=values)
        for name in ("media", "heard", "region"):
            if (values := getattr(utterances, name)) is not None:
                _write_strings(file, name, values)
        # Not an attribute: HDF5 caps those at 64 kB.
        notes = [json.dumps(asdict(note), ensure_ascii=False) for note in utterances.notes]
        _write_strings(file, "notes", np.array(notes, dtype=object))

    _write_hdf5(path, fill)


def write_features(path: str | Path, features: Features) -> None:
    """Write one modality's file atomically; the same values give the same bytes."""

    def fill(file: h5py.File) -> None:
        file.attrs.update(kind=features.modality, corpus=features.corpus, width=features.width)
        file.attrs.update(rows=len(features.present), rows_present=int(features.present.sum()))
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
            **{name: opened.texts(name) for name in ("media", "heard", "region") if name in file},
            **{name: opened.read(name) for name in ("votes", "media_group") if name in file},
            speaker_independent="speaker_independent" in file.attrs and bool(opened.attribute("speaker_independent")),
            notes=tuple(Note(**json.loads(note)) for note in opened.texts("notes")) if "notes" in file else (),
        )
        if (written := opened.attribute("rows_hash")) != utterances.rows_hash:
            raise ValueError(f"its rows are not those it was written with ({written!s:.40})")
        return utterances


def read_features(path: str | Path, modality: str) -> Features:
    """Read and check the file of a feature set of a modality."""
    maker = f"python -m pipeline.extract_{modality}" if modality in MODALITIES else "dferc import"
    with _open(path, modality, maker) as opened:
        file = opened.file
        values, identity = opened.read("features"), json.loads(opened.attribute("identity"))
        width = opened.attribute("width")
        if values.ndim != 2 or values.shape[1] != width:
            raise ValueError(f"features of shape {values.shape}, but the attribute width is {width}")
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


def find_sets(folder: str | Path) -> dict[str, Path]:
    """Return the feature sets of features/<corpus> by name, in order: `audio` is audio.h5, `audio/wavlm` a further one.

    Raises:
        InputError: the name of a file is no name of a set, or two names differ in letter case only.
    """
    folder, found = Path(folder), {}
    for path in (*folder.glob("*.h5"), *folder.glob("*/*.h5")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name == "utterances" or "/." in f"/{name}":  # hidden: of the file system, or being written
            continue
        if not re.match(SET_NAME, name) or name.startswith("utterances/"):
            raise InputError(
                f"{path}: {name!r} is no name of a feature set. Expected a modality (lower-case letters, digits, _) or "
                "modality/name (letters, digits, and _ . - within), such as audio/wavlm.h5. Rename it or move it away."
            )
        found[name] = path
    folded = {name.casefold(): name for name in found}
    if twice := sorted(set(found) - set(folded.values())):
        other = folded[twice[0].casefold()]
        raise InputError(
            f"{folder}: two feature sets of one name, {twice[0]!r} and {other!r} (many file systems ignore letter "
            "case). Rename one of them."
        )
    order = in_order({name.partition("/")[0] for name in found})
    return {name: found[name] for name in sorted(found, key=lambda name: (order.index(name.partition("/")[0]), name))}


def read_sets(folder: str | Path) -> CachedCorpus:
    """Read the rows of features/<corpus>, and every feature set by its name in place of modalities; there may be none.

    Raises:
        InputError: a set is of other rows, or a file is damaged.
    """
    utterances, sets = read_utterances(Path(folder) / "utterances.h5"), {}
    for name, path in find_sets(folder).items():
        sets[name] = read_features(path, name.partition("/")[0])
        verify_rows(path, sets[name], utterances)
    return CachedCorpus(utterances=utterances, modalities=sets)


def choose_sets(folder: str | Path, wanted: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Path]]:
    """Return the files of each modality in order, by the names of their sets.

    A modality that is not wanted otherwise has its first set, or else its only one.

    Raises:
        InputError: a wanted set is not there, or a modality has several sets and none of them is first or wanted.
    """
    there, chosen = find_sets(folder), {}
    for modality in {name.partition("/")[0] for name in there} - set(wanted):
        of_modality = [name for name in there if name.partition("/")[0] == modality]
        if modality not in there and len(of_modality) > 1:
            raise InputError(
                f"{folder} has {', '.join(of_modality)} and no {modality}.h5, the first set of {modality}. Choose with "
                f"the setting train.features, such as {{{modality}: {of_modality[0]}}}."
            )
        chosen[modality] = [modality] if modality in there else of_modality
    chosen |= {modality: list(names) for modality, names in wanted.items() if names}
    for modality, names in chosen.items():
        if missing := [name for name in names if name not in there]:
            raise InputError(
                f"{folder} has no feature set {missing[0]!r} for {modality}.{did_you_mean(missing[0], there)} "
                f"It has {', '.join(there) or 'none'}. Extract or import it, or choose another (train.features)."
            )
    return {modality: {name: there[name] for name in chosen[modality]} for modality in in_order(chosen)}


def read_corpus(
    folder: str | Path, expected: str | None = None, sets: Mapping[str, Sequence[str]] | None = None
) -> CachedCorpus:
    """Read the modalities of features/<corpus>, at least one; verify that all is of one corpus.

    Args:
        folder: features/<corpus>.
        expected: name of the corpus; None = any.
        sets: feature sets by modality, as the setting train.features; several are joined, none leave it out, and a
            modality that is not named has its first set.
    """
    folder = Path(folder)
    utterances = read_utterances(folder / "utterances.h5")
    if expected not in (None, utterances.corpus):
        raise InputError(
            f"{folder} holds features of the corpus {utterances.corpus!r}; expected {expected!r}. "
            f"Name the right one (--corpus {utterances.corpus}), or copy the folder of {expected} here."
        )
    modalities = {}
    for modality, files in choose_sets(folder, sets or {}).items():
        read = {}
        for name, path in files.items():
            read[name] = read_features(path, name.partition("/")[0])
            verify_rows(path, read[name], utterances)
        only = next(iter(read.values()))
        if len(read) > 1:
            modalities[modality] = join_sets(modality, read)
        else:
            modalities[modality] = only if only.modality == modality else replace(only, modality=modality)
    if not modalities:
        raise InputError(
            f"{folder} has utterances.h5 but none of {', '.join(f'{m}.h5' for m in MODALITIES)}"
            f"{' that the setting train.features leaves in' if sets else ''}. Make them with `dvc repro`, or copy them "
            "here."
        )
    return CachedCorpus(utterances=utterances, modalities=modalities, sets=dict(sets or {}))


def verify_rows(path: str | Path, features: Features, utterances: Utterances) -> None:
    """Check that a features file was made for exactly these utterances, in this order."""
    maker = _maker(path, _maker_of_set(Path(path).stem, features.modality, utterances.corpus))
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
    elif features.identity.get("content_hash") not in (None, utterances.content_hash(features.modality)):
        what = "texts" if features.modality == "text" else "media files, starts or ends"
        fault = f" was made of other {what} than those in utterances.h5, which was made again since"
    if fault:
        raise InputError(f"{path}{fault}. Make it again: {maker}, or copy all files of one corpus together.")


def _maker_of_set(stem: str, modality: str, corpus: str) -> str:
    """Return the commands that make a feature set, from the name of its file without suffix."""
    if stem == modality in MODALITIES:
        return f"`dvc repro extract_{modality}@{corpus}`"
    name = modality if stem == modality else f"{modality}/{stem}"
    imported = f"`dferc import --corpus {corpus} --set {name}=FILE --replace`"
    extracted = f"`python -m pipeline.extract_{modality} --corpus {corpus} --set {name}`"
    return f"{extracted}, or {imported}" if modality in MODALITIES else imported


@contextlib.contextmanager
def _open(path: str | Path, kind: str, command: str) -> Iterator[ClosedHdf5]:
    """Open an HDF5 file of this schema and kind; every way it can be broken becomes one readable message."""
    path, maker = Path(path), _maker(path, f"`{command}` (or `dvc repro`)")
    again = f"Make it again with {maker}."
    if not path.exists():
        corpora = sorted(each.parent.name for each in path.parent.glob(f"*/{path.name}"))
        below = f" {path.parent} holds the folders of corpora: name one, such as {corpora[0]}." if corpora else ""
        raise InputError(f"{path} is missing. Make it with {maker}, or copy it here.{below}")
    fault = "is not a readable HDF5 file (truncated?)"
    try:
        with open_hdf5(path) as opened:
            fault = "is damaged or of another layout"
            schema, stored = (opened.attribute(key) if key in opened.file.attrs else None for key in ("schema", "kind"))
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
