"""The pickles that the field passes around, recognised by their content, not by their name.

A layout is the order of a tuple's parts. A file is recognised by the number of its parts, their kinds and the kind of
its dialogue keys: MELD's pickles number their dialogues, IEMOCAP's name them. Widths are read from the file, since the
same layout carries 100, 300 or 1582 audio values. See docs/data.md, "Community pickles".
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from dferc.core.errors import InputError, listed
from dferc.importing import by_utterance
from dferc.importing.corpora import IEMOCAP, M3ED, MELD
from dferc.importing.dialogues import ROBERTA, corpus_of, read_one_modality, read_parts
from dferc.importing.source import About, Source, clean_text, kind, text_of, vector_of
from dferc.store.vocabulary import SPLITS

_MMGCN = ("ids", "speakers", "labels", "text", "audio", "visual", "sentences", "train", "test")
_BC_LSTM = ("ids", "speakers", "labels", "text", "audio", "sentences", "train", "test", "sentiments")
_COSMIC = (*ROBERTA, "sentences", "train", "test", "validation")
_SDT = ("ids", "speakers", "labels", *ROBERTA, "audio", "visual", "sentences", "train", "test")

KINDS = {
    "ids": {"texts", "numbers"},
    "speakers": {"texts", "vectors", "numbers"},
    "sentences": {"texts"},
    "other": {"numbers", "texts", "vectors", "keys", "else"},
}
KINDS |= dict.fromkeys(("labels", "sentiments"), {"numbers"}) | dict.fromkeys(SPLITS, {"keys"})
"""Possible kinds of each part; any part not listed holds vectors."""


class PickleLayout(NamedTuple):
    """Parts of a tuple, in order: names of `KINDS`, or of modalities. Its own name is of those who use it."""

    name: str
    corpus: str
    parts: tuple[str, ...]


LAYOUTS = (
    PickleLayout(
        "9-tuple of MMGCN, MM-DFN, DFERC, conv-emotion, COGMEN, CORECT, MultiEMO's Speakers", IEMOCAP.name, _MMGCN
    ),
    PickleLayout("9-tuple of bc-LSTM and DialogueRNN, without pictures", MELD.name, _BC_LSTM),
    PickleLayout("10-tuple of MMGCN, MM-DFN, MultiEMO's Speakers", MELD.name, (*_MMGCN, "other")),
    PickleLayout("10-list of M3ED", M3ED.name, (*_MMGCN[:-1], "validation", "test")),
    PickleLayout("10-list of COSMIC", IEMOCAP.name, ("speakers", "labels", *_COSMIC)),
    PickleLayout("11-list of COSMIC", MELD.name, ("speakers", "labels", "sentiments", *_COSMIC)),
    PickleLayout("12-tuple of SDT, GraphSmile, CFN-ESA, M3Net", IEMOCAP.name, _SDT),
    PickleLayout("13-tuple of SDT", MELD.name, (*_SDT, "other")),
    PickleLayout("14-tuple of GraphSmile", MELD.name, (*_SDT[:3], "sentiments", *_SDT[3:], "other")),
)
ONE_MODALITY = "dictionary of dialogues, as MultiEMO's TextFeatures, AudioFeatures and VisualFeatures"


def recognise(content: object, about: About, layer: str, classes: tuple[str, ...] = ()) -> Source:
    """Turn an unpickled feature file into dialogues, or into vectors by utterance id.

    `layer` is one of COSMIC's four text layers, or their mean; `classes` are class names in order, for MMSA.
    """
    parts = list(content) if isinstance(content, (tuple, list)) else []
    rows = list(content.values()) if isinstance(content, dict) else []
    if len(rows) > 1 and all(isinstance(row, np.ndarray) and row.ndim == 2 and len(row) == 1 for row in rows):
        if vectors := by_utterance.vectors_by_id(content, about):  # [1, D], as encoders return one text's
            return by_utterance.read_vectors(vectors, about)
    if isinstance(content, dict) and part_kind(content) == "vectors":
        return read_one_modality(content, replace(about, layout=ONE_MODALITY))
    splits = by_utterance.by_split(content)
    if by_utterance.is_mmsa(splits):
        return by_utterance.read_mmsa(splits, about, classes)
    if splits and (source := by_utterance.read_meld_features(splits, about)):
        return source
    if by_utterance.is_meld_data(content):
        return by_utterance.read_meld_data(content, about)
    if isinstance(content, dict) and (vectors := by_utterance.vectors_by_id(content, about)):
        return by_utterance.read_vectors(vectors, about)
    layouts = [layout for layout in LAYOUTS if _fits(layout, parts)]
    if len(layouts) != 1:
        raise InputError(
            f"{about}: no known layout: found {kind(content)}{_inside(content, parts)}. "
            f"Recognised are: {'; '.join(layout.name for layout in LAYOUTS)}; a {ONE_MODALITY}; MELD's own features "
            "and data_emotion.p; MMSA's train, valid, test; vectors by utterance id. "
            "For anything else write an .npz with one row per utterance (see `dferc import --help`)."
        )
    (layout,) = layouts
    named = f"{layout.name} ({layout.corpus})" + (f", text layer {layer}" if ROBERTA[0] in layout.parts else "")
    return read_parts(layout.corpus, dict(zip(layout.parts, parts)), replace(about, layout=named), layer)


def _inside(content: object, parts: list) -> str:
    """Return the kinds of a list's parts, or the keys of a dictionary with what they hold, in words."""
    if isinstance(content, dict):
        return ": " + listed(f"{str(clean_text(key) or key)[:40]!r} ({kind(value)})" for key, value in content.items())
    keys = [key for part in parts[:20] if isinstance(part, dict) for key in list(part)[:1]]
    seen = f" (dialogues such as {str(clean_text(keys[0]) or keys[0])[:40]})" if keys else ""
    kinds = listed([part_kind(part) for part in parts[:20]] + [""] * max(0, len(parts) - 20))
    return f": {kinds}{seen}" if parts else ""


def part_kind(part: object) -> str:
    """Return the kind of one part of a tuple, judged by its first dialogue: numbers, texts, vectors, keys or else."""
    if isinstance(part, (set, frozenset)) or _is_list(part):
        types = (str, bytes, int, type(None), np.integer, np.character)
        return "keys" if all(isinstance(key, types) for key in part) else "else"
    first = next(iter(part.values()), None) if isinstance(part, dict) else None
    if isinstance(first, np.ndarray) and first.ndim == 2:
        return "vectors"
    if not _is_list(first) or not len(first):
        return "else"
    row = first[0]
    if text_of(row) is not None:
        return "texts"
    if isinstance(row, (int, np.integer)):
        return "numbers"
    return "vectors" if vector_of(row) is not None else "else"


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 1)


def _fits(layout: PickleLayout, parts: list) -> bool:
    """Return whether the parts are of this layout's kinds, and their dialogues named as its corpus names them."""
    if len(parts) != len(layout.parts):
        return False
    if any(part_kind(part) not in KINDS.get(name, {"vectors"}) for name, part in zip(layout.parts, parts)):
        return False
    return all(corpus_of(key) == layout.corpus for key in parts[layout.parts.index("labels")])
