"""Generate the synthetic demo corpus: transcripts, clips and a FER+ style face set, from a seed.

It shows no real people: the text is from templates, the voices are tones, the faces are drawn. With it the whole
pipeline can run and be tested without a download.

    python -m pipeline.make_demo

Each part of each utterance has its own random stream (seed, part, utterance), so the same seed gives byte-identical
files with any number of workers.
"""

import csv
import io
import itertools
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import click
import cv2

from dferc.core import files
from dferc.core.console import PATH, console, progress_bar, readable_errors, shown_option
from dferc.core.threads import usable_cpus
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
@shown_option("--out", type=PATH, default="data/raw/demo", help="Raw corpus.")
@shown_option("--faces", type=PATH, default="data/faces/demo", help="Face set.")
@shown_option("--seed", type=click.IntRange(min=0), default=0, help="Another seed, another corpus.")
@click.option("--workers", type=click.IntRange(1, 4096), default=None, help="Processes; default: one for each core.")
@readable_errors
def main(out: Path, faces: Path, seed: int, workers: int | None) -> None:
    """Generate the synthetic demo corpus (no download)."""
    rows = plan_corpus(seed)
    for clip in set((out / "clips").glob("d??_u??.mp4")) - {out / row.clip for row in rows if row.awkward != MISSING}:
        clip.unlink()  # of an earlier run with another seed
    workers = workers or usable_cpus()
    spawn = partial(ProcessPoolExecutor, mp_context=get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,))
    usages = [usage for usage, size in SIZES.items() for _ in range(size)]
    with spawn(workers) if workers > 1 else nullcontext() as pool, progress_bar() as bar:
        run = partial(pool.map, chunksize=16) if pool else map
        clips = run(partial(write_clip, out, seed), rows)
        drawn = run(partial(make_image, seed), range(len(usages)), usages)
        written = sum(bar.track(clips, total=len(rows), description="synthetic clips"))
        images = list(bar.track(drawn, total=len(usages), description="drawn faces"))
    write_tables(out, seed, rows)
    write_faces(faces, images)
    dialogues = len({row.dialogue for row in rows})
    console.print(
        f"make_demo: {dialogues} synthetic dialogues, {len(rows)} utterances, {written} clips -> {out}; "
        f"{len(images)} drawn faces -> {faces} (seed {seed})"
    )


def write_clip(out: Path, seed: int, row: PlannedUtterance) -> bool:
    """Write the clip of one utterance; return False where it is to be missing."""
    content = make_clip(seed, row)
    if content is not None:
        files.write_atomically(out / row.clip, lambda temporary: temporary.write_bytes(content))
    return content is not None


def write_tables(out: Path, seed: int, rows: list[PlannedUtterance]) -> None:
    """Write transcripts.csv, planted.csv and README.txt."""
    header = [f"{modality}_{name}" for modality in MODALITIES for name in ("reliability", "shown")]
    transcripts, planted = [], []
    for row in rows:
        reliability, shown = row.planted[0]
        text = write_text(generator(seed, _WORDS_KEY, row.dialogue, row.index), shown, reliability)
        speaker, emotion = CAST[row.speaker], row.emotion if row.labelled else ""
        transcripts += [(row.utterance_id, row.dialogue_id, row.position, speaker, emotion, row.split, text, row.clip)]
        planted.append((row.utterance_id, *itertools.chain(*row.planted)))
    _write_csv(out / "transcripts.csv", TRANSCRIPT_COLUMNS, transcripts)
    _write_csv(out / "planted.csv", ("utterance_id", *header), planted)
    files.write_text(out / "README.txt", README.format(seed=seed))


def write_faces(folder: Path, images: list[FaceImage]) -> None:
    """Write fer2013.csv and fer2013new.csv, row-aligned as the published pair is."""
    pixels = ((image.fer2013_class, " ".join(map(str, image.pixels.ravel())), image.usage) for image in images)
    _write_csv(folder / "fer2013.csv", ("emotion", "pixels", "Usage"), pixels)
    # FER+ has no name for an image that all ten annotators took for no face.
    names = ("" if image.votes[-1] == sum(image.votes) else f"fer{n:07d}.png" for n, image in enumerate(images))
    votes = ((image.usage, name, *image.votes) for name, image in zip(names, images, strict=True))
    _write_csv(folder / "fer2013new.csv", ("Usage", "Image name", *VOTES), votes)
    readme = "SYNTHETIC drawn faces with made-up votes in the FER+ format, by `python -m pipeline.make_demo`.\n"
    files.write_text(folder / "README.txt", readme)


def _write_csv(path: Path, header: Iterable[str], rows: Iterable[tuple]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([tuple(header), *rows])
    files.write_text(path, text.getvalue())


if __name__ == "__main__":
    main()
