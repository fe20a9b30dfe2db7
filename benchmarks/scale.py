"""A lab's scale on paper: hours and cost of extraction, from what was measured: `python -m benchmarks.scale data/meld`.

The stages' logs (data/<corpus>/extract_<modality>.json) say what each second of sound or picture took of one worker,
all steps added up; text goes by utterance. From that follow corpora of any size: hours = worker hours / workers. That
supposes a corpus like the measured one (length of clips, size of picture, settings), workers as fast as those,
and none that waits for the disk. Prints the table of docs/scale.md, in Markdown.

Rates measured elsewhere are given as `--rate audio=20`: seconds of media (for text: utterances) per second of a worker.
"""

import json
from pathlib import Path
from typing import NamedTuple

import click

from dferc.core.console import readable_errors
from dferc.core.errors import InputError
from dferc.store.vocabulary import MODALITIES

WORKERS = (1, 8, 64)


class Size(NamedTuple):
    """How large a corpus is."""

    utterances: int
    hours: float


CORPORA = {
    "MELD": Size(13_708, 13.7),  # 3.6 s a clip
    "IEMOCAP": Size(10_039, 12.0),
    "10,000 h of video": Size(10_000_000, 10_000.0),  # cut at 3.6 s
}


def logged_rate(log: dict, modality: str) -> float:
    """Seconds of media, or utterances of text, per second of a worker.

    Raises:
        InputError: nothing was computed in that run.
    """
    done, busy_s = log["computed"] if modality == "text" else log["media_s"], sum(log["steps_s"].values())
    if not done or not busy_s:
        raise InputError("its run computed nothing (all was reused): delete .scratch and run the stage again, alone.")
    return done / busy_s


def worker_hours(size: Size, rates: dict[str, float]) -> dict[str, float]:
    """Hours of one worker by modality."""
    units = {name: size.utterances if name == "text" else size.hours * 3600 for name in rates}
    return {name: units[name] / rate / 3600 for name, rate in rates.items()}


def table(rates: dict[str, float], price: float) -> str:
    """Hours on each number of workers, and what the worker hours cost, in Markdown."""
    head = ["corpus", *(f"{name}, worker h" for name in rates), *(f"on {count}" for count in WORKERS), "cost"]
    lines = [head, ["---"] * len(head)]
    for name, size in CORPORA.items():
        hours = worker_hours(size, rates)
        total = sum(hours.values())
        spent = [f"{total / count:,.1f} h" for count in WORKERS]
        lines.append([name, *(f"{each:,.1f}" for each in hours.values()), *spent, f"{total * price:,.2f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def read_rates(folder: Path | None, given: tuple[str, ...]) -> dict[str, float]:
    """By modality, in their order: those given, else those of the logs in a folder.

    Raises:
        InputError: a rate is no positive number, or neither is there.
    """
    rates = {}
    for modality in MODALITIES:
        path = folder / f"extract_{modality}.json" if folder else None
        if path and path.exists():
            try:
                rates[modality] = logged_rate(json.loads(path.read_text(encoding="utf-8")), modality)
            except (InputError, KeyError, ValueError) as error:
                raise InputError(f"{path}: {error}") from None
    for each in given:
        name, _, value = each.partition("=")
        if name not in MODALITIES or not value.replace(".", "", 1).isdigit() or not float(value):
            raise InputError(f"--rate {each}: expected one of {', '.join(MODALITIES)}, =, and a number above 0.")
        rates[name] = float(value)
    if not rates:
        raise InputError("no rates: name a folder with logs of the extraction stages, such as data/demo, or --rate.")
    return {name: rates[name] for name in MODALITIES if name in rates}


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--rate", "given", multiple=True, help="Such as audio=20: instead of a log's.")
@click.option("--price", default=0.05, show_default=True, help="Of an hour of one worker, in any currency.")
@readable_errors
def main(folder: Path | None, given: tuple[str, ...], price: float) -> None:
    """Print hours and cost from the logs of a measured corpus."""
    rates = read_rates(folder, given)
    units = {name: "utterances/s" if name == "text" else "× real time" for name in rates}
    print(", ".join(f"{name}: {rate:,.1f} {units[name]} per worker" for name, rate in rates.items()) + "\n")
    print(table(rates, price))


if __name__ == "__main__":
    main()
