"""Prototype alignment (METHOD §4): one meeting point per emotion, and how far an utterance's modalities agree.

M modalities, N utterances, C classes, A width of the alignment space; `counted_MN` is bool: present and labelled.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-13


def agreement(z_MNA: Tensor, present_MN: Tensor) -> Tensor:
    """Mean cosine over the pairs of present modalities: [N], detached; 0 where fewer than two are present."""
    unit_MNA = F.normalize(z_MNA.detach().float(), dim=-1, eps=1e-8)
    total_N = unit_MNA.new_zeros(unit_MNA.shape[1])
    pairs_N = torch.zeros_like(total_N)
    for first, second in itertools.combinations(range(len(unit_MNA)), 2):
        both_N = (present_MN[first] & present_MN[second]).to(total_N.dtype)
        total_N += both_N * (unit_MNA[first] * unit_MNA[second]).sum(-1)
        pairs_N += both_N
    return total_N / pairs_N.clamp(min=1)


class Prototypes(nn.Module):
    """The prototype of each class: the mean `z` of its utterances over all modalities, running if `momentum` > 0.

    Args:
        classes: C.
        width: A.
        momentum: weight of the past; 0 = each batch's own mean, as the authors ran. Updated in training only.
    """

    def __init__(self, *, classes: int, width: int, momentum: float):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("running", torch.zeros(classes, width))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))

    def forward(self, z_MNA: Tensor, members_MNC: Tensor) -> Tensor:
        """Prototypes [C, A] to align a batch to; gradients flow through the batch's own share of them."""
        if self.momentum > 0 and not self.training:
            return self.running
        counts_C = members_MNC.sum(dim=(0, 1))
        own_CA = torch.einsum("mnc,mna->ca", members_MNC, z_MNA) / counts_C.clamp(min=1).unsqueeze(-1)
        if self.momentum == 0:
            return own_CA
        past_C = (self.momentum * self.seen).unsqueeze(-1)
        mixed_CA = past_C * self.running + (1 - past_C) * own_CA
        here_C = counts_C > 0
        with torch.no_grad():
            self.running.copy_(torch.where(here_C.unsqueeze(-1), mixed_CA, self.running))
            self.seen |= here_C
        return mixed_CA


def alignment_loss(
    z_MNA: Tensor, labels_N: Tensor, counted_MN: Tensor, prototypes: Prototypes, margin: float
) -> Tensor:
    """Hinged squared distance of every utterance to its class's prototype, per class and modality.

    For a class k and modality m: `x_i = relu(mean_A (z_i - P_k)² - margin)`, term `sum x_i / (#{x_i > 0} + 1e-13)`;
    the loss is the mean over the terms that have an utterance.

    Args:
        z_MNA: aligned features.
        labels_N: class ids; unlabelled rows are not counted.
        counted_MN: rows that count.
        prototypes: gives P, and learns from this batch when training.
        margin: squared distance that costs nothing.

    Returns:
        Scalar, float32; 0 with a graph where nothing counts.
    """
    with torch.autocast(z_MNA.device.type, enabled=False):
        z_MNA = z_MNA.float()
        classes = len(prototypes.running)
        member_NC = (labels_N.unsqueeze(-1) == torch.arange(classes, device=labels_N.device)).float()
        members_MNC = counted_MN.unsqueeze(-1) * member_NC
        prototypes_CA = prototypes(z_MNA, members_MNC)
        distance_MN = (z_MNA - prototypes_CA[labels_N.clamp(min=0)]).square().mean(-1)
        excess_MN = F.relu(distance_MN - margin) * counted_MN
        total_MC = excess_MN @ member_NC
        positive_MC = (excess_MN > 0).float() @ member_NC
        terms = (members_MNC.sum(dim=1) > 0).sum()
        return (total_MC / (positive_MC + EPSILON)).sum() / terms.clamp(min=1)
