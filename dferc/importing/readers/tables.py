"""Tables as columns: .npz and plain HDF5. No code of the file is run."""

import contextlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from dferc.core.errors import InputError
from dferc.importing.readers.pickles import MAX_GROWTH, SPARE_BYTES, parse_pickle

MAX_INFLATION = 4 * MAX_GROWTH
"""Compression may shrink a table so many times: float features hardly compress, labels and zeros do."""

_A_TABLE = "Expected a table with one row per utterance (see `dferc import --help`)."
_DAMAGED = (EOFError, KeyError, OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz; arrays of objects go through the restricted unpickler."""
    with refuse_damage(path, "a readable .npz"), zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        if not members:
            inside = ", ".join(archive.namelist()[:3]) or "nothing"
            raise InputError(f"{path} is a zip of something else than .npy ({inside}). {_A_TABLE}")
        names = [info.filename for info in members]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{path}: the array {twice!r:.60} is there twice. Save it again by `numpy.savez`.")
        verify_inflation(path, sum(info.file_size for info in members))
        return {
            info.filename.removesuffix(".npy"): _read_npy(archive.read(info), f"{path}, {info.filename}")
            for info in members
        }


def _read_npy(data: bytes, name: str) -> np.ndarray:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    if dtype.hasobject:
        content = parse_pickle(data[file.tell() :], name)
        if not isinstance(content, np.ndarray):
            raise InputError(f"{name}: expected an array of objects, found a {type(content).__name__}.")
        return content
    count = int(np.prod(shape, dtype=object))
    if dtype.itemsize == 0 or count * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"{name} announces {shape} of {dtype}, and has {len(data) - file.tell()} bytes")
    return np.ndarray(shape, dtype, data, file.tell(), order="F" if fortran else "C")


@contextlib.contextmanager
def refuse_damage(path: Path, expected: str) -> Iterator[None]:
    """Turn every way in which a file can be damaged into one readable message."""
    try:
        yield
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(f"{path} is not {expected} (truncated?): {error}. Get it again, or make it anew.") from None


def read_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Return the datasets at the top of an HDF5 file."""
    with refuse_damage(path, "readable HDF5"), h5py.File(path, "r") as file:
        if "schema" in file.attrs and "kind" in file.attrs:
            raise InputError(
                f"{path} is of a features folder already ({file.attrs['kind']!s:.40}): there is nothing to import. "
                "Copy the whole folder, and `dferc inspect` it."
            )
        datasets = {
            name: file[name]
            for name in file
            if isinstance(file.get(name, getlink=True), h5py.HardLink) and isinstance(file[name], h5py.Dataset)
        }
        if not datasets:
            has = ", ".join(list(file)[:5]) or "nothing"
            raise InputError(f"{path}: no datasets at its top, only {has}. {_A_TABLE}")
        verify_inflation(path, sum(dataset.nbytes for dataset in datasets.values()))
        if any(dataset.external or dataset.is_virtual for dataset in datasets.values()):
            raise InputError(f"{path}: its values lie in other files; expected them in the file itself.")
        return {
            name: np.asarray(
                dataset.asstr(errors="surrogateescape")[()] if h5py.check_string_dtype(dataset.dtype) else dataset[()]
            )
            for name, dataset in datasets.items()
        }


def verify_inflation(path: Path, needed: int) -> None:
    """Check that the bytes which a file's content needs are not far more than the file has, before it is read."""
    allowed = SPARE_BYTES + MAX_INFLATION * path.stat().st_size
    if needed > allowed:
        raise InputError(
            f"{path} has {path.stat().st_size} bytes and would fill {needed >> 20} MiB; at most {allowed >> 20} MiB "
            "are expected. If it is what it says, save it without compression."
        )
