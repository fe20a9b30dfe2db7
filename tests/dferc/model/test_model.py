"""What must hold of every variant: an utterance's logits depend on its own dialogue and on nothing else."""

import pytest
import torch

from dferc.core.errors import InputError
from dferc.model.ensemble import build_model
from dferc.model.layers.lstm import Layout
from dferc.model.losses import dferc_losses
from dferc.model.variants import VARIANTS, get_variant
from dferc.settings.sections import VARIANT_NAMES
from dferc.store.vocabulary import MODALITIES
from tests.helpers.common import small_settings

WIDTHS = {"text": 6, "audio": 5, "visual": 4}
LENGTHS = [3, 1, 4]
TOLERANCE = dict(rtol=1e-5, atol=1e-6)


def make(variant="full", **settings):
    torch.manual_seed(0)
    return build_model(small_settings(**settings), VARIANTS[variant], WIDTHS, classes=4)


def make_input(lengths=LENGTHS, absent=0.2):
    torch.manual_seed(1)
    N = sum(lengths)
    return {m: torch.randn(N, width) for m, width in WIDTHS.items()}, torch.rand(3, N) >= absent, Layout.of(lengths)


def of_variant(model, present_MN):
    return present_MN[[MODALITIES.index(m) for m in model.modalities]]


def test_variants_are_the_names_that_params_allow():
    assert tuple(VARIANTS) == VARIANT_NAMES


def test_unknown_variant_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'no_crm'"):
        get_variant("nocrm")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_one_step(variant):
    model = make(variant, alignment_margin=0.0).train()
    features, present, layout = make_input()
    present = of_variant(model, present)
    labels = torch.tensor([0, 1, 2, 3, -1, 1, 0, 2])
    losses = dferc_losses(
        model(features, present, layout),
        labels,
        present,
        prototypes=model.prototypes,
        settings=small_settings(),
        variant=VARIANTS[variant],
        class_weights_C=torch.ones(4),
    )
    losses.total.backward()
    assert losses.total.isfinite()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
    assert (losses.ddm == 0) == (variant in ("no_ddm",)) or len(model.modalities) == 1
    assert (losses.cfm == 0) == (variant == "no_cfm")
    assert (losses.alignment == 0) == (variant == "no_alignment")


@pytest.mark.parametrize("variant", ["full", "no_cfm", "t"])
def test_logits_do_not_depend_on_the_batch(variant):
    model = make(variant).eval()
    features, present, layout = make_input()
    together = model(features, of_variant(model, present), layout).logits_NC.split(LENGTHS)
    starts = [0, 3, 4]
    for start, length, expected in zip(starts, LENGTHS, together):
        rows = slice(start, start + length)
        alone = model(
            {m: x[rows] for m, x in features.items()}, of_variant(model, present)[:, rows], Layout.of([length])
        )
        torch.testing.assert_close(alone.logits_NC, expected, **TOLERANCE)


def test_logits_do_not_depend_on_the_order_of_dialogues():
    model = make().eval()
    features, present, layout = make_input()
    order = torch.tensor([4, 5, 6, 7, 0, 1, 2, 3])  # the last dialogue first
    swapped = model({m: x[order] for m, x in features.items()}, present[:, order], Layout.of([4, 3, 1]))
    torch.testing.assert_close(swapped.logits_NC, model(features, present, layout).logits_NC[order], **TOLERANCE)


def test_features_of_absent_modalities_are_ignored():
    model = make().eval()
    features, present, layout = make_input(absent=0.4)
    assert not present.all()
    changed = {m: x.masked_fill(~present[i].unsqueeze(-1), 50.0) for i, (m, x) in enumerate(features.items())}
    for name, value in model(features, present, layout)._asdict().items():
        if name.endswith(("logits_NC", "contribution_MN", "agreement_N", "classified_NK")):
            assert torch.equal(value, getattr(model(changed, present, layout), name)), name


def test_context_reaches_the_neighbours_unless_switched_off():
    features, present, layout = make_input(absent=0.0)
    changed = {m: x.clone() for m, x in features.items()}
    changed["text"][0] += 1  # the first utterance of the first dialogue
    for variant, reaches in (("full", True), ("full_context", True), ("no_crm", False)):
        model = make(variant).eval()
        moved = (model(features, present, layout).logits_NC - model(changed, present, layout).logits_NC).abs().sum(1)
        assert moved[0] > 0
        assert (moved[1] > 0) == reaches, variant
        assert (moved[3:] == 0).all(), variant


def test_context_weight_follows_the_variant():
    features, present, layout = make_input()
    full = make().eval()(features, present, layout)
    torch.testing.assert_close(full.context_weight_N, 0.8 * (1 - full.agreement_N))
    assert (make("full_context")(features, present, layout).context_weight_N == 1).all()
    assert (make("no_crm")(features, present, layout).context_weight_N == 0).all()


def test_utterance_without_any_modality_is_judged_by_its_context():
    model = make().eval()
    features, present, layout = make_input(absent=0.0)
    present[:, 1] = False
    outputs = model(features, present, layout)
    assert outputs.logits_NC.isfinite().all() and (outputs.contribution_MN[:, 1] == 0).all()


def test_initialisation_is_kaiming_uniform_for_every_linear_weight():
    """Bound = gain * sqrt(3 / fan_in), gain = sqrt(2) (PyTorch's leaky-ReLU default): reached, never passed."""
    model = make(hidden=64, align=64)
    for name, weight in model.named_parameters():
        if name.endswith("weight") and "lstm" not in name and weight.numel() > 1000:
            fan_in = weight.shape[1]  # [out, in], or [modality, in, out]
            bound = (2 * 3 / fan_in) ** 0.5
            assert 0.95 * bound < weight.abs().max().item() <= bound + 1e-6, name
