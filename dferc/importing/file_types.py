"""Any feature file -> `Source`; the file type is detected from the first bytes, and from the content."""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from dferc.core.errors import InputError
from dferc.core.files import regular_file
from dferc.importing.by_utterance import has_frames, read_frames, read_vectors, vectors_by_id
from dferc.importing.columns import MODALITY_NAMES, NAMES, read_columns
from dferc.importing.corpora import CORPORA
from dferc.importing.layouts import recognise
from dferc.importing.readers import foreign, tables
from dferc.importing.readers.parquet import read_parquet
from dferc.importing.readers.pickles import read_pickle
from dferc.importing.source import About, Source, about_file, clean_text, vector_of
from dferc.store.cells import plain
from dferc.store.closed import open_hdf5

START_BYTES = 4096
_KNOWN = {name for names in (*NAMES.values(), *MODALITY_NAMES.values()) for name in names}  # of a table's columns


def read_source(path: Path, layer: str, corpus: str = "", classes: tuple[str, ...] = ()) -> Source:
    """Read and recognise one feature file.

    Args:
        path: a regular file; its name does not matter.
        layer: text layer of COSMIC's pickles, or `mean`.
        corpus: name of a known corpus, for tables.
        classes: class names in order, for tables and MMSA.

    Raises:
        InputError: it is of another kind, damaged, larger than it says, or contradicts itself.
    """
    with open(regular_file(path), "rb") as file:
        start = file.read(START_BYTES)
    foreign.refuse_foreign(path, start)
    corpus = corpus if corpus in CORPORA else ""
    if start.startswith(b"PK\x03\x04"):
        return _from_table("npz", tables.read_npz(path), about_file(path), corpus, classes)
    if start.startswith(b"PAR1"):
        return _from_table("Parquet", read_parquet(path, _KNOWN), about_file(path), corpus, classes)
    if start.startswith(b"\x89HDF") or h5py.is_hdf5(path):  # which may have a user block before it
        with tables.refuse_damage(path, "readable HDF5"), open_hdf5(path) as opened:
            if has_frames(opened):
                return read_frames(opened, about_file(path))
            return _from_table("HDF5", tables.read_hdf5(opened), about_file(path), corpus, classes)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        about, table = about_file(path), tables.read_safetensors(path)
        if not set(NAMES["dialogue"]) & set(table) and not vectors_by_id(table, about):
            raise foreign.describe_tensors(path, {name: tensor.shape for name, tensor in table.items()})
        return _from_table("safetensors", table, about, corpus, classes)
    if start.startswith(b"\x93NUMPY"):
        content, about = tables.read_npy(path), about_file(path)
        return recognise(content.item() if content.size == 1 else content.tolist(), about, layer, classes)
    try:
        with ThreadPoolExecutor(1) as pool:  # hashed here while another process reads
            about = pool.submit(about_file, path)
            content = read_pickle(path)
    except InputError as error:
        if start:
            foreign.refuse_text(path, start)  # a pickle of protocol 0 looks like text as well, but is not refused
        raise InputError(f"{str(error).rstrip('.')}.{foreign.describe_refused(path)}") from None
    return recognise(content, about.result(), layer, classes)


def _from_table(
    kind: str, table: Mapping[str, np.ndarray], about: About, corpus: str, classes: tuple[str, ...]
) -> Source:
    """Return a table's rows, or vectors by utterance id where its names are ids and not those of columns."""
    rows = {name: column for name, column in table.items() if np.ndim(column)}
    if not _KNOWN & {name.lower() for name in table} and (vectors := vectors_by_id(rows, about)):
        return read_vectors(vectors, replace(about, layout=f"{kind}, a vector by utterance id"))
    table = {name: _stacked(_decoded(column)) for name, column in table.items()}
    return read_columns(table, replace(about, layout=f"{kind} table, one row per utterance"), corpus, classes)


def _stacked(column: np.ndarray) -> np.ndarray:
    """Return vectors kept one by one, as objects of numpy or an Arrow tensor, as [N, D]; None is a row of NaN."""
    if column.ndim != 1 or column.dtype != object:
        return column
    cells = column.tolist()
    if not all(cell is None or isinstance(cell, list | tuple | np.ndarray) for cell in cells):
        return column
    vectors = [None if cell is None else vector_of(cell) for cell in cells]
    widths = {len(vector) for vector in vectors if vector is not None}
    if len(widths) != 1 or any(vector is None is not cell for vector, cell in zip(vectors, cells)):
        return column
    missing = np.full(widths.pop(), np.nan, dtype=np.float32)
    return np.stack([missing if vector is None else vector for vector in vectors])


# cp1252's ellipsis, apostrophe, dashes, blank, and quotes: within a word they are letters of Mac Roman and DOS.
_MARKS = re.compile(rb"[\x85\x92\x96\x97\xa0]|(?<![A-Za-z])[\x91\x93]|\x94(?![A-Za-z])")


def _decoded(column: np.ndarray) -> np.ndarray:
    """Return a column of byte strings as text: an id must not become `b'…'`."""
    if column.ndim != 1 or column.dtype.kind not in "SO":
        return column

    def text(value: bytes) -> str:
        marked = b" " in value and _MARKS.sub(b"", value).isascii()  # a sentence
        return clean_text(value if marked else plain(value))

    return np.fromiter((text(value) if isinstance(value, bytes) else value for value in column.tolist()), object)
