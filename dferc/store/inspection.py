"""Content of a features folder and its protocol card, as data and as text: `dferc inspect features/meld`."""

from pathlib import Path

from rich.text import Text

from dferc.core.console import console, print_table
from dferc.store.card import protocol_card
from dferc.store.hdf5 import read_corpus, read_utterances
from dferc.store.rows import CachedCorpus
from dferc.store.vocabulary import MODALITIES, SPLITS


def inspect_folder(folder: Path) -> dict:
    """Read, verify and describe a features folder: its name, and the content as of `inspect_corpus`."""
    if any((folder / f"{modality}.h5").exists() for modality in MODALITIES):
        corpus = read_corpus(folder)
    else:  # after `prepare` alone; utterances have a protocol card before there are features
        corpus = CachedCorpus(utterances=read_utterances(folder / "utterances.h5"), modalities={})
    return {"folder": str(folder), **inspect_corpus(corpus)}


def inspect_corpus(corpus: CachedCorpus) -> dict:
    """Return the protocol card, with what there is of each modality; presence is None in an empty split."""
    modalities = {}
    for modality, features in corpus.modalities.items():
        present = {split: features.present[corpus.utterances.split == split] for split in SPLITS}
        modalities[modality] = {
            "width": features.width,
            "present": {split: float(rows.mean()) if len(rows) else None for split, rows in present.items()},
            "identity": dict(features.identity),
        }
    return {
        "rows_hash": corpus.utterances.rows_hash,
        **protocol_card(corpus.utterances),
        "missing": [modality for modality in MODALITIES if modality not in corpus.modalities],
        "modalities": modalities,
    }


def show_inspection(inspection: dict) -> None:
    """Print what `inspect_folder` returned, for people."""
    console.print(f"{inspection['folder']}: corpus {inspection['corpus']}, rows {inspection['rows_hash']}")
    console.print(f"protocol card {inspection['card']}: {inspection['protocol']}")
    splits = inspection["splits"]
    names = ("dialogues", "utterances", "labelled")
    rows = [[name, *(str(split[name]) for split in splits.values())] for name in names]
    rows.append(["speakers in a dialogue, at most", *(str(split["most_speakers"]) for split in splits.values())])
    for emotion in splits[SPLITS[0]]["classes"]:
        rows.append([f"  {emotion}", *(str(split["classes"][emotion]) for split in splits.values())])
    for modality, about in inspection["modalities"].items():
        shares = ("-" if share is None else f"{share:.1%}" for share in about["present"].values())
        rows.append([f"{modality} present (width {about['width']})", *shares])
    print_table(["", *splits], rows)
    if not inspection["modalities"]:
        console.print("no features yet: the `extract` stages of `dvc repro` make them, `dferc import` reads others'")
    else:
        for modality in inspection["missing"]:
            console.print(f"{modality}: there is no {modality}.h5; a model trained here does without it")
    console.print("changes to the corpus:" if inspection["notes"] else "changes to the corpus: none are noted")
    for note in inspection["notes"]:
        console.print(f"  {note['action']} {note['count']} {note['what']}: {note['why']}")
    console.print("leaks looked for:")
    for check in inspection["checks"]:
        colour = {"none": "green", "found": "bold red"}.get(check["verdict"], "yellow")
        console.print(f"  {check['leak']}:", Text(check["verdict"], style=colour), f"({check['detail']})")
        for example in check["examples"]:
            console.print(f"    {example}")
    for modality, about in inspection["modalities"].items():
        console.print(f"{modality} was made by:")
        for key, value in about["identity"].items():
            console.print(f"  {key}: {value}")
