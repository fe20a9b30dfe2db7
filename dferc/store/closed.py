"""HDF5 files of others: only values that lie in the file itself, and no more than a file of its size can honestly hold.

HDF5 follows what a file names. External storage, external links and virtual datasets read any file of the machine; a
few kilobytes can announce gigabytes. All HDF5 files are opened here, so that none of this happens unseen.
"""

import contextlib
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from dferc.core.errors import InputError, listed
from dferc.core.files import regular_file

MAX_INFLATION, SPARE_BYTES = 32, 16 << 20
"""The values of a file may fill so many times its size, and this: features hardly compress, labels and zeros do."""

DAMAGE = (
    AttributeError, EOFError, KeyError, MemoryError, NotImplementedError, OSError, OverflowError, RuntimeError,
    SystemError, TypeError, ValueError,
)  # fmt: skip
"""Errors by which h5py reports a damaged file."""

MAX_DEPTH = 16  # groups within groups; HDF5 itself recurses, and thousands would exhaust the C stack
SPARE_ROWS, ROW_BYTES = 20_000, 16  # rows of a file: so many, and one for so many of its bytes
TEXT_BYTES = 64  # least memory of a text in Python
COLUMN_BYTES = 32  # memory of a number in a column, which becomes a Python object
DEFLATE_MOST = 1032  # times that deflate can shrink anything, by its format

_COPIES = 4  # of a chunk that HDF5 holds while it inflates it, at most

_REFERENCE = np.dtype([("length", "<u4"), ("place", "V12")])  # of a text in the file
_DEFLATE, _SHUFFLE, _FLETCHER, _LZF = (
    h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF,
)  # fmt: skip


class MemoryLimit:
    """Memory that the values of one file may fill; what is read is charged before it is read."""

    def __init__(self, path: Path):
        self.bytes = path.stat().st_size
        self.allowed = self.left = SPARE_BYTES + MAX_INFLATION * self.bytes

    def charge(self, needed: int, where: str) -> None:
        """Take so many bytes of the limit; InputError beyond it."""
        self.left -= needed
        if self.left < 0:
            raise InputError(
                f"{where}: the file has {self.bytes} bytes and would fill {(self.allowed - self.left) >> 20} MiB; at "
                f"most {self.allowed >> 20} MiB are expected. If it is what it says, save it without compression."
            )

    def charge_array(self, shape: tuple[int, ...], dtype: np.dtype, where: str) -> None:
        """Take what an array fills here: features as float32, the values of a column as Python objects."""
        rows, most = shape[0] if shape else 1, SPARE_ROWS + self.bytes // ROW_BYTES
        if rows > most:  # than can differ from each other in a file of this size
            raise InputError(
                f"{where}: {rows} rows in a file of {self.bytes} bytes; at most {most} are expected. If it is what it "
                "says, save it without compression."
            )
        is_text = dtype.kind in "SUO"
        each = TEXT_BYTES + dtype.itemsize if is_text else max(dtype.itemsize, 4 if len(shape) > 1 else COLUMN_BYTES)
        self.charge(math.prod(shape) * each, where)


