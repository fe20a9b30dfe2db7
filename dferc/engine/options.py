"""The options by which a command is told where its work runs: --workers, --engine and --address."""

import functools
from collections.abc import Callable

import click

from dferc.engine import Workers


def engine_options(command: Callable) -> Callable:
    """Decorate a click command; what was chosen is handed on as `workers`.

    None of them can change a result, so none stands in params.yaml; `dvc repro` is told by the environment.
    """
    return click.option(
        "--workers",
        type=click.IntRange(min=0),
        envvar="DFERC_WORKERS",
        help="Processes; 0 = this one.  [default: all CPUs]",
    )(network_options(command))


def network_options(command: Callable) -> Callable:
    """The same for a command whose whole work is a network: here in this process, by Ray on a cluster's GPUs."""

    @click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
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
        return command(*args, workers=_chosen(workers, engine, address), **options)

    return wrapped


def _chosen(count: int | None, engine: str, address: str | None) -> Workers:
    if engine == "local":
        if address:
            raise click.UsageError(f"--address {address} is of a Ray cluster: add --engine ray.")
        return Workers(count)
    if count == 0:
        raise click.UsageError("--workers 0 is this process; --engine ray needs one worker at least.")
    return Workers(count, cluster=address or "local")
