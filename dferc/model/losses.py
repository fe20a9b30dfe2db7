"""The training loss (docs/method.md §6): pure functions of a model's outputs and the labels.

    L = CE_w(logits, y) + 0.4 * L_ddm + 1.0 * L_cfm + 0.7 * L_align

The weights are settings (`ddm_weight`, `cfm_weight`, `alignment_weight`); these are the authors'. Their code scales
DDM's features and its loss by one constant; here they are two settings, so that an ablation changes one thing.

To add a term, see "Where to add what" in docs/architecture.md.

Shapes: M modalities, N utterances, C classes. A label of -1 is an unlabelled utterance: it has no term but DDM's.
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

_TINY = torch.finfo(torch.float32).tiny


class Losses(NamedTuple):
    """Scalars: the weighted total, and its terms before weighting. A term whose part is switched off is 0."""

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
    targets_NC: Tensor | None = None,
) -> Losses:
    """Compute every term of the loss for one batch.

    Args:
        outputs: of the model.
        labels_N: class ids; -1 = unlabelled.
        present_MN: bool; the utterance has the modality.
        prototypes: the model's; a moving average is updated in training.
        settings: loss weights, temperature and margin.
        variant: which terms exist.
        class_weights_C: for the cross-entropy of the logits and of the unimodal logits.
        targets_NC: distribution over the classes that the labelled rows learn, in place of the label (§6, votes).
    """
    counted_MN = present_MN & (labels_N >= 0)  # rows of L_cfm and L_align: present and labelled
    nothing = outputs.logits_NC.new_zeros((), dtype=torch.float32)
    classification = classification_loss(outputs.logits_NC, labels_N, settings, class_weights_C, targets_NC)
    ddm = nothing  # L_ddm = L_mod + L_utt (§2); it needs no labels: unlabelled utterances take part
    if outputs.modality_MNH is not None:
        ddm = ddm + modality_contrast(outputs.modality_MNH, present_MN, settings.ddm_temperature)
    if outputs.utterance_MNH is not None:
        ddm = ddm + utterance_contrast(outputs.utterance_MNH, present_MN, settings.ddm_temperature)
    cfm = nothing  # L_cfm (§3)
    if outputs.unimodal_MNC is not None:
        cfm = cfm_loss(outputs.unimodal_MNC, outputs.confidence_MN, labels_N, counted_MN, class_weights_C, targets_NC)
    alignment = nothing  # L_align (§4)
    if variant.alignment:
        alignment = alignment_loss(outputs.aligned_MNA, labels_N, counted_MN, prototypes, settings.alignment_margin)
    total = (
        classification + settings.ddm_weight * ddm + settings.cfm_weight * cfm + settings.alignment_weight * alignment
    )
    return Losses(total, classification, ddm, cfm, alignment)


def classification_loss(
    logits_NC: Tensor,
    labels_N: Tensor,
    settings: Train,
    class_weights_C: Tensor,
    targets_NC: Tensor | None = None,
    counted_N: Tensor | None = None,
) -> Tensor:
    """Compute `CE_w(logits, y)`, smoothed where the settings ask for it; arguments as of `dferc_losses`."""
    loss = cross_entropy(logits_NC, labels_N, class_weights_C, counted_N, targets_NC)
    if settings.label_smoothing:  # beyond the paper: (1 - eps) CE + eps * mean over the classes of -log p
        labels_N = labels_N if counted_N is None else torch.where(counted_N, labels_N, -1)
        loss = torch.lerp(loss, distance_to_uniform(logits_NC, labels_N), settings.label_smoothing)
    return loss


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    class_weights_C: Tensor,
    counted: Tensor | None = None,
    targets_NC: Tensor | None = None,
) -> Tensor:
    """Compute `CE_w`, the weighted mean over the rows that count: `sum_i w_i * -log p_i / sum_i w_i`.

    Equal to PyTorch's, but 0 with a graph where no row counts; PyTorch's is NaN there.

    Args:
        logits: [..., C].
        labels: [...] class ids; -1 = does not count.
        class_weights_C: one weight per class.
        counted: [...] bool, rows that count if they are labelled; None = all.
        targets_NC: distributions q over the classes, [..., C], in place of the labels: then the loss is
            `sum_i sum_c w_c q_ic * -log p_ic / sum_i sum_c w_c q_ic`, the same bits for one-hot q.
    """
    counted = labels >= 0 if counted is None else counted & (labels >= 0)
    classes = labels.clamp(min=0)  # a valid index for unlabelled rows; their weight is 0
    log_p = F.log_softmax(logits.float(), dim=-1)
    if targets_NC is not None:
        weights_NC = class_weights_C * targets_NC * counted.unsqueeze(-1)
        return -(weights_NC * log_p).sum(dim=-1).sum() / weights_NC.sum(dim=-1).sum().clamp(min=_TINY)
    weights = class_weights_C[classes] * counted
    likelihood = log_p.gather(-1, classes.unsqueeze(-1)).squeeze(-1)  # log p_i
    return -(weights * likelihood).sum() / weights.sum().clamp(min=_TINY)


def distance_to_uniform(logits_NC: Tensor, labels_N: Tensor) -> Tensor:
    """Return the mean cross-entropy of the labelled rows against equal shares of the classes, a scalar."""
    labelled_N = labels_N >= 0
    uniform_N = -F.log_softmax(logits_NC.float(), dim=-1).mean(dim=-1)
    return (uniform_N * labelled_N).sum() / labelled_N.sum().clamp(min=1)


def cfm_loss(
    unimodal_MNC: Tensor,
    confidence_MN: Tensor,
    labels_N: Tensor,
    counted_MN: Tensor,
    class_weights_C: Tensor,
    targets_NC: Tensor | None = None,
) -> Tensor:
    """Compute `L_cfm = sum_m MSE(c_m, p_m) + sum_m CE_w(q_m, y)` (docs/method.md §3).

    With targets, p_m is the expected probability of the class that an annotator chooses: `sum_c targets_c q_mc`.
    """
    total = unimodal_MNC.new_zeros((), dtype=torch.float32)
    classes = labels_N.clamp(min=0)
    for unimodal_NC, confidence_N, counted_N in zip(unimodal_MNC, confidence_MN, counted_MN):
        # p_m = softmax(q_m)[y], [N]; not detached, as in the authors' code: q_m learns from both terms
        p_NC = F.softmax(unimodal_NC.float(), dim=-1)
        if targets_NC is None:
            truth_N = p_NC.gather(-1, classes.unsqueeze(-1)).squeeze(-1)
        else:
            truth_N = (targets_NC * p_NC).sum(dim=-1)
        squared_N = (confidence_N.float() - truth_N).square() * counted_N
        total = total + squared_N.sum() / counted_N.sum().clamp(min=1)  # MSE(c_m, p_m)
        total = total + cross_entropy(unimodal_NC, labels_N, class_weights_C, counted_N, targets_NC)
    return total