class ClosedHdf5:
    """An open HDF5 file whose values are read within a limit of memory.

    Args:
        path: the file's path, for messages.
        file: the open file, of which nothing points out of it.
    """

    def __init__(self, path: Path, file: h5py.File):
        self.path, self.file, self.limit = path, file, MemoryLimit(path)

    def read(self, name: str, group: h5py.Group | None = None) -> np.ndarray:
        """Return the numbers or texts (as `str` objects) of a dataset; a name without group is of the file's top.

        A column [N] of an enumeration becomes the names of its numbers.

        Raises:
            InputError: it has another type, is too large for the file, or its texts are not UTF-8.
            KeyError, ValueError: there is no such dataset.
        """
        dataset = (group or self.file)[name]
        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
            raise ValueError(f"{name} is no dataset with values")
        where, is_text = f"{self.path}, {name}", h5py.check_string_dtype(dataset.dtype) is not None
        if not is_text and dataset.dtype.kind not in "biufSU":
            raise InputError(f"{where}: values of the type {dataset.dtype!s:.60}; expected plain numbers or text.")
        self._verify_chunks(dataset, where)
        self.limit.charge_array(dataset.shape, dataset.dtype, where)
        if not is_text:
            values = np.asarray(dataset[()])
            names = h5py.check_enum_dtype(dataset.dtype)
            return _named(values, names, where) if names and values.ndim == 1 else values
        texts = np.empty(math.prod(dataset.shape), dtype=object)
        for start, block in self._text_blocks(dataset):
            for row, text in enumerate(block, start):
                try:
                    texts[row] = text.decode()
                except UnicodeDecodeError as error:
                    raise InputError(
                        f"{where}, row {row}: its text is not UTF-8 ({error}). Save it as UTF-8."
                    ) from None
        return texts.reshape(dataset.shape)

    def texts(self, name: str) -> np.ndarray:
        """Return texts [N]; ValueError where they are something else."""
        values = self.read(name)
        if values.ndim != 1 or values.dtype != object:
            raise ValueError(f"{name} is {values.dtype} of shape {values.shape}; expected texts [N]")
        return values

    def attribute(self, name: str) -> object:
        """Return a single number or text among the file's attributes; KeyError where there is none."""
        attribute = self.file.attrs.get_id(name)
        if attribute.shape != () or attribute.dtype.kind not in "biufSUO":
            raise InputError(
                f"{self.path}: its attribute {name} has the shape {attribute.shape} and the type "
                f"{attribute.dtype!s:.60}; expected one number or text. Get the file again, or make it anew."
            )
        value = self.file.attrs[name]
        if not isinstance(value, (str, bytes, np.generic)):
            raise InputError(
                f"{self.path}: its attribute {name} is a {type(value).__name__}; expected a number or text."
            )
        return value.decode() if isinstance(value, bytes) else value

    def _verify_chunks(self, dataset: h5py.Dataset, where: str) -> None:
        """Check that the file's chunks can be inflated without filling more than they announce."""
        if dataset.chunks is None:
            return
        plist = dataset.id.get_create_plist()
        filters = [plist.get_filter(number) for number in range(plist.get_nfilters())]
        codes = [code for code, *_ in filters]
        packed = [code for code in codes if code in (_DEFLATE, _LZF)]
        order = [code for code in (_SHUFFLE, *packed, _FLETCHER) if code in codes]  # as h5py writes them
        if codes != order or len(packed) > 1:
            names = ", ".join(f"{code} {name.decode('ascii', 'replace')!r:.40}" for code, _, _, name in filters[:8])
            raise InputError(
                f"{where}: its values are packed by the HDF5 filters {names}; expected gzip, lzf, shuffle or none. "
                "Save it without compression."
            )
        most, chunk_bytes = 1000 + self.limit.bytes // 8, math.prod(dataset.chunks) * dataset.dtype.itemsize
        count = math.prod(-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks))
        if count > most:
            raise InputError(
                f"{where}: {count} chunks; at most {most} are expected of a file of {self.limit.bytes} bytes."
            )
        if chunk_bytes > self.limit.left // _COPIES:
            raise InputError(
                f"{where}: a chunk of {chunk_bytes >> 20} MiB in a file of {self.limit.bytes} bytes; at most "
                f"{self.limit.left // _COPIES >> 20} MiB are expected. Save it without compression."
            )
        chunks = []
        dataset.id.chunk_iter(chunks.append)
        if sum(chunk.size for chunk in chunks) > self.limit.bytes:
            raise InputError(f"{where}: its chunks overlap: the file is damaged. Get it again, or make it anew.")
        for chunk in chunks:
            if _DEFLATE in codes and chunk.size * DEFLATE_MOST > self.limit.left:
                _, data = dataset.id.read_direct_chunk(chunk.chunk_offset)
                with contextlib.suppress(zlib.error):  # HDF5 itself reports damage
                    if len(zlib.decompressobj().decompress(data, chunk_bytes + 1)) > chunk_bytes:
                        raise InputError(
                            f"{where}: a chunk inflates to more than the {chunk_bytes} bytes it announces."
                        )

    def _text_blocks(self, dataset: h5py.Dataset) -> Iterator[tuple[int, list[bytes]]]:
        """Yield (first row, texts as bytes): few at a time, since each may name the same long text of the file."""
        if dataset.dtype.kind == "S" or dataset.ndim != 1:
            if dataset.dtype.kind == "O" and dataset.size * self.limit.bytes > self.limit.left:
                raise InputError(f"{self.path}, {dataset.name}: texts of the shape {dataset.shape}; expected [N].")
            yield 0, np.atleast_1d(dataset[()]).ravel().tolist()
            return
        step = len(dataset) if self._text_size(dataset) <= self.limit.left else self.limit.left // self.limit.bytes
        step = max(1, step)
        for start in range(0, len(dataset), step):
            block = dataset[start : start + step].tolist()
            self.limit.charge(sum(map(len, block)), f"{self.path}, {dataset.name[1:]}")
            yield start, block

    def _text_size(self, dataset: h5py.Dataset) -> float:
        """Return the bytes of all texts, as their references state; infinite where these are not in one place."""
        offset, width, count = dataset.id.get_offset(), dataset.id.get_type().get_size(), len(dataset)
        if offset is None or width != _REFERENCE.itemsize or offset + width * count > self.limit.bytes:
            return math.inf
        return float(np.fromfile(self.path, _REFERENCE, count, offset=offset)["length"].sum(dtype=np.float64))


