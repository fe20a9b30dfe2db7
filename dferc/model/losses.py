"""The training loss (METHOD §6): pure functions of a model's outputs and the labels.

`L = CE_w + ddm_weight * L_ddm + cfm_weight * L_cfm + alignment_weight * L_align`.
M modalities, N utterances, C classes; a label of -1 is an unlabelled utterance, which counts in no loss but DDM's.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dferc.model.alignment import Prototypes, alignment_loss
from dferc.model.ddm import modality_contrast, utterance_contrast
from dferc.model.dferc import Outputs
from dferc.model.variants import Variant
from dferc.settings.sections import Train


class Losses(NamedTuple):
    """Scalars; `total` is weighted, the terms are not. A term whose part is switched off is 0."""

    total: Tensor
    classification: Tensor
    ddm: Tensor
    cfm: Tensor
    alignment: Tensor


def dferc_losses(
    outputs: Outputs,
    labels_N: Tensor,
    present_MN: Tensor,
    *,
    prototypes: Prototypes,
    settings: Train,
    variant: Variant,
    class_weights_C: Tensor,
) -> Losses:
    """All terms of the loss for one batch.

    Args:
        outputs: of the model.
        labels_N: class ids, -1 = unlabelled.
        present_MN: bool.
        prototypes: of the alignment; learn from this batch when training.
        settings: loss weights, temperature and margin.
        variant: which terms exist.
        class_weights_C: of both cross-entropies.
    """
    counted_MN = present_MN & (labels_N >= 0)
    nothing = outputs.logits_NC.new_zeros((), dtype=torch.float32)
    classification = cross_entropy(outputs.logits_NC, labels_N, class_weights_C)
    ddm = nothing
    if outputs.modality_MNH is not None:
        ddm = ddm + modality_contrast(outputs.modality_MNH, present_MN, settings.ddm_temperature)
    if outputs.utterance_MNH is not None:
        ddm = ddm + utterance_contrast(outputs.utterance_MNH, present_MN, settings.ddm_temperature)
    cfm = nothing
    if outputs.unimodal_MNC is not None:
        cfm = cfm_loss(outputs.unimodal_MNC, outputs.confidence_MN, labels_N, counted_MN, class_weights_C)
    alignment = nothing
    if variant.alignment:
        alignment = alignment_loss(outputs.aligned_MNA, labels_N, counted_MN, prototypes, settings.alignment_margin)
    total = (
        classification + settings.ddm_weight * ddm + settings.cfm_weight * cfm + settings.alignment_weight * alignment
    )
    return Losses(total, classification, ddm, cfm, alignment)


def cross_entropy(logits: Tensor, labels: Tensor, class_weights_C: Tensor, counted: Tensor | None = None) -> Tensor:
    """`CE_w`: the weighted mean over the rows that count, as in PyTorch; 0 with a graph where none does.

    Args:
        logits: [..., C].
        labels: [...] class ids, -1 = does not count.
        class_weights_C: one weight per class.
        counted: [...] bool, rows that count besides being labelled; None = all.
    """
    counted = labels >= 0 if counted is None else counted & (labels >= 0)
    classes = labels.clamp(min=0)
    weights = class_weights_C[classes] * counted
    likelihood = F.log_softmax(logits.float(), dim=-1).gather(-1, classes.unsqueeze(-1)).squeeze(-1)
    return -(weights * likelihood).sum() / weights.sum().clamp(min=torch.finfo(torch.float32).tiny)


def cfm_loss(
    unimodal_MNC: Tensor, confidence_MN: Tensor, labels_N: Tensor, counted_MN: Tensor, class_weights_C: Tensor
) -> Tensor:
    """`L_cfm`: for each modality, how far its confidence is from its true class probability, and its own `CE_w`.

    The true class probability is not detached, as in the authors' code.
    """
    total = unimodal_MNC.new_zeros((), dtype=torch.float32)
    classes = labels_N.clamp(min=0)
    for unimodal_NC, confidence_N, counted_N in zip(unimodal_MNC, confidence_MN, counted_MN):
        truth_N = F.softmax(unimodal_NC.float(), dim=-1).gather(-1, classes.unsqueeze(-1)).squeeze(-1)
        squared_N = (confidence_N.float() - truth_N).square() * counted_N
        total = total + squared_N.sum() / counted_N.sum().clamp(min=1)
        total = total + cross_entropy(unimodal_NC, labels_N, class_weights_C, counted_N)
    return total
