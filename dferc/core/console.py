"""The terminal: one console on stderr, progress, and how a command ends.

Text is printed as it is: names, ids and paths come from files of others, so `[red]` is no markup here, and control
characters are shown as escapes. A style is given by a `rich.text.Text`, which holds words of ours only.

Exit status: 0 = done, 1 = the input or the run is at fault (one readable message on stderr), 2 = usage (click's own),
130 and 143 = interrupted by Ctrl-C (SIGINT) and by SIGTERM, finished work kept.
Output for programs goes to stdout; everything here goes to stderr.
"""

import datetime
import functools
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from dferc.core.errors import explained
from dferc.core.files import CORPUS_NAME, SECTIONS
from dferc.core.interrupts import interruptible

LINE_EVERY_S = 30.0  # seconds between the lines that replace a progress bar in a log
MOST_LINES, MOST_CHARACTERS = 60, 2000  # of a printed error, and of each of its lines

# C0 and C1 but for tab and line feed, line and paragraph separators, changes of direction, lone surrogates
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return a text with its control characters as Python writes them in a string: they could rewrite the terminal."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


class PlainConsole(Console):
    """A console that takes every string as plain text, also in the cells of tables."""

    def __init__(self, **options):
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options) -> Text:
        """Return the text as it is, with control characters as escapes."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of anything printed; no text has control characters, wherever it comes from."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


console = PlainConsole(stderr=True, soft_wrap=True)


def print_note(message: str, label: str = "note:", style: str = "bold yellow") -> None:
    """Print a message behind a coloured label; the message may hold text of others."""
    console.print(Text(label, style=style), message)


def print_json(values: object, indent: int | None = None) -> None:
    """Print JSON to stdout, for programs; control characters are escaped, so that a terminal can show it too."""
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    click.echo(_UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def shorten(message: str) -> str:
    """Cut a message that nobody would read to its end; it says how much is left out."""
    lines = [
        line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]}… ({len(line):,} characters)"
        for line in message.split("\n")
    ]
    more = [f"… and {len(lines) - MOST_LINES:,} more lines"] if len(lines) > MOST_LINES else []
    return "\n".join([*lines[:MOST_LINES], *more])


PATH, FOLDER = click.Path(path_type=Path), click.Path(file_okay=False, path_type=Path)
shown_option = functools.partial(click.option, show_default=True)  # an option whose default --help shows


class CorpusName(click.ParamType):
    """Type of every `--corpus`: a plain name, never a path that leads out of the folders it names."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name unchanged; anything else is a usage error."""
        if value and not re.fullmatch(CORPUS_NAME, value):
            self.fail(
                f"{value!r} is no name of a corpus; expected a letter of a to z, then such letters, digits, - and _: "
                "it names folders"
            )
        if value in SECTIONS:
            self.fail(f"{value!r} is a section of params.yaml; choose another name for the corpus")
        return value


Cell = str | Text  # cell of a table: plain text, in which no markup is read, or text with a style


def print_table(header: Sequence[Cell], rows: Sequence[Sequence[Cell]], title: str = "") -> None:
    """Print a table on stderr, with nothing cut; see `fit_table`."""
    if title:
        console.print(Text(title, style="italic"))
    console.print(fit_table(header, rows, console.width))


def fit_table(header: Sequence[Cell], rows: Sequence[Sequence[Cell]], width: int) -> Group:
    """Lay out a table in `width` characters so that no cell is cut.

    Columns that do not fit beside the others follow in a further table, below the first column again. Where not even
    two columns fit, each row becomes a block of lines.
    """
    lines = [[cell if isinstance(cell, Text) else Text(cell) for cell in line] for line in (header, *rows)]
    widths = [max(cell.cell_len for cell in column) + 2 for column in zip(*lines, strict=True)]  # padding: 1 and 1
    if widths[0] + max(widths[1:], default=0) > width:
        shown = []
        for first, *cells in lines[1:]:
            shown.append(first)
            for heading, cell in zip(lines[0][1:], cells, strict=True):
                shown.append(Text.assemble("  ", *((heading, ": ") if heading.plain else ()), cell))
        return Group(*shown)
    parts, used = [[]], widths[0]
    for column, own in enumerate(widths[1:], start=1):
        if used + own > width:
            parts.append([])
            used = widths[0]
        parts[-1].append(column)
        used += own
    tables = (_table([[line[0], *(line[column] for column in part)] for line in lines]) for part in parts)
    return Group(*(shown for number, table in enumerate(tables) for shown in ([""] if number else []) + [table]))


