"""How often `most_lip_motion` finds who speaks: `python -m benchmarks.speaking_face`, with real media in $DFERC_SHARED.

Two real people side by side in one picture, neither of whom talks in the recording: one smiles, one cries and laughs
and moves a lot. The mouth of one of them is opened and closed by computer as loud as recorded speech is, and that is
the sound of the clip; the other's moves as it was filmed. Half simulated, then: real faces, heads and sound, a made-up
mouth. The clips are written, and read again as the stage does. (`largest` takes the nearer one always: half are right.)
"""

import tempfile
from pathlib import Path

import click
import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from dferc.core.console import console
from pipeline.faces.finder import Haar, largest
from pipeline.faces.speaker_face import MOST_LIP_MOTION, FaceWorker, UtteranceMedia
from pipeline.media.sound import SAMPLE_RATE_HZ
from pipeline.rows.utterances import Region
from pipeline.settings import load_settings
from tests.helpers.clips import SHARED, read_audio, read_frames, write_clip

SECONDS, FPS = 2.4, 25
WIDTH, HEIGHT = 320, 180
"""Of each half of the picture."""

HALVES = (Region(right=0.5), Region(left=0.5))

SMILES, CRIES, SPEECH = "single_face.mp4", "WolfgangLanger_Pexels.mp4", "speech.wav"


@click.command()
@click.option("--spans", default=8, show_default=True, help="Spans of the longer recording, of 2.4 s each.")
@click.option("--opening", default=0.06, show_default=True, help="Of the mouth at its widest, in faces' widths.")
def main(spans: int, opening: float) -> None:
    """Count how often the one is taken whose mouth follows the sound."""
    speech = read_audio(SHARED / "media" / SPEECH, 0.0, 2 * SECONDS)
    cut_faces = FaceWorker(
        load_settings().corpus("meld").extract_visual.model_copy(update={"face": "most_lip_motion"}), 64
    )
    smiles = _frames(SMILES, 0.0)
    right, fallen_back, trials = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for span in range(spans):
            cries = _frames(CRIES, SECONDS * span)
            sound = np.array_split(speech, 2)[span % 2]
            for speaker in (0, 1):
                pair = [smiles, cries]
                pair[speaker] = talk(pair[speaker], sound, opening, seed=span)
                pictures = [np.hstack(both) for both in zip(*pair, strict=False)]
                clip = write_clip(Path(folder, "clip.mp4"), pictures=pictures, frames_per_s=FPS, sound=sound[None])
                part = UtteranceMedia(str(clip), 0.0, SECONDS, sound=(str(clip), 0.0, SECONDS))
                [taken] = cut_faces([part]).result
                halves = [part._replace(region=half) for half in (Region(right=0.5), Region(left=0.5))]
                alone = [found.size / 2 for found in cut_faces(halves).result]
                trials += 1
                right += int(np.argmin([abs(taken.size - size) for size in alone])) == speaker
                fallen_back += taken.choice != MOST_LIP_MOTION
            console.print(f"right in {right} of {trials}; no lips moved with the sound in {fallen_back}")


def talk(frames: list[np.ndarray], speech: np.ndarray, opening: float, seed: int) -> list[np.ndarray]:
    """Open and close the mouth as loud as the speech is, each opening a little more or less than the sound asks for.

    Args:
        frames: [H, W] uint8, with one face.
        speech: [samples] at `SAMPLE_RATE_HZ`.
        opening: at the widest, in faces' widths.
        seed: of what is a little more or less.
    """
    random = np.random.default_rng(seed)
    level = np.sqrt(np.maximum(gaussian_filter1d(speech.astype(float) ** 2, 0.03 * SAMPLE_RATE_HZ), 0))
    level /= np.percentile(level, 98)
    scatter = np.exp(gaussian_filter1d(random.standard_normal(len(frames)), 3))
    found = [largest(Haar(0.2).find(frame)) for frame in frames[::5]]
    seen = [(5 * number, box) for number, box in enumerate(found) if box is not None]
    made = []
    for number, frame in enumerate(frames):
        x, y, side, _ = (np.interp(number, *each) for each in _edges(seen))
        # Lips open before the sound is heard, by some 50 ms.
        loud = np.interp(number / FPS + 0.05, np.arange(len(level)) / SAMPLE_RATE_HZ, level) * scatter[number]
        made.append(_opened(frame, x + side / 2, y + 0.78 * side, side, opening * side * min(1.2, loud)))
    return made


def _opened(frame: np.ndarray, mouth_x: float, mouth_y: float, side: float, by_px: float) -> np.ndarray:
    """Chin and lower lip moved down, less so away from the mouth; dark between the lips."""
    y, x = np.mgrid[0 : frame.shape[0], 0 : frame.shape[1]].astype(np.float32)
    below = y - mouth_y
    down = by_px * np.exp(-(((x - mouth_x) / (0.2 * side)) ** 2))
    shift = np.where(below > 0, down * np.exp(-np.maximum(below, 0) / (0.25 * side)), 0)
    moved = cv2.remap(frame, x, (y - shift).astype(np.float32), cv2.INTER_LINEAR)
    between = (below > 0) & (below < 0.9 * down) & (np.abs(x - mouth_x) < 0.2 * side)
    return np.where(between, (0.4 * moved).astype(np.uint8), moved)


def _edges(seen: list[tuple[int, tuple]]) -> list[tuple[list[int], tuple]]:
    numbers = [number for number, _ in seen]
    return [(numbers, edge) for edge in zip(*(box for _, box in seen), strict=True)]


def _frames(name: str, start_s: float) -> list[np.ndarray]:
    frames = read_frames(SHARED / "media" / name, start_s, start_s + SECONDS, FPS, 1000)
    return [cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for _, frame in frames]


if __name__ == "__main__":
    main()
