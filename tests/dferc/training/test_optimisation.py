"""The optimiser's company: clipping as PyTorch does it, and the moving average by hand."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from dferc.training.optimiser import MovingAverage, clip_gradients


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_clipping_is_pytorchs(scale):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3))
    (model(torch.randn(4, 7)) * scale).square().sum().backward()
    frozen = nn.Parameter(torch.ones(2))  # no gradient
    reference = copy.deepcopy(model)
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        theirs.grad = ours.grad.clone()

    norm = clip_gradients([*model.parameters(), frozen], 1.0)

    torch.testing.assert_close(norm, clip_grad_norm_(reference.parameters(), 1.0))
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_moving_average_is_the_hand_derived_one():
    """Decays 0, 1/11, 2/12, then 0.2 at most: 1; 1/11 + 20/11; a sixth of that + 5/6 * 4; a fifth of that + 4/5 * 8."""
    model = nn.Linear(1, 1, bias=False)
    model.register_buffer("seen", torch.zeros(1))
    average = MovingAverage(model, decay=0.2)
    values = []
    for value in (1.0, 2.0, 4.0, 8.0):
        with torch.no_grad():
            model.weight.fill_(value)
            model.seen.fill_(value)
        average.update(model)
        values.append(average.model.weight.item())
        assert average.model.seen.item() == value

    second = 21 / 11
    third = second / 6 + 4 * 5 / 6
    assert values == pytest.approx([1.0, second, third, third / 5 + 8 * 4 / 5], rel=1e-6)
    assert model.weight.item() == 8.0 and not average.model.weight.requires_grad
