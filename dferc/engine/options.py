"""The options that choose where the work of a command runs: --workers, --engine and --address."""

import functools
from collections.abc import Callable

import click

from dferc.core.console import shown_option
from dferc.engine import Workers


def engine_options(command: Callable) -> Callable:
    """Decorate a click command; the choice is handed on as `workers`.

    None of the options can change a result, so none is in params.yaml; `dvc repro` reads the environment variables.
    """
    return click.option(
        "--workers",
        type=click.IntRange(0, 4096),
        envvar="DFERC_WORKERS",
        help="Processes; 0 = this one.  [default: all CPUs]",
    )(network_options(command))


def network_options(command: Callable) -> Callable:
    """Decorate a command whose whole work is a network: it runs in this process, or by Ray on a cluster's GPUs."""

    @shown_option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        envvar="DFERC_ENGINE",
        help="What runs the work: this machine alone, or Ray.",
    )
    @click.option(
        "--address",
        envvar="DFERC_ADDRESS",
        help="Ray cluster to join: host:port, or auto on a machine of it.  [default: Ray on this machine]",
    )
    @functools.wraps(command)
    def wrapped(*args, engine: str, address: str | None, workers: int | None = None, **options):
        if engine == "local" and address:
            raise click.UsageError(f"--address {address} is the address of a Ray cluster: add --engine ray.")
        if engine == "ray" and workers == 0:
            raise click.UsageError("--workers 0 is this process; --engine ray needs one worker at least.")
        cluster = None if engine == "local" else address or "local"
        return command(*args, workers=Workers(workers, cluster), **options)

    return wrapped
