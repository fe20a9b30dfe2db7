"""Whose lips move with the sound: the speaking face among the tracks of an utterance.

Between one frame and the next, a face is taken at the place of its track from both, scaled to one size, and laid on
itself by its upper half, which takes out what the whole head moves. What then differs around the mouth more than it
does around the eyes (what differs there is turning, and noise), in units of the face's contrast, is the motion of its
lips. Over the time that a track is seen, that motion is compared with the loudness of the sound: their covariation is
large for lips that move much and move while it is loud, about zero for a face at rest and for one that laughs or chews
beside the sound.

T moments between frames, K sampled frames.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import uniform_filter1d

from pipeline.faces.tracks import Track

FRAMES_PER_S = 30.0
"""Frames looked at, at most: at the five a second of the features, a syllable's opening and closing falls between."""

SMOOTH_S = 0.2
"""Window of both curves, about a syllable: lips open before the sound and close after it."""

FLOOR_DB = 40.0
"""Below the loudest moment; what is softer counts as silence."""

_SIDE_PX = 48
"""A face is scaled to this before it is compared."""

_UPPER = np.s_[4:26, 8:40]
"""Rows and columns with eyes and nose, of a face as finders frame it."""

_MOUTH = np.s_[30:46, 12:36]
"""Rows and columns of the mouth and what it moves, chin and corners."""

_FARTHEST_PX = 6.0
"""A larger shift between two frames is no head's, but a slip of the correlation."""

_LEAST_CONTRAST = 4.0
"""Grey levels: what differs in a face without contrast is noise."""

_WINDOW = cv2.createHanningWindow((32, 22), cv2.CV_32F)


class Curve(NamedTuple):
    """Lip motion of one track: [T] moments in seconds into the file, and [T] motion per second."""

    times_s: np.ndarray
    motion: np.ndarray


def speaking(
    tracks: Sequence[Track],
    times_s: Sequence[float],
    frames: Iterable[tuple[float, np.ndarray]],
    samples: np.ndarray,
    rate_hz: int,
    start_s: float,
) -> Track | None:
    """The track whose lips move most with the sound; None where none moves with it, or there is no sound.

    Args:
        tracks: of the utterance.
        times_s: of the K sampled frames that the tracks are in, in seconds into the file.
        frames: times in seconds into the file, and grey pictures [H, W] uint8, of which the boxes are; more of them per
            second than the sampled ones.
        samples: the sound, mono.
        rate_hz: its sampling rate.
        start_s: where the utterance, and with it the sound, begins in the file of the picture.
    """
    if not samples.any():
        return None
    scores = [
        covariation(curve.motion, loudness(samples, rate_hz, curve.times_s - start_s))
        for curve in lip_motion(tracks, times_s, frames)
    ]
    best = int(np.argmax(scores)) if scores else 0
    return tracks[best] if scores and scores[best] > 0 else None


def covariation(motion: np.ndarray, loud: np.ndarray) -> float:
    """Sum over a track's moments of motion times loudness, each less its mean; 0 where there are less than three.

    A sum, not a mean: what is seen longer is known better.
    """
    if len(motion) < 3:
        return 0.0
    return float(np.dot(motion - motion.mean(), loud - loud.mean()))


def loudness(samples: np.ndarray, rate_hz: int, times_s: np.ndarray) -> np.ndarray:
    """Level of the sound around some moments, from 0 (`FLOOR_DB` below the loudest of the utterance) to 1, [T].

    Args:
        samples: [samples] mono, not all zero.
        rate_hz: its sampling rate.
        times_s: [T] seconds into the sound.
    """
    width = max(1, round(SMOOTH_S * rate_hz))
    power = uniform_filter1d(samples.astype(np.float64) ** 2, width, mode="constant")
    level_db = 10 * np.log10(np.maximum(power, 1e-12) / max(power.max(), 1e-12))
    # What lies beyond the sound is silent.
    at = np.interp(times_s, np.arange(len(samples)) / rate_hz, level_db, left=-FLOOR_DB, right=-FLOOR_DB)
    return np.clip(1 + at / FLOOR_DB, 0, 1)


def lip_motion(
    tracks: Sequence[Track], times_s: Sequence[float], frames: Iterable[tuple[float, np.ndarray]]
) -> list[Curve]:
    """The lip motion of each track from its first to its last sampled frame; arguments as of `speaking`."""
    times = np.asarray(times_s, float)
    raw: list[list[tuple[float, float]]] = [[] for _ in tracks]
    before: tuple[float, np.ndarray] | None = None
    for time_s, image in frames:
        if before is not None and time_s > before[0]:
            moment = (before[0] + time_s) / 2
            for track, points in zip(tracks, raw, strict=True):
                seen = times[track.frames]
                if seen[0] <= moment <= seen[-1]:
                    box = [np.interp(moment, seen, edge) for edge in np.transpose(track.boxes)]
                    motion = mouth_change(_face(before[1], box), _face(image, box)) / (time_s - before[0])
                    points.append((moment, motion))
        before = (time_s, image)
    return [_smooth(points) for points in raw]


def mouth_change(before: np.ndarray, after: np.ndarray) -> float:
    """What changed around the mouth beyond what did around the eyes, in units of the face's contrast; may be negative.

    Args:
        before: a face [48, 48] float32.
        after: the same a moment later.
    """
    (right, down), _ = cv2.phaseCorrelate(before[_UPPER], after[_UPPER], _WINDOW)
    if max(abs(right), abs(down)) <= _FARTHEST_PX:
        moved = np.array([[1, 0, right], [0, 1, down]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        after = cv2.warpAffine(after, moved, after.shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    change = np.abs(after - before)
    return float((change[_MOUTH].mean() - change[_UPPER].mean()) / max(before.std(), _LEAST_CONTRAST))


def _face(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The square around a box, [48, 48] float32; beyond the picture its edge is repeated."""
    x, y, width, height = box
    side = max(2, round(max(width, height)))
    square = cv2.getRectSubPix(image, (side, side), (x + width / 2, y + height / 2), patchType=cv2.CV_32F)
    return cv2.resize(square, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)


def _smooth(points: Sequence[tuple[float, float]]) -> Curve:
    times, motion = np.reshape(points, (-1, 2)).T
    if len(times) > 1:
        motion = uniform_filter1d(motion, max(1, round(SMOOTH_S / float(np.median(np.diff(times))))), mode="nearest")
    return Curve(times, motion)
