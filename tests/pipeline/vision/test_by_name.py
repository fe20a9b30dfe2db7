"""Networks of torchvision and timm by name, with random weights; published ones are not downloaded here."""

import json
import re
import urllib.error

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import models
from torchvision.transforms.functional import center_crop, normalize, resize

from dferc.core.device import choose_device
from dferc.core.errors import InputError
from pipeline.vision.encoder import is_by_name, load_picture_encoder
from tests.helpers.picture_batches import assert_alike_in_batches

NAME = "shufflenet_v2_x0_5"
CPU = choose_device("cpu", "float32")


@pytest.fixture(autouse=True)
def without_network(offline, monkeypatch, tmp_path):
    def unreachable(*arguments, **options):
        raise urllib.error.URLError("no network in a test")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return models.get_model(NAME, weights=None).eval()


@pytest.fixture
def weights(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def load(name):
    return load_picture_encoder(name, "last", "pooled")


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (100, 140, 3), dtype=np.uint8)


def test_names():
    assert is_by_name("torchvision:resnet50") and is_by_name("timm:resnet50")
    assert not is_by_name("facebook/dinov2-base") and not is_by_name("models/timm")


def test_torchvision_gives_the_input_of_the_classifier(network, weights):
    """Resized to 256 on the shorter side, cut to 224, and normalised as for ImageNet."""
    encoder, heard = load(f"torchvision:{NAME}@{weights}"), []
    assert encoder.width == 1024 and encoder.side == 256
    shown = resize(torch.from_numpy(picture()).permute(2, 0, 1), [256], antialias=True)
    shown = normalize(center_crop(shown, [224]) / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    network.fc.register_forward_pre_hook(lambda module, inputs: heard.append(inputs[0]))
    with torch.inference_mode():
        network(shown[None])
    np.testing.assert_allclose(encoder.vectors([picture()], CPU), heard[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_that_scale_their_input_themselves_do(tmp_path, name):
    """As torchvision builds them for its published weights; a file may lack the classifiers on the way."""
    published = models.get_model(name, weights=None, init_weights=False, aux_logits=False, transform_input=True).eval()
    save_file(published.state_dict(), tmp_path / "weights.safetensors")
    encoder, heard = load(f"torchvision:{name}@{tmp_path / 'weights.safetensors'}"), []
    shown = models.get_model_weights(name).DEFAULT.transforms()(torch.from_numpy(picture()).permute(2, 0, 1))
    published.fc.register_forward_pre_hook(lambda module, inputs: heard.append(inputs[0]))
    with torch.inference_mode():
        published(shown[None])
    np.testing.assert_allclose(encoder.vectors([picture()], CPU), heard[0], rtol=1e-4, atol=1e-9)


def test_published_weights_are_taken_from_the_cache_of_torchvision(network, tmp_path, monkeypatch):
    place = tmp_path / "hub/hub/checkpoints"
    place.mkdir(parents=True)
    published = models.get_model_weights(NAME).DEFAULT
    torch.save(network.state_dict(), place / published.url.rsplit("/", 1)[1])
    cached = load(f"torchvision:{NAME}")
    with torch.no_grad():
        network.fc.bias.add_(0.0), network.conv5[0].weight.mul_(1.01)
    torch.save(network.state_dict(), tmp_path / "other.pth")
    assert load(f"torchvision:{NAME}@{tmp_path / 'other.pth'}").hash != cached.hash


def test_what_is_not_there_is_refused_with_the_remedy(weights, tmp_path):
    other = tmp_path / "other.pth"
    torch.save(nn.Linear(2, 2).state_dict(), other)
    (tmp_path / "nonsense.pth").write_bytes(b"nonsense")
    for name, message in {
        f"torchvision:{NAME}": f"its weights are not in {tmp_path}/hub/hub/checkpoints/shufflenet",
        "torchvision:resnet5": "no network is called 'resnet5'. Did you mean 'resnet50'?",
        f"torchvision:{NAME}@nowhere.pth": "no file nowhere.pth",
        f"torchvision:{NAME}@{other}": "weights are missing, first 'conv1.0.weight'",
        f"torchvision:{NAME}@{tmp_path}/nonsense.pth": "holds no table of tensors",
        f"torchvision:squeezenet1_1@{tmp_path}/nonsense.pth": "holds no table of tensors",
    }.items():
        with pytest.raises(InputError, match=re.escape(message)):
            load(name)
    with pytest.raises(InputError, match="Set layer: last, tokens: pooled"):
        load_picture_encoder(f"torchvision:{NAME}@{weights}", "2", "mean")


def test_timm_gives_its_pooled_features(tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed (extra `timm`)")
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", pretrained=False).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    encoder = load(f"timm:test_resnet@{tmp_path / 'weights.pth'}")
    preset = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.inference_mode():
        expected = model.forward_head(model.forward_features(preset(Image.fromarray(picture()))[None]), pre_logits=True)
    np.testing.assert_allclose(encoder.vectors([picture()], CPU), expected, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="its weights are not in the hub's cache"):
        load("timm:test_resnet")


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_the_size_of_a_batch_changes_no_vector(library, weights, tmp_path):
    name = f"torchvision:{NAME}@{weights}"
    if library == "timm":
        timm = pytest.importorskip("timm", reason="timm is not installed (extra `timm`)")
        torch.save(timm.create_model("test_resnet", pretrained=False).state_dict(), tmp_path / "timm.pth")
        name = f"timm:test_resnet@{tmp_path / 'timm.pth'}"
    shown = [np.roll(picture()[: 60 + number], number) for number in range(32)]
    assert_alike_in_batches(load(name), shown)


EVA = "eva02_tiny_patch14_224"


@pytest.fixture(scope="module")
def eva(tmp_path_factory):
    """An EVA-02 with random weights, in a folder as timm publishes its networks on the hub."""
    timm = pytest.importorskip("timm", reason="timm is not installed (extra `timm`)")
    folder = tmp_path_factory.mktemp("eva")
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = timm.create_model(EVA, pretrained=False).eval()
    save_file(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
    about = {"architecture": EVA, "num_classes": model.num_classes, "num_features": model.num_features}
    shape = {name: model.pretrained_cfg[name] for name in ("input_size", "crop_pct", "interpolation", "mean", "std")}
    (folder / "config.json").write_text(json.dumps(about | {"pretrained_cfg": shape}))
    preset = timm.data.create_transform(**timm.data.resolve_model_data_config(model))

    def reference(shown):
        with torch.inference_mode():
            features = model.forward_features(preset(Image.fromarray(shown))[None])
            return model.forward_head(features, pre_logits=True)[0], features[0]

    return folder, reference


@pytest.mark.parametrize("by", ["name", "folder"])
def test_eva_gives_timms_features_by_name_and_from_a_folder_of_the_hub(eva, by):
    folder, reference = eva
    encoder = load(f"timm:{EVA}@{folder / 'model.safetensors'}" if by == "name" else str(folder))
    assert (encoder.width, encoder.side, encoder.clip) == (192, 248, 0)
    shown, other = picture(), picture()[:80, ::-1].copy()
    found = encoder.vectors([shown, other], CPU)
    for each, vector in zip((shown, other), found, strict=True):
        np.testing.assert_allclose(vector, reference(each)[0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(vector, encoder.vectors([each], CPU)[0], rtol=0, atol=1e-5)


def test_the_size_of_a_batch_changes_no_vector_of_eva(eva):
    assert_alike_in_batches(load(str(eva[0])), [np.roll(picture()[: 70 + number], number) for number in range(9)])


def test_tokens_of_timm_are_those_of_its_last_layer_and_no_other_has_a_number(eva):
    folder, reference = eva
    states = reference(picture())[1]
    for tokens, expected in (("first", states[0]), ("mean", states.mean(dim=0))):
        found = load_picture_encoder(str(folder), "last", tokens).vectors([picture()], CPU)[0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="layer is '-2', .*Set layer: last"):
        load_picture_encoder(str(folder), "-2", "mean")


def test_maps_of_timms_swin_are_averaged_over_their_places(tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed (extra `timm`)")
    name = "swin_tiny_patch4_window7_224"
    small = {"img_size": 56, "embed_dim": 8, "depths": [1, 1, 1], "num_heads": [1, 2, 2]}
    model = timm.create_model(name, pretrained=False, **small).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors", {"format": "pt"})
    shape = {key: model.pretrained_cfg[key] for key in ("crop_pct", "interpolation", "mean", "std")}
    about = {"architecture": name, "num_classes": 1000, "num_features": model.num_features, "model_args": small}
    (tmp_path / "config.json").write_text(json.dumps(about | {"pretrained_cfg": shape | {"input_size": [3, 56, 56]}}))
    encoder = load_picture_encoder(str(tmp_path), "last", "mean")
    with torch.inference_mode():
        maps_BHWD = model.forward_features(encoder.prepare([picture()])["pixel_values"])
    np.testing.assert_allclose(encoder.vectors([picture()], CPU), maps_BHWD.mean(dim=(1, 2)), rtol=0, atol=1e-5)


def test_timm_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(InputError, match="needs the package timm: `pip install timm`"):
        load("timm:resnet18")


def test_weights_of_a_deeper_network_are_refused(network, tmp_path):
    """ResNet-34's fit into ResNet-18, whose vectors would mean nothing."""
    further = {"stage3.8.branch2.0.weight": torch.zeros(1), "aux.0.weight": torch.zeros(1)}
    torch.save(network.state_dict() | further, tmp_path / "deeper.pth")
    with pytest.raises(InputError, match="has 1 weights of further layers, first 'stage3.8.branch2.0.weight'"):
        load(f"torchvision:{NAME}@{tmp_path / 'deeper.pth'}")
