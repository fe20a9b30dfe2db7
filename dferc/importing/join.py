"""Several sources, one corpus: labels and splits from one file, each modality from the file that has it."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dferc.core.errors import NOT_USED, InputError, Problem, listed
from dferc.core.tables import write_table
from dferc.importing.features import place_features
from dferc.importing.source import FILE_ORDER, Source, by_our_dialogues
from dferc.importing.utterances import name_utterances
from dferc.store.hdf5 import IMPORT_PROBLEMS, find_sets, write_features, write_utterances
from dferc.store.rows import CachedCorpus, Features
from dferc.store.vocabulary import in_order


class Imported(NamedTuple):
    """A corpus to be written, and what is to be reported about it."""

    corpus: CachedCorpus
    sources: dict[str, Source]  # the file of each modality, and under `labels` that of labels and splits
    problems: list[Problem]


def join(sources: Sequence[Source], chosen: dict[str, Source], guides: Sequence[Source], name: str) -> Imported:
    """Put a corpus together from all files, in the order given, and those that the user chose for a modality.

    Guides are transcripts or id lists: they name utterances, and hold labels where no source does.
    """
    paths = "; ".join(f"{source.path} ({_contents(source)})" for source in sources)
    base = next((source for source in (*sources, *guides) if source.labels and source.splits), None)
    if base is None:
        unsplit = listed((f"{source.path.name} lacks the splits" for source in sources if source.labels), 3)
        raise InputError(
            f"{paths}: none has labels and splits{unsplit and f' ({unsplit})'}. Add a file that does (such as MELD's "
            "data_emotion.p, MultiEMO's Speakers.pkl, or MMGCN's IEMOCAP_features.pkl), a table with the columns "
            "emotion and split, --transcripts for MELD, or --corpus of a corpus that `prepare` has read."
        )
    for source in (*sources, *guides):
        if base.corpus and source.corpus and source.corpus != base.corpus:
            raise InputError(
                f"{source.path} is of {source.corpus}, {base.path} of {base.corpus}: features of different corpora "
                "cannot be joined. Give files of one corpus."
            )
    for guide in guides:
        if not by_our_dialogues(guide, base).utterances.keys() & base.splits.keys():
            raise InputError(
                f"{guide.path}: none of its dialogues ({listed(guide.utterances, 1)}) is in {base.path} "
                f"({listed(base.splits, 1)}). Name them as there (a number beside its split is such a name, too)."
            )
    others = [source for source in (*sources, *guides) if source is not base]
    problems, ours = _problems(base), {name for names in base.utterances.values() for name in names}
    for other in others:
        problems += _problems(other, joined_by_names=not all(map(ours.isdisjoint, other.utterances.values())))
    try:
        utterances = base.rows or name_utterances(base, [*guides, base, *sources], name or base.corpus, problems)
    except InputError as error:  # rows that contradict each other know no file
        raise (
            error if str(base.path) in str(error) else InputError(f"{base.path}: {error}. Correct it there.")
        ) from None
    taken = _choose(sources, chosen)
    if not taken:
        raise InputError(f"{paths}: no features of text, sound or pictures.")
    features = {name: place_features(base, source, name, utterances, problems) for name, source in taken.items()}
    for source in sources:
        used = any(source is one for one in (base, *taken.values()))
        if not (used or source.utterances or source.speakers or source.texts):
            problems.append(Problem(source.path.name, str(source.path), f"file unused: {source.path.name}", NOT_USED))
    corpus = CachedCorpus(utterances=utterances, modalities=features)
    return Imported(corpus=corpus, sources={"labels": base} | taken, problems=problems)


def _contents(source: Source) -> str:
    """Return a file's layout, its features with their widths, and the first of its ids, in words."""
    parts = [source.about.layout] if source.about.layout else []
    for modality in source.modalities:
        mapping = source.features.get(modality) or source.vectors[modality]
        what = "features" if modality == "?" else modality
        parts.append(f"{what} {source.width(modality)} wide of {len(mapping)}, such as {next(iter(mapping)):.40}")
    return ", ".join(parts) or "no features"


def _problems(source: Source, joined_by_names: bool = False) -> list[Problem]:
    """Return the problems of a source; its order is none where the names of utterances join it."""
    told = (problem for problem in source.problems if not (joined_by_names and problem[2] == FILE_ORDER))
    return [Problem(where, str(source.path), *what) for where, *what in told]


