"""Every ablation row of the paper, by name, and rows of any other selection of modalities.

A variant is a frozen set of switches, read by `build_member` and `dferc_losses`. A part that is switched off gives
zeros or equal weights, and every width stays: two rows differ in one mechanism, not in the width of what follows it.
`only-text-physiology` reads these modalities, `without-audio` all others. `plus` is beyond the paper (docs/plus.md).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dferc.core.errors import InputError, did_you_mean
from dferc.core.files import SELECTION
from dferc.settings.sections import DEFAULTS, Train
from dferc.store.vocabulary import in_order


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """Switches of the model's parts; the defaults are the full system.

    Attributes:
        modality_level: DDM's first level and its loss (§2).
        utterance_level: DDM's second level and its loss (§2).
        contributions: CFM's contribution-weighted fusion and its loss (§3); off = equal contributions.
        context: CRM's context weight (§5): `agreement` (gamma * (1 - s)), `always` (1) or `never` (0).
        alignment: the loss that pulls utterances to their class prototypes (§4).
        modalities: modalities that the model reads; None = all that the corpus has.
        without: modalities that it does not read.
        settings: `train` settings that the variant has where params.yaml leaves the paper's value (`settings_of`).
        of_corpus: corpus -> settings in their place, chosen on its validation split.
    """

    modality_level: bool = True
    utterance_level: bool = True
    contributions: bool = True
    context: str = "agreement"
    alignment: bool = True
    modalities: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    of_corpus: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def select(self, there: Iterable[str]) -> tuple[str, ...]:
        """Return the modalities that this variant reads of those that are there, in order."""
        return tuple(name for name in self.modalities or in_order(there) if name not in self.without)

    def own_settings(self, corpus: str) -> dict[str, Any]:
        """Return the `train` settings that this variant has on a corpus where params.yaml leaves the paper's value."""
        return {**self.settings, **self.of_corpus.get(corpus, {})}


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
    "plus": Variant(
        context="never",  # attention takes the place of the LSTM
        settings={
            "attention_layers": 2, "linear_blend": True, "input_dropout": 0.4, "weight_average": 0.99, "members": 2,
            "recurrent_members": 2, "hidden": 100, "align": 100, "batch_dialogues": 8, "learning_rate": 2.0e-3,
            "epochs": 40, "patience": 20,
        },
        of_corpus={
            "meld": {
                "members": 1, "recurrent_members": 0, "input_dropout": 0.5, "hidden": 300, "batch_dialogues": 16,
                "learning_rate": 1.0e-3, "epochs": 20,
            },
            # 35 training dialogues
            "demo": {"batch_dialogues": 4, "members": 1, "attention_layers": 1, "attention_width": 64},
        },
    ),
}  # fmt: skip


def settings_of(name: str, settings: Train, corpus: str = "") -> Train:
    """Return `train` settings with those of the variant, but for the user's: given ones, and any not the paper's."""
    own = get_variant(name).own_settings(corpus)
    free = {key for key in own if getattr(settings, key) == getattr(DEFAULTS, key)} - settings.given
    return settings.model_copy(update={key: own[key] for key in free})


def get_variant(name: str) -> Variant:
    """Return the variant of that name.

    Raises:
        InputError: there is none; the message names the nearest.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    if re.match(SELECTION, name):
        how, *modalities = name.split("-")
        names = in_order(set(modalities))
        return Variant(modalities=names) if how == "only" else Variant(without=names)
    label = name.partition("@")[2]
    hint = f" For the runs of {name}, give --variant {name.removesuffix(f'@{label}')} --label {label}." if label else ""
    raise InputError(
        f"There is no variant {name!r}.{did_you_mean(name, VARIANTS)} Variants: {', '.join(VARIANTS)}; or modalities, "
        f"such as only-text-physiology or without-audio.{hint}"
    )
