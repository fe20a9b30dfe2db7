"""Several sources, one corpus: labels and splits from one file, each modality from the file that has it."""

from collections.abc import Sequence

from dferc.core.errors import InputError
from dferc.core.problems import Problem
from dferc.importing.imported import Imported
from dferc.importing.naming import name_utterances
from dferc.importing.placing import place_features
from dferc.importing.source import Source
from dferc.store.rows import CachedCorpus
from dferc.store.vocabulary import MODALITIES


def join(sources: Sequence[Source], chosen: dict[str, Source], guides: Sequence[Source], name: str) -> Imported:
    """Put a corpus together.

    Args:
        sources: all files, in the order given.
        chosen: files that the user named for a modality.
        guides: transcripts or id lists: they name utterances, and hold labels where no source does.
        name: of the corpus, or empty: as recognised.

    Raises:
        InputError: no labels, no features, two files for one modality, or files of different corpora.
    """
    base = next((source for source in (*sources, *guides) if source.labels and source.splits), None)
    if base is None:
        raise InputError(
            f"{_paths(sources)}: none has labels and splits. Add a file that does (such as MultiEMO's Speakers.pkl, or "
            "MMGCN's IEMOCAP_features.pkl), a table with the columns emotion and split, or --transcripts for MELD."
        )
    _verify_corpus(base, [*sources, *guides])
    problems = [Problem(where, str(base.path), *what) for where, *what in base.problems]
    utterances = name_utterances(base, [*guides, base, *sources], name or base.corpus, problems)
    taken = _choose(sources, chosen)
    if not taken:
        raise InputError(f"{_paths(sources)}: no features of text, sound or pictures.")
    features = {
        modality: place_features(base, source, modality, utterances, problems) for modality, source in taken.items()
    }
    return Imported(
        corpus=CachedCorpus(utterances=utterances, modalities=features),
        sources={"labels": base} | taken,
        problems=problems,
    )


def _paths(sources: Sequence[Source]) -> str:
    return ", ".join(str(source.path) for source in sources)


def _verify_corpus(base: Source, others: Sequence[Source]) -> None:
    for source in others:
        if base.corpus and source.corpus and source.corpus != base.corpus:
            raise InputError(
                f"{source.path} is of {source.corpus}, {base.path} of {base.corpus}: features of different corpora "
                "cannot be joined. Give files of one corpus."
            )


def _choose(sources: Sequence[Source], chosen: dict[str, Source]) -> dict[str, Source]:
    """The file of each modality: the one the user named, else one of that modality alone, else the only one with it."""
    for modality, source in chosen.items():
        if modality not in source.modalities and len(source.modalities) != 1:
            has = ", ".join(source.modalities) or "no features at all"
            raise InputError(f"{source.path}: given for {modality}, and has {has}. Give a file that has {modality}.")
    unnamed = [source for source in sources if "?" in source.modalities and source not in chosen.values()]
    if unnamed:
        raise InputError(
            f"{unnamed[0].path} holds one kind of features, {unnamed[0].width('?')} wide, and does not say which. "
            "Give it as --text, --audio or --visual FILE."
        )
    found = dict(chosen)
    for modality in (modality for modality in MODALITIES if modality not in chosen):
        having = [source for source in sources if modality in source.modalities and not _is_spoken_for(source, chosen)]
        alone = [source for source in having if len(source.modalities) == 1 and not source.labels]
        candidates = alone or having
        if len(candidates) > 1:
            listed = ", ".join(f"{source.path} ({source.width(modality)} wide)" for source in candidates)
            raise InputError(f"{modality} is in {len(candidates)} files: {listed}. Choose one with --{modality} FILE.")
        if candidates:
            found[modality] = candidates[0]
    return {modality: found[modality] for modality in MODALITIES if modality in found}


def _is_spoken_for(source: Source, chosen: dict[str, Source]) -> bool:
    """Whether all that a file has was named as one modality already, whatever it was taken for."""
    return len(source.modalities) == 1 and source in chosen.values()
