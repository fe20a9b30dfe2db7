import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dferc.core.errors import InputError
from pipeline.faces.densenet import CLASSES, WIDTH, FaceNet, FoldedFaceNet, load_face_net, save_face_net


@pytest.fixture(scope="module")
def net() -> FaceNet:
    torch.manual_seed(0)
    return FaceNet(image_size=16, mean=100.0, std=50.0).eval()


@pytest.fixture
def saved(net, tmp_path):
    save_face_net(tmp_path / "face.safetensors", net, {"epoch": 3})
    return tmp_path / "face.safetensors"


def edit(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | changes))


def faces(count: int, size: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_channels_are_those_of_densenet_bc_100_12(net):
    """24 + 16·12 = 216, halved 108; + 192 = 300, halved 150; + 192 = 342."""
    assert net.body.conv0.weight.shape == (24, 1, 3, 3) and net.body.conv0.stride == (1, 1)
    assert net.body.transition1.conv.weight.shape[:2] == (108, 216)
    assert net.body.transition2.conv.weight.shape[:2] == (150, 300)
    assert net.body.norm5.num_features == WIDTH == 342
    convolutions = [module for module in net.body.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) + 1 == 100  # depth: the classifier is the hundredth layer


def test_parameters_are_as_many_as_counted_by_hand(net):
    """A layer of width c: BN 2c, 1x1 conv 48c, BN 96, 3x3 conv 48·12·9; then stem, transitions, BN, classifier."""
    widths = [start + 12 * layer for start in (24, 108, 150) for layer in range(16)]
    layers = sum(2 * width + 48 * width + 96 + 48 * 12 * 9 for width in widths)
    rest = 24 * 9 + (2 * 216 + 216 * 108) + (2 * 300 + 300 * 150) + 2 * 342 + (342 * 8 + 8)
    assert sum(parameter.numel() for parameter in net.parameters()) == layers + rest


@pytest.mark.parametrize("size", [16, 20, 32])
def test_forward_gives_342_values_and_8_scores_at_any_size(net, size):
    with torch.no_grad():
        out = net(faces(2, size))
    assert out.features.shape == (2, 342) and out.logits.shape == (2, 8) and (out.features >= 0).all()
    assert torch.equal(out.logits, net.classifier(out.features))


def test_stem_keeps_the_size_and_two_transitions_quarter_it(net):
    assert net.body(torch.zeros(1, 1, 16, 16)).shape == (1, 342, 4, 4)


def test_forward_normalises_by_its_buffers(net):
    twin = FaceNet(image_size=16).eval()
    twin.load_state_dict(net.state_dict() | {"mean": torch.tensor(0.0), "std": torch.tensor(1.0)})
    images = faces(2)
    with torch.inference_mode():
        torch.testing.assert_close(twin((images.float() - 100) / 50).features, net(images).features)


@pytest.mark.parametrize("size", [16, 20, 32])
def test_folded_network_gives_the_features_of_the_network(size):
    """Statistics, scales and shifts are none that a fold could leave out; some scales are negative, one is 0."""
    torch.manual_seed(2)
    net = FaceNet(image_size=size, mean=100.0, std=50.0).eval()
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.weight.data.uniform_(-0.3, 1.5)[0] = 0
        norm.bias.data.normal_(0, 0.3)
        norm.running_mean.normal_(0, 0.3)
        norm.running_var.uniform_(0.3, 2)
    with torch.inference_mode():
        expected = net(faces(3, size)).features
    torch.testing.assert_close(FoldedFaceNet(net)(faces(3, size)), expected, rtol=0, atol=1e-5 * expected.max().item())


def test_checkpoint_comes_back_whole(net, saved):
    loaded = load_face_net(saved)
    assert loaded.image_size == 16 and not loaded.training
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in loaded.state_dict().items())
    described = json.loads(saved.with_suffix(".json").read_text())
    assert described["classes"] == list(CLASSES) and described["epoch"] == 3


def test_checkpoint_bytes_do_not_depend_on_the_memory_format(net, saved, tmp_path):
    before = saved.read_bytes()
    net.to(memory_format=torch.channels_last)
    save_face_net(tmp_path / "face.safetensors", net, {})
    assert (tmp_path / "face.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema is 2; it should be 1"),
        ({"width": 512}, "width is 512; it should be 342"),
        ({"classes": ["neutral"]}, "classes is ['neutral']; it should be neutral, happiness"),
        ({"image_size": None}, "image_size is None"),
        ({"image_size": "64"}, "image_size is '64'"),
        ({"image_size": 20_000}, "image_size is 20000; it should be less than or equal to 128"),
        ({"image_size": -16}, "image_size is -16"),
        ({"image_size": 16.0}, "image_size is 16.0"),
    ],
)
def test_load_refuses_another_description(saved, changes, message):
    edit(saved.with_suffix(".json"), **changes)
    with pytest.raises(InputError, match=re.escape(message)):
        load_face_net(saved)


def test_load_names_the_tensors_that_differ(saved):
    weights = load_file(saved)
    del weights["mean"]
    weights["extra"] = torch.zeros(1)
    weights["classifier.bias"] = torch.zeros(7)
    save_file(weights, saved)
    with pytest.raises(InputError, match="3 weight") as caught:
        load_face_net(saved)
    assert "classifier.bias is F32 of shape (7,), expected F32 of shape (8,)" in str(caught.value)
    assert "extra is not known here" in str(caught.value) and "mean is missing" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("std", 0.0), ("std", -1.0), ("std", float("inf")), ("mean", float("nan")),
        ("body.norm5.running_var", -1.0), ("body.conv0.weight", float("nan")),
    ],
)  # fmt: skip
def test_load_refuses_numbers_that_would_make_every_feature_meaningless(saved, name, value):
    weights = load_file(saved)
    weights[name] = torch.full_like(weights[name], value)
    save_file(weights, saved)
    with pytest.raises(InputError, match=re.escape(str(saved))):
        load_face_net(saved)


@pytest.mark.parametrize("kind", [torch.float16, torch.float64, torch.complex64, torch.int32])
def test_load_refuses_weights_of_another_type(saved, kind):
    save_file({name: value.to(kind) for name, value in load_file(saved).items()}, saved)
    with pytest.raises(InputError, match="expected F32"):
        load_face_net(saved)


def test_load_says_what_is_missing_or_broken(saved):
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_face_net(saved)
    saved.unlink()
    with pytest.raises(InputError, match="only its description"):
        load_face_net(saved)
    saved.with_suffix(".json").write_text("[]")
    with pytest.raises(InputError, match="should be an object"):
        load_face_net(saved)
    saved.with_suffix(".json").write_text("{")
    with pytest.raises(InputError, match="is no readable JSON"):
        load_face_net(saved)
    saved.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=re.escape("face.json is missing")):
        load_face_net(saved)
