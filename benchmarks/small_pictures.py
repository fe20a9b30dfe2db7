"""Motion JPEG decoded small against decoded whole, in one run: `python -m benchmarks.small_pictures`.

Frames of a real clip in $DFERC_SHARED, enlarged to 4K and written as Motion JPEG. What a worker of `extract_visual`
does with them, in CPU time of one thread per frame, the least of several runs: decode, find the face (YuNet), cut it
out; and with `view: frame`, where the whole picture is reduced to the encoder's size.
"""

import tempfile
import time
from pathlib import Path

import click
import cv2

from dferc.core.console import console
from pipeline.faces.speaker_face import FaceWorker, UtteranceMedia
from pipeline.settings import load_settings
from tests.helpers.clips import SHARED, read_frames, write_clip

CLIP, FINDER = SHARED / "media" / "single_face.mp4", SHARED / "media" / "face_detection_yunet_2026may.onnx"
WIDTH, HEIGHT, FRAMES_PER_S = 3840, 2160, 10


@click.command()
@click.option("--runs", default=5, show_default=True, help="Runs, of which the least time counts.")
def main(runs: int) -> None:
    """Measure and print the milliseconds per frame of both ways."""
    frames = [cv2.resize(frame, (WIDTH, HEIGHT)) for _, frame in read_frames(CLIP, 0.0, 2.0, FRAMES_PER_S, 99)]
    usual = load_settings().corpus("meld").extract_visual.model_copy(update={"frames_per_s": FRAMES_PER_S})
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(
            Path(folder, "clip.avi"),
            pictures=frames,
            frames_per_s=FRAMES_PER_S,
            picture_codec="mjpeg",
            pix_fmt="yuvj420p",
        )
        part = UtteranceMedia(str(clip), 0.0, len(frames) / FRAMES_PER_S)
        for what, finder, side in (("face", str(FINDER), 64), ("whole frame", "whole_frame", 224)):
            spent: dict[str, float] = {}
            for small in (True, False) * runs:
                worker = FaceWorker(usual.model_copy(update={"finder": finder}), side)
                worker._open_picture = worker._open_picture if small else worker._open_region
                started = time.process_time()
                [found] = worker([part]).result
                each_s = (time.process_time() - started) / found.frames
                assert len(found.faces) == found.frames
                way = "small" if small else "whole"
                spent[way] = min(each_s, spent.get(way, each_s))
            console.print(
                f"{what}: decoded whole {1e3 * spent['whole']:.1f} ms a frame, small {1e3 * spent['small']:.1f} ms: "
                f"{spent['whole'] / spent['small']:.1f} times as fast"
            )


if __name__ == "__main__":
    main()
