"""Any feature file -> `Source`; the file type is detected from the first bytes, and from the content."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from dferc.core.errors import InputError
from dferc.importing.columns import read_columns
from dferc.importing.corpora import CORPORA
from dferc.importing.frames import has_frames, read_frames
from dferc.importing.layouts import recognise
from dferc.importing.readers.parquet import read_parquet
from dferc.importing.readers.pickles import read_pickle
from dferc.importing.readers.tables import read_hdf5, read_npz
from dferc.importing.source import Source, about_file

TABLES = {b"PK\x03\x04": ("npz", read_npz), b"\x89HDF": ("HDF5", read_hdf5), b"PAR1": ("Parquet", read_parquet)}
"""By a file's first four bytes."""

OTHERS = {
    b"\x93NUM": "a .npy: one array, which does not show what it is of",
    b"Rar!": "a RAR archive",
    b"%PDF": "a PDF",
    b"vers": "a pointer of git LFS, not the file itself (`git lfs pull` gets that)",
    **dict.fromkeys((b"\x1f\x8b\x08\x00", b"\x1f\x8b\x08\x08"), "compressed with gzip"),
    **dict.fromkeys((b"<!DO", b"<htm"), "a web page, such as a server sends in place of a file"),
}
"""Files that people give by mistake, likewise. Anything else is read as a pickle."""


def read_source(path: Path, layer: str, corpus: str = "", classes: tuple[str, ...] = ()) -> Source:
    """Read and recognise one feature file; `layer` is of COSMIC's pickles, `corpus` and `classes` are for tables."""
    with open(path, "rb") as file:
        start = file.read(60)
    if start[:4] in OTHERS:
        raise InputError(
            f"{path} is {OTHERS[start[:4]]}; expected a pickle, .npz, HDF5 or Parquet file. `dferc import --help` "
            "lists what is recognised."
        )
    name, read = TABLES.get(start[:4], ("", None))
    if name == "HDF5" and has_frames(path):
        return read_frames(path, about_file(path))
    if read is not None:
        table = replace(about_file(path), layout=f"{name} table, one row per utterance")
        return read_columns(read(path), table, corpus if corpus in CORPORA else "", classes)
    try:
        with ThreadPoolExecutor(1) as pool:  # hashed here while another process reads
            about = pool.submit(about_file, path)
            content = read_pickle(path)
    except InputError as error:
        # A pickle of protocol 0 looks like text as well, but is not refused.
        if start and all(byte >= 0x80 or chr(byte).isprintable() or chr(byte) in "\r\n\t" for byte in start):
            line = str(start, "utf-8", "replace").splitlines()[0]
            raise InputError(
                f"{error}. It begins with the text {line!r}; expected a pickle, .npz, HDF5 or Parquet file of features."
            ) from None
        raise
    return recognise(content, about.result(), layer)
