"""CFM, contribution-aware fusion (METHOD §3): a modality counts as much as it can be trusted on this utterance.

M modalities, N utterances, E width of the enriched features, C classes.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dferc.model.layers import ModalityLinear, ModalityMLP, dropout

EPSILON = 1e-13


class Fusion(NamedTuple):
    """What the fusion found and made."""

    fused_NF: Tensor
    """`[beta * sum_m g_m e_m ; sum_m e_m]`, F = 2E."""
    contribution_MN: Tensor
    """`g_m`: sums to 1 over the present modalities, 0 where absent."""
    confidence_MN: Tensor | None
    """`c_m` in (0, 1); None without CFM."""
    unimodal_MNC: Tensor | None
    """`q_m`: logits of each modality alone; None without CFM."""


class ContributionFusion(nn.Module):
    """Predicts from each modality alone how likely it is to be right, and fuses by that.

    Args:
        modalities: M.
        width: E.
        classes: C.
        dropout: before both classifiers.
        scale: beta.
        contributions: False = every present modality contributes alike (a plain sum), and nothing is predicted.
    """

    def __init__(
        self, *, modalities: int, width: int, classes: int, dropout: float, scale: float, contributions: bool = True
    ):
        super().__init__()
        self.scale = scale
        self.dropout = dropout
        self.unimodal = self.confidence = None
        if contributions:
            self.unimodal = ModalityMLP(modalities=modalities, width_in=width, width_out=classes, dropout=dropout)
            self.confidence = ModalityLinear(modalities=modalities, width_in=width, width_out=1)

    def forward(self, e_MNE: Tensor, present_MN: Tensor) -> Fusion:
        """Fuse the enriched features; rows of absent modalities must be zero."""
        unimodal_MNC = confidence_MN = None
        trust_MN = present_MN.to(e_MNE.dtype)
        if self.confidence is not None:
            unimodal_MNC = self.unimodal(e_MNE)
            dropped = dropout(e_MNE, self.dropout, self.training)
            confidence_MN = torch.sigmoid(self.confidence(dropped)).squeeze(-1)
            trust_MN = trust_MN * confidence_MN
        contribution_MN = trust_MN / (trust_MN.sum(dim=0) + EPSILON)
        weighted_NE = (contribution_MN.unsqueeze(-1) * e_MNE).sum(dim=0)
        fused_NF = torch.cat([self.scale * weighted_NE, e_MNE.sum(dim=0)], dim=-1)
        return Fusion(fused_NF, contribution_MN, confidence_MN, unimodal_MNC)
