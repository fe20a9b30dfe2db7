"""A training task, shared by its seeds: data on the device, normalisation, class weights."""

import hashlib
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from dferc.core.device import Device
from dferc.core.errors import InputError
from dferc.model.dferc import DFERC
from dferc.model.ensemble import Ensemble, build_model
from dferc.model.linear_blend import LinearFit, fit_floor, side_by_side
from dferc.model.variants import Variant, get_variant, settings_of
from dferc.settings.sections import Train, class_weights, recorded_settings
from dferc.store.rows import CachedCorpus, by_set
from dferc.store.vocabulary import DRAWN, split_dialogues
from dferc.training.checkpoint import describe_corpus
from dferc.training.data import Dialogues, Normalisation, training_targets


class Refit(NamedTuple):
    """Length of a training on training and validation: epochs, and the steps over which the rate falls to 0."""

    epochs: int
    steps: int


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
    validation: Dialogues | None
    class_weights_C: torch.Tensor
    floor: LinearFit | None
    """Linear floor that is blended in; None without `train.linear_blend`."""
    refit: Refit | None = None
    """Length of a training without validation; None = the best epoch on validation is selected."""
    source: CachedCorpus | None = None
    """The corpus with its own splits, where `corpus` has others."""
    fixed_rate: bool = False
    """Whether the learning rate is a constant of the model's paper, which `train.learning_rate` does not change."""

    @property
    def classes(self) -> int:
        """C."""
        return len(self.corpus.utterances.classes)

    def new_model(self) -> DFERC | Ensemble:
        """Build a freshly initialised model; draws from the global generator."""
        widths = {modality: self.corpus.modalities[modality].width for modality in self.variant.modalities}
        model = build_model(self.settings, self.variant, widths, self.classes)
        if self.floor is not None and not model.extras.floor.weight.is_meta:
            model.extras.floor.take(self.floor)
        return model

    def describe(self) -> dict:
        """Return everything that decides the weights, except the seed and the device."""
        return describe_run(self.source or self.corpus, self.name, self.settings)

    @property
    def epoch_steps(self) -> int:
        """Number of optimiser steps of an epoch."""
        return math.ceil(len(self.train) / self.settings.batch_dialogues)

    def of_seed(self, seed: int) -> "Task":
        """Return the task on the validation split that a seed draws (`train.validation_split`)."""
        if self.settings.validation_split == "corpus":
            return self
        source = self.source or self.corpus
        return replace(self._on(draw_validation(source, seed)), source=source)

    def merged(self, best_epoch: int) -> "Task":
        """Return the task of training anew on training and validation (`train.selection: refit`).

        It takes as many steps as the selected weights had, in whole epochs of the larger split, at the same rates step
        by step. Normalisation and class weights are those of both splits.
        """
        task = self._on(merge_validation(self.corpus), self.floor.strength if self.floor else None)
        epochs = max(1, round(best_epoch * self.epoch_steps / task.epoch_steps))
        refit = Refit(epochs, self.epoch_steps * self.settings.epochs)
        return replace(task, refit=refit, source=self.source or self.corpus)

    def _on(self, corpus: CachedCorpus, strength: float | None = None) -> "Task":
        """Return the task on the same rows in other splits."""
        parts = prepare_splits(corpus, self.variant.modalities, self.settings, self.device, strength)
        return replace(self, corpus=corpus, **parts)


