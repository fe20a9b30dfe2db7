"""Drawn faces for tests, from pipeline/demo: FER+ files and scenes that the cascade finds a face in."""

import csv
from pathlib import Path

import cv2
import numpy as np

from pipeline.demo.drawing import draw_face
from pipeline.demo.face import FACE_PX, HAAR_CENTRE, Pose, draw_look, show
from pipeline.demo.face import draw_scene as draw_room

VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")


def draw_scene(emotion: str = "neutral", seed: int = 0) -> tuple[np.ndarray, tuple[float, float]]:
    """A grey picture [120, 160] with a drawn face, and the centre that the cascade gives it."""
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
