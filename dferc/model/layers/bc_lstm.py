"""A bidirectional LSTM over the features themselves: bc-LSTM (Poria et al., ACL 2017).

    logits = lin(Dropout(tanh(lin(Dropout(BiLSTM(x))))))

A baseline (`dferc.baselines.bc_lstm`), and a kind of member of an ensemble (`dferc.model.ensemble`).

Shapes: N utterances, D width in, H hidden, C classes.
"""

import torch
from torch import Tensor, nn

from dferc.model.layers import dropout
from dferc.model.layers.lstm import BiLSTMLayer, Layout, past_alone


class BcLSTM(nn.Module):
    """A bc-LSTM.

    Args:
        width: D.
        hidden: H, units per direction.
        classes: C.
        dropout: share, before and after the tanh layer.
        input_dropout: share of the features.
        causal: whether an utterance knows nothing that comes after it.
    """

    def __init__(
        self, width: int, hidden: int, classes: int, dropout: float, input_dropout: float = 0.0, causal: bool = False
    ):
        super().__init__()
        self.dropout, self.input_dropout, self.causal = dropout, input_dropout, causal
        self.lstm = BiLSTMLayer(width, hidden, 0.0)
        self.dense = nn.Linear(2 * hidden, hidden)
        self.classify = nn.Linear(hidden, classes)

    def forward(self, x_ND: Tensor, layout: Layout) -> Tensor:
        """Return logits [N, C] of whole dialogues, whose absent features are zeros."""
        # Both directions side by side, [N, 2H]
        state_N2H = self.lstm(dropout(x_ND, self.input_dropout, self.training), layout)
        if self.causal:
            state_N2H = past_alone(state_N2H)
        dense_NH = torch.tanh(self.dense(dropout(state_N2H, self.dropout, self.training)))
        return self.classify(dropout(dense_NH, self.dropout, self.training))
