"""Peers against their papers' equations, written plainly, and against the sizes that follow from them."""

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dferc.baselines.dialogue_rnn import DialogueRNN
from dferc.baselines.mmgcn import MMGCN, graph_edges
from dferc.baselines.registry import TRAINED
from dferc.baselines.sdt import SDT, CrossTransformer
from dferc.baselines.shared import count_parties, masked_softmax, number_parties
from dferc.model.layers.lstm import BiLSTMLayer, Layout
from dferc.model.layers.padding import Padding
from dferc.training.data import Batch

WIDTHS = {"text": 7, "audio": 5, "physiology": 3}
SMALL = {
    "dialogue_rnn": {"state": 6, "emotion": 4, "hidden": 5, "dropout": 0.1, "state_dropout": 0.1},
    "mmgcn": {"units": 4, "graph": 5, "layers": 3, "dropout": 0.4, "alpha": 0.1, "eta": 0.5, "parties": 3},
    "sdt": {"hidden": 8, "heads": 2, "dropout": 0.5, "temperature": 2.0, "learnt_gates": True, "parties": 3},
}
MODELS = {"dialogue_rnn": DialogueRNN, "mmgcn": MMGCN, "sdt": SDT}
CLASSES = 4
LENGTHS = (5, 1, 3)
WHO = (0, 1, 0, 0, 2, 0, 1, 0, 1)


def make_model(name: str, widths: dict[str, int] = WIDTHS, **changes) -> nn.Module:
    torch.manual_seed(3)
    return MODELS[name](widths=widths, classes=CLASSES, **SMALL[name] | changes).eval()


def make_batch(
    lengths: Sequence[int] = LENGTHS,
    speakers: Sequence[int] = WHO,
    widths: dict[str, int] = WIDTHS,
    absent: Sequence[tuple[int, int]] = (),
) -> Batch:
    """Dialogues of random values; `absent` holds pairs of a modality and a row."""
    N, random = sum(lengths), torch.Generator().manual_seed(0)
    features = {name: torch.randn(N, width, generator=random) for name, width in widths.items()}
    present_MN = torch.ones(len(widths), N, dtype=torch.bool)
    for m, row in absent:
        present_MN[m, row] = False
        features[[*widths][m]][row] = 0
    labels_N = torch.arange(N) % CLASSES
    return Batch(features, present_MN, labels_N, torch.arange(N), torch.tensor(speakers[:N]), Layout.of(lengths))


def take(batch: Batch, rows: Sequence[int], lengths: Sequence[int]) -> Batch:
    """Return some rows of a batch as dialogues of these lengths."""
    rows = torch.tensor(rows)
    features = {name: x_ND[rows] for name, x_ND in batch.features.items()}
    of_rows = (x_N[rows] for x_N in (batch.labels_N, batch.rows_N, batch.speaker_N))
    return Batch(features, batch.present_MN[:, rows], *of_rows, Layout.of(lengths))


def objective(name: str, model: nn.Module, batch: Batch) -> tuple:
    """Return the losses and probabilities."""
    return TRAINED[name].objective(model, batch, SimpleNamespace(class_weights_C=torch.ones(CLASSES)))


def probabilities(name: str, model: nn.Module, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return objective(name, model, batch)[1]


PEERS = pytest.mark.parametrize("name", [*MODELS])
LACKING = ((0, 1), (1, 1), (2, 1), (1, 6), (1, 7), (1, 8), (2, 3))
"""The second utterance has nothing, the last dialogue no audio."""


# ---------------------------------------------------------------------------------------------------- all of them


@PEERS
@pytest.mark.parametrize("absent", [(), LACKING])
def test_dialogue_has_the_same_result_in_any_company(name, absent):
    model, batch = make_model(name), make_batch(absent=absent)
    together = probabilities(name, model, batch)
    alone = [take(batch, range(0, 5), [5]), take(batch, [5], [1]), take(batch, range(6, 9), [3])]
    assert torch.allclose(together, torch.cat([probabilities(name, model, each) for each in alone]), atol=1e-6)
    other = take(batch, [6, 7, 8, 0, 1, 2, 3, 4, 5], [3, 5, 1])
    assert torch.allclose(together[[6, 7, 8, 0, 1, 2, 3, 4, 5]], probabilities(name, model, other), atol=1e-6)
    assert (together.sum(dim=1) - 1).abs().max() < 1e-5 and together.std(dim=0).min() > 1e-4


@PEERS
@pytest.mark.parametrize("absent", [(), LACKING])
def test_gradients_are_finite_and_reach_every_parameter(name, absent):
    model = make_model(name).train()
    objective(name, model, make_batch(absent=absent))[0].total.backward()
    for which, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), which


