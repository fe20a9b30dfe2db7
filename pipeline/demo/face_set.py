"""Face set of the synthetic demo in the FER+ format: the demo's own drawn faces, with made-up votes."""

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.demo.clip import random_pose
from pipeline.demo.drawing import draw_face
from pipeline.demo.face import Pose, draw_look, draw_scene, face_square, show, spoil
from pipeline.demo.plan import generator

VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
"""Columns of FER+: eight emotions, unknown, not a face."""

FER2013_CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""Class ids of fer2013; it has no contempt, which is neutral there."""

SIZES = {"Training": 900, "PublicTest": 150, "PrivateTest": 150}
"""Images per usage; FER+ trains on the first, validates and tests on the others."""

SIDE_PX, ANNOTATORS = 48, 10

UNCLEAR, NOT_A_FACE = 0.04, 0.02  # shares of images whose votes go to unknown and to not-a-face
STRENGTHS = (0.35, 1.0)  # range of the strength of the shown emotion; picture quality follows it
JITTER = 0.05  # shift and scale of the cut around the face, as a share of its side; the cascade is no steadier

_FACE_SET_KEY = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class FaceImage:
    """One row of both tables."""

    pixels: np.ndarray  # [48, 48] uint8
    fer2013_class: int
    votes: tuple[int, ...]  # ten annotators' votes over `VOTES`
    usage: str  # Training, PublicTest or PrivateTest


def make_image(seed: int, number: int, usage: str) -> FaceImage:
    """Return the face of one row; the eight emotions take turns."""
    rng = generator(seed, _FACE_SET_KEY, number)
    name = VOTES[number % 8]
    chance = rng.random()
    if chance < NOT_A_FACE:
        pixels = _cut(rng, draw_scene(rng), random_pose(rng))
        votes = tuple(ANNOTATORS * (option == "NF") for option in VOTES)
    elif chance < NOT_A_FACE + UNCLEAR:
        pixels, votes = _face(rng, "neutral", 0.0), _draw_votes(rng, {"unknown": 0.75, "neutral": 0.15, name: 0.1})
    else:
        strength = rng.uniform(*STRENGTHS)
        sure = 0.55 + 0.4 * strength
        shares = {"neutral": 0.6 * (1 - sure), VOTES[rng.integers(8)]: 0.4 * (1 - sure)} | {name: sure}
        pixels, votes = _face(rng, name, strength), _draw_votes(rng, shares)
    listed = name if name in FER2013_CLASSES else "neutral"
    return FaceImage(pixels=pixels, fer2013_class=FER2013_CLASSES.index(listed), votes=votes, usage=usage)


def _face(rng: np.random.Generator, emotion: str, strength: float) -> np.ndarray:
    pose = random_pose(rng)
    expression = {"happiness": "joy"}.get(emotion, emotion)  # the demo's name of FER+'s emotion
    picture = draw_face(draw_scene(rng), draw_look(rng), show(rng, expression, strength), pose)
    return _cut(rng, spoil(rng, picture, strength), pose)


def _cut(rng: np.random.Generator, picture: np.ndarray, pose: Pose) -> np.ndarray:
    """Cut the square that the cascade would cut, with some jitter, as 48x48 grey."""
    x, y, side, _ = face_square(pose, margin=0.05 + rng.uniform(-JITTER, JITTER))
    shift_x, shift_y = (round(shift) for shift in side * rng.uniform(-JITTER, JITTER, 2))
    rows = np.clip(np.arange(y + shift_y, y + shift_y + side), 0, picture.shape[0] - 1)
    columns = np.clip(np.arange(x + shift_x, x + shift_x + side), 0, picture.shape[1] - 1)
    grey = cv2.cvtColor(picture[np.ix_(rows, columns)], cv2.COLOR_BGR2GRAY)
    return cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)


def _draw_votes(rng: np.random.Generator, shares: dict[str, float]) -> tuple[int, ...]:
    weights = np.array([shares.get(name, 0.0) for name in VOTES])
    return tuple(int(count) for count in rng.multinomial(ANNOTATORS, weights / weights.sum()))
