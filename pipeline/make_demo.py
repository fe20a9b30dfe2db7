"""Generate the synthetic demo corpus: transcripts, clips and a FER+ style face set, all made here from a seed.

Nobody speaks or is shown in it: the text is from templates, the voices are tones, the faces are drawn. It exists so
that the whole pipeline can run, be tested and be seen to work without a download.

    python -m pipeline.make_demo

Everything is drawn from random streams of its own (seed, part, utterance), so the same seed gives byte-identical files
with any number of workers.
"""

import csv
import io
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import click
import cv2

from dferc.core.console import console, progress_bar, readable_errors
from dferc.core.files import write_atomically
from dferc.store.vocabulary import MODALITIES
from pipeline.demo.clip import make_clip
from pipeline.demo.face_set import SIZES, VOTES, FaceImage, make_image
from pipeline.demo.plan import CAST, MISSING, PROTOCOL, TRANSCRIPT_COLUMNS, PlannedUtterance, generator, plan_corpus
from pipeline.demo.words import write_text

_WORDS_KEY = 1

README = f"""This corpus is SYNTHETIC: {PROTOCOL}.

Made by `python -m pipeline.make_demo` (seed {{seed}}); make it again instead of editing it.
transcripts.csv  one row an utterance; an empty emotion is an unlabelled utterance; gaps in position are meant
clips/           one mp4 an utterance; some are missing, truncated, without sound, picture or face, on purpose
planted.csv      how reliably each modality shows the true emotion (0 to 1), and which emotion it shows

A score on it says that the software works, and nothing about emotions.
"""


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default="data/raw/demo", show_default=True, help="Raw corpus.")
@click.option(
    "--faces", type=click.Path(path_type=Path), default="data/faces/demo", show_default=True, help="Face set."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, another corpus.")
@click.option("--workers", type=click.IntRange(min=1), default=None, help="Processes; default: one for each core.")
@readable_errors
def main(out: Path, faces: Path, seed: int, workers: int | None) -> None:
    """Generate the synthetic demo corpus (no download)."""
    rows = plan_corpus(seed)
    _remove_stale_clips(out, rows)
    workers = workers or len(os.sched_getaffinity(0))
    with _pool(workers) as pool:
        written, images = _run(pool, out, seed, rows)
    write_tables(out, seed, rows)
    write_faces(faces, images)
    dialogues = len({row.dialogue for row in rows})
    console.print(
        f"make_demo: {dialogues} synthetic dialogues, {len(rows)} utterances, {written} clips -> {out}; "
        f"{len(images)} drawn faces -> {faces} (seed {seed})"
    )


def _pool(workers: int) -> AbstractContextManager[ProcessPoolExecutor | None]:
    """Worker processes, or None where this process does the work alone."""
    if workers == 1:
        return nullcontext()
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread)


def _run(
    pool: ProcessPoolExecutor | None, out: Path, seed: int, rows: list[PlannedUtterance]
) -> tuple[int, list[FaceImage]]:
    """Make clips and face images, in a pool's processes or here; return how many clips were written, and the images."""
    spread = partial(pool.map, chunksize=16) if pool else map
    usages = [usage for usage, size in SIZES.items() for _ in range(size)]
    clips = spread(partial(write_clip, out, seed), rows)
    images = spread(partial(make_image, seed), range(len(usages)), usages)
    with progress_bar() as bar:
        written = sum(bar.track(clips, total=len(rows), description="synthetic clips"))
        return written, list(bar.track(images, total=len(usages), description="drawn faces"))


def write_clip(out: Path, seed: int, row: PlannedUtterance) -> bool:
    """Write the clip of one utterance; False where it is to be missing."""
    content = make_clip(seed, row)
    if content is not None:
        write_atomically(out / row.clip, lambda temporary: temporary.write_bytes(content))
    return content is not None


def write_tables(out: Path, seed: int, rows: list[PlannedUtterance]) -> None:
    """Write transcripts.csv, planted.csv and README.txt."""
    _write_csv(out / "transcripts.csv", TRANSCRIPT_COLUMNS, (_transcript(seed, row) for row in rows))
    header = [f"{modality}_{name}" for modality in MODALITIES for name in ("reliability", "shown")]
    _write_csv(
        out / "planted.csv",
        ("utterance_id", *header),
        ((row.utterance_id, *(cell for p in row.planted for cell in (p.reliability, p.shown))) for row in rows),
    )
    readme = README.format(seed=seed)
    write_atomically(out / "README.txt", lambda temporary: temporary.write_text(readme, encoding="utf-8"))


def write_faces(folder: Path, images: list[FaceImage]) -> None:
    """Write fer2013.csv and fer2013new.csv, row-aligned as the published pair is."""
    pixels = ((image.fer2013_class, " ".join(map(str, image.pixels.ravel())), image.usage) for image in images)
    _write_csv(folder / "fer2013.csv", ("emotion", "pixels", "Usage"), pixels)
    votes = ((image.usage, _image_name(number, image), *image.votes) for number, image in enumerate(images))
    _write_csv(folder / "fer2013new.csv", ("Usage", "Image name", *VOTES), votes)
    readme = "SYNTHETIC drawn faces with made-up votes in the FER+ format, by `python -m pipeline.make_demo`.\n"
    write_atomically(folder / "README.txt", lambda temporary: temporary.write_text(readme, encoding="utf-8"))


def _transcript(seed: int, row: PlannedUtterance) -> tuple:
    shown = row.planted[0]
    text = write_text(generator(seed, _WORDS_KEY, row.dialogue, row.index), shown.shown, shown.reliability)
    emotion = row.emotion if row.labelled else ""
    return (row.utterance_id, row.dialogue_id, row.position, CAST[row.speaker], emotion, row.split, text, row.clip)


def _image_name(number: int, image: FaceImage) -> str:
    """FER+ leaves the name of an image empty where all ten saw no face."""
    return "" if image.votes[-1] == sum(image.votes) else f"fer{number:07d}.png"


def _write_csv(path: Path, header: Iterable[str], rows: Iterable[tuple]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, lambda temporary: temporary.write_text(text.getvalue(), encoding="utf-8", newline=""))


def _remove_stale_clips(out: Path, rows: list[PlannedUtterance]) -> None:
    """Remove what an earlier run with another seed left among the clips."""
    planned = {out / row.clip for row in rows if row.awkward != MISSING}
    for clip in set((out / "clips").glob("d??_u??.mp4")) - planned:
        clip.unlink()


def _one_thread() -> None:
    """Keep each worker to its own core."""
    cv2.setNumThreads(1)


if __name__ == "__main__":
    main()
