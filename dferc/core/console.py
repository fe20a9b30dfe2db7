"""Talk to the person at the terminal: one stderr console, one kind of expected failure, one way to end a command.

Exit status: 0 = done, 1 = the input or the run is at fault (one readable message on stderr), 2 = usage (click's own),
130 and 143 = interrupted by Ctrl-C (SIGINT) and by SIGTERM, finished work kept.
What a program would read goes to stdout; everything here goes to stderr.
"""

import contextlib
import datetime
import functools
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from dferc.core.errors import InputError

console = Console(stderr=True, highlight=False, soft_wrap=True)

CORPUS_NAME = r"^[A-Za-z][A-Za-z0-9_-]*$"
"""What a corpus may be called: the name is a block of params.yaml and of many folders."""

LINE_EVERY_S = 30.0
"""Seconds between the lines that stand for a progress bar in a log."""


class CorpusName(click.ParamType):
    """The `--corpus` of every command: a plain name, never a path that would lead out of the folders it names."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as it is; anything else is a usage error."""
        if value and not re.fullmatch(CORPUS_NAME, value):
            self.fail(f"{value!r} is no name of a corpus: a letter, then letters, digits, - and _ (it names folders)")
        return value


def progress_bar() -> Progress:
    """Progress on stderr: a bar on a terminal; elsewhere (a log, CI) a plain line every `LINE_EVERY_S` seconds."""
    if not console.is_terminal:
        return _ProgressLines(console=console, auto_refresh=False, disable=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class _ProgressLines(Progress):
    """Tells done, total, rate and time left in lines that a log keeps; short work says nothing."""

    _told_s: float | None = None

    def add_task(self, *args, **kwargs) -> TaskID:
        self._told_s = self.get_time()
        return super().add_task(*args, **kwargs)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        if self.get_time() - self._told_s >= LINE_EVERY_S:
            self._told_s = self.get_time()
            console.print(_line(self._tasks[task_id]), markup=False)


def _line(task: Task) -> str:
    """Such as `extract_audio meld: 1,200 of 13,708, 40.0/s, 0:05:12 left`."""
    per_s = task.completed / task.elapsed
    done = f"{task.description}: {task.completed:,.0f}"
    if not task.total:
        return f"{done}, {per_s:.1f}/s"
    left_s = round((task.total - task.completed) / per_s)
    return f"{done} of {task.total:,.0f}, {per_s:.1f}/s, {datetime.timedelta(seconds=left_s)} left"


def readable_errors(command: Callable) -> Callable:
    """Decorate a click command: `InputError` becomes one message and exit status 1; `--debug` shows the traceback.

    SIGTERM ends the command as Ctrl-C does: a `KeyboardInterrupt` in the command, its message (or a general one) here.
    """

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def wrapped(*args, debug: bool, **kwargs):
        with _sigterm_as_interrupt() as received:
            try:
                return command(*args, **kwargs)
            except KeyboardInterrupt as interruption:
                kept = "interrupted; finished work is kept: the same command goes on from there"
                console.print(str(interruption) or kept, markup=False)
                sys.exit(128 + (signal.SIGTERM if received else signal.SIGINT))
            except (InputError, OSError) as error:
                if debug or "DFERC_DEBUG" in os.environ:
                    raise
                console.print(f"[bold red]error:[/] {_escape(str(error))}")
                sys.exit(1)

    return wrapped


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[list[int]]:
    """Let SIGTERM raise `KeyboardInterrupt`; yields a list that holds the signal once it came."""
    received = []

    def interrupt(number: int, _) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not cut the saving short
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # Python allows handlers there only
        yield received
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def _escape(text: str) -> str:
    """Keep square brackets of a message from being read as rich markup."""
    from rich.markup import escape

    return escape(text)