def test_what_differs_for_meld_learns_and_keeps_to_its_dialogue():
    model, batch = make_model("sdt", learnt_gates=False), make_batch()
    lone = probabilities("sdt", model, take(batch, [5], [1]))
    assert torch.allclose(probabilities("sdt", model, batch)[5], lone[0], atol=1e-6)
    losses, _ = objective("sdt", model.train(), batch)
    losses.total.backward()
    assert all(parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("name", [*MODELS])
def test_constants_are_those_of_the_corpus_or_of_iemocap(name):
    recipes = TRAINED[name].recipes
    assert TRAINED[name].recipe("meld") is recipes["meld"] is not recipes["iemocap"]
    assert TRAINED[name].recipe("podcast") is recipes["iemocap"]


@PEERS
def test_loss_does_not_count_rows_without_a_label(name):
    model, batch = make_model(name), make_batch()
    losses = []
    for other in (0, 3):
        batch.labels_N[:] = torch.where(torch.arange(9) < 5, torch.arange(9) % CLASSES, other)
        labelled = batch.labels_N.clone()
        batch.labels_N[5:] = -1
        losses.append(objective(name, model, batch)[0].total.item())
        batch.labels_N[:] = labelled
    assert losses[0] == losses[1] != objective(name, model, batch)[0].total.item()
    batch.labels_N[:] = -1
    total = objective(name, model, batch)[0].total
    assert total.isfinite()
    total.backward()


@PEERS
def test_who_speaks_matters_and_the_unnamed_are_one_party(name):
    model = make_model(name)
    named = probabilities(name, model, make_batch())
    assert not torch.allclose(named, probabilities(name, model, make_batch(speakers=[0] * 9)), atol=1e-5)
    unnamed = probabilities(name, model, make_batch(speakers=[-1] * 9))
    last = 0 if name == "dialogue_rnn" else model.parties - 1  # which of its rows is theirs
    assert torch.equal(unnamed, probabilities(name, model, make_batch(speakers=[last] * 9)))


@PEERS
def test_any_number_of_modalities_of_any_names(name):
    for widths in ({"physiology": 4}, {"text": 4}, {**WIDTHS, "visual": 2}):
        assert probabilities(name, make_model(name, widths), make_batch(widths=widths)).isfinite().all()


@PEERS
def test_utterance_without_any_modality_is_decided_by_its_context(name):
    model, batch = make_model(name), make_batch(absent=[(0, 1), (1, 1), (2, 1)])
    before = probabilities(name, model, batch)[1]
    batch.features["text"][2] += 1.0
    assert (probabilities(name, model, batch)[1] - before).abs().max() > 1e-5


@pytest.mark.parametrize("name", ["mmgcn", "sdt"])
def test_values_of_an_absent_modality_are_never_read(name):
    model, batch = make_model(name), make_batch(absent=[(1, 2), (1, 6), (2, 7)])
    before = probabilities(name, model, batch)
    for modality, row in (("audio", 2), ("audio", 6), ("physiology", 7)):
        batch.features[modality][row] = 9.0
    assert torch.equal(before, probabilities(name, model, batch))


def test_parties_are_those_of_training_and_one_for_the_unnamed():
    def task(*speakers: int):
        return SimpleNamespace(train=SimpleNamespace(speaker_N=torch.tensor(speakers)))

    assert [count_parties(task(0, 1, 0)), count_parties(task(0, -1)), count_parties(task(-1, -1))] == [2, 2, 1]
    assert number_parties(torch.tensor([0, 1, -1, 5]), 3).tolist() == [0, 1, 2, 2]


def test_softmax_of_nothing_is_zero():
    mask = torch.tensor([[True, False], [False, False]])
    assert masked_softmax(torch.randn(2, 2), mask).tolist() == [[1, 0], [0, 0]]


def test_padding_lays_rows_out_and_takes_them_back():
    padding, x = Padding.of(LENGTHS), torch.arange(1.0, 10)
    padded = padding.pad(x)
    assert padded.tolist() == [[1, 2, 3, 4, 5], [6, 0, 0, 0, 0], [7, 8, 9, 0, 0]]
    assert torch.equal(padding.unpad(padded), x)


# ---------------------------------------------------------------------------------------------------- sizes


def count(model: type[nn.Module], name: str, corpus: str, **arguments) -> int:
    """Number of parameters at the paper's sizes, with the field's features of IEMOCAP."""
    widths = {"text": 1024, "audio": 1582, "visual": 342}
    with torch.device("meta"):
        built = model(widths=widths, classes=6, **TRAINED[name].recipes[corpus].sizes, **arguments)
    return sum(parameter.numel() for parameter in built.parameters())


def gru(width: int, units: int) -> int:
    """Parameters of `torch.nn.GRUCell`."""
    return 3 * units * (width + units + 2)


def test_dialogue_rnn_has_as_many_parameters_as_its_equations():
    D, G, E, H = 1024 + 1582 + 342, 500, 300, 300
    one_direction = gru(D + G, G) + gru(D + G, G) + gru(G, E) + D * G
    head = (2 * E) * (2 * E) + (2 * E + 1) * 2 * H + (2 * H + 1) * 6
    assert count(DialogueRNN, "dialogue_rnn", "iemocap") == 2 * one_direction + head == 28_815_806


def test_mmgcn_has_as_many_parameters_as_its_equations():
    encoders = (1024 + 1582 + 342 + 3) * 200
    lstm = 2 * 2 * 4 * 100 * (200 + 100 + 2)  # two layers, two directions
    graph = 201 * 100 + 4 * 100 * 100
    found = count(MMGCN, "mmgcn", "iemocap", parties=2)
    assert found == encoders + lstm + 2 * 200 + graph + (900 + 1) * 6 == 1_139_306


@pytest.mark.parametrize(("corpus", "gates", "total"), [("iemocap", 9, 79_669_272), ("meld", 0, 70_232_088)])
def test_sdt_has_as_many_parameters_as_its_equations(corpus, gates, total):
    H = 1024
    transformer = 6 * (H + 1) * H + 2 * H  # query, key, value, out, two of the feed-forward layer; a layer norm
    enter, reduce, fuse = (1024 + 1582 + 342) * H, 3 * (3 * H + 1) * H, H * H
    found = count(SDT, "sdt", corpus, parties=3)
    assert found == 9 * transformer + gates * H * H + enter + reduce + fuse + 3 * H + 4 * (H + 1) * 6 == total


# ---------------------------------------------------------------------------------------------------- equations


def gru_cell(cell: nn.Module, direction: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """PyTorch's cell with the weights of one direction; the known input stands first, as in [u ; q]."""
    weight, units = cell.weight_ih[direction].T, cell.weight_hh.shape[1]
    if cell.weight_known is not None:
        weight = torch.cat([cell.weight_known.view(2, 3 * units, -1)[direction], weight], dim=1)
    plain = nn.GRUCell(weight.shape[1], units)
    values = (weight, cell.weight_hh[direction].T, cell.bias_ih[direction, 0], cell.bias_hh[direction, 0])
    for parameter, value in zip((plain.weight_ih, plain.weight_hh, plain.bias_ih, plain.bias_hh), values):
        parameter.data = value.detach()
    return plain


def plain_dialogue_rnn(model: DialogueRNN, u: torch.Tensor, who: list[int], direction: int) -> torch.Tensor:
    """Emotion representations of one dialogue in one direction, one utterance after another."""
    cells = (model.global_cell, model.party_cell, model.emotion_cell)
    to_global, to_party, to_emotion = (gru_cell(cell, direction) for cell in cells)
    state = model.global_cell.weight_hh.shape[1]
    attention = model.attention.weight[direction * state : (direction + 1) * state]
    q = {speaker: torch.zeros(state) for speaker in who}
    g, e, history, emotions = torch.zeros(state), torch.zeros(to_emotion.hidden_size), [], []
    for u_t, speaker in zip(u, who):
        g = to_global(torch.cat([u_t, q[speaker]]), g)
        context = torch.zeros(state)
        if history:
            past = torch.stack(history)
            context = (past @ (attention @ u_t)).softmax(dim=0) @ past
        q[speaker] = to_party(torch.cat([u_t, context]), q[speaker])
        e = to_emotion(q[speaker], e)
        history.append(g)
        emotions.append(e)
    return torch.stack(emotions)


def test_dialogue_rnn_is_its_equations_utterance_by_utterance():
    model, batch = make_model("dialogue_rnn"), make_batch()
    with torch.no_grad():
        found = model.emotions(batch)
        for rows in (slice(0, 5), slice(5, 6), slice(6, 9)):
            u = torch.cat([x[rows] for x in batch.features.values()], dim=1)
            who = batch.speaker_N[rows].tolist()
            forward = plain_dialogue_rnn(model, u, who, 0)
            backward = plain_dialogue_rnn(model, u.flip(0), who[::-1], 1).flip(0)
            e = torch.cat([forward, backward], dim=1)
            assert torch.allclose(found[rows], e, atol=1e-6)
            beta = (e @ model.emotion_attention.weight.T @ e.T).softmax(dim=1)
            logits = model.classify(F.relu(model.dense(beta @ e)))
            assert torch.allclose(model(batch)[rows], logits, atol=1e-6)


def test_dialogue_rnn_reads_nothing_later_in_its_forward_half():
    model, batch = make_model("dialogue_rnn"), make_batch()
    with torch.no_grad():
        before = model.emotions(batch)
        batch.features["audio"][3] += 1.0
        changed = (model.emotions(batch) - before).abs() > 1e-7
    forward, backward = changed[:, :4].any(dim=1).tolist(), changed[:, 4:].any(dim=1).tolist()
    assert forward == [False, False, False, True, True, False, False, False, False]
    assert backward == [True, True, True, True, False, False, False, False, False]


def test_mmgcn_graph_has_the_papers_edges():
    lengths, real_NM = (3, 1), torch.tensor([[True, True], [True, False], [True, True], [False, True]])
    x_NMW, padding = torch.randn(4, 2, 6), Padding.of(lengths)
    within, across, scale = graph_edges(padding.pad(x_NMW), padding.pad(real_NM))
    whole = torch.zeros(4, 2, 4, 2)  # edges of all pairs of nodes, (row, modality) by (row, modality)
    for i in range(3):
        for j in range(3):
            for m in range(2):
                for n in range(2):
                    if (m == n or i == j) and real_NM[i, m] and real_NM[j, n]:
                        cosine = F.cosine_similarity(x_NMW[i, m], x_NMW[j, n], dim=0)
                        whole[i, m, j, n] = 1 - math.acos(0.99999 * cosine) / math.pi
                    found = within[0, m, i, j] if m == n else across[0, i, m, n] * (i == j)
                    assert found.item() == pytest.approx(whole[i, m, j, n].item(), abs=1e-5)
    degree = whole.sum(dim=(2, 3))[:3]
    expected = torch.where(real_NM[:3], degree.clamp(min=1e-9).rsqrt(), 0.0)
    assert torch.allclose(scale[0], expected, atol=1e-5)
    assert (within[1, 0] == 0).all() and scale[1].tolist()[0] == [0, pytest.approx(1, abs=1e-2)]


def test_mmgcn_of_a_lone_utterance_and_modality_is_a_plain_deep_network():
    """A graph of one node: P is 1."""
    model, batch = make_model("mmgcn", {"audio": 5}), make_batch([1], [1], {"audio": 5})
    with torch.no_grad():
        x = model._encode(batch)[0]
        start = h = F.relu(model.enter(x))
        for layer, weight in enumerate(model.convolutions, start=1):
            beta, mixed = math.log(0.5 / layer + 1), 0.9 * h + 0.1 * start
            h = F.relu((1 - beta) * mixed + beta * mixed @ weight)
        assert torch.allclose(model(batch), model.classify(F.relu(torch.cat([x, h], dim=1))), atol=1e-5)


def test_cross_transformer_attends_as_pytorchs_attention_does():
    torch.manual_seed(0)
    layer, reference = CrossTransformer(8, 2, 0.5, True).eval(), nn.MultiheadAttention(8, 2, batch_first=True).eval()
    parts = (layer.query, layer.key, layer.value)
    reference.in_proj_weight.data = torch.cat([part.weight for part in parts]).detach()
    reference.in_proj_bias.data = torch.cat([part.bias for part in parts]).detach()
    reference.out_proj.load_state_dict(layer.out.state_dict())
    z, source, seen = torch.randn(4, 8), torch.randn(4, 8), torch.tensor([True, False, True, True])
    with torch.no_grad():
        context, _ = reference(z[None], source[None], source[None], key_padding_mask=~seen[None])
        h = z + context[0]
        h = h + layer.narrow(F.gelu(layer.widen(layer.norm(h)), approximate="tanh"))
        found = layer(z, source, seen, Padding.of([4]))
        assert torch.allclose(found, torch.sigmoid(layer.gate(h)) * h, atol=1e-6)


def test_sdt_learns_from_labels_alone_and_from_itself():
    model, batch = make_model("sdt"), make_batch()
    with torch.no_grad():
        logits, each = model(batch)
        losses, _ = objective("sdt", model, batch)
    labels = batch.labels_N
    expected = [F.cross_entropy(logits, labels), sum(F.cross_entropy(one, labels) for one in each)]
    teacher = (logits / 2).softmax(dim=1)
    apart = [(teacher * (teacher.log() - (one / 2).log_softmax(dim=1))).sum(dim=1).mean() for one in each]
    assert losses.classification.item() == pytest.approx(expected[0].item(), rel=1e-5)
    assert losses.unimodal.item() == pytest.approx(expected[1].item(), rel=1e-5)
    assert losses.distillation.item() == pytest.approx(sum(apart).item(), rel=1e-4)
    assert losses.total.item() == pytest.approx(sum(losses[1:]).item(), rel=1e-5)


def test_sdt_learns_nothing_of_modalities_that_are_absent():
    model, batch = make_model("sdt"), make_batch(absent=[(1, row) for row in range(4)])
    with torch.no_grad():
        logits, each = model(batch)
        losses, _ = objective("sdt", model, batch)
    teacher, rows = (logits / 2).softmax(dim=1), [slice(None), slice(4, None), slice(None)]
    apart = [F.kl_div((one / 2).log_softmax(dim=1)[r], teacher[r], reduction="batchmean") for one, r in zip(each, rows)]
    unimodal = [F.cross_entropy(one[r], batch.labels_N[r]) for one, r in zip(each, rows)]
    assert losses.distillation.item() == pytest.approx(sum(apart).item(), rel=1e-4)
    assert losses.unimodal.item() == pytest.approx(sum(unimodal).item(), rel=1e-4)


def test_sdt_weighs_modalities_by_the_gate_and_absent_ones_by_nothing():
    model, batch = make_model("sdt"), make_batch(absent=[(1, 0), (2, 0)])
    with torch.no_grad():
        decides, each = model(batch)
        # One modality left: the gate's softmax is 1, and both heads read the same state.
        model.classify.load_state_dict(model.classify_each[0].state_dict())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dferc.baselines.sdt.F.relu", lambda x: x)
            decides, each = model(batch)
    assert torch.allclose(decides[0], each[0, 0], atol=1e-6)
    assert not torch.allclose(decides[1], each[0, 1], atol=1e-4)


def test_sdt_knows_the_place_in_the_dialogue():
    model, batch = make_model("sdt"), make_batch([4], [0] * 4)
    for x_ND in batch.features.values():
        x_ND[:] = x_ND[0]
    assert probabilities("sdt", model, batch).std(dim=0).max() > 1e-4


@PEERS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_of_autocast_is_near_single_precision(name, dtype, monkeypatch):
    model, batch = make_model(name), make_batch(absent=LACKING)
    layer = BiLSTMLayer.forward  # on the CPU it knows float32 alone; a GPU has its own
    monkeypatch.setattr(
        BiLSTMLayer, "forward", torch.autocast("cpu", enabled=False)(lambda s, x, at: layer(s, x.float(), at))
    )
    expected = probabilities(name, model, batch)
    with torch.autocast("cpu", dtype):
        losses, found = objective(name, model, batch)
    losses.total.backward()
    assert losses.total.dtype == found.dtype == torch.float32 and torch.allclose(found, expected, atol=0.03)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
