"""Models of every kind opened from folders and the hub's cache, and what is refused; text has its own tests."""

import json
import shutil

import httpx2 as httpx  # what the client of the hub answers with
import pytest
import torch
from huggingface_hub.errors import RevisionNotFoundError
from safetensors.torch import load_file
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    FunnelConfig,
    FunnelModel,
    T5Config,
    T5EncoderModel,
    T5Model,
    VideoMAEConfig,
    VideoMAEModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperModel,
)

from dferc.core.errors import InputError
from pipeline.encoders.kinds import Wanted, kinds_of, tower
from pipeline.encoders.opening import model_folder, model_hash, open_model, open_processor
from pipeline.text.encoder import load_encoder
from pipeline.vision.encoder import load_picture_encoder

SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
AUDIO, IMAGE = Wanted("audio", "extract_audio.encoder"), Wanted("image", "extract_visual.encoder")
VIDEO, TEXT = Wanted("video", "extract_visual.encoder"), Wanted("text", "finetune_text.encoder")
WAV2VEC2 = {"conv_dim": (8, 8), "conv_stride": (5, 4), "conv_kernel": (10, 8), "num_conv_pos_embeddings": 4}
WAV2VEC2 |= {"num_conv_pos_embedding_groups": 2}
WHISPER = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 8}
WHISPER |= {"decoder_attention_heads": 2, "decoder_ffn_dim": 8, "vocab_size": 16, "max_source_positions": 50}
WHISPER |= dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
PICTURE = {"image_size": 8, "patch_size": 4}


def clip():
    text = CLIPTextConfig(**SMALL, vocab_size=16, projection_dim=8).to_dict()
    vision = CLIPVisionConfig(**SMALL, **PICTURE, projection_dim=8).to_dict()
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))


pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of tiny models by name."""
    torch.manual_seed(0)
    models = {
        "bert": BertModel(BertConfig(**SMALL, vocab_size=16)),
        "t5": T5Model(T5Config(vocab_size=16, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)),
        "t5-encoder": T5EncoderModel(T5Config(vocab_size=16, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)),
        "funnel": FunnelModel(
            FunnelConfig(
                vocab_size=16, block_sizes=[1, 1], d_model=8, n_head=2, d_head=4, d_inner=8, num_decoder_layers=1
            )
        ),
        "wav2vec2": Wav2Vec2Model(Wav2Vec2Config(**SMALL, **WAV2VEC2)),
        "whisper": WhisperModel(WhisperConfig(**WHISPER)),
        "vit": ViTModel(ViTConfig(**SMALL, **PICTURE)),
        "videomae": VideoMAEModel(VideoMAEConfig(**SMALL, **PICTURE, num_frames=2)),
        "clip": clip(),
    }
    root = tmp_path_factory.mktemp("models")
    for name, model in models.items():
        model.save_pretrained(root / name)
    Wav2Vec2FeatureExtractor().save_pretrained(root / "wav2vec2")
    ViTImageProcessor().save_pretrained(root / "vit")
    return root


@pytest.fixture
def copy(folders, tmp_path):
    """A copy of the folder of wav2vec2, to change."""
    return shutil.copytree(folders / "wav2vec2", tmp_path / "mine")


def refusal(action, *given):
    with pytest.raises(InputError) as caught:
        action(*given)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "wanted", "part"),
    [
        ("bert", TEXT, "BertModel"),
        ("t5", TEXT, "T5Stack"),
        ("t5-encoder", TEXT, "T5Stack"),  # its config.json says that it has no second half
        ("funnel", TEXT, "FunnelModel"),  # what it calls its encoder reads embeddings
        ("wav2vec2", AUDIO, "Wav2Vec2Model"),
        ("whisper", AUDIO, "WhisperEncoder"),
        ("vit", IMAGE, "ViTModel"),
        ("videomae", VIDEO, "VideoMAEModel"),
        ("clip", IMAGE, "CLIPVision"),
        ("clip", TEXT, "CLIPText"),
    ],
)
def test_models_are_opened_with_the_part_that_encodes_a_kind(folders, name, wanted, part):
    model = open_model(folders / name, wanted)
    assert wanted.kind in kinds_of(model.config)
    assert type(tower(model, wanted.kind)).__name__.startswith(part)
    assert not model.training and model.dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "wanted", "encodes", "wants"),
    [
        ("bert", AUDIO, "a bert, which encodes text", "extract_audio.encoder needs a model that encodes sound"),
        ("bert", IMAGE, "encodes text", "pictures"),
        ("whisper", TEXT, "encodes sound", "finetune_text.encoder needs a model that encodes text"),
        ("wav2vec2", VIDEO, "encodes sound", "video"),
        ("vit", AUDIO, "encodes pictures", "microsoft/wavlm-base-plus"),
        ("videomae", IMAGE, "encodes video", "facebook/dinov2-base"),
        ("clip", AUDIO, "encodes pictures and text", "sound"),
    ],
)
def test_model_of_another_kind_is_refused_before_its_weights_are_read(folders, tmp_path, name, wanted, encodes, wants):
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(folders / name / "config.json", folder)
    message = refusal(open_model, folder, wanted)
    assert encodes in message and wants in message


def test_processor_is_loaded_and_a_folder_without_one_is_refused(folders):
    assert open_processor(folders / "wav2vec2", AUDIO).sampling_rate == 16000
    assert open_processor(folders / "vit", IMAGE).size == {"height": 224, "width": 224}
    message = refusal(open_processor, folders / "whisper", AUDIO)
    assert "whisper has no preprocessor_config.json" in message and "Copy the file" in message


def test_processor_of_another_repository_never_runs_even_where_code_is_trusted(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    elsewhere = tmp_path / "other"  # a folder stands for a repository of the hub
    elsewhere.mkdir()
    (elsewhere / "own.py").write_text(f"open({str(tmp_path / 'it ran')!r}, 'w')\nclass Own:\n    pass\n")
    path = copy / "preprocessor_config.json"
    path.write_text(json.dumps({"auto_map": {"AutoFeatureExtractor": f"{elsewhere}--own.Own"}}))
    assert "code of another repository" in refusal(open_processor, copy, AUDIO._replace(trust=True))
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    ("name", "file", "auto_map"),
    [
        ("bert", "tokenizer_config.json", ["{}--own.Own", None]),  # as old tokenizers have it
        ("vit", "preprocessor_config.json", {"AutoImageProcessor": {"torchvision": "{}--own.Own"}}),
        ("vit", "config.json", {"AutoConfig": "{}--own.Own"}),
    ],
)
def test_code_of_another_repository_is_refused_in_any_form(folders, tmp_path, monkeypatch, name, file, auto_map):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    path = shutil.copytree(folders / name, tmp_path / "mine") / file
    (tmp_path / "other").mkdir()  # a folder stands for a repository of the hub
    (tmp_path / "other/own.py").write_text(f"open({str(tmp_path / 'it ran')!r}, 'w')\nclass Own:\n    pass\n")
    given = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(given | {"auto_map": auto_map}).replace("{}", str(tmp_path / "other")))
    load = load_encoder if name == "bert" else load_picture_encoder
    message = refusal(load, str(path.parent), *[48] if name == "bert" else ["last", "mean"], True)
    assert "code of another repository" in message and not (tmp_path / "it ran").exists()


def test_weights_that_are_missing_are_refused_and_unused_ones_are_not(copy):
    model = open_model(copy, AUDIO)
    model.config.mask_time_prob, model.config.mask_feature_prob = 0.5, 0.0
    weights = model.state_dict()
    model.save_pretrained(copy, state_dict={name: value for name, value in weights.items() if "masked" not in name})
    open_model(copy, AUDIO)
    gone = "encoder.layers.0.attention.k_proj.weight"
    model.save_pretrained(copy, state_dict={name: value for name, value in weights.items() if name != gone})
    assert f"lacks 1 of the Wav2Vec2Model's weights, first {gone!r}" in refusal(open_model, copy, AUDIO)


def test_pickled_weights_and_code_are_refused_for_every_kind(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "a.B"}, "model_type": "own"}))
    message = refusal(open_model, copy, AUDIO)
    assert "such code does not run" in message and "microsoft/wavlm-base-plus" in message
    (copy / "config.json").write_text(json.dumps(config))
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert f"python -m pipeline.encoders.convert {copy}" in refusal(open_model, copy, AUDIO)


def test_hash_changes_with_weights_configuration_and_preparation_only(copy):
    before = model_hash(copy)
    (copy / "README.md").write_text("changed")
    assert model_hash(copy) == before
    for file in ("config.json", "preprocessor_config.json", "model.safetensors"):
        content = (copy / file).read_bytes()
        (copy / file).write_bytes(content + b" ")
        assert model_hash(copy) != before
        (copy / file).write_bytes(content)
    assert model_hash(copy) == before


# ---------------------------------------------------------------------------------------------------- the hub


@pytest.fixture
def hub(tmp_path, monkeypatch, folders):
    """A cache of the hub with two commits of me/tiny, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    model = tmp_path / "hub/models--me--tiny"
    for commit in ("a" * 40, "b" * 40):
        shutil.copytree(folders / "wav2vec2", model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs/main").write_text("b" * 40)
    return model


def test_model_of_the_hub_is_a_folder_named_by_its_commit(hub):
    assert model_folder("me/tiny", AUDIO).name == "b" * 40
    assert model_folder(f"me/tiny@{'a' * 40}", AUDIO).name == "a" * 40
    assert type(open_model("me/tiny", AUDIO)).__name__ == "Wav2Vec2Model"


@pytest.mark.parametrize("name", ["me/gone", "me/tiny@gone", "../gone", "@"])
def test_unknown_model_without_network_is_refused_with_the_remedies(hub, name):
    message = refusal(open_model, name, AUDIO)
    assert "There is no such folder" in message and "HF_HUB_OFFLINE" in message
    assert str(hub.parent) in message
    assert "Set extract_audio.encoder to a folder" in message and "hf download" in message


def test_model_of_the_hub_without_safetensors_is_refused_with_two_commands(hub):
    (hub / "snapshots" / ("b" * 40) / "model.safetensors").unlink()
    message = refusal(open_model, "me/tiny", AUDIO)
    assert "me/tiny has no safetensors weights" in message
    assert "hf download me/tiny" in message and "pipeline.encoders.convert" in message


@pytest.mark.parametrize("kind", ["text", "audio", "image"])
def test_revision_that_the_hub_does_not_have_is_named_with_the_model_and_the_setting(monkeypatch, kind):
    def gone(*_, **__):
        answer = httpx.Response(404, request=httpx.Request("GET", "https://hub/me/tiny"))
        raise RevisionNotFoundError("404 Client Error. (Request ID: a)", response=answer)

    monkeypatch.setattr("pipeline.encoders.opening.snapshot_download", gone)
    facts = rf"{kind} encoder 'me/tiny@gone': me/tiny is on .* hub and has no revision 'gone'.*omit `@gone` \(here\.set"
    with pytest.raises(InputError, match=facts):
        open_model("me/tiny@gone", Wanted(kind, "here.set"))
