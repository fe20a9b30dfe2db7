"""A training task, shared by its seeds: data on the device, normalisation, class weights."""

import hashlib
from dataclasses import dataclass, replace

import torch

from dferc.core.device import Device
from dferc.core.errors import InputError
from dferc.model.dferc import DFERC, build_model
from dferc.model.variants import Variant, get_variant
from dferc.settings.class_weights import class_weights
from dferc.settings.sections import Train, recorded_settings
from dferc.store.rows import CachedCorpus
from dferc.training.checkpoint import describe_corpus
from dferc.training.data import Dialogues, Normalisation, training_targets


@dataclass(frozen=True, kw_only=True)
class Task:
    """One variant to be trained on one corpus; made by `make_task`."""

    corpus: CachedCorpus
    name: str
    """Name of the variant."""
    variant: Variant
    """Switches of the variant, with the modalities that this corpus can teach."""
    settings: Train
    device: Device
    normalisation: Normalisation
    train: Dialogues
    validation: Dialogues
    class_weights_C: torch.Tensor

    @property
    def classes(self) -> int:
        """C."""
        return len(self.corpus.utterances.classes)

    def new_model(self) -> DFERC:
        """Build a freshly initialised model; draws from the global generator."""
        widths = {modality: self.corpus.modalities[modality].width for modality in self.variant.modalities}
        return build_model(self.settings, self.variant, widths, self.classes)

    def describe(self) -> dict:
        """Return everything that decides the weights, except the seed and the device."""
        return describe_run(self.corpus, self.name, self.settings)


def describe_run(corpus: CachedCorpus, variant: str, settings: Train) -> dict:
    """Return everything that decides the weights of a run, except the seed and the device."""
    about: dict = {"variant": variant, "settings": recorded_settings(settings)}
    if settings.labels == "votes":
        about["votes"] = hashlib.sha256(training_targets(corpus.utterances).tobytes()).hexdigest()[:16]
    return about | describe_corpus(corpus, usable_modalities(corpus, variant))


def make_task(corpus: CachedCorpus, name: str, settings: Train, device: Device) -> Task:
    """Put the training and validation splits on the device.

    Raises:
        InputError: a split has nothing to learn from or select on, or the variant's modalities are all absent.
    """
    rows = corpus.utterances
    for split, purpose in {"train": "learn from", "validation": "select on"}.items():
        of_split_N = rows.split == split
        if not (of_split_N & (rows.emotion >= 0)).any():
            raise InputError(
                f"{rows.corpus}: the {split} split has {of_split_N.sum()} utterance(s), none of them labelled: "
                f"nothing to {purpose}."
            )
    variant = replace(get_variant(name), modalities=usable_modalities(corpus, name))
    normalisation = Normalisation.of(corpus, variant.modalities, settings.normalisation == "speaker")
    labels = rows.emotion[(rows.split == "train") & (rows.emotion >= 0)]
    votes = settings.labels == "votes"
    weights = class_weights(settings.class_weights, rows.classes, labels.tolist())
    return Task(
        corpus=corpus,
        name=name,
        variant=variant,
        settings=settings,
        device=device,
        normalisation=normalisation,
        train=Dialogues(corpus, "train", normalisation, variant.modalities, device.device, votes),
        validation=Dialogues(corpus, "validation", normalisation, variant.modalities, device.device, votes),
        class_weights_C=torch.tensor(weights, device=device.device),
    )


def usable_modalities(corpus: CachedCorpus, variant: str) -> tuple[str, ...]:
    """Return the variant's modalities that some training utterance has; weights of the others would stay random.

    Raises:
        InputError: there is none, or the variant is absent (`why_absent`).
    """
    present = _present_in_training(corpus)
    if fault := why_absent(corpus, variant):
        raise InputError(f"{fault}. The features folder has {', '.join(corpus.modalities)}.")
    for name in set(corpus.sets) & set(corpus.modalities) - present:
        raise InputError(
            f"train.features chooses {' and '.join(corpus.sets[name])} for {name}, and no training utterance of "
            f"{corpus.utterances.corpus} has it. Choose another set, or leave the modality out: {name}: []."
        )
    usable = get_variant(variant).select(present)
    if not usable:
        raise InputError(
            f"no training utterance of {corpus.utterances.corpus} has a signal: nothing to learn from. The features "
            f"folder has {', '.join(corpus.modalities)}."
        )
    return usable


def why_absent(corpus: CachedCorpus, variant: str) -> str:
    """Return why a variant cannot exist on this corpus; empty where it can.

    A variant that selects modalities needs all of them: without pictures `tv` would repeat `t` under another name. The
    other variants use what is there.
    """
    chosen, present = get_variant(variant), _present_in_training(corpus)
    missing = [name for name in chosen.modalities or chosen.without if name not in present]
    if not missing:
        return ""
    nowhere = f"no training utterance of {corpus.utterances.corpus} has such a signal"
    uses = "uses" if chosen.modalities else "leaves out"
    return f"the variant {variant!r} {uses} {', '.join(missing)}, and {nowhere}"


def _present_in_training(corpus: CachedCorpus) -> set[str]:
    training_N = corpus.utterances.split == "train"
    return {name for name, features in corpus.modalities.items() if features.present[training_N].any()}
