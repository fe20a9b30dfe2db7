"""Clips of the synthetic demo corpus: frames of a talking face and its voice as mp4, deterministically."""

import io
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np

from pipeline.demo import plan
from pipeline.demo.drawing import draw_face
from pipeline.demo.face import HEIGHT, WIDTH, Pose, draw_look, draw_scene, show, spoil
from pipeline.demo.voice import RATE_HZ, speak

FPS = 10
TINY_S = 0.05

# Without cpu-independent, x264's fast paths gave other bytes from run to run, on one thread as well.
_PICTURE_OPTIONS = {"crf": "27", "preset": "veryfast", "x264-params": "threads=1:cpu-independent=1"}
_SOUND_BITRATE = 64_000
_VOICE_KEY, _FACE_KEY, _LOOK_KEY = 2, 3, 4  # keys of the random streams (0: the plan, 1: the words)


def make_clip(seed: int, row: plan.PlannedUtterance) -> bytes | None:
    """Return the mp4 file of an utterance with its planned fault; None where the file is to be missing."""
    if row.awkward == plan.MISSING:
        return None
    sound_T = make_sound(seed, row)
    if row.awkward == plan.TINY:
        sound_T = sound_T[: round(TINY_S * RATE_HZ)]
    frames = make_frames(seed, row, duration_s=len(sound_T) / RATE_HZ)
    clip = encode_mp4(
        None if row.awkward == plan.NO_PICTURE else frames,
        None if row.awkward == plan.NO_SOUND else sound_T,
        fps=1 / TINY_S if row.awkward == plan.TINY else FPS,
    )
    return clip[: len(clip) // 2] if row.awkward == plan.CORRUPT else clip


def make_sound(seed: int, row: plan.PlannedUtterance) -> np.ndarray:
    """Return the voice of an utterance, [T] float32 at `RATE_HZ`; lost sound has the true emotion."""
    reliability, shown = row.planted[1]
    rng = plan.generator(seed, _VOICE_KEY, row.dialogue, row.index)
    place = (row.speaker * 5 % len(plan.CAST)) / (len(plan.CAST) - 1)
    pitch_hz = 90.0 * (230.0 / 90.0) ** place  # the cast is spread over 90 to 230 Hz
    return speak(rng, pitch_hz, shown or row.emotion, reliability)


def make_frames(seed: int, row: plan.PlannedUtterance, duration_s: float) -> list[np.ndarray]:
    """Draw a face in slight motion, its mouth moving as in speech; each frame [HEIGHT, WIDTH, 3] uint8, BGR."""
    reliability, shown = row.planted[2]
    rng = plan.generator(seed, _FACE_KEY, row.dialogue, row.index)
    scene = draw_scene(rng)
    count = max(1, round(duration_s * FPS))
    if row.awkward == plan.NO_FACE:
        return [spoil(rng, scene, 1.0) for _ in range(count)]
    look = draw_look(plan.generator(seed, _LOOK_KEY, row.speaker))
    start, expression = random_pose(rng), show(rng, shown or row.emotion, reliability)
    frames = []
    for turn in np.linspace(0, 2 * np.pi, count, endpoint=False):
        x_px, y_px = start.x_px + 1.5 * np.sin(turn), start.y_px + np.sin(2 * turn)
        pose = replace(start, x_px=x_px, y_px=y_px, turn_deg=start.turn_deg + 1.5 * np.cos(turn))
        talking = replace(expression, open=expression.open + rng.uniform(0, 0.12))
        frames.append(spoil(rng, draw_face(scene, look, talking, pose), reliability))
    return frames


def random_pose(rng: np.random.Generator) -> Pose:
    """Draw a place for the face where all of it stays in the picture."""
    return Pose(
        x_px=WIDTH / 2 + rng.uniform(-12, 12),
        y_px=HEIGHT / 2 + 4 + rng.uniform(-3, 3),
        size=rng.uniform(0.92, 1.04),
        turn_deg=rng.uniform(-4, 4),
    )


def encode_mp4(frames: list[np.ndarray] | None, sound_T: np.ndarray | None, fps: float) -> bytes:
    """Pack pictures (H.264) and mono sound (AAC), or one of them, as mp4; the same input gives the same bytes."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        picture = sound = None
        if frames is not None:
            rate = Fraction(fps).limit_denominator(1000)
            picture = container.add_stream("libx264", rate=rate, options=_PICTURE_OPTIONS)
            picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            picture.codec_context.thread_count = 1
            picture.codec_context.time_base = 1 / rate
        if sound_T is not None:
            sound = container.add_stream("aac", rate=RATE_HZ, layout="mono", options={"aac_coder": "fast"})
            sound.bit_rate = _SOUND_BITRATE
        for pts, pixels in enumerate(frames or ()):
            frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
            frame.pts = pts
            container.mux(picture.encode(frame))
        if sound:
            frame = av.AudioFrame.from_ndarray(sound_T[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE_HZ, 0
            container.mux(sound.encode(frame))
        for stream in filter(None, (picture, sound)):
            container.mux(stream.encode(None))
    return file.getvalue()
