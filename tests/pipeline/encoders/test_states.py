"""The settings `layer` and `pooling`: what they name, what is refused, the states taken, and their pooled vectors."""

import pytest
import torch
from transformers import BertConfig, BertModel, MambaConfig, MambaModel
from transformers.modeling_outputs import BaseModelOutput

from dferc.core.errors import InputError
from pipeline.encoders.states import count_layers, layer_states, pool, pooled_width, read_layer


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("last", ()),
        ("0", (0,)),
        ("12", (12,)),
        ("-1", (12,)),
        ("-12", (1,)),
        ("6-9", (6, 7, 8, 9)),
        ("5-5", (5,)),
        ("all", tuple(range(1, 13))),
    ],
)
def test_setting_names_hidden_states(setting, expected):
    assert read_layer(setting, 12, "an encoder") == expected


@pytest.mark.parametrize("setting", ["13", "-14", "9-13", "9-6"])
def test_layer_that_does_not_exist_is_refused_with_how_many_there_are(setting):
    with pytest.raises(InputError, match=rf"layer is '{setting}', and my/model has 12 layers, .* or to last"):
        read_layer(setting, 12, "my/model")


@pytest.mark.parametrize("setting", ["0", "1", "-1", "all"])
def test_encoder_without_hidden_states_has_its_last_ones_only(setting):
    assert read_layer("last", 0, "my/model") == ()
    with pytest.raises(InputError, match="my/model has no hidden states"):
        read_layer(setting, 0, "my/model")


def test_states_are_those_of_the_model():
    torch.manual_seed(0)
    sizes = dict(hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8, vocab_size=9)
    model = BertModel(BertConfig(**sizes), add_pooling_layer=False).eval()
    with torch.no_grad():
        output = model(input_ids=torch.tensor([[1, 2, 3]]), output_hidden_states=True)
    assert count_layers(output, model) == 3
    for setting, states in (
        ("last", output.last_hidden_state),
        ("-1", output.last_hidden_state),
        ("0", output.hidden_states[0]),
        ("1", output.hidden_states[1]),
        ("2-3", (output.hidden_states[2] + output.hidden_states[3]) / 2),
        ("all", torch.stack(output.hidden_states[1:]).mean(dim=0)),
    ):
        torch.testing.assert_close(layer_states(output, read_layer(setting, 3, "")), states)


def test_layers_are_not_numbered_where_the_embeddings_are_missing():
    """The first of Mamba's hidden states is that of the first layer, not the embeddings."""
    model = MambaModel(MambaConfig(hidden_size=8, num_hidden_layers=2, state_size=4, vocab_size=9)).eval()
    with torch.no_grad():
        output = model(input_ids=torch.tensor([[1, 2, 3]]), output_hidden_states=True)
        assert not torch.equal(output.hidden_states[0], model.get_input_embeddings()(torch.tensor([[1, 2, 3]])))
    with pytest.raises(InputError, match="layer is '1', and my/model has no hidden states from the embeddings on"):
        read_layer("1", count_layers(output, model), "my/model")


def test_half_precision_layers_are_averaged_in_float32():
    states = [torch.full((1, 1, 1), value, dtype=torch.bfloat16) for value in (256.0, 1.0, 1.0)]
    mean = layer_states(BaseModelOutput(hidden_states=tuple(states)), (0, 1, 2))
    assert mean.dtype == torch.float32 and mean.item() == 86.0  # bfloat16 has no 257


def test_layers_of_several_shapes_have_no_mean():
    output = BaseModelOutput(hidden_states=(torch.zeros(1, 4, 2), torch.zeros(1, 2, 4)))
    assert layer_states(output, (1,)).shape == (1, 2, 4)
    with pytest.raises(InputError, match="Choose one layer, or last"):
        layer_states(output, (0, 1))


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
