"""Extraction of the demo killed at random moments, and the work done twice: `python -m benchmarks.kills`, 25 minutes.

A kill costs what is under way, whatever the corpus; so 30 kills need one of some thousands of utterances to cost less
than 5 %. It is made of several demos (synthetic), each from a seed of its own, laid together. `extract_audio` and
`extract_visual` run over it once undisturbed; then again, with everything killed at moments drawn evenly from the time
that they were at work, and begun anew each time. (`extract_text` takes half a percent of that time, and is left out.)

It prints how many utterances were begun in both, and whether the files are the same to the byte. It needs the demo's
face model: `dvc repro`, or --face.
"""

import csv
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from dferc.core.console import progress_bar, readable_errors
from dferc.core.errors import InputError
from tests.helpers import counting
from tests.helpers.corpora import REPOSITORY

STAGES = ("audio", "visual")


def make_corpus(folder: Path, demos: int) -> None:
    """Lay demos of several seeds together, all clips in one folder, and prepare them."""
    rows = []
    for seed in range(demos):
        made = folder / f"demo-{seed}"
        run_module("pipeline.make_demo", out=made, faces=made / "faces", seed=seed)
        with open(made / "transcripts.csv", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                clip = made / row["clip"]
                names = {name: f"s{seed}_{row[name]}" for name in ("utterance_id", "dialogue_id")}
                rows.append(row | names | {"clip": f"s{seed}_{clip.name}"})
                if clip.exists():
                    clip.rename(folder / rows[-1]["clip"])
        shutil.rmtree(made)
    with open(folder / "transcripts.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    tables = {"utterances": folder / "utterances.csv", "features": folder / "utterances.h5"}
    run_module("pipeline.prepare", corpus="demo", raw=folder, problems=folder / "found.csv", **tables)


def run_module(module: str, **options: object) -> None:
    """Run a stage, quietly.

    Raises:
        subprocess.CalledProcessError: it failed; its message is on the terminal.
    """
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    subprocess.run([sys.executable, "-m", module, *arguments], check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)


def whole(folder: Path, modality: str, **places: object) -> None:
    """Run a counting stage to its end.

    Raises:
        InputError: it failed.
    """
    stage = counting.start(modality, folder, **places)
    _, errors = stage.communicate()
    if stage.returncode:
        raise InputError(f"extract_{modality} failed: {errors}")


def moments(times_s: dict[str, list[float]], kills: int, seed: int) -> dict[str, list[int]]:
    """Draw kills evenly from the time at work of all stages; return the numbers of begun utterances, by stage."""
    lengths_s = {modality: times[-1] - times[0] for modality, times in times_s.items()}
    chance = random.Random(seed)
    drawn = {modality: [] for modality in times_s}
    for _ in range(kills):
        at_s = chance.uniform(0, sum(lengths_s.values()))
        for modality, times in times_s.items():
            if at_s <= lengths_s[modality]:
                drawn[modality].append(sum(time_s - times[0] <= at_s for time_s in times))
                break
            at_s -= lengths_s[modality]
    return {modality: sorted(counts) for modality, counts in drawn.items()}


def killed(folder: Path, modality: str, after: list[int], **places: object) -> None:
    """Run a counting stage, kill it after each of these numbers of begun utterances, and let it end."""
    chance = random.Random(0)
    with progress_bar() as bar:
        for count in bar.track(after, description=f"extract_{modality}: killed"):
            stage = counting.start(modality, folder, **places)
            counting.wait_for(max(count, len(counting.begun(folder)) + 1), folder, stage)
            time.sleep(0.1 * chance.random())  # an utterance takes some tenths: the kill hits it anywhere
            counting.kill(stage)
    whole(folder, modality, **places)


def measure(folder: Path, demos: int, kills: int, seed: int, face: Path, workers: int) -> None:
    """Run everything and print the figures."""
    make_corpus(folder, demos)
    options = {"audio": {"workers": workers}, "visual": {"workers": workers, "face": face, "device": "cpu"}}
    times_s = {}
    for modality in STAGES:
        whole(folder, modality, **options[modality], **outputs(folder, modality, "quiet"))
        times_s[modality] = counting.begun_s(folder)
        (folder / "begun.txt").unlink()
    once = again = 0
    for modality, after in moments(times_s, kills, seed).items():
        killed(folder, modality, after, **options[modality], **outputs(folder, modality, "killed"))
        work, work_killed = len(times_s[modality]), len(counting.begun(folder))
        (folder / "begun.txt").unlink()
        once, again = once + work, again + work_killed
        same = all(
            path.read_bytes() == outputs(folder, modality, "killed")[name].read_bytes()
            for name, path in outputs(folder, modality, "quiet").items()
            if name in ("out", "problems")
        )
        click.echo(
            f"kills  extract_{modality}: {len(after)} kills, {work} utterances begun undisturbed, {work_killed} with "
            f"them ({work_killed / work:.1%}); files {'the same to the byte' if same else 'DIFFER'}"
        )
    click.echo(f"kills  both: {kills} kills, {again / once:.1%} of the work of an undisturbed extraction (asked 105 %)")


def outputs(folder: Path, modality: str, run: str) -> dict[str, Path]:
    """Return the output paths of a stage in one of its runs."""
    stem = folder / f"{run}-{modality}"
    ends = {"out": ".h5", "problems": ".csv", "log": ".json", "scratch": ".sqlite"}
    return {name: stem.with_suffix(end) for name, end in ends.items()}


@click.command()
@click.option("--demos", type=click.IntRange(min=1), default=10, show_default=True, help="507 utterances each.")
@click.option("--kills", type=click.IntRange(min=1), default=30, show_default=True)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
@click.option("--face", type=click.Path(path_type=Path), default="models/demo/face", show_default=True)
@readable_errors
def main(demos: int, kills: int, workers: int, seed: int, face: Path) -> None:
    """Kill a demo extraction, and count what was done twice."""
    with tempfile.TemporaryDirectory() as temporary:
        measure(Path(temporary), demos, kills, seed, face.absolute(), workers)


if __name__ == "__main__":
    main()
