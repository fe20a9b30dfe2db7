"""CRM, context refusion (docs/method.md §5): context is let in where the modalities disagree.

    o      = 2-layer bidirectional LSTM over the f of each dialogue, with variational dropout
    w_t    = gamma * (1 - s_t),  s_t the agreement of utterance t's modalities (alignment.py)
    logits = lin_cls([f_t ; w_t * (o_{t-1} + o_{t+1})])

With `train.causal` the LSTM reads forwards only, and o_{t+1} is left out: nothing comes from after t.

Shapes: N utterances of all dialogues of the batch, F width of the fused features, C classes.
"""

import torch
from torch import Tensor, nn

from dferc.model.layers import reset_linear
from dferc.model.layers.lstm import DialogueLSTM, Layout


class ContextRefusion(nn.Module):
    """Classifier of an utterance's fused feature beside the weighted states of its neighbours.

    Args:
        width: F; the LSTM has F/2 units per direction.
        classes: C.
        dropout: variational, on the input of each LSTM layer.
        recurrent_dropout: DropConnect on the LSTM's hidden-to-hidden weights. The authors' had no effect in their
            version of PyTorch (1.8); 0 computes what they ran.
        scale: gamma.
        context: `agreement` = weight gamma * (1 - s); `always` = weight 1; `never` = no context and no LSTM.
        causal: whether the context is the past alone.
    """

    def __init__(
        self,
        *,
        width: int,
        classes: int,
        dropout: float,
        recurrent_dropout: float,
        scale: float,
        context: str,
        causal: bool = False,
    ):
        super().__init__()
        self.scale, self.context, self.causal = scale, context, causal
        self.lstm = None
        if context != "never":
            self.lstm = DialogueLSTM(
                width=width, layers=2, dropout=dropout, recurrent_dropout=recurrent_dropout, causal=causal
            )
        self.classifier = nn.Linear(2 * width, classes)
        reset_linear(self.classifier.weight, self.classifier.bias)

    def forward(self, fused_NF: Tensor, agreement_N: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
        """Classify every utterance.

        Returns:
            Logits [N, C], the classifier's input [N, 2F] and the context weight [N].
        """
        if self.context == "agreement":
            weight_N = self.scale * (1 - agreement_N)  # w_t = gamma * (1 - s_t)
        else:
            weight_N = torch.full_like(agreement_N, 1.0 if self.context == "always" else 0.0)
        if self.lstm is None:
            context_NF = torch.zeros_like(fused_NF)  # the classifier keeps its width: see variants.py
        else:
            context_NF = neighbours(self.lstm(fused_NF, layout), layout, self.causal)
        # [f ; w * context], [N, 2F]. fused_NF may be bfloat16 under autocast, the weight is float32.
        classified_NK = torch.cat([fused_NF, weight_N.to(fused_NF.dtype).unsqueeze(-1) * context_NF], dim=-1)
        return self.classifier(classified_NK), classified_NK, weight_N


def neighbours(o_NF: Tensor, layout: Layout, causal: bool = False) -> Tensor:
    """Return `o_{t-1} + o_{t+1}` within each dialogue, zero beyond its ends, [N, F]; if causal, `o_{t-1}` alone."""
    joined = layout.joined.to(o_NF.dtype).unsqueeze(-1)  # [N-1, 1]: rows t and t+1 are of one dialogue
    edge = o_NF.new_zeros(1, o_NF.shape[1])
    previous = torch.cat([edge, o_NF[:-1] * joined])  # o_{t-1}
    if causal:
        return previous
    following = torch.cat([o_NF[1:] * joined, edge])  # o_{t+1}
    return previous + following
