"""What a features folder holds, as data and as text: `dferc inspect features/meld`."""

from pathlib import Path

import numpy as np
from rich.table import Table

from dferc import SPLITS
from dferc.console import console
from dferc.corpus import CachedCorpus
from dferc.store import read_corpus


def inspect_folder(folder: Path) -> dict:
    """Read, verify and describe a features folder.

    Returns:
        corpus, protocol, rows_hash, labels_hash; per split dialogues, utterances, labelled, a count per class; per
        modality width, presence per split (share of its utterances, None for an empty split), and identity.

    Raises:
        InputError: a file is missing, damaged, or of other rows.
    """
    corpus = read_corpus(folder)
    rows = corpus.utterances
    return {
        "folder": str(folder),
        "corpus": rows.corpus,
        "protocol": rows.protocol,
        "rows_hash": rows.rows_hash,
        "labels_hash": rows.labels_hash,
        "splits": {split: _describe_split(corpus, split) for split in SPLITS},
        "modalities": {modality: _describe_modality(corpus, modality) for modality in corpus.modalities},
    }


def _describe_split(corpus: CachedCorpus, split: str) -> dict:
    rows = corpus.utterances
    here = rows.split == split
    emotion = rows.emotion[here & (rows.emotion >= 0)]
    counts = np.bincount(emotion, minlength=len(rows.classes)).tolist()
    return {
        "dialogues": len(set(rows.dialogue_id[here])),
        "utterances": int(here.sum()),
        "labelled": len(emotion),
        "classes": dict(zip(rows.classes, counts, strict=True)),
    }


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
    console.print(f"{found['folder']}: corpus [bold]{found['corpus']}[/], protocol {found['protocol']}")
    console.print(f"rows {found['rows_hash']}, labels {found['labels_hash']}")
    splits = found["splits"]
    table = Table("", *splits, header_style="bold", box=None)
    for name in ("dialogues", "utterances", "labelled"):
        table.add_row(name, *(str(split[name]) for split in splits.values()))
    for emotion in splits[SPLITS[0]]["classes"]:
        table.add_row(f"  {emotion}", *(str(split["classes"][emotion]) for split in splits.values()))
    for modality, about in found["modalities"].items():
        shares = ("-" if share is None else f"{share:.1%}" for share in about["present"].values())
        table.add_row(f"{modality} present (width {about['width']})", *shares)
    console.print(table)
    for modality, about in found["modalities"].items():
        console.print(f"{modality} was made by:", markup=False)
        for key, value in about["identity"].items():
            console.print(f"  {key}: {value}", markup=False)
