"""What is beyond the paper, each a switch of its own in `train`; docs/plus.md says what each gains on real data.

    logits = a * (head + lin(attention(f))) + b * floor(x),   a = 1 and b = 0 in training

Shapes: N utterances, C classes, F width of the fused features.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dferc.model.layers import dropout
from dferc.model.layers.attention import HEAD_WIDTH, DialogueAttention
from dferc.model.layers.lstm import Layout
from dferc.model.linear_blend import LinearFloor
from dferc.settings.sections import Train


class Extras(nn.Module):
    """Changes to the logits of the paper's model; `build_extras` makes it.

    Args:
        floor: the linear floor.
        attention: over the dialogue.
        classifier: of what attention gathered.
        dropout: share, before the classifier.
    """

    def __init__(
        self,
        *,
        floor: LinearFloor | None,
        attention: DialogueAttention | None,
        classifier: nn.Linear | None,
        dropout: float,
    ):
        super().__init__()
        self.floor, self.attention, self.classifier, self.dropout = floor, attention, classifier, dropout
        if floor is not None:
            self.register_buffer("blend", torch.tensor([1.0, 0.0]))  # a and b, fitted after training

    def forward(
        self,
        logits_NC: Tensor,
        features: Mapping[str, Tensor],
        present_MN: Tensor,
        fused_NF: Tensor,
        speaker_N: Tensor | None,
        layout: Layout,
    ) -> Tensor:
        """Return the logits that decide, [N, C].

        Args:
            logits_NC: of the paper's model.
            features: modality -> [N, D].
            present_MN: bool.
            fused_NF: fused features f of CFM.
            speaker_N: numbers of the speakers within their dialogue, -1 = unknown; None = all unknown.
            layout: which rows are which dialogue.
        """
        if self.attention is not None:
            if speaker_N is None:
                speaker_N = layout.dialogue.new_full((len(fused_NF),), -1)
            gathered_NA = self.attention(fused_NF, speaker_N, layout)
            logits_NC = logits_NC + self.classifier(dropout(gathered_NA, self.dropout, self.training))
        return self.blended(logits_NC, features, present_MN)

    def blended(self, logits_NC: Tensor, features: Mapping[str, Tensor], present_MN: Tensor) -> Tensor:
        """Return a * logits + b * floor, [N, C]; the logits themselves in training, or where there is no floor."""
        if self.floor is None or self.training:
            return logits_NC
        return self.blend[0] * logits_NC + self.blend[1] * self.floor(features, present_MN)


def build_extras(settings: Train, widths: Mapping[str, int], fused: int, classes: int) -> Extras | None:
    """Build what the settings ask for; None if that is nothing.

    Args:
        settings: the train section of params.yaml.
        widths: modality -> D, in the order of M.
        fused: F.
        classes: C.
    """
    if not settings.linear_blend and not settings.attention_layers:
        return None
    attention = classifier = None
    if settings.attention_layers:
        attention = DialogueAttention(
            width_in=fused,
            width=settings.attention_width,
            layers=settings.attention_layers,
            heads=settings.attention_width // HEAD_WIDTH,
            dropout=settings.dropout,
            causal=settings.causal,
        )
        classifier = nn.Linear(settings.attention_width, classes)
    return Extras(
        floor=LinearFloor(widths, classes) if settings.linear_blend else None,
        attention=attention,
        classifier=classifier,
        dropout=settings.dropout,
    )
