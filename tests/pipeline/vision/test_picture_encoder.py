"""Encoders of pictures and video: tiny models of each class with random weights, against the class called directly."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from transformers import (
    AutoImageProcessor,
    AutoModel,
    BertConfig,
    BertModel,
    BitImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    ConvNextConfig,
    ConvNextImageProcessor,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    Sam2HieraDetConfig,
    Sam2ImageProcessor,
    Sam2VisionConfig,
    Sam2VisionModel,
    SamImageProcessor,
    SamVisionConfig,
    SamVisionModel,
    Siglip2ImageProcessor,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    VideoMAEConfig,
    VideoMAEImageProcessor,
    VideoMAEModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTMAEConfig,
    ViTMAEModel,
    ViTModel,
    VJEPA2Config,
    VJEPA2Model,
    VJEPA2VideoProcessor,
)

from dferc.core.device import Device, choose_device
from dferc.core.errors import InputError
from pipeline.vision import encoder as module
from pipeline.vision.encoder import PictureEncoderWorker, load_picture_encoder
from tests.helpers.picture_batches import assert_alike_in_batches

SIDE = 16
SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
PICTURE = {"image_size": SIDE, "patch_size": 8}
SIZE = {"height": SIDE, "width": SIDE}
CPU = choose_device("cpu", "float32")
WORDS = {**SMALL, "vocab_size": 16, "max_position_embeddings": 8}


def two_towers(config, model):
    return model(config(text_config=WORDS | {"projection_size": 8}, vision_config=SMALL | PICTURE))


pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of tiny models by name; shapes of inputs that their processors change are tried by the sizes."""
    torch.manual_seed(0)
    clip = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIZE)
    bit = BitImageProcessor(size={"shortest_edge": 20}, crop_size=SIZE)
    models = {
        "clip": (two_towers(CLIPConfig, CLIPModel), clip),
        "siglip": (two_towers(SiglipConfig, SiglipModel), SiglipImageProcessor(size=SIZE)),
        "dinov2": (Dinov2Model(Dinov2Config(**SMALL, **PICTURE)), bit),
        "dinov3": (DINOv3ViTModel(DINOv3ViTConfig(**SMALL, **PICTURE)), ViTImageProcessor(size=SIZE)),
        "vit": (ViTModel(ViTConfig(**SMALL, **PICTURE)), ViTImageProcessor(size=SIZE)),
        "vit-without-pooler": (ViTForImageClassification(ViTConfig(**SMALL, **PICTURE)), ViTImageProcessor(size=SIZE)),
        "convnext": (
            ConvNextModel(ConvNextConfig(hidden_sizes=[4, 8], depths=[1, 1], num_stages=2)),
            ConvNextImageProcessor(size={"shortest_edge": SIDE}, crop_pct=1.0),
        ),
        "videomae": (
            VideoMAEModel(VideoMAEConfig(**SMALL, **PICTURE, num_frames=4)),
            VideoMAEImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIZE),
        ),
        "mae": (ViTMAEModel(ViTMAEConfig(**SMALL, **PICTURE)), ViTImageProcessor(size=SIZE)),
        "sam": (
            SamVisionModel(
                SamVisionConfig(**SMALL, **PICTURE, output_channels=4, window_size=2, global_attn_indexes=[1])
            ),
            ViTImageProcessor(size=SIZE),
        ),
        "siglip2": (
            Siglip2VisionModel(Siglip2VisionConfig(**SMALL, num_patches=16, patch_size=8)),
            Siglip2ImageProcessor(max_num_patches=16, patch_size=8),
        ),
        "bert": (BertModel(BertConfig(**SMALL, vocab_size=16)), None),
        "unprepared": (ViTModel(ViTConfig(**SMALL, **PICTURE)), None),
    }  # fmt: skip
    root = tmp_path_factory.mktemp("models")
    for name, (model, processor) in models.items():
        model.save_pretrained(root / name)
        if processor is not None:
            processor.save_pretrained(root / name)
    return root


