"""Any feature file -> `Source`; an import -> a features folder."""

import csv
import io
from dataclasses import replace
from pathlib import Path

from dferc import MODALITIES
from dferc.console import InputError
from dferc.files import write_atomically
from dferc.importing.columns import read_columns
from dferc.importing.join import Imported, Problem
from dferc.importing.known import CORPORA
from dferc.importing.layouts import recognise
from dferc.importing.source import Source, about_file
from dferc.importing.tables import read_hdf5, read_npz, read_parquet
from dferc.importing.unpickle import read_pickle
from dferc.store import write_features, write_utterances

TABLES = {b"PK\x03\x04": ("npz", read_npz), b"\x89HDF": ("HDF5", read_hdf5), b"PAR1": ("Parquet", read_parquet)}
"""By a file's first four bytes; anything else is read as a pickle."""

PROBLEMS = "problems.csv"


def read_source(path: Path, layer: str, corpus: str = "", classes: tuple[str, ...] = ()) -> Source:
    """Read and recognise one feature file.

    Args:
        path: the file.
        layer: of COSMIC's text layers.
        corpus: what the user calls it; needed by tables that do not tell.
        classes: class names in order, for tables.

    Raises:
        InputError: it cannot be read, or what it holds is not known.
    """
    about = about_file(path)
    with open(path, "rb") as file:
        name, read = TABLES.get(file.read(4), ("", None))
    if read is not None:
        table = replace(about, layout=f"{name} table, one row per utterance")
        return read_columns(read(path), table, corpus if corpus in CORPORA else "", classes)
    return recognise(read_pickle(path), about, layer)


def refuse_overwriting(folder: Path, replace_it: bool) -> None:
    """Features that are there already may have taken hours; they are replaced only if that was asked for.

    Raises:
        InputError: there are some.
    """
    there = [name for name in (f"{stem}.h5" for stem in ("utterances", *MODALITIES)) if (folder / name).exists()]
    if there and not replace_it:
        raise InputError(
            f"{folder} has {', '.join(there)} already. `--replace` removes them for what is imported; `--corpus NAME` "
            "or `--features FOLDER` writes elsewhere."
        )


def write_import(folder: Path, imported: Imported) -> None:
    """Write utterances.h5, a file per modality, and problems.csv; modality files of an earlier import are removed."""
    write_utterances(folder / "utterances.h5", imported.corpus.utterances)
    for modality in MODALITIES:
        if modality in imported.corpus.modalities:
            write_features(folder / f"{modality}.h5", imported.corpus.modalities[modality])
        else:
            (folder / f"{modality}.h5").unlink(missing_ok=True)
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows([Problem._fields, *imported.problems])
    write_atomically(folder / PROBLEMS, lambda path: path.write_text(table.getvalue(), encoding="utf-8"))
