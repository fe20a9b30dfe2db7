"""Where the face is in a picture, and the square grey cut-out that the network sees.

Three finders: `haar` (OpenCV's frontal-face cascade, needs no download), the path of a YuNet .onnx (better on turned
and small faces), and `whole_frame` for clips that are face crops already. All take the largest face: with several
people in the picture nothing tells which one speaks, and the camera mostly shows the speaker closest.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from dferc.console import InputError
from dferc.files import file_hash
from dferc.params import ExtractVisual
from pipeline import media
from pipeline.densenet import scale_face
from pipeline.utterances import Region

HAAR, WHOLE_FRAME = "haar", "whole_frame"

_CASCADE = "haarcascade_frontalface_default.xml"
_SCALE_STEP = 1.1
"""Ratio of the sizes the cascade is tried at."""

_MIN_NEIGHBOURS = 4
"""Overlapping hits that make a face: OpenCV's default of 3 sees faces in foliage and fabric."""

_HAAR_WINDOW_PX = 24
"""The smallest face the cascade knows."""

_YUNET_SCORE = 0.7
"""Confidence that makes a face."""


class Box(NamedTuple):
    """A rectangle in pixels; it may reach beyond the picture."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces of one utterance.

    Attributes:
        frames: how many were sampled.
        faces: [faces, S, S] uint8.
        problem: what was found wrong, or empty.
    """

    frames: int
    faces: np.ndarray
    problem: str = ""


class Finder(Protocol):
    """Finds the largest face of a picture."""

    def find(self, image: np.ndarray) -> Box | None:
        """The largest face in a picture [H, W] (grey) or [H, W, 3] (BGR), uint8; None where there is none."""


class Haar:
    """OpenCV's frontal-face cascade.

    Args:
        min_face: smallest face, as a share of the picture's shorter side.
    """

    def __init__(self, min_face: float):
        self.min_face = min_face
        self.cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / _CASCADE))

    def find(self, image: np.ndarray) -> Box | None:
        """The largest face; its box is a square."""
        image = _grey(image)
        # The smallest face wanted becomes the smallest the cascade knows: finer detail costs time and looks like faces.
        scale = min(1.0, _HAAR_WINDOW_PX / (self.min_face * min(image.shape)))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        boxes = self.cascade.detectMultiScale(small, scaleFactor=_SCALE_STEP, minNeighbors=_MIN_NEIGHBOURS)
        return largest([np.asarray(box) / scale for box in boxes])


class YuNet:
    """OpenCV's YuNet detector.

    Args:
        path: of the .onnx file (opencv_zoo, face_detection_yunet).
        min_face: smallest face, as a share of the picture's shorter side.

    Raises:
        InputError: the file is missing or not a network that OpenCV can read.
    """

    def __init__(self, path: str | Path, min_face: float):
        self.min_face = min_face
        if not Path(path).is_file():
            raise InputError(
                f"extract_visual.finder: no file {path}. Expected {HAAR}, {WHOLE_FRAME}, or the path of a YuNet .onnx."
            )
        try:
            self.detector = cv2.FaceDetectorYN.create(str(path), "", (320, 320), _YUNET_SCORE)
        except cv2.error as error:
            raise InputError(f"extract_visual.finder: {path} is not a YuNet .onnx that OpenCV reads: {error}") from None

    def find(self, image: np.ndarray) -> Box | None:
        """The largest face, as the detector frames it."""
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        self.detector.setInputSize((image.shape[1], image.shape[0]))
        faces = self.detector.detect(image)[1]  # [faces, 15]: box, five landmarks, score
        least = self.min_face * min(image.shape[:2])
        boxes = [] if faces is None else [face[:4] for face in faces if max(face[2:4]) >= least]
        return largest(boxes)


class WholeFrame:
    """For clips that are face crops already: every frame is a face."""

    def find(self, image: np.ndarray) -> Box | None:
        """The whole picture."""
        return Box(0, 0, image.shape[1], image.shape[0])


