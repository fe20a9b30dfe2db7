"""Face network: DenseNet-BC (growth 12, depth 100, compression 0.5) over a square grey face, 342 pooled values.

The shape of the published `denseface` (FER+ DenseNet of AIM3-RUC/MMIN, on ikhlestov's vision_networks): a 3x3 stem of
stride 1 without pooling, three blocks of 16 layers, 24 -> 216/2 = 108 -> 300/2 = 150 -> 342 channels, BN, ReLU, global
average. Its weights were never published: ours are trained (train_face), so the values are not interchangeable
(docs/data.md, FER+ and the visual feature).

B faces, S side of a face in pixels, 342 features, 8 classes, N = B·S·S pixels, C channels.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import AfterValidator, Field
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from dferc.core.device import open_weights, read_weights
from dferc.core.errors import InputError
from dferc.core.files import write_atomically, write_json
from dferc.core.records import StoredRecord, read_record
from dferc.settings.types import FaceSide

WEIGHTS = "face.safetensors"  # name of the weights in the folder of train_face, beside face.json
FERPLUS, NONE = "ferplus", "none"  # values of `train_face.source` that are no paths
SCHEMA = 1  # version of the checkpoint; raised when old files could be misread
WIDTH = 342  # pooled values per face: the visual feature

CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
"""Emotions of FER+, in the order of its columns and of the logits."""

AGAIN = "Train the face model again (`python -m pipeline.train_face`), or give another checkpoint."


def _verify_classes(classes: list[str]) -> list[str]:
    if classes != list(CLASSES):
        raise ValueError(f"be {', '.join(CLASSES)}")
    return classes


class FaceDescription(StoredRecord):
    """Schema of face.json: whether there is a network, and why not."""

    trained: bool = False
    source: str = ""
    reason: str = ""


class FaceRecord(FaceDescription):
    """Schema of face.json beside the weights of a network."""

    schema_: Literal[SCHEMA] = Field(alias="schema")
    width: Literal[WIDTH]
    classes: Annotated[list[str], AfterValidator(_verify_classes)]
    image_size: FaceSide


class FaceOutput(NamedTuple):
    """Output of the network for B faces: `features` [B, 342] (never negative), `logits` [B, 8]."""

    features: Tensor
    logits: Tensor


class FaceNet(nn.Module):
    """342-d DenseNet that normalises its inputs by the mean and the standard deviation of its training faces [S, S].

    Both are on the scale 0-255 (the published network: 131.0754 and 47.858177). Who cuts faces needs `image_size`, S.
    """

    def __init__(self, *, image_size: int, mean: float = 0.0, std: float = 1.0):
        super().__init__()
        self.image_size = image_size
        from torchvision.models import DenseNet  # with PyTorch's compiler, seconds: not for those who build no network

        net = DenseNet(
            growth_rate=12, block_config=(16, 16, 16), num_init_features=24, bn_size=4, num_classes=len(CLASSES)
        )
        # torchvision's stem is ImageNet's (7x7, stride 2, pooled): it would leave 2x2 maps of a 64-pixel face.
        net.features.conv0 = nn.Conv2d(1, 24, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(net.features.conv0.weight)
        del net.features.norm0, net.features.relu0, net.features.pool0
        self.body = net.features
        self.classifier = net.classifier
        self.register_buffer("mean", torch.tensor(float(mean)))
        self.register_buffer("std", torch.tensor(float(std)))

    def forward(self, faces_BSS: Tensor) -> FaceOutput:
        """Return features and class scores of grey faces [B, S, S], 0-255, uint8 or float."""
        images = ((faces_BSS.float() - self.mean) / self.std).unsqueeze(1)
        maps = F.relu(self.body(images.contiguous(memory_format=torch.channels_last)))  # [B, 342, S/4, S/4]
        features = maps.mean(dim=(2, 3))
        return FaceOutput(features=features, logits=self.classifier(features))


class FoldedFaceNet:
    """Forward pass of a trained `FaceNet`, about twice as fast, with the same features within 1e-5 of the largest.

    Each normalisation is one scale and one shift. Those that follow a 1x1 convolution are part of its weights, and the
    1x1 convolutions are products of matrices. A block writes its channels into one map, where the network copies all
    channels before each layer. The transitions average before their product, which is a quarter of the work.
    """

    def __init__(self, net: FaceNet):
        self.image_size, self.mean, self.std, self.stem = net.image_size, net.mean, net.std, net.body.conv0.weight
        blocks = (net.body.denseblock1, net.body.denseblock2, net.body.denseblock3)
        self.blocks = [[_folded_layer(layer) for layer in block.children()] for block in blocks]
        transitions = (net.body.transition1, net.body.transition2)
        self.transitions = [(*_affine(each.norm), _matrix(each.conv)) for each in transitions]
        self.last = _affine(net.body.norm5)

    @torch.inference_mode()
    def __call__(self, faces_BSS: Tensor) -> Tensor:
        """Return the features [B, 342] of grey faces [B, S, S], 0-255, uint8 or float, on the network's device."""
        count, side = len(faces_BSS), faces_BSS.shape[-1]
        images = ((faces_BSS.float() - self.mean) / self.std).unsqueeze(1)
        x_NC = _rows(F.conv2d(images, self.stem, padding=1))
        for layers, transition in zip(self.blocks, [*self.transitions, None], strict=True):
            width, growth = x_NC.shape[1], layers[0][4].shape[0]
            maps_NC = x_NC.new_empty(len(x_NC), width + growth * len(layers))
            maps_NC[:, :width] = x_NC
            for scale, shift, narrow, bias, wide in layers:
                h_NC = torch.addmm(bias, torch.addcmul(shift, maps_NC[:, :width], scale).relu_(), narrow).relu_()
                grown = F.conv2d(h_NC.view(count, side, side, -1).permute(0, 3, 1, 2), wide, padding=1)
                maps_NC[:, width : width + growth] = _rows(grown)
                width += growth
            x_NC = maps_NC
            if transition:
                scale, shift, narrow = transition
                active = torch.addcmul(shift, x_NC, scale).relu_().view(count, side, side, width).permute(0, 3, 1, 2)
                x_NC = _rows(F.avg_pool2d(active, 2)) @ narrow
                side //= 2
        scale, shift = self.last
        return torch.addcmul(shift, x_NC, scale).relu_().view(count, side * side, -1).mean(dim=1)


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return scale and shift [C] of a normalisation with its running statistics."""
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale.float(), (norm.bias.detach().double() - scale * norm.running_mean.double()).float()


def _matrix(convolution: nn.Conv2d) -> Tensor:
    """Return the weights of a 1x1 convolution as a matrix [channels in, channels out]."""
    return convolution.weight.detach()[:, :, 0, 0].T


def _folded_layer(layer: nn.Module) -> tuple[Tensor, ...]:
    """Return scale and shift before the 1x1 convolution, its matrix and bias, and the weights of the 3x3 one."""
    scale, bias = _affine(layer.norm2)
    wide = layer.conv2.weight.detach().contiguous(memory_format=torch.channels_last)
    return *_affine(layer.norm1), (_matrix(layer.conv1) * scale).contiguous(), bias, wide


def _rows(maps: Tensor) -> Tensor:
    """Return maps [B, C, S, S] as rows of pixels [N, C]; a view where they are channels_last."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def description_path(weights: str | Path) -> Path:
    """Return the path of the JSON beside a checkpoint's weights."""
    return Path(weights).with_suffix(".json")


