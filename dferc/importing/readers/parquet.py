"""Parquet files as columns. What is inflated is counted while it is inflated: a file names one text a million times."""

import contextlib
import json
from collections.abc import Collection
from pathlib import Path

import numpy as np

from dferc.core.errors import InputError, listed
from dferc.importing.readers.pickles import MAX_GROWTH, SPARE_BYTES
from dferc.store.cells import column_name

MAX_INFLATION = 4 * MAX_GROWTH
"""Compression may shrink a table so many times: float features hardly compress, labels and zeros do."""

ROW_BYTES = 512
"""Memory that a row of a table takes while it is read, at least: a file of few bytes may announce billions of rows."""

BATCH_ROWS = 1 << 14
VALUE_BYTES = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
"""By physical type; texts are counted as they are read, here by their 4 bytes of index."""


def read_parquet(path: Path, needed: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Return the columns of a Parquet file; a column of lists of numbers, all of one length, becomes [N, D].

    Lists of several lengths, such as a tokenizer's, are refused under a name that is needed, and else of no use.
    Others are arrays [N] of objects, None where there is no value; equal texts are one object. Numbers that the file
    itself names (ClassLabel of Hugging Face) are these names.

    Raises:
        InputError: The file is damaged, or its values need far more memory than its size explains.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            f"{path} is a Parquet file, which needs pyarrow: pip install '.[parquet]', or save it as .npz."
        ) from None
    try:
        return _columns(path, parquet, pyarrow, needed)
    except InputError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is not readable Parquet (truncated?): {error!s:.300}. Make it anew.") from None


class _Budget:
    """Bytes that a file's values may still fill."""

    def __init__(self, path: Path):
        self.path, self.used = path, 0
        self.allowed = SPARE_BYTES + MAX_INFLATION * path.stat().st_size

    def charge(self, needed: int, name: str) -> None:
        """Count bytes; raise InputError where they are too many."""
        self.used += needed
        if self.used > self.allowed:
            raise InputError(
                f"{self.path}, {name}: the values read so far would fill {self.used >> 20} MiB, at most "
                f"{self.allowed >> 20} are expected of a file of {self.path.stat().st_size} bytes. If it is right, "
                "save it without compression and dictionaries."
            )


def _columns(path: Path, parquet, pyarrow, needed: Collection[str]) -> dict[str, np.ndarray]:
    types = pyarrow.types
    schema = parquet.read_schema(path)
    names = schema.names
    if len(set(names)) < len(names):
        raise InputError(f"{path}: columns of one name: {listed(names)}. Name each once.")
    budget = _Budget(path)
    texts = [field.name for field in schema if types.is_string(field.type) or types.is_large_string(field.type)]
    file = parquet.ParquetFile(path, read_dictionary=texts)  # a text that is repeated is kept once
    budget.charge(ROW_BYTES * file.metadata.num_rows, "its rows")
    _charge_announced(file.metadata, budget)
    lists = {field.name for field in schema if types.is_list(field.type) or types.is_fixed_size_list(field.type)}
    lists |= {field.name for field in schema if types.is_large_list(field.type)}
    chunks: dict[str, list] = {name: [] for name in names}
    for batch in file.iter_batches(batch_size=BATCH_ROWS):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name in lists:
                budget.charge(column.nbytes, name)
                chunks[name].append(column)
            elif types.is_dictionary(column.type):
                chunks[name] += _shared(column, name, budget, pyarrow)
            else:
                budget.charge(column.nbytes, name)
                chunks[name] += column.to_pylist()
    named = _class_names(schema.metadata or {})
    for name in named.keys() & chunks.keys():  # the names of a column that was dropped stay in the file
        known = named[name]
        chunks[name] = [known[cell] if type(cell) is int and 0 <= cell < len(known) else cell for cell in chunks[name]]
    short = {field.name: field.type for field in schema if types.is_float16(field.type) or types.is_float32(field.type)}
    columns = {  # by `fromiter`, since `array` would unpack cells that are sequences
        name: _matrix(path, name, cells, column_name(name) in needed) if name in lists else np.fromiter(cells, object)
        for name, cells in chunks.items()
    }
    for name in short.keys() & columns.keys():  # of numpy's type: ids of few digits must be told from whole ones
        columns[name] = columns[name].astype(short[name].to_pandas_dtype())  # None becomes NaN
    return columns


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of a column's numbers, by column, where `datasets` of Hugging Face wrote them into the file."""
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError, RecursionError):
        features = json.loads(metadata[b"huggingface"])["info"]["features"].items()
        parts = {name: part for name, part in features if isinstance(part, dict)}
        named = {name: part.get("names") for name, part in parts.items() if part.get("_type") == "ClassLabel"}
        return {name: known for name, known in named.items() if isinstance(known, list)}
    return {}


def _charge_announced(metadata, budget: _Budget) -> None:
    """Check the values that the file's own directory announces, before any is read."""
    announced, before = 0, budget.used
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            announced += column.num_values * VALUE_BYTES.get(column.physical_type, 4)
    budget.charge(announced, "its row groups")
    budget.used = before  # from here on the values themselves are counted


def _shared(column, name: str, budget: _Budget, pyarrow) -> list:
    """Return a dictionary column's values by row; equal ones are one object."""
    from pyarrow import compute

    values, indices = column.dictionary, column.indices
    needed = indices.nbytes
    if not pyarrow.types.is_primitive(values.type):
        needed += compute.sum(compute.binary_length(values).take(indices.drop_null())).as_py() or 0
    budget.charge(needed, name)
    known = values.to_pylist()
    return [None if index is None else known[index] for index in indices.to_pylist()]


def _matrix(path: Path, name: str, chunks: list, needed: bool) -> np.ndarray:
    """Return lists of one length as [N, D]."""
    lengths = {length for chunk in chunks for length in chunk.value_lengths().unique().to_pylist()}
    lengths -= {None}  # a list that is missing
    if not lengths:  # no row, or none that has a list
        return np.full((sum(map(len, chunks)), 1), np.nan)
    if len(lengths) != 1 and not needed:
        return np.empty((sum(map(len, chunks)), 0, 0))  # listed as not used
    if len(lengths) != 1:
        shown = listed(sorted(lengths, key=str), 5)
        raise InputError(f"{path}: the lists in its column {name} have the lengths {shown}; expected one width.")
    (width,) = lengths
    parts = []
    for chunk in chunks:
        part = chunk.flatten().to_numpy(zero_copy_only=False)  # without the missing lists
        part = part.reshape(len(chunk) - chunk.null_count, width)
        if chunk.null_count:
            given, part = part, np.full((len(chunk), width), np.nan)
            part[chunk.is_valid().to_numpy(zero_copy_only=False)] = given
        parts.append(part)
    return np.concatenate(parts)
