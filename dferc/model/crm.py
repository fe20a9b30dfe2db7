"""CRM, context refusion (METHOD §5): where the modalities agree the utterance stands alone, else the context is let in.

N utterances of all dialogues of the batch, F width of the fused features, C classes.
"""

import torch
from torch import Tensor, nn

from dferc.model.layers import reset_linear
from dferc.model.lstm import DialogueLSTM, Layout


class ContextRefusion(nn.Module):
    """Reads the neighbours' states from a bidirectional LSTM and classifies the utterance beside them.

    Args:
        width: F; the LSTM has F/2 units each way.
        classes: C.
        dropout: variational, on each LSTM layer's input.
        recurrent_dropout: DropConnect on the LSTM's hidden-to-hidden weights.
        scale: gamma.
        context: `agreement` = weight gamma * (1 - s); `always` = weight 1; `never` = no context (and no LSTM).
    """

    def __init__(
        self, *, width: int, classes: int, dropout: float, recurrent_dropout: float, scale: float, context: str
    ):
        super().__init__()
        self.scale = scale
        self.context = context
        self.lstm = None
        if context != "never":
            self.lstm = DialogueLSTM(width=width, layers=2, dropout=dropout, recurrent_dropout=recurrent_dropout)
        self.classifier = nn.Linear(2 * width, classes)
        reset_linear(self.classifier.weight, self.classifier.bias)

    def forward(self, fused_NF: Tensor, agreement_N: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
        """Classify every utterance with as much context as it needs.

        Returns:
            logits [N, C], the classifier's input [N, 2F], the context weight [N].
        """
        weight_N = self.weight(agreement_N)
        if self.lstm is None:
            context_NF = torch.zeros_like(fused_NF)
        else:
            context_NF = neighbours(self.lstm(fused_NF, layout), layout)
        refused = torch.cat([fused_NF, weight_N.to(fused_NF.dtype).unsqueeze(-1) * context_NF], dim=-1)
        return self.classifier(refused), refused, weight_N

    def weight(self, agreement_N: Tensor) -> Tensor:
        """The context weight `w` of each utterance, [N]."""
        if self.context == "agreement":
            return self.scale * (1 - agreement_N)
        return torch.full_like(agreement_N, 1.0 if self.context == "always" else 0.0)


def neighbours(o_NF: Tensor, layout: Layout) -> Tensor:
    """`o_{t-1} + o_{t+1}` within each dialogue, zero beyond its ends: [N, F]."""
    joined = layout.joined.to(o_NF.dtype).unsqueeze(-1)  # [N-1, 1]: row t and t+1 are of one dialogue
    edge = o_NF.new_zeros(1, o_NF.shape[1])
    previous = torch.cat([edge, o_NF[:-1] * joined])
    following = torch.cat([o_NF[1:] * joined, edge])
    return previous + following
