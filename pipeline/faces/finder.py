"""Face detection in a picture, and the square grey cut-out for the network.

Finders: `yunet` (OpenCV's YuNet from the hub, or the path of a YuNet .onnx; also finds turned faces), `haar` (OpenCV's
frontal-face cascade, needs no download), and `whole_frame` for clips that are face crops already.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from dferc.core.console import print_note
from dferc.core.errors import InputError
from dferc.core.files import file_hash
from pipeline.encoders import hub
from pipeline.faces.scaling import scale_face
from pipeline.rows.utterances import Region

YUNET, HAAR, WHOLE_FRAME = "yunet", "haar", "whole_frame"

YUNET_FILE = (
    "opencv/face_detection_yunet",
    "3cc26e7f1014a5ee5d74a42acee58bafc9d0a310",
    "face_detection_yunet_2023mar.onnx",
)
"""The model of `yunet`: repository, commit and file of the hub (232,589 bytes, MIT)."""

_CASCADE = "haarcascade_frontalface_default.xml"
_SCALE_STEP = 1.1  # ratio of successive sizes of the cascade
_MIN_NEIGHBOURS = 4  # overlapping hits that make a face: OpenCV's default of 3 finds faces in foliage and fabric

_SMALLEST_PX = 24
"""Side of the smallest wanted face in the reduced picture, the least that the cascade detects; finer detail is slower
and gives false faces."""

_YUNET_SCORE = 0.7  # least confidence of a face

_YUNET_PX = 32
"""Side of the smallest wanted face in the picture that YuNet sees. Measured (docs/extraction.md): it finds as many of
such faces as the cascade does of 24 pixels; it misses a third of those of 24 pixels, and nearly all of 10."""

_YUNET_SIZES = 4  # of pictures whose detectors are kept; each holds some megabytes

_SEARCH = 1  # version of what follows from the frame before; to be raised whenever other faces may be found
_SURE_PX = 48  # side of the faces that are looked for first: where they have less, their boxes are less exact
_YUNET_STEP = 32  # YuNet's own grid: sides are filled up to multiples of it
_SHRINKS = 0.8  # smallest size of a face, relative to the frame before, that is looked for first
_LARGE = 0.3  # smallest face that is looked for first where none has been seen
_FINER = 1.5  # times that a face may be larger than looked for: beyond, it is looked for again as in the next frames
_WHOLE_S = 1.0  # time after which the whole range of sizes is searched again


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
        image = _grey(image)
        scale = min(1.0, _SMALLEST_PX / (self.min_face * min(image.shape)))
        small = image if scale == 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        boxes = self.cascade.detectMultiScale(small, scaleFactor=_SCALE_STEP, minNeighbors=_MIN_NEIGHBOURS)
        return [_pixels(np.asarray(box) / scale) for box in boxes]


class YuNet:
    """OpenCV's YuNet detector from an .onnx file (opencv_zoo, face_detection_yunet); `min_face` as of `Haar`."""

    def __init__(self, path: str | Path, min_face: float):
        self.min_face, self._path = min_face, str(path)
        if not Path(path).is_file():
            raise InputError(
                f"extract_visual.finder: no file {path}. Expected {YUNET}, {HAAR}, {WHOLE_FRAME}, or the path of a "
                "YuNet .onnx."
            )
        try:
            self._detectors = {(320, 320): self._detector((320, 320))}
        except cv2.error as error:
            raise InputError(f"extract_visual.finder: {path} is not a YuNet .onnx that OpenCV reads: {error}") from None

    def _detector(self, size: tuple[int, int]) -> cv2.FaceDetectorYN:
        return cv2.FaceDetectorYN.create(self._path, "", size, _YUNET_SCORE)

    def find(self, image: np.ndarray, sure: float = 0.0) -> list[Box]:
        """Return every face, as the detector frames it; where `sure` is given, smaller faces may be missing."""
        height, width = image.shape[:2]
        longer, shorter = max(height, width), min(height, width)
        least_px = _YUNET_PX / self.min_face  # of the shorter side
        least_px = min(least_px, _SURE_PX / sure) if sure else least_px
        scale = min(1.0, math.ceil(least_px / shorter * longer / _YUNET_STEP) * _YUNET_STEP / longer)
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        size = (image.shape[1], image.shape[0])
        # One detector per size of the search: a change of its size costs as much as a search of a reduced picture.
        detector = self._detectors.pop(size, None) or self._detector(size)
        self._detectors[size] = detector
        if len(self._detectors) > _YUNET_SIZES:
            del self._detectors[next(iter(self._detectors))]  # the one used longest ago
        faces = detector.detect(image)[1]  # [faces, 15]: box, five landmarks, score
        # Of pictures below 33 pixels a side YuNet reads memory that nothing wrote: boxes of any size, or infinite.
        boxes = [] if faces is None else [face[:4] for face in faces if (abs(face[:4]) <= 2 * max(size)).all()]
        least = self.min_face * shorter * scale
        return [_pixels(box / scale) for box in boxes if max(box[2:4]) >= least]


class WholeFrame:
    """Finder for clips that are face crops already: every frame is a face."""

    def find(self, image: np.ndarray) -> list[Box]:
        """Return the whole picture."""
        return [Box(0, 0, image.shape[1], image.shape[0])]


Finder = Haar | YuNet | WholeFrame