def _named(values_N: np.ndarray, names: dict[str, int], where: str) -> np.ndarray:
    """Return the names of an enumeration's numbers [N], which are the labels that its author gave them."""
    name_of = {number: name for name, number in names.items()}
    if unnamed := sorted(set(values_N.tolist()) - set(name_of)):
        raise InputError(
            f"{where}: the number {unnamed[0]} has no name in its enumeration; expected one of {listed(name_of, 10)}. "
            "Correct it, or save the names as text."
        )
    return np.array([name_of[number] for number in values_N.tolist()], dtype=object)


@contextlib.contextmanager
def open_hdf5(path: str | Path) -> Iterator[ClosedHdf5]:
    """Open an HDF5 file to read it; errors of h5py (`DAMAGE`) are the caller's to report.

    Raises:
        InputError: it is no regular file, or something in it points out of the file.
    """
    path = regular_file(path)
    try:
        opened = h5py.File(path, "r")
    except OSError as error:
        if "lock" not in str(error):
            raise
        opened = h5py.File(path, "r", locking=False)  # files are replaced whole, and NFS may have no locks
    with opened as file:  # a notebook may hold it open, and HDF5 demands the same of both
        _verify_closed(path, file)
        yield ClosedHdf5(path, file)


def _verify_closed(path: Path, file: h5py.File) -> None:
    """Check all links and datasets of the file: each leads to something in the file itself."""
    remedy = "Only values in the file itself are read; save a copy that holds them."
    waiting, seen = [("", file, 0)], set()
    while waiting:
        prefix, group, depth = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            continue
        seen.add(address)
        if depth > MAX_DEPTH:
            raise InputError(f"{path}, {prefix:.60}: groups nested more than {MAX_DEPTH} deep. Save the values on top.")
        for name in group:
            where = f"{path}, {prefix}{name}"
            try:
                link = group.get(name, getlink=True)
            except TypeError:  # a type of link that h5py does not know
                raise InputError(f"{where} is a link of an unknown type. {remedy}") from None
            if not isinstance(link, h5py.HardLink):
                target = f"{link.filename}, " if isinstance(link, h5py.ExternalLink) else ""
                raise InputError(f"{where} is a link to {target}{link.path}. {remedy}")
            item = group[name]
            if isinstance(item, h5py.Group):
                waiting.append((f"{prefix}{name}/", item, depth + 1))
            elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                other = item.external[0][0] if item.external else item.virtual_sources()[0].file_name
                raise InputError(f"{where}: its values lie in another file, {other}. {remedy}")
