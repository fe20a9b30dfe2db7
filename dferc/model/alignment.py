"""Prototype alignment (docs/method.md §4): one prototype per emotion, and the agreement of an utterance's modalities.

    z_m     = mlp_align,m(e_m)                                     computed in dferc.py
    P_k     = mean of z over the utterances of class k and all modalities
    L_align = mean over class k and modality m of  sum_i x_i / (#{x_i > 0} + 1e-13),
              x_i = relu(mean_A (z_i - P_k)^2 - margin)
    s       = mean of the pairwise cosines of z_text, z_audio, z_visual

Shapes: M modalities, N utterances, C classes, A width of the alignment space.
Masks are bool: `present_MN`, the utterance has the modality; `counted_MN`, it has the modality and a label.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-13


def agreement(z_MNA: Tensor, present_MN: Tensor) -> Tensor:
    """Return `s`, the mean cosine over the pairs of present modalities, [N].

    It is detached, and 0 where fewer than two modalities are present: CRM then lets the context in.
    """
    unit_MNA = F.normalize(z_MNA.detach().float(), dim=-1, eps=1e-8)
    total_N = unit_MNA.new_zeros(unit_MNA.shape[1])
    pairs_N = torch.zeros_like(total_N)
    for first, second in itertools.combinations(range(len(unit_MNA)), 2):
        both_N = (present_MN[first] & present_MN[second]).to(total_N.dtype)
        total_N += both_N * (unit_MNA[first] * unit_MNA[second]).sum(-1)  # cos(z_first, z_second), [N]
        pairs_N += both_N
    return total_N / pairs_N.clamp(min=1)


class Prototypes(nn.Module):
    """Class prototypes `P`: means of `z` over all modalities, as a moving average where `momentum` > 0.

    The authors keep a running mean whose counter never advances, so each prototype is the mean of the current batch:
    `momentum=0` does the same. A moving average is updated in training only, and its buffers are in the checkpoint.

    Args:
        classes: C.
        width: A.
        momentum: weight of the past, from 0 to below 1.
    """

    def __init__(self, *, classes: int, width: int, momentum: float):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("running", torch.zeros(classes, width))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))

    def forward(self, z_MNA: Tensor, members_MNC: Tensor) -> Tensor:
        """Return the prototypes that a batch is aligned to, [C, A].

        Args:
            z_MNA: aligned features.
            members_MNC: 1.0 where a row counts and is of the class, else 0.0.
        """
        if self.momentum > 0 and not self.training:
            return self.running
        counts_C = members_MNC.sum(dim=(0, 1))
        # P_k = sum over (m, n) of class k of z / count, [C, A]. Not detached: gradients flow through the batch's share.
        batch_CA = torch.einsum("mnc,mna->ca", members_MNC, z_MNA) / counts_C.clamp(min=1).unsqueeze(-1)
        if self.momentum == 0:
            return batch_CA
        # A class met for the first time has no past: its batch mean is taken whole.
        past_C = (self.momentum * self.seen).unsqueeze(-1)
        updated_CA = past_C * self.running + (1 - past_C) * batch_CA
        in_batch_C = counts_C > 0
        with torch.no_grad():
            self.running.copy_(torch.where(in_batch_C.unsqueeze(-1), updated_CA, self.running))
            self.seen |= in_batch_C
        return updated_CA


def alignment_loss(
    z_MNA: Tensor, labels_N: Tensor, counted_MN: Tensor, prototypes: Prototypes, margin: float
) -> Tensor:
    """Compute `L_align`, the hinged squared distance of utterances to the prototype of their class.

    Args:
        z_MNA: aligned features.
        labels_N: class ids; -1 = unlabelled.
        counted_MN: rows that enter the loss; no unlabelled one is among them.
        prototypes: computes `P`; a moving average is updated in training.
        margin: squared distance that costs nothing.

    Returns:
        Scalar, float32; 0 with a graph where no row counts.
    """
    with torch.autocast(z_MNA.device.type, enabled=False):  # squares and sums in float32
        z_MNA = z_MNA.float()
        classes = len(prototypes.running)
        member_NC = (labels_N.unsqueeze(-1) == torch.arange(classes, device=labels_N.device)).float()
        members_MNC = counted_MN.unsqueeze(-1) * member_NC
        prototypes_CA = prototypes(z_MNA, members_MNC)
        # d_i = mean_A (z_i - P_k)^2, k the class of i, [M, N]. Unlabelled rows take class 0, and are masked below.
        distance_MN = (z_MNA - prototypes_CA[labels_N.clamp(min=0)]).square().mean(-1)
        excess_MN = F.relu(distance_MN - margin) * counted_MN  # x_i
        total_MC = excess_MN @ member_NC  # sum of x_i, per modality and class
        positive_MC = (excess_MN > 0).float() @ member_NC  # #{x_i > 0}
        # Mean over the (class, modality) pairs of the batch: 3 x its classes, as the authors', where nothing is absent.
        return (total_MC / (positive_MC + EPSILON)).sum() / (members_MNC.sum(dim=1) > 0).sum().clamp(min=1)