class Follower:
    """Search for faces in the frames of one utterance, in order of time.

    YuNet's time grows with the picture's area. So each frame is first reduced as far as the faces allow that were last
    seen in this shot. The whole range of sizes is searched at the start of a shot, where a face is lost, and then once
    in `_WHOLE_S` until there is a face again. If `only_largest`, faces smaller than the largest may be missed. Else the
    whole range is searched in any case once in `_WHOLE_S`.
    """

    def __init__(self, finder: Finder, only_largest: bool):
        self._finder, self._only_largest = finder, only_largest
        self._begin_shot()

    def _begin_shot(self) -> None:
        self._sizes: list[float] = []  # of the faces that were seen last, as shares of the picture's shorter side
        self._last, self._whole_s = 0, -math.inf  # number of faces in the frame before, time of the last whole search

    def find(self, time_s: float, image: np.ndarray, new_shot: bool) -> list[Box]:
        """Return the faces of the next frame [H, W] uint8."""
        if not isinstance(self._finder, YuNet):
            return self._finder.find(image)
        if new_shot:
            self._begin_shot()
        due = time_s >= self._whole_s + _WHOLE_S
        sure = self._expected(self._sizes) if self._sizes else _LARGE
        boxes, sizes = self._search(image, sure) if self._only_largest or not due else ([], [])
        wanted = 1 if self._only_largest else max(1, self._last)
        if sum(size >= sure for size in sizes) < wanted and (due or self._last):
            boxes, sizes = self._search(image, sure := 0.0)
            self._whole_s = time_s
        if sizes and self._expected(sizes) > _FINER * max(sure, self._finder.min_face):
            again, sizes_again = self._search(image, self._expected(sizes))
            if len(again) == len(boxes) or self._only_largest and again:
                boxes, sizes = again, sizes_again
        self._sizes, self._last = sizes or self._sizes, len(sizes)
        return boxes

    def _expected(self, sizes: Sequence[float]) -> float:
        """Return the size down to which faces are looked for first, from the sizes that were seen last."""
        return _SHRINKS * (max(sizes) if self._only_largest else min(sizes))

    def _search(self, image: np.ndarray, sure: float) -> tuple[list[Box], list[float]]:
        boxes = self._finder.find(image, sure)
        return boxes, [max(box.width, box.height) / min(image.shape) for box in boxes]


def locate_finder(name: str) -> str:
    """Return what a setting `extract_visual.finder` stands for here: haar, whole_frame, or the path of an .onnx.

    Where the model of `yunet` is not to be had, this is haar, with a warning.
    """
    if name != YUNET:
        return name
    try:
        return str(hub.fetch(*YUNET_FILE))
    except InputError as error:
        print_note(
            f"extract_visual.finder: {HAAR} is used instead of {YUNET}; it is slower and misses turned faces. {error} "
            f"Or set the path of the file, or {HAAR}.",
            "warning:",
        )
        return HAAR


def make_finder(name: str, min_face: float) -> Finder:
    """Return the finder of a setting `extract_visual.finder`."""
    name = locate_finder(name)
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
    """Return what determines the faces besides the params section: versions, constants, a model file's content.

    `name` is a result of `locate_finder`.
    """
    if name == WHOLE_FRAME:
        return {}
    if name == HAAR:
        return {"opencv": cv2.__version__, "cascade": _CASCADE, "step": _SCALE_STEP, "neighbours": _MIN_NEIGHBOURS}
    constants = {"score": _YUNET_SCORE, "smallest": _YUNET_PX, "search": _SEARCH}
    return {"opencv": cv2.__version__, "yunet": file_hash(name)} | constants


def least_side(name: str, min_face: float, size: int) -> float:
    """Return down to which shorter side, in pixels, a picture may be reduced before faces are looked for.

    The smallest wanted face keeps the pixels that are looked at: `size` by the network, `_SURE_PX` by the finder.
    """
    return max(size, _SURE_PX) / (1.0 if name == WHOLE_FRAME else min_face)


def largest(boxes: Sequence[Box]) -> Box | None:
    """Return the box of the largest area, the first of equals; None without boxes."""
    return max(boxes, key=lambda box: box.area, default=None)


def cut(image: np.ndarray, box: Box, margin: float, size: int, colour: bool = False) -> np.ndarray:
    """Cut a face out of a picture [H, W] or [H, W, 3] as a square, scaled to [S, S] uint8, grey, or [S, S, 3].

    The box is widened to a square around its centre, then on every side by the margin, a share of the square's side;
    beyond the picture its edge is repeated.
    """
    image = image if colour else _grey(image)
    side = max(1, round(max(box.width, box.height) * (1 + 2 * margin)))
    left, top = (round(start + (extent - side) / 2) for start, extent in ((box.x, box.width), (box.y, box.height)))
    rows, columns = (
        np.clip(np.arange(start, start + side), 0, extent - 1)
        for start, extent in ((top, image.shape[0]), (left, image.shape[1]))
    )
    if rows[-1] - rows[0] == columns[-1] - columns[0] == side - 1:  # wholly in the picture
        return scale_face(image[top : top + side, left : left + side], size)
    return scale_face(np.ascontiguousarray(image[rows[:, None], columns]), size)


def within(image: np.ndarray, region: Region) -> np.ndarray:
    """Return the region of a picture [H, W] or [H, W, 3], its edges rounded to pixels; at least one pixel."""
    height, width = image.shape[:2]
    top, left = min(round(region.top * height), height - 1), min(round(region.left * width), width - 1)
    bottom, right = max(round(region.bottom * height), top + 1), max(round(region.right * width), left + 1)
    return np.ascontiguousarray(image[top:bottom, left:right])


def _pixels(box: Iterable[float]) -> Box:
    return Box(*(round(float(edge)) for edge in box))


def _grey(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
