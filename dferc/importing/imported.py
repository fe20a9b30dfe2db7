"""An import: what is to be written, what there is to say about it, and its writing."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dferc import MODALITIES
from dferc.console import InputError
from dferc.corpus import CachedCorpus
from dferc.files import write_atomically
from dferc.importing.source import Source
from dferc.store import IMPORT_PROBLEMS, write_features, write_utterances


class Problem(NamedTuple):
    """One row of problems.csv: what was found wrong (`kind`, or `kind: detail`), and what follows from it."""

    where: str
    file: str
    problem: str
    consequence: str

    @property
    def kind(self) -> str:
        """The problem without its detail, by which problems are counted."""
        return self.problem.partition(": ")[0]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What is to be written, and what there is to say about it."""

    corpus: CachedCorpus
    sources: dict[str, Source]
    """The file of each modality, and under `labels` that of labels and splits."""
    problems: list[Problem]


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
    write_atomically(folder / IMPORT_PROBLEMS, lambda path: path.write_text(table.getvalue(), encoding="utf-8"))
