"""Pooling over valid time steps: equal to the plain computation on each input alone."""

import pytest
import torch

from pipeline.encoders.pooling import pool, pooled_width

LENGTHS = (5, 1, 3)


@pytest.fixture(scope="module")
def states():
    return torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1


@pytest.fixture(scope="module")
def mask():
    return (torch.arange(5) < torch.tensor(LENGTHS)[:, None]).long()


PLAIN = {
    "mean": lambda steps: steps.mean(dim=0),
    "mean_std": lambda steps: torch.cat([steps.mean(dim=0), steps.std(dim=0, correction=0)]),
    "first": lambda steps: steps[0],
    "last": lambda steps: steps[-1],
}


@pytest.mark.parametrize("pooling", PLAIN)
def test_pooling_is_over_the_valid_steps_whatever_stands_in_padding(states, mask, pooling):
    expected = torch.stack([PLAIN[pooling](states[row, :length]) for row, length in enumerate(LENGTHS)])
    for padding in (0.0, 1e30, torch.nan, torch.inf):
        vectors = pool(states.masked_fill(mask[:, :, None] == 0, padding), mask, pooling)
        assert vectors.shape == (3, pooled_width(4, pooling))
        torch.testing.assert_close(vectors, expected)


@pytest.mark.parametrize("pooling", PLAIN)
def test_padding_on_the_left_is_left_out_as_well(states, mask, pooling):
    right = pool(states, mask, pooling)
    moved = torch.stack([row.roll(5 - length, dims=0) for row, length in zip(states, LENGTHS, strict=True)])
    torch.testing.assert_close(pool(moved, mask.flip(1), pooling), right)


def test_half_precision_is_summed_in_float32():
    states = torch.full((1, 4096, 1), 1.001, dtype=torch.float16)
    mean = pool(states, torch.ones(1, 4096), "mean")
    assert mean.dtype == torch.float32
    assert mean.item() == pytest.approx(states[0, 0].item(), abs=1e-5)


def test_one_step_deviates_by_nothing_and_has_a_gradient():
    states = torch.ones(1, 2, 3, requires_grad=True)
    vector = pool(states, torch.tensor([[1, 0]]), "mean_std")
    assert vector[0, 3:].tolist() == [0, 0, 0]
    vector.sum().backward()
    assert states.grad.isfinite().all()
