"""DF-ERC on one screen (docs/method.md; arXiv 2308.04502).

    §1 projection   h = Dropout(tanh(lin(x)))                                        here
    §2 DDM          a, u, r = a + u;  e = [h ; alpha * r]                            ddm.py
    §3 CFM          f = [beta * sum_m g_m e_m ; sum_m e_m]                           cfm.py
    §4 alignment    z = mlp_align(e);  s = agreement(z)                              alignment.py
    §5 CRM          logits = lin_cls([f ; w * context]),  w = gamma * (1 - s)        crm.py, layers/lstm.py
    beyond the paper, where the settings ask for it: logits += lin(attention(f))     extras.py, ensemble.py

`forward` never reads labels; the losses (§6) are functions of its outputs, in losses.py.

Shapes: M modalities (of any number and names, in the order of `dferc.store.vocabulary.in_order`), N utterances (all
dialogues of the batch, one after another, without padding), D width of a modality's features, H hidden, E = 2H, A width
of the alignment space, C classes.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dferc.core.errors import InputError
from dferc.model.alignment import Prototypes, agreement
from dferc.model.cfm import ContributionFusion
from dferc.model.crm import ContextRefusion
from dferc.model.ddm import Disentanglement
from dferc.model.extras import Extras, build_extras
from dferc.model.layers import ModalityMLP, dropout, reset_linear
from dferc.model.layers.lstm import Layout
from dferc.model.variants import Variant
from dferc.settings.sections import Train


class Outputs(NamedTuple):
    """Everything that a loss, a table or a figure reads of a batch."""

    logits_NC: Tensor  # of the emotion
    contribution_MN: Tensor  # g_m; sums to 1 over the present modalities
    agreement_N: Tensor  # s; 0 where fewer than two modalities are present
    context_weight_N: Tensor  # w
    confidence_MN: Tensor | None  # c_m, the predicted true class probability; None without CFM
    unimodal_MNC: Tensor | None  # q_m, logits of each modality alone; None without CFM
    modality_MNH: Tensor | None  # a_m, DDM's modality level; None where switched off
    utterance_MNH: Tensor | None  # u_m, DDM's utterance level; None where switched off
    disentangled_MNH: Tensor  # r_m = a_m + u_m
    aligned_MNA: Tensor  # z_m, in the alignment space
    classified_NK: Tensor  # the classifier's input, [N, 8H]
    of_members: tuple["Outputs", ...] = ()  # of an ensemble: those of each member
    of_recurrent: tuple[Tensor, ...] = ()  # of an ensemble with recurrent members: the logits of each, [N, C]


class DFERC(nn.Module):
    """The whole model, composed of the paper's parts; `build_member` chooses them for a variant.

    Args:
        projections: modality -> linear layer to H; their order is the order of M.
        disentangle: DDM.
        fuse: CFM.
        align: `mlp_align`, [M, N, E] -> [M, N, A].
        prototypes: for the alignment loss; kept here so that checkpoints hold them, not used in `forward`.
        refuse: CRM.
        ddm_scale: alpha.
        dropout: share, after the projections.
        input_dropout: share of the features.
        extras: what is beyond the paper.
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
        input_dropout: float = 0.0,
        extras: Extras | None = None,
    ):
        super().__init__()
        self.projections = nn.ModuleDict(projections)
        self.disentangle, self.fuse, self.align = disentangle, fuse, align
        self.prototypes, self.refuse, self.extras = prototypes, refuse, extras
        self.ddm_scale, self.dropout, self.input_dropout = ddm_scale, dropout, input_dropout

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that this model reads, in the order of M."""
        return tuple(self.projections)

    @property
    def members(self) -> tuple["DFERC"]:
        """Models that are trained: this one (as `dferc.model.ensemble.Ensemble.members`)."""
        return (self,)

    def forward(
        self, features: Mapping[str, Tensor], present_MN: Tensor, layout: Layout, speaker_N: Tensor | None = None
    ) -> Outputs:
        """Compute the emotions of every utterance of a batch of whole dialogues.

        Args:
            features: modality -> [N, D], normalised; rows that are not present are ignored.
            present_MN: bool; False = the utterance has no such signal.
            layout: which rows are which dialogue.
            speaker_N: who speaks, as in `dferc.training.data.Batch`; the paper's parts do not read it.
        """
        if self.training and self.input_dropout:  # beyond the paper
            features = {name: dropout(features[name], self.input_dropout, True) for name in self.modalities}
        # §1: h_m = Dropout(tanh(lin_m(x_m))), [M, N, H]
        h_MNH = torch.stack([torch.tanh(linear(features[name])) for name, linear in self.projections.items()])
        h_MNH = dropout(h_MNH, self.dropout, self.training)

        # §2: e_m = [h_m ; alpha * r_m], [M, N, 2H]; zero rows where absent, which add nothing to a sum over M
        a_MNH, u_MNH, r_MNH = self.disentangle(h_MNH)
        e_MNE = torch.cat([h_MNH, self.ddm_scale * r_MNH], dim=-1) * present_MN.unsqueeze(-1)

        fusion = self.fuse(e_MNE, present_MN)  # §3: f, [N, 2E]
        z_MNA = self.align(e_MNE)  # §4: z_m = mlp_align,m(e_m), [M, N, A]
        s_N = agreement(z_MNA, present_MN)  # §4: detached, so CRM does not train the alignment
        logits_NC, classified_NK, weight_N = self.refuse(fusion.fused_NF, s_N, layout)  # §5
        if self.extras is not None:
            logits_NC = self.extras(logits_NC, features, present_MN, fusion.fused_NF, speaker_N, layout)
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
            classified_NK=classified_NK,
        )


def build_member(settings: Train, variant: Variant, widths: Mapping[str, int], classes: int) -> DFERC:
    """Build one model of a variant; its weights are drawn from torch's global generator.

    Args:
        settings: the train section of params.yaml.
        variant: which parts are switched on.
        widths: modality -> D; a variant that names no modalities reads them all.
        classes: C.
    """
    # The order of construction is the order of random draws: another order gives other weights for the same seed.
    modalities = variant.select(widths)
    M, E = len(modalities), 2 * settings.hidden  # e_m = [h_m ; alpha * r_m]
    projections = {}
    for name in modalities:
        if hasattr(nn.ModuleDict(), name):
            raise InputError(
                f"the modality {name!r} has the name of a part of PyTorch's modules. Rename its file, such as "
                f"{name}_signal.h5, or choose a name by the setting train.features: {name}_signal: {name}."
            )
        # Separate layers, not a ModalityLinear: the modalities' features differ in width.
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
            scale=settings.contribution_scale,  # beta
            contributions=variant.contributions,
        ),
        align=ModalityMLP(modalities=M, width_in=E, width_out=settings.align, dropout=settings.dropout),
        prototypes=Prototypes(classes=classes, width=settings.align, momentum=settings.prototype_momentum),
        refuse=ContextRefusion(
            width=2 * E,  # f = [beta * sum_m g_m e_m ; sum_m e_m]
            classes=classes,
            dropout=settings.context_dropout,
            recurrent_dropout=settings.recurrent_dropout,
            scale=settings.context_scale,  # gamma
            context=variant.context,
            causal=settings.causal,
        ),
        ddm_scale=settings.ddm_scale,  # alpha
        dropout=settings.dropout,
        input_dropout=settings.input_dropout,
        extras=build_extras(settings, {name: widths[name] for name in modalities}, 2 * E, classes),
    )
