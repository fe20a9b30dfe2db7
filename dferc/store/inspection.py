"""What a features folder holds, and its protocol card, as data and as text: `dferc inspect features/meld`."""

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from dferc.core.console import console
from dferc.store.card import protocol_card
from dferc.store.hdf5 import read_corpus, read_utterances
from dferc.store.rows import CachedCorpus
from dferc.store.vocabulary import MODALITIES, SPLITS

COLOURS = {"none": "green", "found": "bold red"}
"""Of a leak's verdict; the others have none."""


def inspect_folder(folder: Path) -> dict:
    """Read, verify and describe a features folder.

    Returns:
        folder, and what `inspect_corpus` returns.

    Raises:
        InputError: a file is missing, damaged, or of other rows.
    """
    return {"folder": str(folder), **inspect_corpus(_read(folder))}


def inspect_corpus(corpus: CachedCorpus) -> dict:
    """Describe a corpus and its features.

    Returns:
        rows_hash, what `dferc.store.card.protocol_card` returns, the modalities without a file (`missing`), and
        per modality width, presence per split (share of its utterances, None for an empty split), and identity.
    """
    return {
        "rows_hash": corpus.utterances.rows_hash,
        **protocol_card(corpus.utterances),
        "missing": [modality for modality in MODALITIES if modality not in corpus.modalities],
        "modalities": {modality: _describe_modality(corpus, modality) for modality in corpus.modalities},
    }


def _read(folder: Path) -> CachedCorpus:
    """The folder's corpus; `prepare` alone leaves utterances, which have a protocol card before there are features."""
    if any((folder / f"{modality}.h5").exists() for modality in MODALITIES):
        return read_corpus(folder)
    return CachedCorpus(utterances=read_utterances(folder / "utterances.h5"), modalities={})


def _describe_modality(corpus: CachedCorpus, modality: str) -> dict:
    features = corpus.modalities[modality]
    here = {split: features.present[corpus.utterances.split == split] for split in SPLITS}
    return {
        "width": features.width,
        "present": {split: float(present.mean()) if len(present) else None for split, present in here.items()},
        "identity": dict(features.identity),
    }


def show_inspection(found: dict) -> None:
    """Print what `inspect_folder` returned, for people."""
    console.print(f"{escape(found['folder'])}: corpus [bold]{found['corpus']}[/], rows {found['rows_hash']}")
    console.print(f"protocol card [bold]{found['card']}[/]: {escape(found['protocol'])}")
    splits = found["splits"]
    table = Table("", *splits, header_style="bold", box=None)
    for name in ("dialogues", "utterances", "labelled"):
        table.add_row(name, *(str(split[name]) for split in splits.values()))
    table.add_row("speakers in a dialogue, at most", *(str(split["most_speakers"]) for split in splits.values()))
    for emotion in splits[SPLITS[0]]["classes"]:
        table.add_row(f"  {escape(emotion)}", *(str(split["classes"][emotion]) for split in splits.values()))
    for modality, about in found["modalities"].items():
        shares = ("-" if share is None else f"{share:.1%}" for share in about["present"].values())
        table.add_row(f"{modality} present (width {about['width']})", *shares)
    console.print(table)
    if not found["modalities"]:
        console.print("no features yet: the `extract` stages of `dvc repro` make them, `dferc import` brings others'")
    else:
        for modality in found["missing"]:
            console.print(f"{modality}: there is no {modality}.h5; a model trained here does without it", markup=False)
    _show_card(found)
    for modality, about in found["modalities"].items():
        console.print(f"{modality} was made by:", markup=False)
        for key, value in about["identity"].items():
            console.print(f"  {key}: {value}", markup=False)


def _show_card(found: dict) -> None:
    """What was done to the corpus, and the leaks that were looked for."""
    console.print("on the way here:" if found["notes"] else "on the way here: nothing is noted")
    for note in found["notes"]:
        console.print(f"  {note['action']} {note['count']} {note['what']}: {note['why']}", markup=False)
    console.print("leaks looked for:")
    for check in found["checks"]:
        colour = COLOURS.get(check["verdict"], "yellow")
        console.print(f"  {check['leak']}: [{colour}]{check['verdict']}[/] ({escape(check['detail'])})")
        for example in check["examples"]:
            console.print(f"    {example}", markup=False)
