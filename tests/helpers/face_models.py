"""Face models for tests that need any, not a good one."""

from pathlib import Path

import torch

from pipeline.faces.densenet import FaceNet, save_face_net


def write_untrained(folder: Path, image_size: int) -> Path:
    """Write an untrained network whose batch statistics are not the identity; return the folder, like train_face's."""
    torch.manual_seed(0)
    net = FaceNet(image_size=image_size, mean=110.0, std=55.0)
    with torch.no_grad():
        net(torch.randint(0, 256, (16, image_size, image_size), dtype=torch.uint8))
    save_face_net(folder / "face.safetensors", net, {})
    return folder
