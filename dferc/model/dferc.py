"""DF-ERC on one screen: project, disentangle, fuse by contribution, let context in where modalities disagree.

M modalities (of the variant, in the order of `dferc.MODALITIES`), N utterances of all dialogues of the batch,
D width of a modality's features, H hidden, A alignment width, C classes. Forward never sees labels.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dferc.model.alignment import Prototypes, agreement
from dferc.model.cfm import ContributionFusion
from dferc.model.crm import ContextRefusion
from dferc.model.ddm import Disentanglement
from dferc.model.layers import ModalityMLP, dropout, reset_linear
from dferc.model.lstm import Layout
from dferc.model.variants import Variant
from dferc.settings.sections import Train


class Outputs(NamedTuple):
    """Everything a loss, a table or a figure may want of a batch."""

    logits_NC: Tensor
    contribution_MN: Tensor
    """How much each modality counts; sums to 1 over the present ones."""
    agreement_N: Tensor
    """Mean pairwise cosine of the modalities in the alignment space; 0 where fewer than two are present."""
    context_weight_N: Tensor
    confidence_MN: Tensor | None
    """Predicted true class probability of each modality alone; None without CFM."""
    unimodal_MNC: Tensor | None
    """Logits of each modality alone; None without CFM."""
    modality_MNH: Tensor | None
    """DDM's first level `a`; None where switched off."""
    utterance_MNH: Tensor | None
    """DDM's second level `u`; None where switched off."""
    disentangled_MNH: Tensor
    """`r = a + u`."""
    aligned_MNA: Tensor
    """`z`, in the alignment space."""
    refused: Tensor
    """The classifier's input, [N, 8H]."""


class DFERC(nn.Module):
    """The whole model; parts are handed in, so that a variant is a matter of building, not of branching.

    Args:
        projections: modality -> linear layer to H; their order is the order of M.
        disentangle: DDM.
        fuse: CFM.
        align: `mlp_align`, [M, N, 2H] -> [M, N, A].
        prototypes: of the alignment loss; state only, not used in forward.
        refuse: CRM.
        ddm_scale: alpha.
        dropout: after the projections.
    """

    def __init__(
        self,
        *,
        projections: Mapping[str, nn.Linear],
        disentangle: Disentanglement,
        fuse: ContributionFusion,
        align: ModalityMLP,
        prototypes: Prototypes,
        refuse: ContextRefusion,
        ddm_scale: float,
        dropout: float,
    ):
        super().__init__()
        self.projections = nn.ModuleDict(projections)
        self.disentangle = disentangle
        self.fuse = fuse
        self.align = align
        self.prototypes = prototypes
        self.refuse = refuse
        self.ddm_scale = ddm_scale
        self.dropout = dropout

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities this model sees, in the order of M."""
        return tuple(self.projections)

    def forward(self, features: Mapping[str, Tensor], present_MN: Tensor, layout: Layout) -> Outputs:
        """Emotions of every utterance of a batch of whole dialogues.

        Args:
            features: modality -> [N, D], normalised; rows that are not present are ignored.
            present_MN: bool; False = this utterance has no such signal.
            layout: which rows are which dialogue.
        """
        h_MNH = torch.stack([torch.tanh(linear(features[name])) for name, linear in self.projections.items()])
        h_MNH = dropout(h_MNH, self.dropout, self.training)

        a_MNH, u_MNH, r_MNH = self.disentangle(h_MNH)
        e_MNE = torch.cat([h_MNH, self.ddm_scale * r_MNH], dim=-1) * present_MN.unsqueeze(-1)

        fusion = self.fuse(e_MNE, present_MN)
        z_MNA = self.align(e_MNE)
        s_N = agreement(z_MNA, present_MN)
        logits_NC, refused, weight_N = self.refuse(fusion.fused_NF, s_N, layout)
        return Outputs(
            logits_NC=logits_NC,
            contribution_MN=fusion.contribution_MN,
            agreement_N=s_N,
            context_weight_N=weight_N,
            confidence_MN=fusion.confidence_MN,
            unimodal_MNC=fusion.unimodal_MNC,
            modality_MNH=a_MNH,
            utterance_MNH=u_MNH,
            disentangled_MNH=r_MNH,
            aligned_MNA=z_MNA,
            refused=refused,
        )


def build_model(settings: Train, variant: Variant, widths: Mapping[str, int], classes: int) -> DFERC:
    """Translate settings and a variant into a model; draws its weights from the global generator.

    Args:
        settings: the train section.
        variant: what is switched on.
        widths: modality -> D, at least of the variant's modalities.
        classes: C.
    """
    M, E = len(variant.modalities), 2 * settings.hidden
    projections = {}
    for name in variant.modalities:
        projections[name] = nn.Linear(widths[name], settings.hidden)
        reset_linear(projections[name].weight, projections[name].bias)
    return DFERC(
        projections=projections,
        disentangle=Disentanglement(
            modalities=M,
            hidden=settings.hidden,
            dropout=settings.dropout,
            modality_level=variant.modality_level,
            utterance_level=variant.utterance_level,
        ),
        fuse=ContributionFusion(
            modalities=M,
            width=E,
            classes=classes,
            dropout=settings.dropout,
            scale=settings.contribution_scale,
            contributions=variant.contributions,
        ),
        align=ModalityMLP(modalities=M, width_in=E, width_out=settings.align, dropout=settings.dropout),
        prototypes=Prototypes(classes=classes, width=settings.align, momentum=settings.prototype_momentum),
        refuse=ContextRefusion(
            width=2 * E,
            classes=classes,
            dropout=settings.context_dropout,
            recurrent_dropout=settings.recurrent_dropout,
            scale=settings.context_scale,
            context=variant.context,
        ),
        ddm_scale=settings.ddm_scale,
        dropout=settings.dropout,
    )
