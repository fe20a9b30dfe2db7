"""Sampling a long file against decoding it once, in one run: `python -m benchmarks.decode`.

Like IEMOCAP's: one file of ten minutes, a hundred utterances back to back, open throughout. Ours: what a worker decodes
of the picture (5 frames/s as grey, a group of utterances at a time, as `extract_visual` hands them out) and of the
sound (each utterance by a decoder of its own, as in `extract_audio`). Once: every frame of the picture decoded from
begin to end and thrown away; all of the sound read as one utterance. In CPU time of one thread, the least of several
runs; the ratios are printed (target: at most 1.3). Some five minutes, two of them for making the file.

At last, a clip of one utterance, like MELD's: its sound and its picture by a pass over the file each, as in
`extract_audio` and `extract_visual`, against both in one pass, as `most_lip_motion` reads them.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from pipeline.extract_visual import GROUP
from pipeline.media.files import frames, open_media, stream_of
from pipeline.media.pictures import PictureFile, Span
from pipeline.media.sound import SoundFile
from tests.helpers.clips import read_audio, tone, write_clip

TARGET = 1.3
CLIP_S = 4
FRAMES_PER_S, RATE_HZ = 25, 48000


def make_file(path: Path, seconds: int, size: tuple[int, int]) -> Path:
    """Make H.264 with x264's own groups of pictures (250 frames) and AAC stereo: shapes on a moving background."""
    random = np.random.default_rng(0)
    background = np.kron(random.integers(60, 200, (size[0] // 16 + 1, size[1] // 8 + 1)), np.ones((16, 16)))
    background = background.astype(np.uint8)
    grain = random.integers(0, 6, size, dtype=np.uint8)

    def picture(number: int) -> np.ndarray:
        shift = number // 2 % size[1]
        return background[: size[0], shift : shift + size[1]] + np.roll(grain, 7 * number)

    return write_clip(
        path,
        pictures=(picture(number) for number in range(seconds * FRAMES_PER_S)),
        frames_per_s=FRAMES_PER_S,
        picture_codec="libx264",
        picture_options={"preset": "veryfast"},
        gop=250,
        sound=tone(seconds, RATE_HZ, channels=2),
        rate_hz=RATE_HZ,
        layout="stereo",
    )


def utterances(count: int, seconds: int) -> list[Span]:
    """Draw utterances back to back, of random lengths."""
    edges = np.sort(np.random.default_rng(0).uniform(0, seconds, count - 1))
    return [Span(*pair) for pair in zip([0.0, *edges], [*edges, float(seconds)], strict=True)]


def decode_pictures(path: Path) -> int:
    """Decode all pictures; return their number."""
    with open_media(path) as container:
        return sum(1 for _ in frames(container, stream_of(container, path, "video")))


def seconds(action: Callable[[], object]) -> float:
    """Measure CPU time: waiting for the disk or for other programs does not count."""
    started = time.process_time()
    action()
    return time.process_time() - started


@click.command()
@click.option("--seconds", "length_s", default=600, show_default=True, help="Length of the file.")
@click.option("--utterances", "count", default=100, show_default=True)
@click.option("--size", nargs=2, type=int, default=(480, 720), show_default=True, help="Height and width.")
def main(length_s: int, count: int, size: tuple[int, int]) -> None:
    """Measure and print both ratios."""
    spans = utterances(count, length_s)

    def pictures() -> None:
        with PictureFile(path) as file:
            for first in range(0, count, GROUP):
                for _ in file.sample(spans[first : first + GROUP], 5.0, 50):
                    pass

    def sounds() -> None:
        with SoundFile(path) as file:
            for start_s, end_s in spans:
                file.read(start_s, end_s)

    with tempfile.TemporaryDirectory() as folder:
        path = make_file(Path(folder) / "dialogue.mp4", length_s, size)
        measured = {
            "5 frames/s": (2, pictures, lambda: decode_pictures(path)),
            "sound": (10, sounds, lambda: read_audio(path, 0.0, length_s)),
        }
        for name, (runs, ours, once) in measured.items():
            times = [(seconds(ours), seconds(once)) for _ in range(runs)]
            ours_s, once_s = (min(column) for column in zip(*times, strict=True))
            met = "met" if ours_s <= TARGET * once_s else "MISSED"
            print(
                f"decode  {name} of {count} utterances in {length_s} s of {size[1]}x{size[0]}: {ours_s:.2f} s, "
                f"the whole at once {once_s:.2f} s; ratio {ours_s / once_s:.2f} (target {TARGET}: {met})"
            )
        clip, span = make_file(Path(folder) / "clip.mp4", CLIP_S, size), Span(0.0, float(CLIP_S))

        def in_two() -> None:
            with SoundFile(clip) as file:
                file.read(*span)
            with PictureFile(clip) as file:
                list(file.sample([span], 5.0, 50))

        def in_one() -> None:
            with PictureFile(clip) as file:
                sounds = {}
                assert len(list(file.sample([span], 5.0, 50, sounds))) == 5 * CLIP_S and sounds

        times = [(seconds(in_two), seconds(in_one)) for _ in range(20)]
        two_s, one_s = (min(column) for column in zip(*times, strict=True))
        print(
            f"decode  sound and picture of a clip of {CLIP_S} s: in two passes {two_s * 1000:.1f} ms, in one "
            f"{one_s * 1000:.1f} ms; ratio {two_s / one_s:.2f}"
        )


if __name__ == "__main__":
    main()
