import torch

from dferc.model.crm import neighbours
from dferc.model.layers.lstm import Layout


def test_neighbours_are_of_the_same_dialogue_and_zero_beyond_its_ends():
    states = torch.tensor([[1.0], [2.0], [4.0], [8.0], [16.0]])
    assert neighbours(states, Layout.of([3, 1, 1])).flatten().tolist() == [2, 5, 2, 0, 0]
