"""Size of a face for the network. Workers that cut faces need this and no PyTorch."""

import cv2
import numpy as np


def scale_face(face: np.ndarray, image_size: int) -> np.ndarray:
    """Scale a square grey face to [S, S]: by area when it shrinks (no aliasing), bilinear when it grows."""
    shrinks = face.shape[0] > image_size
    return cv2.resize(face, (image_size, image_size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
