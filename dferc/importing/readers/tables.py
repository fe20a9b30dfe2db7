"""Tables as columns: .npz, plain HDF5 and safetensors. No code of the file is run."""

import contextlib
import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dferc.core.errors import InputError, listed
from dferc.importing.readers.foreign import describe_npy, refuse_zip
from dferc.importing.readers.pickles import parse_pickle
from dferc.store.closed import DAMAGE, ClosedHdf5, MemoryLimit

MAX_OBJECTS = 16  # arrays of objects in a file: each is read by a process of its own
MEMBER_BYTES = 128  # least bytes of a file for each member of its .npz

SAFETENSORS_DTYPES = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
"""Those that numpy has."""

_A_TABLE = "Expected a table with one row per utterance (see `dferc import --help`)."
_DAMAGED = (*DAMAGE, struct.error, tokenize.TokenError, SyntaxError, zipfile.BadZipFile, zlib.error)  # numpy's too


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz; arrays of objects go through the restricted unpickler."""
    with refuse_damage(path, "a readable .npz"), zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        if not members:
            refuse_zip(path, archive)
        limit = MemoryLimit(path)
        _verify_members(path, members, limit)
        arrays, objects = {}, 0
        for info in members:
            name = info.filename.removesuffix(".npy")
            with archive.open(info) as member:
                data = member.read(info.file_size)  # without a number, zipfile inflates whatever there is
            where = f"{path}, {info.filename:.100}"
            shape, fortran, dtype, offset = _npy_header(data, where)
            if dtype.hasobject:
                objects += 1
                limit.charge(len(data), where)
                if objects > MAX_OBJECTS:
                    raise InputError(
                        f"{where}: more than {MAX_OBJECTS} arrays of objects. Save texts as numpy text (dtype=str), "
                        "and numbers as numbers."
                    )
            else:
                limit.charge_array(shape, dtype, where)
            arrays[name] = _npy_array(data, where, shape, fortran, dtype, offset)
        return arrays


def _verify_members(path: Path, members: list[zipfile.ZipInfo], limit: MemoryLimit) -> None:
    """Check what the archive's directory announces, before any member is read.

    Only numpy's own two ways of storing are read: zipfile inflates these up to the announced size, but bzip2 and LZMA
    without a bound, whatever a member announces.
    """
    if len(members) > 100 + limit.bytes // MEMBER_BYTES:
        raise InputError(
            f"{path}: {len(members)} arrays in {limit.bytes} bytes: damaged. Get it again, or make it anew."
        )
    names = [info.filename for info in members]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: the array {twice!r:.60} is there twice. Save it again by `numpy.savez`.")
    if sum(info.compress_size for info in members) > limit.bytes:
        raise InputError(f"{path}: its arrays overlap in the file: damaged. Get it again, or make it anew.")
    for info in members:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            method = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}.get(info.compress_type, info.compress_type)
            raise InputError(
                f"{path}, {info.filename!r:.60}: compressed by the method {method}; expected numpy's own. Save it "
                "again by `numpy.savez_compressed`."
            )
        if info.file_size > limit.left:
            limit.charge(info.file_size, f"{path}, {info.filename!r:.60}")


def read_npy(path: Path) -> object:
    """Return the content of a .npy that holds one object, such as a dictionary; any plain array is refused."""
    with refuse_damage(path, "a readable .npy"):
        data = path.read_bytes()
        shape, fortran, dtype, offset = _npy_header(data, str(path))
        if not dtype.hasobject:
            raise describe_npy(path, shape, dtype)
        return _npy_array(data, str(path), shape, fortran, dtype, offset)


def _npy_header(data: bytes, where: str) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Return shape, Fortran order, type, and where the values begin."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    if any(type(length) is not int or length < 0 for length in shape):
        raise ValueError(f"{where} announces the shape {shape!s:.60}")
    return shape, fortran, dtype, file.tell()


def _npy_array(data: bytes, where: str, shape: tuple, fortran: bool, dtype: np.dtype, offset: int) -> np.ndarray:
    if dtype.hasobject:
        content = parse_pickle(data[offset:], where)
        if not isinstance(content, np.ndarray):
            raise InputError(f"{where}: expected an array of objects, found a {type(content).__name__}.")
        return content
    if dtype.itemsize == 0 or math.prod(shape) * dtype.itemsize != len(data) - offset:
        raise ValueError(f"{where} announces {shape!s:.60} of {dtype!s:.60}, and has {len(data) - offset} bytes")
    return np.ndarray(shape, dtype, data, offset, order="F" if fortran else "C")


@contextlib.contextmanager
def refuse_damage(path: Path, expected: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn every way in which a file can be damaged, and these errors, into one readable message."""
    try:
        yield
    except InputError:
        raise
    except (*_DAMAGED, *errors) as error:
        raise InputError(
            f"{path} is not {expected} (truncated?): {error!s:.300}. Get it again, or make it anew."
        ) from None


def read_hdf5(opened: ClosedHdf5) -> dict[str, np.ndarray]:
    """Return the datasets at the top of an HDF5 file."""
    path, file = opened.path, opened.file
    if "schema" in file.attrs and "kind" in file.attrs:
        raise InputError(
            f"{path} is of a features folder already ({opened.attribute('kind')!s:.40}): there is nothing to import. "
            "Copy the whole folder, and `dferc inspect` it."
        )
    names = [name for name in file if hasattr(file[name], "shape")]
    if not names:
        has = listed(f"{name!r:.60} ({len(file[name])} in it)" for name in file if hasattr(file[name], "keys"))
        has = has or "nothing"
        groups = [file[name].attrs for name in list(file)[:5]]
        pandas = "PYTABLES_FORMAT_VERSION" in file.attrs or any("pandas_type" in attrs for attrs in groups)
        what = " (written by pandas: `pandas.read_hdf(…).to_parquet(…)` converts it)" if pandas else ""
        raise InputError(f"{path}: no datasets at its top, only {has}{what}. {_A_TABLE}")
    groups = {name: np.empty((), dtype=object) for name in file if name not in names}  # listed as not used
    return {name: opened.read(name) for name in names} | groups


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a safetensors file, by name."""
    from safetensors import SafetensorError, safe_open

    with refuse_damage(path, "readable safetensors", SafetensorError), safe_open(path, framework="numpy") as file:
        limit, tensors = MemoryLimit(path), {}
        for name in file.keys():
            where, part = f"{path}, {name:.60}", file.get_slice(name)
            if part.get_dtype() not in SAFETENSORS_DTYPES:
                known = ", ".join(SAFETENSORS_DTYPES)
                raise InputError(f"{where}: of the type {part.get_dtype()}; expected {known}. Save it as float32.")
            limit.charge_array(tuple(part.get_shape()), np.dtype("f4"), where)
            tensors[name] = file.get_tensor(name)
        return tensors