def pictures(count: int, height: int = SIDE, width: int = SIDE) -> list[np.ndarray]:
    return list(np.random.default_rng(count).integers(0, 256, (count, height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", ["clip", "siglip", "dinov2", "dinov3", "vit", "convnext"])
@pytest.mark.parametrize("size", [(SIDE, SIDE), (24, 40)])
def test_vectors_are_those_of_the_class_called_directly(folders, name, size):
    shown = pictures(3, *size)
    model, processor = AutoModel.from_pretrained(folders / name), AutoImageProcessor.from_pretrained(folders / name)
    prepared = processor(shown, return_tensors="pt")
    with torch.inference_mode():
        output = getattr(model, "vision_model", model)(**prepared)
    states = output.last_hidden_state
    states = states.flatten(2).transpose(1, 2) if states.ndim == 4 else states
    for tokens, expected in {"pooled": output.pooler_output.flatten(1), "mean": states.mean(dim=1)}.items():
        encoder = load_picture_encoder(str(folders / name), "last", tokens)
        assert encoder.width == expected.shape[1] == 8
        np.testing.assert_allclose(encoder.vectors(shown, CPU), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["clip", "siglip", "dinov2", "dinov3", "vit", "convnext", "videomae"])
def test_the_size_of_a_batch_changes_no_vector(folders, name):
    encoder = load_picture_encoder(str(folders / name), "last", "mean")
    sizes = [(16, 16), (24, 40), (31, 17)]
    if encoder.clip:
        shown = [np.stack(pictures(encoder.clip, *sizes[number % 3])) for number in range(32)]
    else:
        shown = [pictures(1, *sizes[number % 3])[0] for number in range(32)]
    assert_alike_in_batches(encoder, [np.roll(each, number) for number, each in enumerate(shown)])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.04), (torch.float16, 0.005)])
@pytest.mark.parametrize("name", ["clip", "siglip", "dinov2", "dinov3", "vit", "convnext", "videomae"])
def test_half_precision_gives_the_vectors_within_its_rounding(folders, monkeypatch, name, dtype, tolerance):
    """As on a GPU, which this machine may lack: the same code with PyTorch's half precision of the CPU."""
    encoder = load_picture_encoder(str(folders / name), "last", "mean")
    shown = [np.stack(pictures(encoder.clip))] * 2 if encoder.clip else pictures(3)
    expected = PictureEncoderWorker(encoder, "cpu", "float32")(shown).result
    monkeypatch.setattr(module, "choose_device", lambda *_: Device(torch.device("cpu"), dtype, "half precision"))
    found = PictureEncoderWorker(encoder, "cpu", str(dtype).removeprefix("torch."))(shown).result
    assert found.dtype == np.float32 and not np.array_equal(found, expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))


def test_batches_are_filled_up_and_cut(folders, monkeypatch):
    encoder = load_picture_encoder(str(folders / "vit"), "last", "first")
    worker, sizes = PictureEncoderWorker(encoder, "cpu", "float32"), []
    monkeypatch.setattr(
        module.PictureEncoder, "vectors", lambda self, part, where: sizes.append(len(part)) or np.ones((len(part), 8))
    )
    monkeypatch.setattr(worker, "_where", CPU._replace(device=torch.device("cuda")))
    assert worker(pictures(18)).result.shape == (18, 8) and sizes == [16] * 2  # fmt: skip
    assert worker([]).result.shape == (0, 8)


def test_a_vector_does_not_depend_on_the_rest_of_its_batch(folders):
    encoder, shown = load_picture_encoder(str(folders / "clip"), "last", "pooled"), pictures(6)
    worker = PictureEncoderWorker(encoder, "cpu", "float32")
    together = worker(shown).result
    for first, last in ((0, 1), (2, 5), (5, 6)):
        assert np.array_equal(worker(shown[first:last]).result, together[first:last])