def make_finder(name: str, min_face: float) -> Finder:
    """The finder of a setting `extract_visual.finder`: haar, whole_frame, or the path of a YuNet .onnx.

    Raises:
        InputError: neither a known name nor a readable YuNet file.
    """
    if name == WHOLE_FRAME:
        return WholeFrame()
    return Haar(min_face) if name == HAAR else YuNet(name, min_face)


def finder_identity(name: str) -> dict[str, object]:
    """What decides which faces are found, beside the params section: versions, constants, a model file's content."""
    if name == WHOLE_FRAME:
        return {}
    if name == HAAR:
        return {"opencv": cv2.__version__, "cascade": _CASCADE, "step": _SCALE_STEP, "neighbours": _MIN_NEIGHBOURS}
    return {"opencv": cv2.__version__, "yunet": file_hash(name), "score": _YUNET_SCORE}


def largest(boxes) -> Box | None:
    """The box of the largest area among [x, y, width, height] rows, the first of equals; None of none."""
    boxes = [Box(*(round(float(edge)) for edge in box)) for box in boxes]
    return max(boxes, key=lambda box: box.width * box.height, default=None)


def cut(image: np.ndarray, box: Box, margin: float, size: int) -> np.ndarray:
    """Cut a face out as a square and scale it.

    The box is widened to a square around its centre, then by the margin; where that reaches beyond the picture, the
    picture's edge is repeated.

    Args:
        image: [H, W] grey or [H, W, 3] BGR, uint8.
        box: the face.
        margin: added on every side, as a share of the square's side.
        size: S, in pixels.

    Returns:
        [S, S] uint8, grey.
    """
    image = _grey(image)
    side = max(1, round(max(box.width, box.height) * (1 + 2 * margin)))
    left, top = (round(start + (extent - side) / 2) for start, extent in ((box.x, box.width), (box.y, box.height)))
    rows, columns = (
        np.clip(np.arange(start, start + side), 0, extent - 1)
        for start, extent in ((top, image.shape[0]), (left, image.shape[1]))
    )
    return scale_face(np.ascontiguousarray(image[rows[:, None], columns]), size)


def within(image: np.ndarray, region: Region) -> np.ndarray:
    """The part of a picture [H, W] or [H, W, 3], its edges rounded to pixels; at least one pixel of it."""
    height, width = image.shape[:2]
    top, left = min(round(region.top * height), height - 1), min(round(region.left * width), width - 1)
    bottom, right = max(round(region.bottom * height), top + 1), max(round(region.right * width), left + 1)
    return np.ascontiguousarray(image[top:bottom, left:right])


def _grey(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)


# ---------------------------------------------------------------------------------------------------- in a worker

_finder: Finder | None = None
_settings: ExtractVisual | None = None
_size = 0


def start_worker(settings: ExtractVisual, size: int) -> None:
    """Prepare a process for `cut_faces`: settings, and S in pixels."""
    global _finder, _settings, _size
    _finder, _settings, _size = make_finder(settings.finder, settings.min_face), settings, size


def cut_faces(item: tuple[str, float, float, Region]) -> Faces:
    """Decode one utterance's picture and cut the largest face out of each sampled frame.

    Args:
        item: path, start_s, end_s, and the part of the frame to look at.
    """
    path, start_s, end_s, region = item
    margin = 0.0 if _settings.finder == WHOLE_FRAME else _settings.margin
    frames, found, problem = 0, [], ""
    try:
        for _, image in media.read_frames(path, start_s, end_s, _settings.frames_per_s, _settings.max_frames):
            frames += 1
            image = within(image, region)
            box = _finder.find(image)
            if box is not None:
                found.append(cut(image, box, margin, _size))
    except media.MediaError as error:
        problem = error.problem
    if not frames and not problem:
        problem = f"no frame between {start_s:.2f} s and {end_s:.2f} s"
    return Faces(frames, np.stack(found) if found else np.zeros((0, _size, _size), np.uint8), problem)