def _choose(sources: Sequence[Source], chosen: dict[str, Source]) -> dict[str, Source]:
    """Return each modality's file: the user's choice, else one of that modality alone, else the only one with it."""
    for modality, source in chosen.items():
        if modality not in source.modalities and len(source.modalities) != 1:
            has = ", ".join(source.modalities) or "no features at all"
            raise InputError(f"{source.path}: given for {modality}, and has {has}. Give a file that has {modality}.")
    if unnamed := [source for source in sources if "?" in source.modalities and source not in chosen.values()]:
        raise InputError(
            f"{unnamed[0].path} holds one kind of features, {unnamed[0].width('?')} wide, and does not say which. "
            "Give it as --text, --audio or --visual FILE."
        )
    # A file of one modality that the user named is used up, even where it was taken for another modality.
    free = [source for source in sources if len(source.modalities) != 1 or source not in chosen.values()]
    taken = dict(chosen)
    modalities = {modality for source in (*sources, *chosen.values()) for modality in source.modalities} - {"?"}
    for modality in (modality for modality in in_order(modalities) if modality not in chosen):
        having = [source for source in free if modality in source.modalities]
        alone = [source for source in having if len(source.modalities) == 1 and not source.labels]
        files = alone or having
        if len(files) > 1:
            listed = ", ".join(f"{source.path} ({source.width(modality)} wide)" for source in files)
            raise InputError(f"{modality} is in {len(files)} files: {listed}. Choose one with --set {modality}=FILE.")
        if files:
            taken[modality] = files[0]
    return {modality: taken[modality] for modality in in_order(taken)}


def refuse_overwriting(folder: Path, replace_it: bool) -> None:
    """Raise InputError if there are features already, which may have taken hours, unless they are to be replaced.

    The list of utterances alone, as `prepare` leaves it, has no features.
    """
    if (existing := [path.name for path in _first_sets(folder)]) and not replace_it:
        raise InputError(
            f"{folder} has {', '.join(existing)} already. `--replace` removes them for what is imported; `--corpus "
            "NAME` or `--features FOLDER` writes elsewhere."
        )


def _first_sets(folder: Path) -> list[Path]:
    return [path for name, path in find_sets(folder).items() if "/" not in name]


def add_set(folder: Path, name: str, source: Source, rows: Source, replace_it: bool) -> tuple[Features, list[Problem]]:
    """Write one feature set into a folder that has its utterances, and its problems beside them.

    Args:
        folder: features/<corpus>.
        name: of the set, such as `audio/wavlm`.
        source: file of its features, and of no other modality that is not named so.
        rows: of `read_prepared`.
        replace_it: whether the set may be there already.
    """
    modality, path = name.partition("/")[0], folder / f"{name}.h5"
    if path.exists() and not replace_it:
        raise InputError(f"{path} is there already. `--replace` replaces it; another name keeps both.")
    _choose([], {modality: source})
    problems = _problems(source, joined_by_names=bool(source.utterances))
    features = place_features(rows, source, modality, rows.rows, problems)
    write_table(folder / f"problems_{name.replace('/', '_')}.csv", problems, Problem)
    write_features(path, features)
    return features, problems


def write_import(folder: Path, imported: Imported) -> None:
    """Write utterances.h5, a file per modality, and problems.csv; first sets of an earlier import are removed.

    All are written beside the folder first, then renamed: on a full disk nothing in the folder has changed.
    """
    beside = folder.with_name(f".{folder.name}.import")
    shutil.rmtree(beside, ignore_errors=True)  # left by a killed import
    try:
        write_utterances(beside / "utterances.h5", imported.corpus.utterances)
        for modality, features in imported.corpus.modalities.items():
            write_features(beside / f"{modality}.h5", features)
        write_table(beside / IMPORT_PROBLEMS, imported.problems, Problem)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path in _first_sets(folder):
                path.unlink()
            for file in beside.iterdir():
                file.replace(folder / file.name)
        except OSError as error:
            raise InputError(
                f"{folder} could not be replaced ({error}), and may hold files of both imports, which are refused "
                "together. May you write there? Then import again with --replace."
            ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
