"""What is beyond the paper: attention over a dialogue, the linear start, past only, label smoothing."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from dferc.core.errors import InputError
from dferc.model.ensemble import build_model
from dferc.model.layers.attention import LARGEST_GRID, REACH, DialogueAttention, group_by_length
from dferc.model.layers.lstm import Layout
from dferc.model.linear_blend import GRID, LinearFloor, fit_blend, fit_floor
from dferc.model.losses import cross_entropy, distance_to_uniform
from dferc.model.variants import VARIANTS, settings_of
from dferc.settings.sections import DEFAULTS
from tests.helpers.common import small_settings

WIDTHS = {"text": 6, "audio": 5}
LENGTHS = [3, 1, 12]
SPEAKERS = torch.tensor([0, 1, 0, 0, 0, 0, 1, 1, -1, 0, 2, 2, 1, 0, 1, 0])
TOLERANCE = dict(rtol=1e-4, atol=1e-5)


def make(variant="plus", **settings):
    torch.manual_seed(0)
    settings = settings_of(variant, small_settings(attention_width=32, **settings))
    model = build_model(settings, VARIANTS[variant], WIDTHS, classes=4)
    for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
        if "classifier" in name or "floor" in name or "blend" in name or name.endswith(".bias"):  # as after training
            torch.nn.init.normal_(parameter.data)
    return model.eval()


def make_input(absent=0.2):
    torch.manual_seed(1)
    N = sum(LENGTHS)
    return {m: torch.randn(N, width) for m, width in WIDTHS.items()}, torch.rand(2, N) >= absent, Layout.of(LENGTHS)


def make_attention(**options):
    torch.manual_seed(2)
    attention = DialogueAttention(**dict(width_in=7, width=64, layers=2, heads=2, dropout=0.3, causal=False) | options)
    for layer in attention.layers:
        torch.nn.init.normal_(layer.bias)
    return attention.eval()


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_the_equation_pair_by_pair(causal):
    attention = make_attention(layers=1, causal=causal)
    f, layout = torch.randn(sum(LENGTHS), 7), Layout.of(LENGTHS)
    x = torch.tanh(attention.project(f))
    layer, expected = attention.layers[0], []
    q, k, v = (part.view(-1, 2, 32) for part in layer.qkv(layer.norm_in(x)).chunk(3, dim=1))
    for i in range(len(f)):
        mine = [j for j in range(len(f)) if layout.dialogue[j] == layout.dialogue[i] and not (causal and j > i)]
        heads = []
        for head in range(2):
            scores = []
            for j in mine:
                known = SPEAKERS[i] >= 0 and SPEAKERS[j] >= 0
                who = int(SPEAKERS[i] == SPEAKERS[j]) if known else 2
                distance = max(-REACH, min(REACH, j - i)) + REACH
                scores.append(q[i, head] @ k[j, head] / 32**0.5 + layer.bias[head, who, distance])
            heads.append(torch.stack(scores).softmax(0) @ v[mine, head])
        expected.append(torch.cat(heads))
    y = x + layer.out(torch.stack(expected))
    y = y + layer.narrow(F.gelu(layer.widen(layer.norm_mlp(y))))
    torch.testing.assert_close(attention(f, SPEAKERS, layout), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("most", [1, 20, 150])
def test_groups_of_dialogues_have_the_result_of_all_together(monkeypatch, most):
    attention, f = make_attention(), torch.randn(sum(LENGTHS), 7)
    together = attention(f, SPEAKERS, Layout.of(LENGTHS))
    monkeypatch.setitem(LARGEST_GRID, "cpu", most)
    torch.testing.assert_close(attention(f, SPEAKERS, Layout.of(LENGTHS)), together, **TOLERANCE)


def test_groups_have_similar_lengths_and_no_more_pairs_than_allowed():
    assert group_by_length([3, 1, 12], 432) == [[0, 1, 2]]  # as they are
    assert group_by_length([3, 1, 12], 431) == [[2, 0], [1]]
    assert group_by_length([3, 1, 12], 200) == [[2], [0, 1]]
    assert group_by_length([2, 12, 2, 3], 18) == [[1], [3, 0], [2]]
    assert group_by_length([5], 1) == [[0]] and group_by_length([5, 5], 1) == [[0], [1]]


def test_every_parameter_of_attention_learns():
    attention = make_attention()
    attention(torch.randn(sum(LENGTHS), 7), SPEAKERS, Layout.of(LENGTHS)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in attention.parameters())


def test_logits_do_not_depend_on_the_batch_nor_on_the_numbers_of_the_speakers():
    model, (features, present, layout) = make(), make_input()
    together = model(features, present, layout, SPEAKERS).logits_NC
    renamed = torch.tensor([5, 3, 7, -1])[SPEAKERS]  # 0, 1, 2 and unknown
    torch.testing.assert_close(model(features, present, layout, renamed).logits_NC, together, **TOLERANCE)
    for start, length in zip(np.cumsum(LENGTHS) - LENGTHS, LENGTHS, strict=True):
        rows = slice(start, start + length)
        alone = {m: x[rows] for m, x in features.items()}, present[:, rows], Layout.of([length]), SPEAKERS[rows]
        torch.testing.assert_close(model(*alone).logits_NC, together[rows], **TOLERANCE)


def test_who_spoke_matters_and_may_be_unknown():
    model, (features, present, layout) = make(), make_input()
    known, unknown = model(features, present, layout, SPEAKERS), model(features, present, layout)
    assert not torch.allclose(known.of_members[0].logits_NC, unknown.of_members[0].logits_NC)
    torch.testing.assert_close(unknown, model(features, present, layout, torch.full_like(SPEAKERS, -1)))


def test_absent_features_are_ignored():
    model, (features, present, layout) = make(), make_input(absent=0.4)
    changed = {m: x.masked_fill(~present[i].unsqueeze(-1), 50.0) for i, (m, x) in enumerate(features.items())}
    one, two = (model(x, present, layout, SPEAKERS).logits_NC for x in (features, changed))
    assert torch.equal(one, two)


@pytest.mark.parametrize("variant, changes", [("plus", {}), ("full", {}), ("full_context", {"attention_layers": 1})])
def test_causal_models_know_nothing_that_comes_later(variant, changes):
    features, present, layout = make_input(absent=0.0)
    later = {m: x.clone() for m, x in features.items()}
    later["text"][9] += 1  # the sixth of twelve utterances of the last dialogue
    for causal in (True, False):
        model = make(variant, causal=causal, **changes)
        one, two = (model(x, present, layout, SPEAKERS).logits_NC for x in (features, later))
        moved = (one - two).abs().sum(dim=1)
        assert (moved[:9] == 0).all() == causal
        assert (moved[9:11] > 0).all()


def test_the_floor_is_the_regression_that_validation_selects():
    torch.manual_seed(3)
    x, centres = torch.randn(300, 4), torch.randn(3, 4)
    labels = (x @ centres.T + torch.randn(300, 3)).argmax(dim=1)
    labels[5] = -1
    fitted = fit_floor((x[:200], labels[:200]), (x[200:], labels[200:]), classes=4)
    start = LinearFloor({"one": 3, "two": 1}, classes=4)
    start.take(fitted)
    logits = start({"one": x[:, :3], "two": x[:, 3:]}, torch.ones(2, 300, dtype=torch.bool))
    kept = labels[:200] >= 0
    fits = [LogisticRegression(C=c, max_iter=300).fit(x[:200][kept].double(), labels[:200][kept]) for c in GRID]
    distances = [np.abs(fit.decision_function(x.double()) - logits[:, :3].numpy()).max() for fit in fits]
    assert min(distances) < 1e-2  # one of the grid
    assert (logits.argmax(dim=1) < 3).all() and logits.isfinite().all()  # the fourth class has no training row


def test_of_strengths_that_validation_does_not_tell_apart_the_likeliest_is_taken():
    """One row of the most frequent class is right at each strength, also where no other class is ever said."""
    torch.manual_seed(5)
    labels = torch.tensor([0, 0, 0, 1, 2]).repeat(60)
    x = F.one_hot(labels).float() + 0.3 * torch.randn(300, 3)
    fitted = fit_floor((x[:200], labels[:200]), (x[200:201], labels[200:201]), classes=4)
    found = (x[201:] @ fitted.weight_CS.T + fitted.bias_C).argmax(dim=1)
    assert (found == labels[201:]).float().mean() > 0.9  # 0.6 are of that class


def test_the_floor_is_blended_in_after_training_alone():
    model, (features, present, layout) = make(), make_input()
    floor = model.extras.floor(features, present)
    model.extras.blend.copy_(torch.tensor([0.0, 2.0]))
    torch.testing.assert_close(model(features, present, layout, SPEAKERS).logits_NC, 2 * floor)
    model.extras.blend.copy_(torch.tensor([1.0, 0.0]))
    head = model(features, present, layout, SPEAKERS).logits_NC
    model.extras.blend.copy_(torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(model(features, present, layout, SPEAKERS).logits_NC, head / 2 + floor / 4)
    assert model.train()(features, present, layout, SPEAKERS).logits_NC.requires_grad


def test_a_blend_has_the_least_loss_of_all_weights():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 400)
    head, floor = (scale * np.eye(3)[labels] + random.normal(size=(400, 3)) for scale in (1.0, 0.7))
    labels[:20] = -1

    def loss(a, b):
        logits = torch.from_numpy(a * head + b * floor)[20:]
        return F.cross_entropy(logits, torch.from_numpy(labels[20:])).item()

    a, b = fit_blend(head, floor, labels).tolist()
    assert a > b > 0
    for other in ((a + 0.05, b), (a - 0.05, b), (a, b + 0.05), (a, b - 0.05), (1, 0), (0, 1)):
        assert loss(*other) > loss(a, b)


def test_a_head_of_noise_leaves_the_decision_to_the_floor():
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, 400)
    floor = np.eye(3)[labels] + random.normal(size=(400, 3))
    heard = []
    for _ in range(40):  # the best weight of half of them is above 0, by chance
        a, b = fit_blend(random.normal(size=(400, 3)), floor, labels).tolist()
        heard.append(a)
        assert a < 0.15 and b > 0.5
    assert np.count_nonzero(heard) <= 2
    knows = floor[:, [1, 2, 0]] + np.eye(3)[labels]
    assert fit_blend(knows, floor, labels)[0] > 0.2  # one that knows more is heard
    assert fit_blend(-floor, -floor, labels).tolist() == pytest.approx([0, 1e-3])


def test_a_head_by_which_no_decision_changes_is_not_heard():
    margin = np.linspace(-3, 3, 400)  # by far more is right than a weight of the margin can say
    labels = (np.random.default_rng(3).random(400) > 1 / (1 + np.exp(-(margin**3)))).astype(int)
    head, floor = (np.stack([z, -z], axis=1) for z in (margin**3, margin))
    assert fit_blend(head, floor, labels).tolist() == fit_blend(0 * head, floor, labels).tolist()


@pytest.mark.parametrize("rows, is_heard", [(1, False), (2, False), (8, True)])
def test_a_split_of_one_row_shows_no_head_above_the_floor(rows, is_heard):
    """All rows change alike, so that their scatter is 0, and so would be the error of any gain."""
    head, floor = (np.tile(logits, (rows, 1)) for logits in ([3.0, 0.0, 0.0], [0.0, 0.5, 0.0]))
    a, b = fit_blend(head, floor, np.zeros(rows, dtype=np.int64)).tolist()
    assert (a > 0) == is_heard and b > 0


@pytest.mark.parametrize("rows, is_heard", [(1000, False), (30_000, True)])
def test_a_head_that_knows_little_more_is_heard_where_a_split_of_that_size_shows_it(rows, is_heard):
    """Its gain in likelihood is sure in both cases, and in the first the change in right decisions may be below 0."""
    random = np.random.default_rng(2)
    labels = random.integers(0, 2, rows)
    head, floor = (scale * np.eye(2)[labels] + random.normal(size=(rows, 2)) for scale in (0.2, 0.4))
    p = lambda z: torch.from_numpy(z).log_softmax(dim=1)[np.arange(rows), labels]  # noqa: E731
    gain = p(0.2 * head + 0.4 * floor) - p(0.4 * floor)  # weights of the logarithm of the odds
    assert gain.mean() > 2 * gain.std() / math.sqrt(rows)
    assert (fit_blend(head, floor, labels)[0] > 0) == is_heard


def test_a_regression_of_two_classes_has_their_probabilities():
    torch.manual_seed(4)
    x = torch.randn(200, 2)
    labels = torch.where(x[:, 0] + 0.5 * torch.randn(200) > 0, 2, 1)
    fitted = fit_floor((x, labels), (x, labels), classes=3)
    p = (x @ fitted.weight_CS.T + fitted.bias_C).softmax(dim=1)
    accuracy = (p.argmax(dim=1) == labels).float().mean()
    assert accuracy > 0.75 and abs(p[:, 2].mean() - (labels == 2).float().mean()) < 0.02


def test_one_class_has_no_regression():
    x, labels = torch.randn(8, 2), torch.zeros(8, dtype=torch.int64)
    with pytest.raises(InputError, match="linear_blend .* single class"):
        fit_floor((x, labels), (x, labels), classes=3)


def test_label_smoothing_is_pytorchs():
    logits, labels = torch.randn(6, 4), torch.tensor([0, 3, -1, 2, 1, 1])
    ours = torch.lerp(cross_entropy(logits, labels, torch.ones(4)), distance_to_uniform(logits, labels), 0.1)
    torch.testing.assert_close(ours, F.cross_entropy(logits, labels, ignore_index=-1, label_smoothing=0.1))


def test_settings_of_a_variant_yield_to_those_of_the_user():
    plus = settings_of("plus", DEFAULTS)
    assert plus.linear_blend and plus.attention_layers and plus.weight_average > 0
    assert settings_of("full", DEFAULTS) == DEFAULTS and settings_of("plus", plus) == plus
    assert settings_of("plus", DEFAULTS.model_copy(update={"weight_average": 0.5})).weight_average == 0.5
    given = settings_of("plus", DEFAULTS.giving(["members"]))
    assert given.members == DEFAULTS.members and settings_of("plus", given).members == given.members
    kept = DEFAULTS.giving(["members"]).changed({"epochs": 3})
    assert (settings_of("plus", kept).members, settings_of("plus", kept).epochs) == (1, 3)


def test_plus_has_values_of_its_own_for_meld():
    meld = settings_of("plus", DEFAULTS, "meld")
    assert (meld.hidden, meld.input_dropout, meld.attention_layers) == (300, 0.5, 2)
    assert settings_of("plus", meld, "meld") == meld != settings_of("plus", DEFAULTS, "iemocap")


def test_the_switches_of_plus_are_settings_of_full():
    values = dataclasses.asdict(VARIANTS["plus"])["settings"]
    assert settings_of("plus", DEFAULTS) == DEFAULTS.model_copy(update=values)


def test_input_dropout_hides_features_in_training_alone():
    model, (features, present, layout) = make("full", input_dropout=0.9, dropout=0.0, context_dropout=0.0), make_input()
    plain = make("full", dropout=0.0, context_dropout=0.0)
    assert torch.equal(model(features, present, layout).logits_NC, plain(features, present, layout).logits_NC)
    seen = []
    for linear in model.projections.values():
        linear.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.train()(features, present, layout)
    assert all((x == 0).float().mean() > 0.6 for x in seen)
