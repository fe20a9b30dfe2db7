"""Our network path against the bare batched forward, in one run: `python -m benchmarks.extract_visual`.

Ours: faces of many utterances into batches, the folded network, means and records (`pooled`). Bare: the same faces
through the network as it was trained, one batch of 32 after the other, which was the default until November 2026. Both
in turn, several times; the ratio of the medians is printed (target: at least 1.5; on a GPU 0.9). Times are seconds of
the process on a CPU, since other work on the machine does not count then, and of the clock on a CUDA device.
"""

import statistics
import time
from collections.abc import Callable, Iterator

import click
import numpy as np
import torch

from dferc.core.device import DEVICES, choose_device
from pipeline.faces.densenet import FaceNet, FoldedFaceNet
from pipeline.faces.pooling import BATCH, face_vectors, pooled
from pipeline.faces.speaker_face import SpeakerFaces

TARGETS = {"cpu": 1.5, "cuda": 0.9}


@click.command()
@click.option("--image-size", default=64, show_default=True)
@click.option("--utterances", default=24, show_default=True)
@click.option("--repeats", default=5, show_default=True)
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
def main(image_size: int, utterances: int, repeats: int, device: str) -> None:
    where = choose_device(device, "float32").device
    if where.type == "cpu" and device == "auto":
        print("no CUDA device: the network is measured on the CPU")
    random = np.random.default_rng(0)
    lengths = random.integers(4, 24, utterances)
    cuts = [SpeakerFaces(n, random.integers(0, 256, (n, image_size, image_size), dtype=np.uint8)) for n in lengths]
    net = FaceNet(image_size=image_size, mean=128, std=64).eval().to(where, memory_format=torch.channels_last)
    folded = FoldedFaceNet(net)
    faces_NSS = torch.from_numpy(np.concatenate([cut.faces for cut in cuts]))

    @torch.inference_mode()
    def bare() -> None:
        for batch in faces_NSS.split(BATCH):
            net(batch.to(where)).features.cpu()

    def network(batches: Iterator[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        return ((number, face_vectors(folded, batch)) for number, batch in enumerate(batches))

    def ours() -> None:
        assert len(list(pooled(enumerate(cuts), network))) == utterances

    bare(), ours()  # the first of each allocates
    now = time.process_time if where.type == "cpu" else time.perf_counter
    times = [(seconds(bare, now), seconds(ours, now)) for _ in range(repeats)]
    bare_s, ours_s = (statistics.median(column) for column in zip(*times, strict=True))
    target = TARGETS[where.type]
    print(
        f"{len(faces_NSS)} faces of {image_size} px on {where}, {torch.get_num_threads()} thread(s): bare "
        f"{len(faces_NSS) / bare_s:.1f} faces/s, ours {len(faces_NSS) / ours_s:.1f}; ratio {bare_s / ours_s:.2f} "
        f"(target {target}: {'met' if bare_s / ours_s >= target else 'MISSED'})"
    )


def seconds(action: Callable[[], None], now: Callable[[], float]) -> float:
    started = now()
    action()
    return now() - started


if __name__ == "__main__":
    main()
