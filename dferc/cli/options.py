"""Options that several commands share."""

import re
from collections.abc import Callable
from pathlib import Path

import click

from dferc.core.console import FOLDER, CorpusName, shown_option
from dferc.core.files import FILE_NAME


def check_label(_context: click.Context, _parameter: click.Parameter, label: str) -> str:
    """Refuse the value of an option that is to be part of a file's name; a callback of click."""
    if label and not re.match(FILE_NAME, label):
        raise click.BadParameter(f"{label!r:.80} is no file name: expected letters, digits, and _ . - within.")
    return label


def options(*chosen: Callable) -> Callable:
    """Combine click options into one decorator; --help lists them in this order."""

    def decorate(command: Callable) -> Callable:
        for option in reversed(chosen):
            command = option(command)
        return command

    return decorate


def dir_option(name: str, default: str, text: str) -> Callable:
    """Return the option of a folder, which --help shows with its default."""
    return shown_option(name, type=FOLDER, default=Path(default), help=text)


FILE = click.Path(dir_okay=False, path_type=Path)
CORPUS = click.option(
    "--corpus", type=CorpusName(), required=True, help="Its block in params.yaml; its folder in --features."
)
VARIANT = shown_option(
    "--variant",
    default="full",
    help="An ablation row, such as no_crm, or modalities, such as only-text or without-visual (docs/training.md).",
)
LABEL = click.option(
    "--label",
    default="",
    callback=check_label,
    help="Keep these runs beside others, as OUT/CORPUS/NAME@LABEL: for other settings or feature sets.",
)
FEATURES = dir_option("--features", "features", "Holds a folder per corpus.")
OUT = dir_option("--out", "runs", "Where runs are kept.")
RUNS = dir_option("--runs", "runs", "Where runs are kept.")
REPORTS = dir_option("--reports", "reports", "Tables go to REPORTS/CORPUS/.")
AGAINST = shown_option("--against", default="full", help="The run that the others are compared with.")
SPLIT = click.option(
    "--split", type=click.Choice(["test", "validation"]), help="Which to score.  [default: test, where it has labels]"
)
PARAMS = shown_option("--params", type=FILE, default=Path("params.yaml"), help="The settings.")
SEEDS = click.option("--seed", "seeds", type=click.IntRange(0, 2**31 - 1), multiple=True, help="Repeatable.")
SPLITS = click.option(
    "--splits",
    type=click.IntRange(1, 1000),
    help="Draw so many validation splits by dialogue, one for each seed from 0 on (train.validation_split: by_seed).",
)
DEVICE = shown_option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="auto: CUDA if any.")
SET = options(
    PARAMS,
    click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Try a setting. Repeatable."),
)
FRESH = click.option("--fresh", is_flag=True, help="Train again what is finished or was interrupted.")
SCORE = shown_option("--evaluate/--no-evaluate", default=True, help="Score validation and test afterwards.")
SCRATCH = dir_option("--scratch", ".scratch/train", "States of runs, kept for 30 days; may be deleted.")
TRAINING = options(FEATURES, OUT, SET, DEVICE)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout.")
