"""An import: what is to be written, what there is to say about it, and its writing."""

from dataclasses import dataclass
from pathlib import Path

from dferc.core.errors import InputError
from dferc.core.problems import Problem
from dferc.core.tables import write_table
from dferc.importing.source import Source
from dferc.store.hdf5 import IMPORT_PROBLEMS, write_features, write_utterances
from dferc.store.rows import CachedCorpus
from dferc.store.vocabulary import MODALITIES


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
    write_table(folder / IMPORT_PROBLEMS, imported.problems, Problem)
