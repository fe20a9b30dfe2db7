import pytest
import torch
from torch.nn import functional as F

from dferc.model.losses import cfm_loss, cross_entropy


def test_cross_entropy_equals_pytorchs_weighted_mean_without_the_unlabelled():
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(6, 3), torch.tensor([0, 2, -1, 1, -1, 2]), torch.tensor([1.0, 1.3, 2.0])
    expected = F.cross_entropy(logits, labels, weights, ignore_index=-1)
    torch.testing.assert_close(cross_entropy(logits, labels, weights), expected)


def test_cross_entropy_of_nothing_is_zero_and_differentiable():
    logits = torch.randn(2, 3, requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([-1, -1]), torch.ones(3))
    loss.backward()
    assert loss.item() == 0 and (logits.grad == 0).all()


def test_cfm_loss_by_hand_for_one_modality():
    """Uniform logits over 2 classes: true class probability 0.5, CE log 2; confidence 0.9 misses by 0.4."""
    loss = cfm_loss(
        torch.zeros(1, 1, 2), torch.tensor([[0.9]]), torch.tensor([1]), torch.tensor([[True]]), torch.ones(2)
    )
    assert loss.item() == pytest.approx(0.4**2 + 0.693147, abs=1e-5)


def test_cfm_loss_ignores_what_does_not_count():
    torch.manual_seed(0)
    unimodal, confidence, labels = torch.randn(3, 4, 5), torch.rand(3, 4), torch.tensor([0, 3, 1, 2])
    counted = torch.rand(3, 4) > 0.5
    changed = unimodal.masked_fill(~counted.unsqueeze(-1), 9.0)
    both = [cfm_loss(x, confidence, labels, counted, torch.ones(5)) for x in (unimodal, changed)]
    assert both[0] == both[1]
