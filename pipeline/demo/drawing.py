"""Drawing of the synthetic demo corpus's faces: heads with brows, eyes and a mouth that follow an expression.

Drawn so that OpenCV's frontal-face cascade finds them: light forehead, nose and cheeks, dark eye sockets and mouth.
Coordinates are in half face widths, x to the right, y down, the origin between eyes and mouth.
"""

import cv2
import numpy as np

from pipeline.demo.face import FACE_PX, Expression, FaceLook, Pose

_OVERSAMPLE = 2
_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


def draw_face(canvas: np.ndarray, look: FaceLook, expression: Expression, pose: Pose) -> np.ndarray:
    """Return a new picture [HEIGHT, WIDTH, 3] uint8: a head in front of the scene `canvas`."""
    pen = _Pen(cv2.resize(canvas, None, fx=_OVERSAMPLE, fy=_OVERSAMPLE, interpolation=cv2.INTER_LINEAR), pose)
    _draw_head(pen, look)
    for side in (-1, 1):
        _draw_eye(pen, look, expression, side)
    _draw_nose(pen, look, expression)
    _draw_mouth(pen, look, expression)
    return cv2.resize(pen.image, (canvas.shape[1], canvas.shape[0]), interpolation=cv2.INTER_AREA)


class _Pen:
    """Draws polygons given in face coordinates; knows the pose and the oversampling."""

    def __init__(self, image: np.ndarray, pose: Pose):
        self.image = image
        self.unit = FACE_PX * pose.size * _OVERSAMPLE
        turn = np.deg2rad(pose.turn_deg)
        self.turn = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        self.origin = np.array([pose.x_px, pose.y_px]) * _OVERSAMPLE

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        pixels = np.asarray(points, dtype=float) @ self.turn * self.unit + self.origin
        return np.round(pixels * 2**_SHIFT).astype(np.int32)

    def fill(self, points: np.ndarray, colour, image: np.ndarray | None = None) -> None:
        """Fill a polygon [P, 2]."""
        cv2.fillPoly(self.image if image is None else image, [self._pixels(points)], colour, cv2.LINE_AA, _SHIFT)

    def line(self, points: np.ndarray, colour, thickness: float) -> None:
        """Draw a line through points [P, 2]; thickness in face units."""
        width = max(1, round(thickness * self.unit))
        cv2.polylines(self.image, [self._pixels(points)], False, colour, width, cv2.LINE_AA, _SHIFT)

    def shade(self, outline: np.ndarray, blots: list[tuple[np.ndarray, float]], softness: float) -> None:
        """Multiply the picture inside an outline by 1 + blurred (polygon, light) blots; softness in face units."""
        light, inside = np.zeros((2, *self.image.shape[:2]), np.float32)
        for points, amount in blots:
            self.fill(points, amount, light)
        self.fill(outline, 1.0, inside)
        left, top, width, height = cv2.boundingRect(self._pixels(outline) >> _SHIFT)  # outside it nothing changes
        box = np.s_[max(0, top - 1) : top + height + 1, max(0, left - 1) : left + width + 1]
        soft = cv2.resize(light[box], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        soft = cv2.GaussianBlur(soft, (0, 0), softness * self.unit / 2)
        soft = cv2.resize(soft, inside[box].shape[::-1], interpolation=cv2.INTER_LINEAR)
        self.image[box] = np.clip(self.image[box] * (1 + inside[box] * soft)[..., None], 0, 255).astype(np.uint8)


_ANGLES = np.linspace(0, 2 * np.pi, 40, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
"""Points [40, 2], from the right over the bottom; the second half is the upper one."""


def _oval(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    return _CIRCLE * (rx, ry) + (x, y)


def _darker(colour, factor: float) -> tuple[float, ...]:
    return tuple(min(255.0, level * factor) for level in colour)


def _draw_head(pen: _Pen, look: FaceLook) -> None:
    """Draw shoulders, hair behind, neck, ears, face and the hair above it; shade the face."""
    pen.fill(_oval(0, 2.75, 2.3, 1.15), look.clothes)
    if look.long_hair:
        pen.fill(_oval(0, 0.1, 1.28, 1.6), look.hair)
    pen.fill(np.array([(-0.45, 0.8), (0.45, 0.8), (0.5, 1.9), (-0.5, 1.9)]), _darker(look.skin, 0.72))
    pen.fill(_oval(0, -0.42, 1.12, 1.18), look.hair)
    for side in (-1, 1):
        pen.fill(_oval(side * 1.0, 0.0, 0.13, 0.26), _darker(look.skin, 0.82))
    outline = _oval(0, 0, 1.0, 1.32 * look.length)
    outline[:, 0] *= 1 - 0.16 * np.clip(outline[:, 1], 0, None) ** 1.5  # narrower towards the chin
    pen.fill(outline, look.skin)
    hairline = np.linspace(-1.02, 1.02, 30)
    brim = np.stack([hairline, -0.98 + 0.42 * np.abs(hairline) ** 3], axis=1)
    crown = np.stack([hairline[::-1] * 1.08, -1.62 + 0.6 * np.abs(hairline[::-1]) ** 2.2], axis=1)
    pen.fill(np.r_[brim, crown], look.hair)
    # Light on forehead, nose and cheeks; shade in the eye sockets, on the sides of the face, chin and lower lip.
    blots = [
        (_oval(0, -0.62, 0.55, 0.2), 0.16),
        (_oval(0, 0.0, 0.1, 0.42), 0.22),
        *[(_oval(side * 0.5, 0.33, 0.24, 0.18), 0.2) for side in (-1, 1)],
        *[(_oval(side * 0.41 * look.eye_gap, -0.2, 0.3, 0.17), -0.5) for side in (-1, 1)],
        *[(_oval(side * 1.02, 0.35, 0.14, 0.9), -0.3) for side in (-1, 1)],
        (_oval(0, 1.32, 0.6, 0.13), -0.35),
        (_oval(0, 0.72, 0.3, 0.08), -0.12),
    ]
    pen.shade(outline, blots, softness=0.09)


def _draw_eye(pen: _Pen, look: FaceLook, expression: Expression, side: int) -> None:
    x, y = side * 0.41 * look.eye_gap, -0.2
    opening = 0.115 * look.eye_size * float(np.clip(1 + 0.75 * expression.eye, 0.12, 2.0))
    pen.fill(_oval(x, y, 0.2, opening), (205, 210, 215))
    iris = min(0.115, opening * 1.05)
    pen.fill(_oval(x, y, min(0.115, 0.06 + iris / 2), iris), look.iris)
    pen.fill(_oval(x, y, 0.05, min(0.055, opening)), (12, 12, 12))
    lid = _oval(x, y, 0.215, opening)[20:]
    pen.line(lid, _darker(look.skin, 0.3), 0.045)
    along = np.linspace(-1, 1, 9)  # from the nose outwards
    lift = 0.13 * (expression.inner_brow * (1 - along) / 2 + expression.outer_brow * (1 + along) / 2)
    arch = 0.05 * (1 - along**2)
    brow = np.stack([x + side * (0.24 * along + 0.01), y - 0.24 - lift - arch], axis=1)
    pen.line(brow, _darker(look.hair, 0.6), 0.075 * look.brow_weight)


def _draw_nose(pen: _Pen, look: FaceLook, expression: Expression) -> None:
    width = 0.17 * look.nose * (1 + 0.15 * expression.wrinkle)
    base = 0.4 - 0.05 * expression.wrinkle
    for side in (-1, 1):
        pen.fill(_oval(side * width * 0.6, base, 0.06, 0.035), _darker(look.skin, 0.42))
        pen.line(np.array([(side * width, base - 0.1), (side * width, base)]), _darker(look.skin, 0.72), 0.03)
        if expression.wrinkle > 0.15:
            fold = np.array([(side * 0.2, 0.25), (side * 0.38, 0.42), (side * 0.44, 0.58)])
            pen.line(fold, _darker(look.skin, 1 - 0.45 * min(1.0, expression.wrinkle)), 0.05)
            pen.line(np.array([(side * 0.06, -0.3), (side * 0.05, -0.12)]), _darker(look.skin, 0.6), 0.035)


def _draw_mouth(pen: _Pen, look: FaceLook, expression: Expression) -> None:
    along = np.linspace(-1, 1, 17)
    half = 0.37 * look.mouth * (1 + 0.28 * expression.wide)
    rise = 0.17 * (expression.corners * along**2 + expression.smirk * np.clip(along, 0, None) ** 2)
    middle = 0.74 - rise + 0.085 * expression.corners
    gape = (0.26 * expression.open) * np.sqrt(1 - 0.97 * along**2)
    upper = middle - 0.35 * gape - 0.06 * expression.wrinkle * (1 - np.abs(along))
    lower = middle + gape
    x = half * along
    lip = (0.55 * look.skin[0], 0.45 * look.skin[1], 0.72 * look.skin[2])
    if expression.open > 0.08:
        pen.fill(np.r_[np.c_[x, upper], np.c_[x, lower][::-1]], (28, 22, 48))
        teeth = np.minimum(upper + 0.1, lower)
        pen.fill(np.r_[np.c_[x, upper] * [0.85, 1], (np.c_[x, teeth] * [0.85, 1])[::-1]], (215, 222, 226))
    pen.line(np.c_[x, upper], _darker(lip, 0.8), 0.07)
    pen.line(np.c_[x, lower], lip, 0.075)
    if expression.open <= 0.08:
        pen.line(np.c_[x, middle], _darker(lip, 0.35), 0.05)
