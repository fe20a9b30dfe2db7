"""Face detection in a picture, and the square grey cut-out for the network.

Three finders: `haar` (OpenCV's frontal-face cascade, needs no download), the path of a YuNet .onnx (better on turned
and small faces), and `whole_frame` for clips that are face crops already.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from dferc.core.errors import InputError
from dferc.core.files import file_hash
from pipeline.faces.scaling import scale_face
from pipeline.rows.utterances import Region

HAAR, WHOLE_FRAME = "haar", "whole_frame"

_CASCADE = "haarcascade_frontalface_default.xml"
_SCALE_STEP = 1.1  # ratio of successive sizes of the cascade
_MIN_NEIGHBOURS = 4  # overlapping hits that make a face: OpenCV's default of 3 finds faces in foliage and fabric

_SMALLEST_PX = 24
"""Side of the smallest wanted face in the reduced picture, the least that the cascade detects; finer detail is slower
and gives false faces."""

_YUNET_SCORE = 0.7  # least confidence of a face


class Box(NamedTuple):
    """Rectangle in pixels; it may reach beyond the picture."""

    x: int
    y: int
    width: int
    height: int

    @property
    def area(self) -> int:
        """Area in pixels."""
        return self.width * self.height


class Haar:
    """OpenCV's frontal-face cascade; `min_face` is the smallest face, as a share of the picture's shorter side."""

    def __init__(self, min_face: float):
        self.min_face = min_face
        self.cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / _CASCADE))

    def find(self, image: np.ndarray) -> list[Box]:
        """Return every face in a picture [H, W] (grey) or [H, W, 3] (BGR), uint8; the boxes are squares."""
        small, scale = _reduced(_grey(image), self.min_face)
        boxes = self.cascade.detectMultiScale(small, scaleFactor=_SCALE_STEP, minNeighbors=_MIN_NEIGHBOURS)
        return [_pixels(np.asarray(box) / scale) for box in boxes]


class YuNet:
    """OpenCV's YuNet detector from an .onnx file (opencv_zoo, face_detection_yunet); `min_face` as of `Haar`."""

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

    def find(self, image: np.ndarray) -> list[Box]:
        """Return every face, as the detector frames it."""
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        small, scale = _reduced(image, self.min_face)
        self.detector.setInputSize((small.shape[1], small.shape[0]))
        faces = self.detector.detect(small)[1]  # [faces, 15]: box, five landmarks, score
        least = self.min_face * min(small.shape[:2])
        return [] if faces is None else [_pixels(face[:4] / scale) for face in faces if max(face[2:4]) >= least]


class WholeFrame:
    """Finder for clips that are face crops already: every frame is a face."""

    def find(self, image: np.ndarray) -> list[Box]:
        """Return the whole picture."""
        return [Box(0, 0, image.shape[1], image.shape[0])]


Finder = Haar | YuNet | WholeFrame


def make_finder(name: str, min_face: float) -> Finder:
    """Return the finder of a setting `extract_visual.finder`: haar, whole_frame, or the path of a YuNet .onnx."""
    if name == WHOLE_FRAME:
        return WholeFrame()
    if name == HAAR:
        return Haar(min_face)
    finder = YuNet(name, min_face)
    try:
        finder.find(np.zeros((320, 320, 3), np.uint8))
    except (cv2.error, IndexError, ValueError) as error:  # another network, which fails only when it runs
        line = str(error).strip().splitlines()[0]
        raise InputError(f"extract_visual.finder: {name} finds no faces: it is no YuNet .onnx ({line})") from None
    return finder


def finder_identity(name: str) -> dict[str, object]:
    """Return what determines the faces besides the params section: versions, constants, a model file's content."""
    if name == WHOLE_FRAME:
        return {}
    if name == HAAR:
        return {"opencv": cv2.__version__, "cascade": _CASCADE, "step": _SCALE_STEP, "neighbours": _MIN_NEIGHBOURS}
    return {"opencv": cv2.__version__, "yunet": file_hash(name), "score": _YUNET_SCORE, "smallest": _SMALLEST_PX}


def largest(boxes: Sequence[Box]) -> Box | None:
    """Return the box of the largest area, the first of equals; None without boxes."""
    return max(boxes, key=lambda box: box.area, default=None)


def cut(image: np.ndarray, box: Box, margin: float, size: int) -> np.ndarray:
    """Cut a face out of a picture [H, W] or [H, W, 3] as a square, and scale it to [S, S] uint8, grey.

    The box is widened to a square around its centre, then on every side by the margin, a share of the square's side;
    beyond the picture its edge is repeated.
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
    """Return the region of a picture [H, W] or [H, W, 3], its edges rounded to pixels; at least one pixel."""
    height, width = image.shape[:2]
    top, left = min(round(region.top * height), height - 1), min(round(region.left * width), width - 1)
    bottom, right = max(round(region.bottom * height), top + 1), max(round(region.right * width), left + 1)
    return np.ascontiguousarray(image[top:bottom, left:right])


def _reduced(image: np.ndarray, min_face: float) -> tuple[np.ndarray, float]:
    """Return the picture reduced for the finder, and the scale."""
    scale = min(1.0, _SMALLEST_PX / (min_face * min(image.shape[:2])))
    if scale == 1:
        return image, scale
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), scale


def _pixels(box: Iterable[float]) -> Box:
    return Box(*(round(float(edge)) for edge in box))


def _grey(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
