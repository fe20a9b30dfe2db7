"""The size of faces and pictures for networks; apart from them, since those who cut faces need no PyTorch."""

import cv2
import numpy as np


def scale_face(face: np.ndarray, image_size: int) -> np.ndarray:
    """Scale a square face to [S, S], or [S, S, 3]: by area when it shrinks (no aliasing), bilinear when it grows."""
    shrinks = face.shape[0] > image_size
    return cv2.resize(face, (image_size, image_size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def shrink_picture(picture: np.ndarray, side: int) -> np.ndarray:
    """Reduce a picture [H, W, 3] by area so that its shorter side is `side`; smaller ones stay as they are."""
    height, width = picture.shape[:2]
    if min(height, width) <= side:
        return picture
    scale = side / min(height, width)
    return cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