def _table(lines: Sequence[Sequence[Text]]) -> Table:
    table = Table(box=None, header_style="bold")
    for number, heading in enumerate(lines[0]):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for line in lines[1:]:
        table.add_row(*line)
    return table


def warn_of_simulation(sentences: Iterable[str], what: str = "these scores") -> None:
    """Print what is synthetic or simulated in one line that nobody overlooks; nothing where there is no sentence.

    Args:
        sentences: from `dferc.store.card.simulations`.
        what: the numbers that rest on it.
    """
    if what_is := "; ".join(sentences):
        warning = (" SYNTHETIC DATA ", "bold white on red")
        console.print(Text.assemble(warning, f" {what_is}; {what} say nothing about real conversations."))


def progress_bar(report: Callable[[float], None] | None = None) -> Progress:
    """Return progress on stderr: a bar on a terminal; elsewhere (a log, CI) a line every `LINE_EVERY_S` seconds.

    With `report`, nothing is printed: it receives the share of the work that is done, 0 to 1.
    """
    if report is not None:
        return _ProgressCalls(report, console=console, auto_refresh=False, disable=True)
    if not console.is_terminal:
        return _ProgressLines(console=console, auto_refresh=False, disable=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


class _ProgressCalls(Progress):
    """Calls of a function with the share that is done."""

    def __init__(self, report: Callable[[float], None], **options):
        super().__init__(**options)
        self._report = report

    def advance(self, task_id: int, advance: float = 1) -> None:
        super().advance(task_id, advance)
        task = self._tasks[task_id]
        self._report(task.completed / task.total)


class _ProgressLines(Progress):
    """Lines such as `extract_audio meld: 1,200 of 13,708, 40.0/s, 0:05:12 left`; short work prints none."""

    _printed_s: float | None = None

    def add_task(self, *args, **kwargs) -> int:
        self._printed_s = self.get_time()
        return super().add_task(*args, **kwargs)

    def advance(self, task_id: int, advance: float = 1) -> None:
        super().advance(task_id, advance)
        if self.get_time() - self._printed_s < LINE_EVERY_S:
            return
        self._printed_s = self.get_time()
        task = self._tasks[task_id]
        per_s = task.completed / task.elapsed
        of_total = left = ""
        if task.total:
            of_total = f" of {task.total:,.0f}"
            left = f", {datetime.timedelta(seconds=round((task.total - task.completed) / per_s))} left"
        console.print(f"{task.description}: {task.completed:,.0f}{of_total}, {per_s:.1f}/s{left}")


def readable_errors(command: Callable) -> Callable:
    """Decorate a click command: `InputError` becomes one message and exit status 1; `--debug` shows the traceback.

    SIGTERM ends the command as Ctrl-C does (`dferc.core.interrupts`); the `KeyboardInterrupt` has the message, if any.
    """

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def wrapped(*args, debug: bool, **kwargs):
        with interruptible() as received:
            try:
                return command(*args, **kwargs)
            except KeyboardInterrupt as interruption:
                kept = "interrupted; finished work is kept: the same command goes on from there"
                console.print(str(interruption) or kept)
                sys.exit(128 + (received or [signal.SIGINT])[-1])
            except BrokenPipeError:  # whoever read the output has gone: click ends without a word
                raise
            except Exception as error:
                message = explained(error)
                if debug or "DFERC_DEBUG" in os.environ or message is None:
                    raise
                print_note(shorten(message), "error:", "bold red")
                sys.exit(1)

    return wrapped
