"""DDM, dual-level disentanglement (docs/method.md §2): representations per modality, then per utterance.

    a_m = mlp_mod,m(h_m)                                           modality level
    u_m = mlp_utt,m(a_m)                                           utterance level, chained on a_m
    r_m = a_m + u_m
    L_ddm = L_mod + L_utt: supervised contrastive losses over the rows of all a_m and of all u_m.
        L_mod: rows of the same modality are positives.   L_utt: rows of the same utterance are positives.

Shapes: M modalities, N utterances, H hidden, R = MN rows. `present_MN` is bool: the utterance has the modality.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dferc.model.layers import ModalityMLP

BLOCK = 1024
"""Rows per tile of the similarity matrix: 4 MB of float32 stay in the CPU's cache, and no R x R matrix is stored."""


class Disentanglement(nn.Module):
    """Two chained levels; a level that is switched off passes its input on.

    Args:
        modalities: M.
        hidden: H.
        dropout: share, before both levels.
        modality_level: whether the first level exists.
        utterance_level: whether the second level exists.
    """

    def __init__(self, *, modalities: int, hidden: int, dropout: float, modality_level: bool, utterance_level: bool):
        super().__init__()
        sizes = dict(modalities=modalities, width_in=hidden, width_out=hidden, dropout=dropout)
        self.modality = ModalityMLP(**sizes) if modality_level else None
        self.utterance = ModalityMLP(**sizes) if utterance_level else None

    def forward(self, h_MNH: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Split `h` into levels.

        Returns:
            `a` and `u` [M, N, H] (None where switched off), and their sum `r` (zeros where both are).
        """
        a_MNH = None if self.modality is None else self.modality(h_MNH)  # a_m = mlp_mod,m(h_m)
        chained = h_MNH if a_MNH is None else a_MNH
        u_MNH = None if self.utterance is None else self.utterance(chained)  # u_m = mlp_utt,m(a_m)
        levels = [level for level in (a_MNH, u_MNH) if level is not None]
        return a_MNH, u_MNH, sum(levels) if levels else torch.zeros_like(h_MNH)  # r_m = a_m + u_m


def modality_contrast(a_MNH: Tensor, present_MN: Tensor, temperature: float) -> Tensor:
    """Compute `L_mod`: rows of the same modality attract each other.

    It is 0 where the batch has a single modality: nothing is to be separated, and attraction alone would collapse
    the representation. The authors' code gives text and audio the same label; the paper means three, as here.
    """
    several = (present_MN.any(dim=1).sum() > 1).float()
    return several * supervised_contrast(a_MNH, present_MN, positives=1, temperature=temperature)


def utterance_contrast(u_MNH: Tensor, present_MN: Tensor, temperature: float) -> Tensor:
    """Compute `L_utt`: the modalities of the same utterance attract each other."""
    return supervised_contrast(u_MNH, present_MN, positives=0, temperature=temperature)


def supervised_contrast(x_MNH: Tensor, present_MN: Tensor, *, positives: int, temperature: float) -> Tensor:
    """Compute the supervised contrastive loss over the present rows.

        s_ij     = z_i . z_j / tau,  z the L2-normalised rows
        log p_ij = s_ij - logsumexp_{k != i} s_ik
        loss     = tau * mean over anchors i with a positive of  -(mean over the positives j of i of log p_ij)

    The mean of `s_ij` over positives is `z_i . (sum of the positives) / their number / tau`, one row sum per group;
    only the denominators need all pairs.

    Args:
        x_MNH: rows, normalised here.
        present_MN: rows that count.
        positives: dimension along which positives lie: 1 = same modality, 0 = same utterance.
        temperature: tau.

    Returns:
        Scalar, float32; 0 with a graph where no anchor has a positive.
    """
    with torch.autocast(x_MNH.device.type, enabled=False):  # exponents and sums in float32
        present = present_MN.unsqueeze(-1)
        z_MNH = F.normalize(x_MNH.float(), dim=-1) * present  # absent rows become 0: they add nothing to any sum
        # logsumexp_{k != i} s_ik, [R] -> [M, N]
        denominator_MN = LogSumExpOthers.apply(z_MNH.flatten(0, 1), present_MN.flatten().float(), temperature)
        denominator_MN = denominator_MN.view_as(present_MN)
        # Sum and number of an anchor's positives: all of its group, less itself.
        partners_MNH = z_MNH.sum(dim=positives, keepdim=True) - z_MNH
        counts_MN = (present_MN.sum(dim=positives, keepdim=True) - 1).expand_as(present_MN)
        # mean over positives of s_ij, [M, N]
        attraction_MN = (z_MNH * partners_MNH).sum(-1) / temperature / counts_MN.clamp(min=1)
        anchors_MN = (present_MN & (counts_MN > 0)).float()
        return temperature * ((denominator_MN - attraction_MN) * anchors_MN).sum() / anchors_MN.sum().clamp(min=1)


class LogSumExpOthers(torch.autograd.Function):
    """`log sum_{k != i} v_k exp(z_i . z_k / tau)` of every row i, in tiles of the upper triangle.

    The similarity is symmetric, so each tile serves its rows and its columns: half of the products. The backward pass
    computes the tiles again and stores none. Rows are unit vectors (or zero), so 1/tau bounds every exponent, and no
    row maximum is needed; the settings keep tau large enough for exp(1/tau) to be a float32.
    """

    @staticmethod
    def forward(ctx, z_RH: Tensor, valid_R: Tensor, temperature: float) -> Tensor:
        """Compute it over the rows with `valid` 1; 0 where no other row counts."""
        sums_R = torch.zeros_like(valid_R)
        for rows, columns, similarity in _tiles(z_RH, temperature):
            sums_R[rows] += similarity @ valid_R[columns]
            if rows != columns:  # the mirror image below the diagonal
                sums_R[columns] += valid_R[rows] @ similarity
        ctx.save_for_backward(z_RH, sums_R)
        ctx.temperature = temperature
        return torch.where(sums_R > 0, sums_R.log(), 0.0)

    @staticmethod
    def backward(ctx, grad_R: Tensor) -> tuple[Tensor, None, None]:
        """Compute `dz_i = sum_k (a_i + a_k) exp(s_ik) z_k / tau`, `a = grad / sums`.

        Row i has a share of its own sum (a_i) and of the sum of every other row k (a_k). Rows that do not count have
        `z_k = 0` and drop out.
        """
        z_RH, sums_R = ctx.saved_tensors
        a_R = torch.where(sums_R > 0, grad_R / sums_R, 0.0) / ctx.temperature
        grad_RH = torch.zeros_like(z_RH)
        for rows, columns, similarity in _tiles(z_RH, ctx.temperature):
            weights = torch.add(a_R[rows].unsqueeze(1), a_R[columns]).mul_(similarity)  # (a_i + a_k) exp(s_ik)
            grad_RH[rows].addmm_(weights, z_RH[columns])
            if rows != columns:
                grad_RH[columns].addmm_(weights.T, z_RH[rows])
        return grad_RH, None, None


def _tiles(z_RH: Tensor, temperature: float) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield `(rows, columns, exp(z_i . z_k / tau))` of the upper triangle; the diagonal, k = i, is 0."""
    scaled_RH = z_RH / temperature
    blocks = [slice(start, min(start + BLOCK, len(z_RH))) for start in range(0, len(z_RH), BLOCK)]
    for i, rows in enumerate(blocks):
        for columns in blocks[i:]:
            similarity = (scaled_RH[rows] @ z_RH[columns].T).exp_()
            if rows == columns:
                similarity.fill_diagonal_(0)
            yield rows, columns, similarity