def test_pictures_of_several_shapes_are_encoded_where_the_processor_cuts_nothing_off(folders, tmp_path):
    """Films of other aspect ratios in one corpus, seen whole."""
    shutil.copytree(folders / "dinov2", tmp_path / "whole")
    BitImageProcessor(size={"shortest_edge": SIDE}, do_center_crop=False).save_pretrained(tmp_path / "whole")
    worker = PictureEncoderWorker((str(tmp_path / "whole"), "last", "mean", False), "cpu", "float32")
    shown = [*pictures(2, 16, 32), *pictures(3, 32, 16), *pictures(1, 16, 32)]
    together = worker(shown).result
    assert all(np.array_equal(worker([each]).result[0], vector) for each, vector in zip(shown, together, strict=True))


@pytest.mark.parametrize(("layer", "chosen"), [("1", [1]), ("-1", [2]), ("all", [1, 2]), ("0-1", [0, 1])])
def test_layers_are_averaged(folders, layer, chosen):
    shown = pictures(2)
    model, processor = (kind.from_pretrained(folders / "vit") for kind in (AutoModel, AutoImageProcessor))
    with torch.inference_mode():
        states = model(**processor(shown, return_tensors="pt"), output_hidden_states=True).hidden_states
    expected = sum(states[index][:, 0] for index in chosen) / len(chosen)
    found = load_picture_encoder(str(folders / "vit"), layer, "first").vectors(shown, CPU)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("layer", ["1", "2"])
