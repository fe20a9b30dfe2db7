import pytest
import torch

from dferc.model.layers.lstm import BiLSTMLayer, DialogueLSTM, Layout

LENGTHS = [3, 7, 1, 7, 2]


def test_layout_packs_longest_first_and_backwards_from_each_end():
    layout = Layout.of([2, 3])  # rows 0 1 | 2 3 4
    assert layout.steps == (2, 2, 1)
    assert layout.order.tolist() == [2, 0, 3, 1, 4]
    rows = [(2, 0), (0, 0), (4, 1), (1, 1), (3, 0), (1, 0), (3, 1), (0, 1), (4, 0), (2, 1)]  # row, direction
    assert layout.both_order.tolist() == [2 * row + direction for row, direction in rows]
    assert layout.dialogue.tolist() == [0, 0, 1, 1, 1]
    assert layout.joined.tolist() == [True, False, True, True]
    assert layout.order[layout.place].tolist() == list(range(5))
    assert layout.both_order[layout.both_place].tolist() == list(range(10))


def test_steps_are_contiguous_as_one_batched_product_needs_them():
    layout = Layout.of(LENGTHS)
    packed = torch.arange(2.0 * sum(LENGTHS)).unsqueeze(1).repeat(1, 3)
    steps = layout.split(packed)
    assert [tuple(step.shape) for step in steps] == [(2, size, 3) for size in layout.steps]
    assert all(step.is_contiguous() for step in steps)
    assert torch.equal(torch.cat([step.flatten(0, 1) for step in steps]), packed)


@pytest.mark.parametrize("lengths", [[], [3, 0]])
def test_layout_refuses_empty_dialogues(lengths):
    with pytest.raises(ValueError, match="at least one utterance"):
        Layout.of(lengths)


@pytest.mark.parametrize("lengths", [LENGTHS, [1], [1, 1, 1], [9]])
def test_recurrence_equals_pytorchs_lstm_and_its_gradients(lengths):
    torch.manual_seed(0)
    layer, layout = BiLSTMLayer(6, 4, recurrent_dropout=0.0), Layout.of(lengths)
    x = torch.randn(sum(lengths), 6, requires_grad=True)
    probe = torch.randn(sum(lengths), 8)

    def gradients(out):
        return torch.autograd.grad((out * probe).sum(), [x, *layer.parameters()])

    ours, theirs = layer(x, layout), layer._cudnn(x, layer.weight_hh, layout)
    torch.testing.assert_close(ours, theirs)
    for mine, reference in zip(gradients(ours), gradients(theirs)):
        torch.testing.assert_close(mine, reference)


def test_recurrence_passes_gradcheck_in_double_precision():
    torch.manual_seed(0)
    layer, layout = BiLSTMLayer(3, 2, recurrent_dropout=0.0).double(), Layout.of([2, 4, 1])
    x = torch.randn(7, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x, layout), x)


def test_lstm_of_a_dialogue_does_not_depend_on_its_batch():
    torch.manual_seed(0)
    lstm = DialogueLSTM(width=8, layers=2, dropout=0.3, recurrent_dropout=0.0).eval()
    dialogues = [torch.randn(length, 8) for length in LENGTHS]
    together = lstm(torch.cat(dialogues), Layout.of(LENGTHS)).split(LENGTHS)
    for dialogue, out in zip(dialogues, together):
        torch.testing.assert_close(lstm(dialogue, Layout.of([len(dialogue)])), out)


def test_locked_dropout_is_shared_over_time_and_differs_between_dialogues():
    torch.manual_seed(0)
    lstm = DialogueLSTM(width=64, layers=1, dropout=0.5, recurrent_dropout=0.0).train()
    dropped = lstm._locked_dropout(torch.ones(7, 64), Layout.of([4, 3]))
    first, second = dropped[:4], dropped[4:]
    assert (first == first[0]).all() and (second == second[0]).all()
    assert (first[0] != second[0]).any()
    assert set(dropped.unique().tolist()) == {0.0, 2.0}


def test_recurrent_dropout_acts_in_training_only():
    torch.manual_seed(0)
    layer, layout, x = BiLSTMLayer(6, 4, recurrent_dropout=0.5), Layout.of([5]), torch.randn(5, 6)
    assert not torch.equal(layer(x, layout), layer(x, layout))
    layer.eval()
    assert torch.equal(layer(x, layout), layer(x, layout))
