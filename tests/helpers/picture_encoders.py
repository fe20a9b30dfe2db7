"""Tiny encoders of pictures and video with random weights, in folders as the hub has them."""

from pathlib import Path

import torch
from transformers import (
    VideoMAEConfig,
    VideoMAEImageProcessor,
    VideoMAEModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from pipeline.encoders.opening import quiet_transformers

SIDE, WIDTH, CLIP = 16, 8, 4
SMALL = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
PICTURE = {"image_size": SIDE, "patch_size": 8}
SIZE = {"height": SIDE, "width": SIDE}


def write_picture_encoder(folder: Path, video: bool = False, seed: int = 0) -> Path:
    """Write a ViT or, of clips of `CLIP` frames, a VideoMAE, for pictures of `SIDE` pixels; return the folder."""
    with torch.random.fork_rng([]), quiet_transformers():
        torch.manual_seed(seed)
        if video:
            VideoMAEModel(VideoMAEConfig(**SMALL, **PICTURE, num_frames=CLIP)).save_pretrained(folder)
            VideoMAEImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIZE).save_pretrained(folder)
        else:
            ViTModel(ViTConfig(**SMALL, **PICTURE)).save_pretrained(folder)
            ViTImageProcessor(size=SIZE).save_pretrained(folder)
    return folder
