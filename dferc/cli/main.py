"""The commands of stage 2: `dferc train`, `dferc predict` and so on; `dferc-train` is `dferc train`."""

import click

from dferc.cli.features import check, floor, inspect, verify
from dferc.cli.importing import import_features
from dferc.cli.results import analyse, compare, report, table
from dferc.cli.scoring import evaluate, predict
from dferc.cli.training import ablate, baselines, train
from dferc.core import VERSION


@click.group()
@click.version_option(VERSION, prog_name="dferc")
def main() -> None:
    """Emotions in conversation from cached features: train, score, look.

    Exit status: 0 = done, 1 = the input or the run is at fault, 2 = usage; 130 or 143 = interrupted by Ctrl-C or
    SIGTERM (run it again to go on).
    """


for command in (
    train,
    ablate,
    evaluate,
    predict,
    baselines,
    import_features,
    check,
    inspect,
    verify,
    floor,
    table,
    compare,
    analyse,
    report,
):
    main.add_command(command)


def train_main() -> None:
    """Entry point of `dferc-train`."""
    train(prog_name="dferc-train")


def ablate_main() -> None:
    """Entry point of `dferc-ablate`."""
    ablate(prog_name="dferc-ablate")