def describe_run(corpus: CachedCorpus, variant: str, settings: Train) -> dict:
    """Return everything that decides the weights of a run, except the seed and the device."""
    settings = settings_of(variant, settings, corpus.utterances.corpus)
    about: dict = {"variant": variant, "settings": recorded_settings(settings)}
    if settings.labels == "votes":
        about["votes"] = hashlib.sha256(training_targets(corpus.utterances).tobytes()).hexdigest()[:16]
    if settings.attention_layers or settings.normalisation == "speaker":
        about["speakers"] = corpus.utterances.speakers_hash
    if settings.validation_split == "by_seed":
        about |= {"together": corpus.utterances.together_hash, "drawn": DRAWN}
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
    settings = settings_of(name, settings, rows.corpus)
    variant = replace(get_variant(name), modalities=usable_modalities(corpus, name))
    if settings.causal and settings.normalisation == "speaker":
        raise InputError(
            "train.causal: no utterance may know what comes after it, and train.normalisation: speaker measures all "
            "rows of a speaker. Set normalisation: corpus, or causal: false."
        )
    if settings.normalisation == "speaker" and not (rows.speaker[rows.split == "train"] != "").any():
        raise InputError(
            f"{rows.corpus}: train.normalisation is speaker, and no utterance has one in training: the model would "
            "learn other features than it is tested on. Name the speakers, or set normalisation: corpus."
        )
    parts = prepare_splits(corpus, variant.modalities, settings, device)
    return Task(corpus=corpus, name=name, variant=variant, settings=settings, device=device, **parts)


def prepare_splits(
    corpus: CachedCorpus, modalities: tuple[str, ...], settings: Train, device: Device, strength: float | None = None
) -> dict:
    """Return the fields of a `Task` that depend on the splits; without validation dialogues, `validation` is None.

    `strength` is that of the linear floor; None = validation selects it.
    """
    rows = corpus.utterances
    for name in modalities:  # a part of a joined modality, or one that a drawn split leaves to validation
        features = corpus.modalities[name]
        for one, block in zip(by_set(name, features.identity), features.blocks, strict=True):
            if not block.present[rows.split == "train"].any():
                raise InputError(
                    f"no training utterance of {rows.corpus} has {one} (of a split drawn by seed: of this seed's), so "
                    "its weights would stay random, and tests would read them. Leave it out by train.features."
                )
    normalisation = Normalisation.of(corpus, modalities, settings.normalisation == "speaker")
    targets_NC = training_targets(rows) if settings.labels == "votes" else np.eye(len(rows.classes) + 1)[rows.emotion]
    counts_C = targets_NC[(rows.split == "train") & (rows.emotion >= 0), : len(rows.classes)].sum(axis=0, dtype=float)
    weights = class_weights(settings.class_weights, rows.classes, counts_C)
    of_splits = {
        split: Dialogues(corpus, split, normalisation, modalities, device.device, settings.labels == "votes")
        if (rows.split == split).any()
        else None
        for split in ("train", "validation")
    }
    floor = None
    if settings.linear_blend:
        read = [
            split and (side_by_side(split.features, split.present_MN, modalities), split.labels_N)
            for split in of_splits.values()
        ]
        floor = fit_floor(*read, len(rows.classes), strength, settings.select_by)
    return of_splits | {
        "normalisation": normalisation,
        "class_weights_C": torch.tensor(weights, device=device.device),
        "floor": floor,
    }


def draw_validation(corpus: CachedCorpus, seed: int) -> CachedCorpus:
    """Return the corpus with a validation split drawn by seed from the training and validation dialogues.

    Dialogues stay whole, and those that share an utterance (MELD's dyadic ones) stay together; the share of validation
    is the corpus' own, of all utterances and of each emotion as nearly as dialogues allow. The test split stays.
    """
    rows = corpus.utterances
    names = np.array([*rows.classes, ""], dtype=object)[rows.emotion]
    dialogues, groups = defaultdict(Counter), rows.together
    for row in np.flatnonzero(rows.split != "test"):
        dialogues[groups[row]][names[row]] += 1
    share = float((rows.split == "validation").sum() / (rows.split != "test").sum())
    drawn = split_dialogues(dialogues, {"train": 1 - share, "validation": share}, seed)
    splits = [split if split == "test" else drawn[group] for split, group in zip(rows.split, groups)]
    return replace(corpus, utterances=replace(rows, split=np.array(splits, dtype=object)))


def merge_validation(corpus: CachedCorpus) -> CachedCorpus:
    """Return the corpus with its validation split as training (`train.selection: refit`)."""
    rows = corpus.utterances
    return replace(corpus, utterances=replace(rows, split=np.where(rows.split == "validation", "train", rows.split)))


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
