"""Face models for tests that need any, not a good one."""

from pathlib import Path

import torch

from pipeline.faces.densenet import FaceNet, save_face_net
from pipeline.faces.finder import YUNET_FILE
from pipeline.settings import ExtractVisual, load_settings
from tests.helpers.common import REPOSITORY


def write_untrained(folder: Path, image_size: int) -> Path:
    """Write an untrained network whose batch statistics are not the identity; return the folder, like train_face's."""
    torch.manual_seed(0)
    net = FaceNet(image_size=image_size, mean=110.0, std=55.0)
    with torch.no_grad():
        net(torch.randint(0, 256, (16, image_size, image_size), dtype=torch.uint8))
    save_face_net(folder / "face.safetensors", net, {})
    return folder


def offline_hub(cache: Path, monkeypatch) -> Path:
    """Let the cache of the hub be an empty folder, without a network; return where the model of `yunet` belongs."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    repository, revision, name = YUNET_FILE
    return cache / f"models--{repository.replace('/', '--')}" / "snapshots" / revision / name


def visual_settings(corpus: str = "meld", **changes) -> ExtractVisual:
    """Return a corpus' settings with the cascade, which the drawn faces are made for, and PyTorch, always there."""
    section = load_settings(REPOSITORY / "params.yaml").corpus(corpus).extract_visual
    return section.model_copy(update={"finder": "haar", "runtime": "pytorch"} | changes)
