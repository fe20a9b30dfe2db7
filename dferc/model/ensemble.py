"""Several models trained as one (`train.members`, docs/plus.md), and `build_model`, which chooses.

    p = mean_k softmax(logits_k),   logits = log p;   then the blend with the linear floor (extras.py), once for all
    L = mean_k L_k

A deep ensemble (Lakshminarayanan et al., NeurIPS 2017, arXiv 1612.01474) within one run: members read the same batches,
and differ in their first weights and in dropout; one epoch is selected for all. Recurrent members
(`train.recurrent_members`) differ in kind: each is a bc-LSTM over the features themselves, whose L_k is cross-entropy.

Shapes: K members, N utterances, D width of all modalities side by side, M modalities, C classes.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dferc.model.dferc import DFERC, Outputs, build_member
from dferc.model.extras import build_extras
from dferc.model.layers.bc_lstm import BcLSTM
from dferc.model.layers.lstm import Layout
from dferc.model.linear_blend import side_by_side
from dferc.model.variants import Variant
from dferc.settings.sections import Train

AVERAGED = ("contribution_MN", "agreement_N", "context_weight_N", "confidence_MN")
"""Outputs that are means over the members; all others but the logits are the first member's, since each member has
spaces of its own."""


class Ensemble(nn.Module):
    """Mean of the probabilities of K models; reads and returns what a `DFERC` does.

    Args:
        members: the models, without a linear floor of their own.
        recurrent: recurrent members.
        extras: holds the linear floor; None without it.
    """

    def __init__(self, members: Sequence[DFERC], recurrent: Sequence[BcLSTM], extras: nn.Module | None):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.recurrent = nn.ModuleList(recurrent)
        self.extras = extras

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that the members read, in the order of M."""
        return self.members[0].modalities

    @property
    def disentangle(self) -> nn.Module:
        """DDM of the first member, for analyses."""
        return self.members[0].disentangle

    def forward(
        self, features: Mapping[str, Tensor], present_MN: Tensor, layout: Layout, speaker_N: Tensor | None = None
    ) -> Outputs:
        """Compute the emotions of every utterance, as `DFERC.forward`."""
        each = tuple(member(features, present_MN, layout, speaker_N) for member in self.members)
        of_recurrent = ()
        if self.recurrent:
            x_ND = side_by_side(features, present_MN, self.modalities)
            of_recurrent = tuple(member(x_ND, layout) for member in self.recurrent)
        log_p_KNC = torch.stack([*(one.logits_NC for one in each), *of_recurrent]).log_softmax(dim=2)
        logits_NC = log_p_KNC.logsumexp(dim=0) - math.log(len(log_p_KNC))  # log of the mean probability
        if self.extras is not None:
            logits_NC = self.extras.blended(logits_NC, features, present_MN)
        columns = {name: [getattr(one, name) for one in each] for name in AVERAGED}
        means = {name: torch.stack(column).mean(dim=0) for name, column in columns.items() if column[0] is not None}
        return each[0]._replace(logits_NC=logits_NC, of_members=each, of_recurrent=of_recurrent, **means)


def build_model(settings: Train, variant: Variant, widths: Mapping[str, int], classes: int) -> DFERC | Ensemble:
    """Build the model of a variant; its weights are drawn from torch's global generator.

    Args:
        settings: the train section of params.yaml.
        variant: which parts are switched on.
        widths: modality -> D; a variant that names no modalities reads them all.
        classes: C.
    """
    if settings.members == 1 and not settings.recurrent_members:
        return build_member(settings, variant, widths, classes)
    bare = settings.model_copy(update={"linear_blend": False})
    members = [build_member(bare, variant, widths, classes) for _ in range(settings.members)]
    read = {name: widths[name] for name in members[0].modalities}
    shares = {"dropout": settings.dropout, "input_dropout": settings.input_dropout}
    recurrent = [
        BcLSTM(sum(read.values()), settings.hidden, classes, causal=settings.causal, **shares)
        for _ in range(settings.recurrent_members)
    ]
    own = settings.model_copy(update={"attention_layers": 0})
    return Ensemble(members, recurrent, build_extras(own, read, 0, classes))
