"""Drawn faces for tests, from pipeline/demo: FER+ files and scenes that the cascade finds a face in."""

import csv
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.demo.drawing import draw_face
from pipeline.demo.face import FACE_PX, HAAR_CENTRE, Expression, Pose, draw_look, show
from pipeline.demo.face import draw_scene as draw_room

VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")


def draw_scene(emotion: str = "neutral", seed: int = 0) -> tuple[np.ndarray, tuple[float, float]]:
    """Draw a grey picture [120, 160] with a drawn face, and the centre that the cascade gives it."""
    random = np.random.default_rng(seed)
    pose = Pose()
    picture = draw_face(draw_room(random), draw_look(random), show(random, emotion, 1.0), pose)
    centre = (pose.x_px + HAAR_CENTRE[0] * FACE_PX, pose.y_px + HAAR_CENTRE[1] * FACE_PX)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), centre


def write_ferplus(folder: Path, counts: dict[str, int], seed: int = 0) -> None:
    """Write fer2013.csv and fer2013new.csv: in turn a bar at the top (neutral), the middle (happiness) and below.

    Crude on purpose: a network learns them in a few dozen steps.
    """
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    usages = [usage for usage, count in counts.items() for _ in range(count)]
    with open(folder / "fer2013.csv", "w", newline="") as one, open(folder / "fer2013new.csv", "w", newline="") as two:
        pixels, votes = csv.writer(one), csv.writer(two)
        pixels.writerow(("emotion", "pixels", "Usage"))
        votes.writerow(("Usage", "Image name", *VOTES))
        for number, usage in enumerate(usages):
            kind = number % 3
            image = random.integers(90, 130, (48, 48))
            image[8 + 12 * kind : 16 + 12 * kind, 8:40] = random.integers(180, 255)
            pixels.writerow((0, " ".join(map(str, image.ravel())), usage))
            votes.writerow((usage, f"fer{number:07}.png", *(8 * (option == kind) for option in range(10))))


# ---------------------------------------------------------------------------------------------------- two who talk

LOUD_S = ((0.1, 0.6), (0.95, 1.4), (1.7, 2.2))
"""When it is loud in `speech`, in seconds."""


class Person(NamedTuple):
    """Somebody in a picture: the seed of the looks, the place of the head, and how far the mouth is open (0 to 1)."""

    look: int
    pose: Pose
    open: float = 0.0


def draw_people(*people: Person, size: tuple[int, int] = (320, 180), room: int = 0) -> np.ndarray:
    """Draw several people in a grey picture [height, width], of a size as width and height, in the room of a seed."""
    picture = cv2.resize(draw_room(np.random.default_rng(room)), size)
    for look, pose, mouth in people:
        picture = draw_face(picture, draw_look(np.random.default_rng(look)), Expression(open=mouth), pose)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)


def mouth_at(time_s: float, loud: bool = True) -> float:
    """Return a mouth that opens five times a second while it is loud in `speech`, or while it is quiet."""
    is_loud = any(start_s <= time_s < end_s for start_s, end_s in LOUD_S)
    return 0.4 * (1 - np.cos(2 * np.pi * 5 * time_s)) if is_loud == loud else 0.0


def speech(seconds: float, rate_hz: int = 16000) -> np.ndarray:
    """Sound [samples] float32: a tone at the times `LOUD_S`, faint noise between."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    loud = sum(((start_s <= time_s) & (time_s < end_s)).astype(float) for start_s, end_s in LOUD_S)
    noise = np.random.default_rng(0).standard_normal(len(time_s))
    return (0.3 * loud * np.sin(2 * np.pi * 150 * time_s) + 0.001 * noise).astype(np.float32)
