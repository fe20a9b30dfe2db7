"""DialogueRNN, bidirectional with emotion attention (BiDialogueRNN+Att): recurrent states of the dialogue and parties.

Majumder et al., *DialogueRNN: An Attentive RNN for Emotion Detection in Conversations*, AAAI 2019, arXiv 1811.00405;
in its notation, with s the speaker of utterance t:

    g_t  = GRU_G(g_{t-1}, [u_t ; q_s])                     global state
    c_t  = sum_j alpha_j g_j,  alpha = softmax(u_t W [g_1 ... g_{t-1}])
    q_s  = GRU_P(q_s, [u_t ; c_t])                         party state, of the speaker alone
    e_t  = GRU_E(e_{t-1}, q_s)                             emotion representation
    beta = softmax(e_t W_b [e_1 ... e_T]),  l_t = ReLU(W_l sum_j beta_j e_j + b_l),  logits = W_s l_t + b_s

The first four run forwards and backwards with weights of their own; [e_forward ; e_backward] enters the attention.
Modalities are concatenated, absent ones as zeros. Differences from the authors' code: the backward direction reads the
speakers in its own order (theirs reads them unreversed), and W_b has no bias, as in the paper.

Rows are packed as in `dferc.model.layers.lstm`: step t holds the forward rows of all dialogues longer than t, then the
backward rows. Shapes: N utterances, S = dialogues of a step, D width, G, P, E widths of the states, T longest dialogue.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from dferc.baselines.shared import Recipe, TrainedBaseline, logits_objective, masked_softmax, widths_of
from dferc.model.layers import dropout
from dferc.model.layers.lstm import Layout
from dferc.model.layers.padding import Padding
from dferc.training.data import Batch
from dferc.training.task import Task

LARGE = {"state": 500, "emotion": 300, "hidden": 300, "dropout": 0.1, "state_dropout": 0.1}
SMALL = {"state": 150, "emotion": 100, "hidden": 100, "dropout": 0.1, "state_dropout": 0.1}
RECIPES = {
    # declare-lab/conv-emotion, DialogueRNN/train_IEMOCAP.py; the paper gives no sizes.
    "iemocap": Recipe(
        learning_rate=1e-4, weight_decay=1e-5, batch_dialogues=30, epochs=60, class_weights="balanced", sizes=LARGE
    ),
    # DialogueRNN/train_MELD.py
    "meld": Recipe(
        learning_rate=5e-4, weight_decay=1e-5, batch_dialogues=30, epochs=100, class_weights="uniform", sizes=SMALL
    ),
}
EMOTION_DROPOUT = 0.15  # added to `dropout`, on the emotion representations before the attention


class DirectedGRU(nn.Module):
    """GRU cells of both directions, as `torch.nn.GRUCell`: one step of all dialogues.

        r, z = sigmoid(W x + U h + b),  n = tanh(W_n x + b_n + r * (U_n h + c_n)),  h' = (1 - z) * n + z * h

    Args:
        width: width of the input that each step computes.
        units: width of the state.
        known: width of a further input, which is known for all steps at once (`share`).
    """

    def __init__(self, width: int, units: int, known: int = 0):
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(2, width, 3 * units))
        self.weight_hh = nn.Parameter(torch.empty(2, units, 3 * units))
        self.bias_ih = nn.Parameter(torch.empty(2, 1, 3 * units))
        self.bias_hh = nn.Parameter(torch.empty(2, 1, 3 * units))
        self.weight_known = nn.Parameter(torch.empty(2 * 3 * units, known)) if known else None
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(units), 1 / math.sqrt(units))

    def share(self, x_ND: Tensor, layout: Layout) -> list[Tensor]:
        """Return the known input's share of the gates by step, each [2, S, 3 * units]."""
        return layout.split(F.linear(x_ND, self.weight_known).view(2 * len(x_ND), -1)[layout.both_order])

    def forward(self, x_2SX: Tensor, h_2SH: Tensor, known_2SG: Tensor | None = None) -> Tensor:
        """Return the next state [2, S, units]."""
        start = self.bias_ih if known_2SG is None else self.bias_ih + known_2SG
        of_x = torch.baddbmm(start, x_2SX, self.weight_ih)
        of_h = torch.baddbmm(self.bias_hh, h_2SH, self.weight_hh)
        H = h_2SH.shape[2]
        r, z = (of_x[..., : 2 * H] + of_h[..., : 2 * H]).sigmoid().chunk(2, dim=2)
        new = torch.tanh(torch.addcmul(of_x[..., 2 * H :], r, of_h[..., 2 * H :]))
        return torch.lerp(new.to(h_2SH.dtype), h_2SH, z.to(h_2SH.dtype))  # the state is float32 under autocast, too


