"""Choice of the speaking face among the tracks of an utterance: the face whose lips move with the sound.

For each pair of successive frames, the face is cut from both at the position of its track, scaled to one size, and
aligned by its upper half, which removes the movement of the head. Lip motion is the change around the mouth beyond the
change around the eyes (which is turning, and noise), in units of the face's contrast. Over the time of a track, lip
motion is compared with the loudness of the sound. Their covariation is large for lips that move much while it is loud,
and about zero for a face at rest and for one that laughs or chews independently of the sound.

T moments between frames, K sampled frames.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.faces.tracks import Track

FRAMES_PER_S = 30.0
"""Most frames per second that are compared: five, as for the features, would miss a syllable's opening and closing."""

SMOOTH_S = 0.2  # smoothing window of both curves, about a syllable: lips open before the sound and close after it
FLOOR_DB = 40.0  # level below the loudest moment that counts as silence
_SIDE_PX = 48  # side of a face that is compared
_UPPER = np.s_[4:26, 8:40]  # rows and columns with eyes and nose, of a face as finders frame it
_MOUTH = np.s_[30:46, 12:36]  # rows and columns of the mouth, its corners and the chin
_FARTHEST_PX = 6.0  # largest shift of a head between two frames; a larger one is an error of the correlation
_LEAST_CONTRAST = 4.0  # least contrast in grey levels: changes of a face without contrast are noise

_WINDOW = cv2.createHanningWindow((32, 22), cv2.CV_32F)


class Curve(NamedTuple):
    """Lip motion of one track at T moments."""

    times_s: np.ndarray  # [T], seconds into the file
    motion: np.ndarray  # [T], per second


def speaking(
    tracks: Sequence[Track],
    times_s: Sequence[float],
    frames: Iterable[tuple[float, np.ndarray]],
    samples: np.ndarray,
    rate_hz: int,
    start_s: float,
) -> Track | None:
    """Return the track whose lips move most with the sound; None where none moves with it, or there is no sound.

    Args:
        tracks: tracks of the utterance.
        times_s: times of the K sampled frames of the tracks, in seconds into the file.
        frames: times, and grey pictures [H, W] uint8 in which the boxes lie; more per second than the sampled ones.
        samples: the sound, mono.
        rate_hz: its sampling rate.
        start_s: begin of the utterance, and of the sound, in the file of the picture.
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
    """Return the sum (longer tracks are more certain) of centred motion times loudness; 0 for under three moments."""
    if len(motion) < 3:
        return 0.0
    return float(np.dot(motion - motion.mean(), loud - loud.mean()))


def loudness(samples: np.ndarray, rate_hz: int, times_s: np.ndarray) -> np.ndarray:
    """Return the level [T] of mono sound, not all zero, at [T] times, from 0 (`FLOOR_DB` below the loudest) to 1."""
    from scipy.ndimage import uniform_filter1d  # half a second, and only a choice by lips needs it

    width = max(1, round(SMOOTH_S * rate_hz))
    power = uniform_filter1d(samples.astype(np.float64) ** 2, width, mode="constant")
    level_db = 10 * np.log10(np.maximum(power, 1e-12) / max(power.max(), 1e-12))
    # Beyond the sound it is silent.
    level_T = np.interp(times_s, np.arange(len(samples)) / rate_hz, level_db, left=-FLOOR_DB, right=-FLOOR_DB)
    return np.clip(1 + level_T / FLOOR_DB, 0, 1)


def lip_motion(
    tracks: Sequence[Track], times_s: Sequence[float], frames: Iterable[tuple[float, np.ndarray]]
) -> list[Curve]:
    """Return the lip motion of each track from its first to its last sampled frame; arguments as of `speaking`."""
    from scipy.ndimage import uniform_filter1d

    times = np.asarray(times_s, float)
    raw: list[list[tuple[float, float]]] = [[] for _ in tracks]
    for (before_s, before), (time_s, image) in itertools.pairwise(frames):
        moment = (before_s + time_s) / 2
        for track, points in zip(tracks, raw, strict=True):
            seen = times[track.frames]
            if time_s > before_s and seen[0] <= moment <= seen[-1]:
                box = [np.interp(moment, seen, edge) for edge in np.transpose(track.boxes)]
                motion = mouth_change(_face(before, box), _face(image, box)) / (time_s - before_s)
                points.append((moment, motion))
    curves = []
    for points in raw:
        moments, motion = np.reshape(points, (-1, 2)).T
        if len(moments) > 1:
            width = max(1, round(SMOOTH_S / float(np.median(np.diff(moments)))))
            motion = uniform_filter1d(motion, width, mode="nearest")
        curves.append(Curve(moments, motion))
    return curves


def mouth_change(before: np.ndarray, after: np.ndarray) -> float:
    """Return the change of a face [48, 48] around the mouth less that around the eyes, in units of its contrast."""
    (right, down), _ = cv2.phaseCorrelate(before[_UPPER], after[_UPPER], _WINDOW)
    if max(abs(right), abs(down)) <= _FARTHEST_PX:
        moved = np.array([[1, 0, right], [0, 1, down]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        after = cv2.warpAffine(after, moved, after.shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    change = np.abs(after - before)
    return float((change[_MOUTH].mean() - change[_UPPER].mean()) / max(before.std(), _LEAST_CONTRAST))


def _face(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """Cut the square around a box, [48, 48] float32; beyond the picture its edge is repeated."""
    x, y, width, height = box
    side = max(2, round(max(width, height)))
    square = cv2.getRectSubPix(image, (side, side), (x + width / 2, y + height / 2), patchType=cv2.CV_32F)
    return cv2.resize(square, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
