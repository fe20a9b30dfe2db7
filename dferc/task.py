"""What the seeds of one training call share: data on the device, normalisation, class weights."""

from dataclasses import dataclass

import torch

from dferc.checkpoint import describe_corpus
from dferc.console import InputError
from dferc.dataset import Dialogues, Normalisation
from dferc.device import Device
from dferc.losses import class_weights
from dferc.model import build_model
from dferc.params import Train
from dferc.store import CachedCorpus
from dferc.variants import VARIANTS


@dataclass(frozen=True, kw_only=True)
class Task:
    """One variant to be trained on one corpus; made by `make_task`."""

    corpus: CachedCorpus
    variant: str
    modalities: tuple[str, ...]
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

    def new_model(self, seed: int) -> torch.nn.Module:
        """The freshly initialised model of this seed, on the device."""
        widths = {modality: self.corpus.modalities[modality].width for modality in self.modalities}
        model = build_model(self.settings, VARIANTS[self.variant], widths, self.classes, seed=seed)
        return model.to(self.device.device)

    def describe(self) -> dict:
        """Everything that decides the weights, but the seed and the device."""
        about = {"variant": self.variant, "settings": self.settings.model_dump(mode="json")}
        return about | describe_corpus(self.corpus, self.modalities)


def make_task(corpus: CachedCorpus, variant: str, settings: Train, device: Device) -> Task:
    """Put the training and validation splits on the device.

    Raises:
        InputError: a split has nothing to learn from or select on, or the variant's modalities are all absent.
    """
    rows = corpus.utterances
    for split, purpose in {"train": "learn from", "validation": "select on"}.items():
        here = rows.split == split
        if not (here & (rows.emotion >= 0)).any():
            raise InputError(
                f"{rows.corpus}: the {split} split has {here.sum()} utterance(s), none of them labelled: "
                f"nothing to {purpose}."
            )
    modalities = usable_modalities(corpus, variant)
    normalisation = Normalisation.fit(corpus, modalities)
    weights_C = class_weights(settings.class_weights, rows.classes, rows.emotion[rows.split == "train"])
    return Task(
        corpus=corpus,
        variant=variant,
        modalities=modalities,
        settings=settings,
        device=device,
        normalisation=normalisation,
        train=Dialogues(corpus, "train", normalisation, modalities, device.device),
        validation=Dialogues(corpus, "validation", normalisation, modalities, device.device),
        class_weights_C=weights_C.to(device.device),
    )


def usable_modalities(corpus: CachedCorpus, variant: str) -> tuple[str, ...]:
    """The variant's modalities that some training utterance has; weights of the others would stay random.

    Raises:
        InputError: there is none.
    """
    training = corpus.utterances.split == "train"
    wanted = VARIANTS[variant].modalities
    usable = tuple(m for m in wanted if m in corpus.modalities and corpus.modalities[m].present[training].any())
    if not usable:
        raise InputError(
            f"the variant {variant!r} uses {', '.join(wanted)}, and no training utterance of "
            f"{corpus.utterances.corpus} has such a signal. The features folder has {', '.join(corpus.modalities)}."
        )
    return usable