class DialogueRNN(nn.Module):
    """The whole model.

    Args:
        widths: modality -> D, in the order of M.
        classes: C.
        state: G = P.
        emotion: E.
        hidden: half the width of l_t.
        dropout: share, before the classifier; with `EMOTION_DROPOUT` more on the emotion representations.
        state_dropout: share, on each state after its GRU.
    """

    def __init__(
        self,
        *,
        widths: Mapping[str, int],
        classes: int,
        state: int,
        emotion: int,
        hidden: int,
        dropout: float,
        state_dropout: float,
    ):
        super().__init__()
        self.modalities, width = tuple(widths), sum(widths.values())
        self.dropout, self.state_dropout = dropout, state_dropout
        self.global_cell = DirectedGRU(state, state, known=width)
        self.party_cell = DirectedGRU(state, state, known=width)
        self.emotion_cell = DirectedGRU(state, emotion)
        self.attention = nn.Linear(width, 2 * state, bias=False)  # W of both directions
        self.emotion_attention = nn.Linear(2 * emotion, 2 * emotion, bias=False)  # W_b
        self.dense = nn.Linear(2 * emotion, 2 * hidden)
        self.classify = nn.Linear(2 * hidden, classes)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits [N, C]."""
        e_N2E = dropout(self.emotions(batch), self.dropout + EMOTION_DROPOUT, self.training)
        padding = Padding.of(batch.layout.lengths, batch.labels_N.device)
        e_BTE = padding.pad(e_N2E)
        # beta_tj = softmax_j(e_t W_b e_j), [B, T, T]
        scores_BTT = self.emotion_attention(e_BTE) @ e_BTE.transpose(1, 2)
        attended_BTE = masked_softmax(scores_BTT, padding.real_BT.unsqueeze(1)) @ e_BTE
        return self.classify(dropout(F.relu(self.dense(padding.unpad(attended_BTE))), self.dropout, self.training))

    def emotions(self, batch: Batch) -> Tensor:
        """Return [N, 2E]: e_t of the forward direction, which reads no later utterance, beside the backward one's."""
        layout = batch.layout
        u_ND = torch.cat([batch.features[name] for name in self.modalities], dim=1)
        to_global, to_party = self.global_cell.share(u_ND, layout), self.party_cell.share(u_ND, layout)
        query_R = self.attention(u_ND).view(2 * len(u_ND), -1)[layout.both_order]
        queries, (slots, count) = layout.split(query_R), party_slots(batch.speaker_N, layout)
        B, G, E = layout.steps[0], query_R.shape[1], self.emotion_cell.weight_hh.shape[1]
        q = u_ND.new_zeros(count, G)
        g, e, emotions = u_ND.new_zeros(2, B, G), u_ND.new_zeros(2, B, E), []
        states: list[Tensor] = []
        for t, size in enumerate(layout.steps):  # dialogues that ended lie last, and are cut off
            before = q[slots[t]].view(2, size, G)
            context = checkpoint(attend, queries[t], *states, use_reentrant=False, preserve_rng_state=False)
            g = self._drop(self.global_cell(before, g[:, :size], to_global[t]))
            after = self._drop(self.party_cell(context, before, to_party[t]))
            e = self._drop(self.emotion_cell(after, e[:, :size]))
            q = q.index_copy(0, slots[t], after.flatten(0, 1))
            states.append(g)
            emotions.append(e.flatten(0, 1))
        return torch.cat(emotions)[layout.both_place].view(len(u_ND), -1)

    def _drop(self, state: Tensor) -> Tensor:
        return dropout(state, self.state_dropout, self.training)


def attend(query_2SG: Tensor, *states: Tensor) -> Tensor:
    """Read the earlier global states [2, S or more, G] by their similarity to the query: c_t [2, S, G]; 0 of none.

    Computed anew in the backward pass: kept, the stacked states of all steps would grow with the square of a dialogue.
    """
    if not states:
        return torch.zeros_like(query_2SG)
    history_2StG = torch.stack([state[:, : query_2SG.shape[1]] for state in states], dim=2)
    weights_2S1t = (query_2SG.unsqueeze(2) @ history_2StG.transpose(2, 3)).softmax(dim=3)
    return (weights_2S1t @ history_2StG).squeeze(2)


def party_slots(speaker_N: Tensor, layout: Layout) -> tuple[list[Tensor], int]:
    """Return by step the row [2S] of each speaker in a table of party states, and the rows of that table.

    A direction, a dialogue and a speaker share a row; utterances without a speaker are one party of their dialogue.
    """
    parties, B = int(speaker_N.max()) + 2, layout.steps[0]
    slot_N = layout.dialogue * parties + speaker_N + 1
    slot_R = torch.stack([slot_N, slot_N + B * parties], dim=1).flatten()[layout.both_order]
    return [slots.flatten() for slots in layout.split(slot_R)], 2 * B * parties


def build_dialogue_rnn(task: Task, **sizes: float) -> DialogueRNN:
    """Build the model for a task's modalities and classes."""
    return DialogueRNN(widths=widths_of(task), classes=task.classes, **sizes)


DIALOGUE_RNN = TrainedBaseline(build_dialogue_rnn, logits_objective, RECIPES)
