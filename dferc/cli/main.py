"""The commands of stage 2: `dferc train`, `dferc predict` and so on; `dferc-train` is `dferc train`.

Installed packages add commands by entry points of the group `dferc.commands`; stage 1 adds `verify`.
"""

from importlib.metadata import entry_points

import click

from dferc.cli.encoders import encoders
from dferc.cli.features import check, feature_sets, floor, inspect
from dferc.cli.importing import import_features
from dferc.cli.results import analyse, compare, report, scores, table
from dferc.cli.scoring import evaluate, predict
from dferc.cli.training import ablate, baselines, train
from dferc.cli.tuning import tune
from dferc.core import VERSION
from dferc.core.errors import did_you_mean

PLUGINS = "dferc.commands"  # entry-point group of commands from other packages
STAGE_1 = "Commands of stage 1, such as `verify`, need it installed: pip install '.[pipeline]'."

OF_MODELS = (train, ablate, tune, evaluate, predict, baselines, encoders)
OF_FEATURES = (import_features, check, inspect, feature_sets, floor)
OF_RUNS = (scores, table, compare, analyse, report)


class CommandGroup(click.Group):
    """Our commands, and those of other packages: looked up by name, imported only when they run."""

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a command of ours or of another package; an unknown name is a usage error."""
        command = super().get_command(ctx, name)
        if command is not None or ctx.resilient_parsing:
            return command
        for plugin in entry_points(group=PLUGINS, name=name):
            try:
                return plugin.load()
            except ImportError as error:
                ctx.fail(f"The command {name!r} cannot be loaded from {plugin.module}: {error}. {STAGE_1}")
        known = [*self.commands, *entry_points(group=PLUGINS).names]
        return ctx.fail(f"No such command {name!r}.{did_you_mean(name, known) or f' {STAGE_1}'}")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List our commands with their help, those of other packages by name."""
        super().format_commands(ctx, formatter)
        plugins = [(plugin.name, f"See `dferc {plugin.name} --help`.") for plugin in entry_points(group=PLUGINS)]
        if plugins:
            with formatter.section("Commands of stage 1"):
                formatter.write_dl(sorted(plugins))


@click.group(cls=CommandGroup, commands=[*OF_MODELS, *OF_FEATURES, *OF_RUNS])
@click.version_option(VERSION, prog_name="dferc")
def main() -> None:
    """Emotions in conversation from cached features: train, score, inspect.

    Exit status: 0 = done, 1 = the input or the run is at fault, 2 = usage; 130 or 143 = interrupted by Ctrl-C or
    SIGTERM (run it again to go on).
    """
