"""The setting `layer`: what it names, what it refuses, and the states that are taken."""

import pytest
import torch
from transformers import BertConfig, BertModel, MambaConfig, MambaModel
from transformers.modeling_outputs import BaseModelOutput

from dferc.core.errors import InputError
from pipeline.encoders.layers import count_layers, layer_states, read_layer


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
