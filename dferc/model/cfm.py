"""CFM, contribution-aware fusion (docs/method.md §3): a modality counts as much as it can be trusted.

    q_m = mlp_uni,m(e_m)                                           unimodal logits
    c_m = sigmoid(lin_conf,m(dropout(e_m)))                        confidence
    g_m = c_m / (sum_m c_m + 1e-13)                                contribution
    f   = [beta * sum_m g_m e_m ; sum_m e_m]                       fused feature
    p_m = softmax(q_m)[y]                                          true class probability (TCP)
    L_cfm = sum_m MSE(c_m, p_m) + sum_m CE_w(q_m, y)

Labels enter the loss only: the contributions come from the predicted confidences, in training as in prediction.
Shapes: M modalities, N utterances, C classes, E = 2H width of the enriched features, F = 2E of the fused feature.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dferc.model.layers import ModalityLinear, ModalityMLP, dropout

EPSILON = 1e-13


class Fusion(NamedTuple):
    """Fused features, and the predictions that they were weighted by."""

    fused_NF: Tensor  # f
    contribution_MN: Tensor  # g_m: sums to 1 over the present modalities, 0 where absent
    confidence_MN: Tensor | None  # c_m, in (0, 1); None without CFM
    unimodal_MNC: Tensor | None  # q_m; None without CFM


class ContributionFusion(nn.Module):
    """Contribution-weighted sum of the modalities beside their plain sum.

    Args:
        modalities: M.
        width: E.
        classes: C.
        dropout: share, before both classifiers.
        scale: beta.
        contributions: False = all present modalities contribute alike, and nothing is predicted (ablation `no_cfm`).
    """

    def __init__(
        self, *, modalities: int, width: int, classes: int, dropout: float, scale: float, contributions: bool = True
    ):
        super().__init__()
        self.scale, self.dropout = scale, dropout
        self.unimodal = self.confidence = None
        if contributions:
            self.unimodal = ModalityMLP(modalities=modalities, width_in=width, width_out=classes, dropout=dropout)
            self.confidence = ModalityLinear(modalities=modalities, width_in=width, width_out=1)

    def forward(self, e_MNE: Tensor, present_MN: Tensor) -> Fusion:
        """Fuse the enriched features; rows of absent modalities must be zero."""
        unimodal_MNC = confidence_MN = None
        # Without CFM every present modality has trust 1; an absent one has 0 either way.
        trust_MN = present_MN.to(e_MNE.dtype)
        if self.confidence is not None:
            unimodal_MNC = self.unimodal(e_MNE)  # q_m, with GELU on the logits as in the authors' code
            dropped = dropout(e_MNE, self.dropout, self.training)
            confidence_MN = torch.sigmoid(self.confidence(dropped)).squeeze(-1)  # c_m, [M, N, 1] -> [M, N]
            trust_MN = trust_MN * confidence_MN
        # g_m = c_m / (sum_m c_m + 1e-13), [M, N]; EPSILON keeps an utterance without any modality at 0
        contribution_MN = trust_MN / (trust_MN.sum(dim=0) + EPSILON)
        # f = [beta * sum_m g_m e_m ; sum_m e_m], [N, 2E]
        weighted_NE = (contribution_MN.unsqueeze(-1) * e_MNE).sum(dim=0)  # sum_m g_m e_m
        fused_NF = torch.cat([self.scale * weighted_NE, e_MNE.sum(dim=0)], dim=-1)
        return Fusion(fused_NF, contribution_MN, confidence_MN, unimodal_MNC)
