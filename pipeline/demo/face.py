"""Faces of the synthetic demo corpus: made-up people, their expressions, the scene, and loss of picture quality."""

from dataclasses import dataclass

import cv2
import numpy as np

WIDTH, HEIGHT = 160, 120  # size of a picture, in pixels
FACE_PX = 31.0  # half the width of a face of size 1, in pixels

HAAR_CENTRE, HAAR_SIDE = (0.0, 0.08), 2.65
"""Centre and side of the cascade's square around a drawn face, in half face widths (measured on the demo's frames)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expression:
    """Departure of a face from rest; all 0 is at rest."""

    inner_brow: float = 0.0  # inner ends of the brows up (1) or down (-1)
    outer_brow: float = 0.0  # outer ends of the brows up (1) or down (-1)
    eye: float = 0.0  # eyes wide (1) or shut (-1)
    corners: float = 0.0  # mouth corners up (1) or down (-1)
    open: float = 0.0  # mouth open, 0 to 1
    wide: float = 0.0  # mouth wide (1) or narrow (-1)
    wrinkle: float = 0.0  # nose wrinkled, upper lip up, 0 to 1
    smirk: float = 0.0  # one corner up alone, 0 to 1


EXPRESSIONS = {
    "neutral": Expression(),
    "joy": Expression(inner_brow=0.2, outer_brow=0.3, eye=-0.35, corners=1.1, open=0.6, wide=0.8),
    "sadness": Expression(inner_brow=1.0, outer_brow=-0.8, eye=-0.45, corners=-1.1, wide=-0.2),
    "anger": Expression(inner_brow=-1.1, outer_brow=0.5, eye=-0.1, corners=-0.45, open=0.12, wide=-0.5, wrinkle=0.4),
    "fear": Expression(inner_brow=1.1, outer_brow=0.1, eye=0.9, corners=-0.5, open=0.4, wide=0.8),
    "surprise": Expression(inner_brow=1.2, outer_brow=1.3, eye=1.0, open=1.0, wide=-0.7),
    "disgust": Expression(inner_brow=-0.7, outer_brow=-0.2, eye=-0.7, corners=-0.8, open=0.2, wide=0.1, wrinkle=1.0),
    "contempt": Expression(outer_brow=0.3, eye=-0.3, smirk=1.2),
}
"""The demo's emotions, and the two more of FER+."""

EXPRESSION_SCATTER = 0.12  # standard deviation of each part of an expression from one picture series to the next

BLUR_PX, NOISE, DIMMING = 2.2, 7.0, 0.35
"""At reliability 0: blur, noise (grey levels) and share of the light that is lost; next to none at 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FaceLook:
    """Constant look of a speaker: colours as (blue, green, red), shapes as factors around 1."""

    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    clothes: tuple[float, float, float]
    iris: tuple[float, float, float]
    length: float
    eye_gap: float
    eye_size: float
    brow_weight: float
    nose: float
    mouth: float
    long_hair: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """Place of the face in the picture: pixels, factor around 1, degrees."""

    x_px: float = WIDTH / 2
    y_px: float = HEIGHT / 2 + 4
    size: float = 1.0
    turn_deg: float = 0.0


def draw_look(rng: np.random.Generator) -> FaceLook:
    """Draw the look of a made-up person."""
    skins = ((172, 198, 236), (150, 182, 226), (130, 168, 214), (112, 148, 198), (96, 132, 184))
    hairs = ((30, 28, 26), (34, 48, 70), (46, 80, 120), (100, 165, 205), (70, 70, 74), (28, 42, 96))
    shapes = {"length": (0.95, 1.06), "eye_gap": (0.95, 1.05), "eye_size": (0.92, 1.1)}
    shapes |= {"brow_weight": (0.8, 1.3), "nose": (0.9, 1.12), "mouth": (0.92, 1.08)}
    return FaceLook(
        skin=skins[rng.integers(len(skins))],
        hair=hairs[rng.integers(len(hairs))],
        clothes=tuple(float(level) for level in rng.uniform(40, 190, 3)),
        iris=tuple(float(level) for level in rng.uniform(20, 90, 3)),
        **{name: float(rng.uniform(*bounds)) for name, bounds in shapes.items()},
        long_hair=bool(rng.random() < 0.5),
    )


def show(rng: np.random.Generator, emotion: str, strength: float) -> Expression:
    """Return the expression of an emotion at a strength of 0 to 1, with random scatter."""
    full, names = EXPRESSIONS[emotion], Expression.__dataclass_fields__
    parts = {name: strength * getattr(full, name) + EXPRESSION_SCATTER * rng.standard_normal() for name in names}
    return Expression(**parts | {name: max(0.0, parts[name]) for name in ("open", "wrinkle", "smirk")})


def draw_scene(rng: np.random.Generator) -> np.ndarray:
    """Draw a room without people: a wall in a soft gradient, [HEIGHT, WIDTH, 3] uint8."""
    corners = rng.uniform(95, 165, (2, 2, 1)) + rng.uniform(-14, 14, (1, 1, 3))
    return cv2.resize(corners.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def spoil(rng: np.random.Generator, picture: np.ndarray, reliability: float) -> np.ndarray:
    """Blur, dim and add noise to a picture as far as its reliability (0 to 1) falls short of 1."""
    lack = 1 - reliability
    soft = cv2.GaussianBlur(picture, (0, 0), 0.3 + BLUR_PX * lack).astype(np.float32)
    soft *= 1 - DIMMING * lack
    soft += (1.5 + NOISE * lack) * rng.standard_normal(picture.shape[:2], dtype=np.float32)[..., None]
    return np.clip(soft, 0, 255).astype(np.uint8)


def face_square(pose: Pose, margin: float) -> tuple[int, int, int, int]:
    """Return the cascade's square around a drawn face, with a margin (share of its side): x, y, side, side."""
    unit = FACE_PX * pose.size
    side = HAAR_SIDE * unit * (1 + 2 * margin)
    x, y = pose.x_px + HAAR_CENTRE[0] * unit - side / 2, pose.y_px + HAAR_CENTRE[1] * unit - side / 2
    return round(x), round(y), round(side), round(side)