def save_face_net(path: str | Path, net: FaceNet, facts: Mapping[str, object]) -> None:
    """Write a checkpoint: weights at `path` (.safetensors), and a JSON beside it with further facts, such as scores."""
    # Contiguous as NCHW: safetensors stores no memory format, and equal weights must give equal bytes.
    weights = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    described = {"schema": SCHEMA, "trained": True, "image_size": net.image_size, "width": WIDTH, "classes": CLASSES}
    write_atomically(path, lambda temporary: save_file(weights, temporary))
    write_json(description_path(path), described | dict(facts))


def load_face_net(path: str | Path) -> FaceNet:
    """Load a checkpoint for inference (eval mode, CPU)."""
    path = Path(path)
    described = read_json(description_path(path), FaceRecord)
    if not path.exists():
        raise InputError(f"{path} is missing; only its description {description_path(path).name} is there.")
    net = FaceNet(image_size=described["image_size"])
    with open_weights(path, AGAIN) as file:
        weights = read_weights(file, net.state_dict(), path, AGAIN)
    if not (weights["std"] > 0 and all((value >= 0).all() for name, value in weights.items() if "running_var" in name)):
        raise InputError(f"{path}: a standard deviation or a variance of it is not positive. {AGAIN}")
    net.load_state_dict(weights)
    return net.eval().to(memory_format=torch.channels_last)


def read_json(path: str | Path, schema: type[StoredRecord] = StoredRecord) -> dict:
    """Read a JSON file that holds one object; raise InputError if it is missing, not JSON or does not fit."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} is missing. A face model is a .safetensors file and a .json beside it (train_face).")
    return read_record(path, schema, AGAIN)


def find_weights(source: Path) -> Path:
    """Return the weights of a checkpoint made elsewhere, given as its .safetensors or its folder, if they exist."""
    weights = source / WEIGHTS if source.is_dir() else source
    if not weights.is_file():
        raise InputError(
            f"train_face.source: no file {weights}. Expected {FERPLUS}, {NONE}, or the path of a trained {WEIGHTS} "
            "with its .json beside it."
        )
    return weights
