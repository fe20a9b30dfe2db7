"""Every ablation row of the paper, by name.

A variant is a frozen set of switches. A part that is switched off contributes nothing (zeros, or equal weights) while
every width stays, so that two rows differ in one mechanism and not in capacity.
"""

import difflib
from dataclasses import dataclass

from dferc.core.errors import InputError
from dferc.store.vocabulary import MODALITIES


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """What is switched on.

    Attributes:
        modality_level: DDM's first level and its loss.
        utterance_level: DDM's second level and its loss.
        contributions: CFM: contribution-weighted fusion, unimodal and confidence losses; off = a plain sum.
        context: CRM's context weight: `agreement` (gamma * (1 - s)), `always` (1) or `never` (0).
        alignment: the loss that pulls utterances to their class prototypes.
        modalities: which modalities the model sees.
    """

    modality_level: bool = True
    utterance_level: bool = True
    contributions: bool = True
    context: str = "agreement"
    alignment: bool = True
    modalities: tuple[str, ...] = MODALITIES


VARIANTS = {
    "full": Variant(),
    "no_ddm": Variant(modality_level=False, utterance_level=False),
    "no_modality_level": Variant(modality_level=False),
    "no_utterance_level": Variant(utterance_level=False),
    "no_cfm": Variant(contributions=False),
    "no_crm": Variant(context="never"),
    "full_context": Variant(context="always"),
    "no_alignment": Variant(alignment=False),
    "t": Variant(modalities=("text",)),
    "a": Variant(modalities=("audio",)),
    "v": Variant(modalities=("visual",)),
    "ta": Variant(modalities=("text", "audio")),
    "tv": Variant(modalities=("text", "visual")),
    "av": Variant(modalities=("audio", "visual")),
}


def get_variant(name: str) -> Variant:
    """The variant of that name.

    Raises:
        InputError: there is none; the message names the nearest.
    """
    if name not in VARIANTS:
        close = difflib.get_close_matches(name, VARIANTS, n=3)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise InputError(f"There is no variant {name!r}.{hint} Variants: {', '.join(VARIANTS)}.")
    return VARIANTS[name]
