"""Folds of the training dialogues, for cross-fitted text features (`finetune_text.folds`).

An encoder is more confident on the dialogues that it was tuned on than on any other, and a model trained on such
features trusts the text too much. With k folds the features of a training dialogue come from an encoder that was tuned
without it; those of validation and test come from the encoder that was tuned on the whole training split.

models/<corpus>/text holds that encoder, and beside it fold-0, fold-1, … and folds.csv, the dialogues held out of each.
"""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dferc.core.errors import InputError
from dferc.core.files import regular_file
from dferc.core.tables import write_csv
from pipeline.rows.utterances import Utterance

TABLE = "folds.csv"


def fold_folder(encoder: Path, fold: int) -> Path:
    """Return the folder of a fold's encoder, beside the files of the one tuned on everything."""
    return encoder / f"fold-{fold}"


def deal_folds(rows: Sequence[Utterance], folds: int, seed: int) -> dict[str, int]:
    """Assign the training dialogues, shuffled, to the folds in turn; return the fold by dialogue id."""
    dialogues = list(dict.fromkeys(row.dialogue_id for row in rows if row.split == "train"))
    if len(dialogues) < folds:
        raise InputError(
            f"finetune_text.folds is {folds}, and the training split has {len(dialogues)} dialogue(s): every fold "
            "needs one to hold out. Lower it, or set it to 0 for features without cross-fitting."
        )
    shuffled = np.random.default_rng(seed).permutation(len(dialogues)).tolist()
    return {dialogues[index]: turn % folds for turn, index in enumerate(shuffled)}


def hold_out(rows: Sequence[Utterance], fold_of: Mapping[str, int], fold: int) -> list[Utterance]:
    """Return the rows with a fold's dialogues moved to the test split, which fine-tuning does not use.

    An utterance of theirs in another dialogue (MELD's dyadic ones overlap) loses its label there.
    """
    held = {row.seen for row in rows if row.media and fold_of.get(row.dialogue_id) == fold}
    rows = [replace(row, emotion="") if row.seen in held else row for row in rows]
    return [replace(row, split="test") if fold_of.get(row.dialogue_id) == fold else row for row in rows]


def _texts(rows: Sequence[Utterance]) -> dict[str, str]:
    """Return a hash of each dialogue's texts."""
    hashes = {}
    for row in rows:
        hashes.setdefault(row.dialogue_id, hashlib.sha256()).update(f"{row.text}\n".encode())
    return {dialogue: digest.hexdigest()[:16] for dialogue, digest in hashes.items()}


def write_folds(encoder: Path, fold_of: Mapping[str, int], rows: Sequence[Utterance] = ()) -> None:
    """Write folds.csv into an encoder's folder; the texts of the corpus' `rows` tell it from others."""
    texts = _texts(rows)
    table = ({"dialogue_id": name, "fold": fold, "texts": texts.get(name, "")} for name, fold in fold_of.items())
    write_csv(encoder / TABLE, ("dialogue_id", "fold", "texts"), table)


def read_folds(encoder: Path, rows: Sequence[Utterance] = ()) -> dict[str, int]:
    """Return the fold of every training dialogue, by dialogue id; empty for an encoder without folds.

    It is empty also where `rows` are another corpus, which has no dialogue of the same id and texts.
    """
    path = encoder / TABLE
    if not path.exists():
        return {}
    try:
        with open(regular_file(path), encoding="utf-8", newline="") as file:
            table, texts = list(csv.DictReader(file)), _texts(rows)
            if rows and not any(row.get("texts") in (None, "", texts.get(row["dialogue_id"])) for row in table):
                return {}
            return {row["dialogue_id"]: int(row["fold"]) for row in table}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: expected a dialogue_id and a fold in every row: {error}. Make the encoder again with "
            "`python -m pipeline.finetune_text`."
        ) from None
