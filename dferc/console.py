"""Talk to the person at the terminal: one stderr console, one kind of expected failure, one way to end a command.

Exit status: 0 = done, 1 = the input or the run is at fault (one readable message on stderr), 2 = usage (click's own).
What a program would read goes to stdout; everything here goes to stderr.
"""

import functools
import os
import sys
from collections.abc import Callable

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False, soft_wrap=True)


class InputError(ValueError):
    """The input or the run is at fault, not the program.

    The message says what was found, what was expected, in which file, dialogue or utterance, and how to mend it.
    """


def progress_bar() -> Progress:
    """A progress bar on stderr that is silent where stderr is not a terminal (logs stay readable)."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def readable_errors(command: Callable) -> Callable:
    """Decorate a click command: `InputError` becomes one message and exit status 1; `--debug` shows the traceback."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def wrapped(*args, debug: bool, **kwargs):
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:  # stage 1; training says more of its own
            console.print("interrupted; finished work is kept: the same command goes on from there")
            sys.exit(130)
        except (InputError, OSError) as error:
            if debug or "DFERC_DEBUG" in os.environ:
                raise
            console.print(f"[bold red]error:[/] {_escape(str(error))}")
            sys.exit(1)

    return wrapped


def _escape(text: str) -> str:
    """Keep square brackets of a message from being read as rich markup."""
    from rich.markup import escape

    return escape(text)
