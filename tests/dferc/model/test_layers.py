import pytest
import torch

from dferc.model.layers import ModalityLinear, dropout


def test_dropout_drops_the_share_and_keeps_the_mean():
    torch.manual_seed(0)
    x = torch.ones(3, 333, 101)  # not a multiple of four values
    out = dropout(x, 0.2, training=True)
    assert set(out.unique().tolist()) == {0.0, 1.25}
    assert (out == 0).float().mean().item() == pytest.approx(0.2, abs=0.005)
    assert (out[0] != out[1]).any()


def test_dropout_repeats_for_a_seed_and_passes_its_mask_to_the_gradient():
    x, outs = torch.ones(50, requires_grad=True), []
    for _ in range(2):
        torch.manual_seed(3)
        outs.append(dropout(x, 0.5, training=True))
    assert torch.equal(*outs)
    (gradient,) = torch.autograd.grad(outs[0].sum(), x)
    assert torch.equal(gradient, outs[0])


@pytest.mark.parametrize(("share", "training"), [(0.5, False), (0.0, True)])
def test_dropout_does_nothing_in_evaluation_or_for_a_share_of_zero(share, training):
    x = torch.randn(5)
    assert dropout(x, share, training) is x


def test_modality_linear_is_one_linear_layer_per_modality():
    layer, x = ModalityLinear(modalities=2, width_in=3, width_out=4), torch.randn(2, 5, 3)
    for m in range(2):
        expected = torch.nn.functional.linear(x[m], layer.weight[m].T, layer.bias[m])
        torch.testing.assert_close(layer(x)[m], expected)