def test_maps_of_a_layer_are_averaged_over_their_places_wherever_the_channels_are(folders, layer):
    encoder = load_picture_encoder(str(folders / "sam"), layer, "mean")
    shown = pictures(2)
    model, processor = AutoModel.from_pretrained(folders / "sam"), AutoImageProcessor.from_pretrained(folders / "sam")
    with torch.inference_mode():
        output = model(**processor(shown, return_tensors="pt"), output_hidden_states=True)
    states_BHWD = output.hidden_states[int(layer)]
    assert states_BHWD.shape == (2, 2, 2, 8)
    np.testing.assert_allclose(encoder.vectors(shown, CPU), states_BHWD.mean(dim=(1, 2)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("layer", ["last", "2"])
def test_maps_of_sam_2_are_averaged_over_their_places(tmp_path, layer):
    stages = dict.fromkeys(("blocks_per_stage", "num_attention_heads_per_stage"), [1] * 4)
    stages |= {"embed_dim_per_stage": [12, 24, 48, 96], "window_size_per_stage": [2] * 4}
    stages |= {"global_attention_blocks": [], "window_positional_embedding_background_size": [2, 2]}
    backbone = Sam2HieraDetConfig(hidden_size=12, num_attention_heads=1, image_size=[64, 64], **stages)
    channels = {"backbone_channel_list": [96, 48, 24, 12], "fpn_hidden_size": 8}
    config = Sam2VisionConfig(backbone_config=backbone, **channels)
    Sam2VisionModel(config).save_pretrained(tmp_path)
    Sam2ImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    encoder, shown = load_picture_encoder(str(tmp_path), layer, "mean"), pictures(2, 64, 64)
    with torch.inference_mode():
        output = encoder.model(**encoder.prepare(shown), output_hidden_states=True)
    maps_BHWD = output.last_hidden_state if layer == "last" else output.hidden_states[2]
    np.testing.assert_allclose(encoder.vectors(shown, CPU), maps_BHWD.mean(dim=(1, 2)), rtol=0, atol=1e-6)


def test_processor_that_leaves_a_picture_wide_for_an_encoder_of_squares_is_named(folders, tmp_path):
    shutil.copytree(folders / "vit", tmp_path / "wide")
    ViTImageProcessor(size={"shortest_edge": SIDE}).save_pretrained(tmp_path / "wide")
    worker = PictureEncoderWorker((str(tmp_path / "wide"), "last", "first", False), "cpu", "float32")
    assert worker(pictures(1)).result.shape == (1, 8)
    with pytest.raises(InputError, match="leaves one of 28x16 pixels.*Set do_center_crop to true"):
        worker(pictures(1, 16, 28))


def test_patches_that_only_fill_up_are_not_averaged(folders):
    """SigLIP 2 keeps a picture's shape and fills it up to a number of patches."""
    encoder = load_picture_encoder(str(folders / "siglip2"), "last", "mean")
    [shown] = pictures(1, 18, 32)
    prepared = encoder.prepare([shown])
    own = prepared["pixel_attention_mask"][0].bool()
    assert 0 < own.sum() < len(own)
    with torch.inference_mode():
        states = encoder.model(**prepared).last_hidden_state[0]
    np.testing.assert_allclose(encoder.vectors([shown], CPU)[0], states[own].mean(dim=0), rtol=0, atol=1e-6)


def test_a_picture_has_a_vector_of_its_own_where_the_class_joins_a_batch(tmp_path):
    """Pixtral's states of a batch are one sequence."""
    sizes = SMALL | PICTURE | {"head_dim": 4}
    transformers.PixtralVisionModel(transformers.PixtralVisionConfig(**sizes)).save_pretrained(tmp_path)
    patch = {"height": 8, "width": 8}
    transformers.PixtralImageProcessor(size={"longest_edge": SIDE}, patch_size=patch).save_pretrained(tmp_path)
    encoder, shown = load_picture_encoder(str(tmp_path), "last", "mean"), pictures(3)
    model, processor = (kind.from_pretrained(tmp_path) for kind in (AutoModel, AutoImageProcessor))
    found = PictureEncoderWorker(encoder, "cpu", "float32")(shown).result
    for each, vector in zip(shown, found, strict=True):
        with torch.inference_mode():
            states = model(**processor(each, return_tensors="pt")).last_hidden_state[0]
        np.testing.assert_allclose(vector, states.mean(dim=0), rtol=0, atol=1e-5)


def test_processor_that_cuts_pictures_up_is_refused(folders, tmp_path):
    shutil.copytree(folders / "vit", tmp_path / "tiles")
    (tmp_path / "tiles/preprocessor_config.json").unlink()
    cutting = transformers.GotOcr2ImageProcessor(size=SIZE, crop_to_patches=True, min_patches=2)
    cutting.save_pretrained(tmp_path / "tiles")
    with pytest.raises(InputError, match="vectors of one picture, which its processor cuts up. Set crop_to_patches"):
        load_picture_encoder(str(tmp_path / "tiles"), "last", "mean")


def test_a_video_encoder_sees_clips(folders):
    encoder = load_picture_encoder(str(folders / "videomae"), "last", "mean")
    clips = [np.stack(pictures(4)), np.stack(pictures(5)[:4])]
    model, processor = (
        AutoModel.from_pretrained(folders / "videomae"),
        VideoMAEImageProcessor.from_pretrained(folders / "videomae"),
    )
    with torch.inference_mode():
        expected = model(**processor([list(clip) for clip in clips], return_tensors="pt")).last_hidden_state.mean(dim=1)
    assert encoder.clip == 4
    np.testing.assert_allclose(encoder.vectors(clips, CPU), expected, rtol=0, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "layer", "tokens", "message"),
    [
        ("bert", "last", "mean", "encodes text; extract_visual.encoder needs a model that encodes pictures"),
        ("unprepared", "last", "mean", "has no preprocessor_config.json"),
        ("vit-without-pooler", "last", "pooled", "without the weights of its pooled output. Set tokens to first"),
        ("videomae", "last", "pooled", "has no pooled output. Set it to mean"),
        ("convnext", "last", "first", "gives maps, no tokens. Set it to mean"),
        ("siglip", "last", "first", "has no class token: its first state is that of a patch. Set it to mean"),
        ("videomae", "last", "first", "has no class token"),
        ("vit", "9", "first", "layer is '9'"),
        ("vit", "1", "pooled", "tokens: pooled is of the last layer. Set tokens to first or mean"),
        ("mae", "last", "mean", "gives other vectors for the same picture each time"),
        ("nowhere", "last", "mean", "There is no such folder"),
    ],
)  # fmt: skip
def test_what_gives_no_vectors_is_refused_with_the_remedy(folders, name, layer, tokens, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load_picture_encoder(str(folders / name), layer, tokens)


STRANGER = """
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
class Config(PreTrainedConfig): model_type = "mine"
class Model(PreTrainedModel):
    config_class = Config
    def __init__(self, config):
        super().__init__(config)
        self.mix = nn.Linear(3, 5)
        self.post_init()
    def forward(self, pixel_values):
        return BaseModelOutput(last_hidden_state=self.mix(pixel_values.mean((2, 3)))[:, None])
"""


def test_code_of_a_model_runs_only_where_it_is_trusted(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    shutil.copytree(folders / "vit", folder := tmp_path / "own")
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(STRANGER)
    weights = {"mix.weight": torch.rand(5, 3), "mix.bias": torch.rand(5)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"such code does not run.*extract_visual\.trust_remote_code: true"):
        load_picture_encoder(str(folder), "last", "mean")
    trusted = load_picture_encoder(str(folder), "last", "mean", True)
    shown = pictures(2)
    means = AutoImageProcessor.from_pretrained(folders / "vit")(shown, return_tensors="pt").pixel_values.mean((2, 3))
    expected = means @ weights["mix.weight"].T + weights["mix.bias"]
    np.testing.assert_allclose(trusted.vectors(shown, CPU), expected, rtol=1e-5)
    assert len(trusted.code["remote_code"]) == 64
    assert load_picture_encoder(str(folders / "vit"), "last", "mean").code == {}
    (folder / "mine.py").write_text(STRANGER + "CHANGED = True\n")
    assert load_picture_encoder(str(folder), "last", "mean", True).code != trusted.code


def test_length_of_a_clip_is_the_encoders_however_it_is_called(tmp_path):
    heads = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    small = heads | {f"pred_{name}": value for name, value in heads.items()}
    VJEPA2Model(VJEPA2Config(**small, crop_size=SIDE, frames_per_clip=8, patch_size=8)).save_pretrained(tmp_path)
    VJEPA2VideoProcessor(size=SIZE, crop_size=SIZE).save_pretrained(tmp_path)
    assert load_picture_encoder(str(tmp_path), "last", "mean").clip == 8


def test_faces_are_cut_to_the_side_that_the_processor_asks_for(folders):
    sides = {name: load_picture_encoder(str(folders / name), "last", "mean").side for name in ("vit", "dinov2")}
    assert sides == {"vit": SIDE, "dinov2": 20}


def test_faces_are_cut_to_the_longest_side_or_the_patches_where_the_processor_names_no_other(folders, tmp_path):
    shutil.copytree(folders / "sam", tmp_path / "sam")
    SamImageProcessor(size={"longest_edge": SIDE}, pad_size=SIZE).save_pretrained(tmp_path / "sam")
    paths = tmp_path / "sam", folders / "siglip2"
    assert [load_picture_encoder(str(path), "last", "mean").side for path in paths] == [SIDE, 32]


def test_faces_are_cut_to_the_side_that_the_processor_enlarges_them_to(folders, tmp_path):
    """ConvNeXt's cuts 14 of 16 pixels out, and names the 14; from 384 on it cuts nothing off."""
    shutil.copytree(folders / "convnext", tmp_path / "crop")
    for size, share, side in ((14, 0.875, SIDE), (224, 0.9, 248), (384, 0.875, 384)):
        ConvNextImageProcessor(size={"shortest_edge": size}, crop_pct=share).save_pretrained(tmp_path / "crop")
        assert load_picture_encoder(str(tmp_path / "crop"), "last", "mean").side == side


def test_an_edited_folder_has_another_hash(folders, tmp_path):
    for file in (folders / "vit").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = load_picture_encoder(str(tmp_path), "last", "first").hash
    assert before == load_picture_encoder(str(folders / "vit"), "last", "first").hash
    processor = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor | {"do_normalize": False}))
    assert load_picture_encoder(str(tmp_path), "last", "first").hash != before
