"""Batches by length, and the check that a batch changes nothing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.encoders.batches import Batching, batches_by_length, check_batching, run_in_batches

lengths = st.lists(st.integers(0, 500), max_size=60)
budgets = st.integers(1, 2000)


@given(lengths, budgets, st.sampled_from(Batching))
def test_batches_cover_every_input_once_within_the_budget(lengths, budget, batching):
    batches = batches_by_length(lengths, budget, batching)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        chosen = [lengths[index] for index in batch]
        assert len(batch) == 1 or max(chosen) * len(batch) <= budget
        if batching is Batching.SINGLE:
            assert len(batch) == 1
        if batching is Batching.EQUAL:
            assert len(set(chosen)) == 1


@given(lengths, budgets, st.sampled_from(Batching))
def test_results_come_back_in_the_order_of_the_inputs(lengths, budget, batching):
    calls = []

    def encode(batch):
        calls.append(batch)
        return [f"vector of {name}" for name in batch]

    names = [f"{number}" for number in range(len(lengths))]
    assert run_in_batches(names, lengths, budget, batching, encode) == [f"vector of {name}" for name in names]
    assert len(calls) == len(batches_by_length(lengths, budget, batching))


def test_a_batch_that_answers_with_too_few_results_is_an_error():
    with pytest.raises(ValueError):
        run_in_batches([1, 2], [1, 1], 9, Batching.PADDED, lambda batch: batch[:1])


class Mixing(nn.Module):
    """Convolves padded inputs of length T; `leak` is how it depends on the others of a batch."""

    def __init__(self, leak: str):
        super().__init__()
        self.leak = leak
        self.convolution = nn.Conv1d(1, 2, 3, padding=1)

    def run(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        padded = nn.utils.rnn.pad_sequence(inputs, batch_first=True, padding_value=float(self.leak == "padding"))
        states = self.convolution(padded[:, None]).transpose(1, 2)
        if self.leak == "batch":
            states = states - states.mean(dim=0)
        return [row[: len(one)] for row, one in zip(states, inputs, strict=True)]


@pytest.mark.parametrize(
    ("leak", "expected"), [("", Batching.PADDED), ("padding", Batching.EQUAL), ("batch", Batching.SINGLE)]
)
def test_encoders_that_depend_on_the_batch_are_found(leak, expected):
    torch.manual_seed(0)
    short, other, long = (torch.randn(length) for length in (4, 4, 9))
    encoder = Mixing(leak)
    assert check_batching(encoder.run, short, other, long) is expected
    inputs = [torch.randn(3 + number % 5) for number in range(20)]
    with torch.no_grad():
        alone = [encoder.run([one])[0] for one in inputs]
        together = run_in_batches(inputs, [len(one) for one in inputs], 40, expected, encoder.run)
    assert all((one - two).abs().max() <= 1e-5 for one, two in zip(alone, together, strict=True))


def test_states_that_are_not_finite_are_no_reason_to_go_without_batches():
    assert check_batching(lambda batch: [one / 0 for one in batch], *torch.zeros(3, 2, 1)) is Batching.PADDED
