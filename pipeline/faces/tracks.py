"""Tracks of faces over the sampled frames of an utterance: one track, one person.

A face continues the track whose expected box, extrapolated from its movement, overlaps it most. All faces of a frame
are assigned at once, so that two faces that pass each other keep their tracks. A face may be missed for a few frames
(the finder loses turned heads and hands before mouths). A camera cut ends every track.

K frames, F faces of a frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

MIN_OVERLAP = 0.2
"""Least intersection over union of a face and its track's expected box: at five frames a second, a face that moves by
two thirds of its width between frames is still tracked."""

MAX_MISSED = 4  # most frames in a row that a face may be missed in: nearly a second, at five frames a second
_MEMORY = 4  # boxes of a track that its movement is measured over: two would follow the finder's jitter
MIN_LIKENESS = 0.5  # correlation of two frames' thumbnails below which the camera has cut
_THUMBNAIL = (32, 18)  # width and height: movement within a shot is small in it, the change of a cut is not
_FLAT = 2.0  # standard deviation in grey levels below which a thumbnail has nothing to compare


@dataclass(slots=True)
class Track:
    """One face, over the frames that show it."""

    frames: list[int] = field(default_factory=list)  # indices of the frames, ascending
    faces: list[int] = field(default_factory=list)  # index of the face in each of these frames
    boxes: list[np.ndarray] = field(default_factory=list)  # x, y, width, height in each of these frames

    def add(self, frame: int, face: int, box: Sequence[float]) -> None:
        """Continue the track."""
        self.frames.append(frame)
        self.faces.append(face)
        self.boxes.append(np.asarray(box, float))

    def expected(self, frame: int) -> np.ndarray:
        """Extrapolate the box to a later frame: the last box, moved on as its centre has been moving."""
        box = self.boxes[-1].copy()
        frames, boxes = self.frames[-_MEMORY:], self.boxes[-_MEMORY:]
        if len(frames) > 1:
            centres = [last[:2] + last[2:] / 2 for last in (boxes[0], boxes[-1])]
            box[:2] += (centres[1] - centres[0]) / (frames[-1] - frames[0]) * (frame - frames[-1])
        return box

    @property
    def area(self) -> float:
        """Mean area of its boxes."""
        return float(np.mean([box[2] * box[3] for box in self.boxes]))


def link(boxes: Sequence[Sequence[Sequence[float]]], cuts: Sequence[bool]) -> list[Track]:
    """Return tracks in order of their first frame, with every face in exactly one.

    `boxes` are x, y, width, height of the F faces of each of K frames; `cuts`: has the camera cut before it?
    """
    tracks: list[Track] = []
    live: list[Track] = []
    for frame, (faces, cut) in enumerate(zip(boxes, cuts, strict=True)):
        live = [] if cut else [track for track in live if frame - track.frames[-1] <= MAX_MISSED + 1]
        overlap = np.array([[_overlap(track.expected(frame), box) for box in faces] for track in live])
        overlap[overlap < MIN_OVERLAP] = 0  # no track: it must not decide where the others go
        pairs = zip(*linear_sum_assignment(overlap, maximize=True), strict=True) if overlap.size else ()
        owner = {face: live[row] for row, face in pairs if overlap[row, face] >= MIN_OVERLAP}
        for face, box in enumerate(faces):
            if face not in owner:
                owner[face] = Track()
                tracks.append(owner[face])
                live.append(owner[face])
            owner[face].add(frame, face, box)
    return tracks


def longest(tracks: Sequence[Track]) -> Track | None:
    """Return the track of most frames, of equals the larger face, then the earlier; None without tracks."""
    return max(tracks, key=lambda track: (len(track.frames), track.area), default=None)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Reduce a grey picture [H, W] uint8 for `is_cut`."""
    return cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether the camera has cut between two thumbnails."""
    one, other = before - before.mean(), after - after.mean()
    spread = max(float(one.std()), _FLAT) * max(float(other.std()), _FLAT)
    return float((one * other).mean()) / spread < MIN_LIKENESS


def _overlap(one: np.ndarray, other: Sequence[float]) -> float:
    """Return the intersection over union of two boxes."""
    corners = [(np.asarray(box[:2]), np.asarray(box[:2]) + np.asarray(box[2:])) for box in (one, other)]
    sides = np.minimum(corners[0][1], corners[1][1]) - np.maximum(corners[0][0], corners[1][0])
    shared = float(np.prod(np.clip(sides, 0, None)))
    whole = float(one[2] * one[3] + other[2] * other[3]) - shared
    return shared / whole if whole > 0 else 0.0
