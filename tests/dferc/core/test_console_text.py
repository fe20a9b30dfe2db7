"""Text of others is printed as text: no markup, no control characters, no endless message."""

import io
import json

import click
import pytest
from click.testing import CliRunner
from rich.table import Table

from dferc.core.console import (
    MOST_LINES,
    PlainConsole,
    print_json,
    printable,
    progress_bar,
    readable_errors,
)
from dferc.core.errors import InputError

HOSTILE = [
    "[/]",
    "[red]x",
    "[bold]x[/bold]",
    ":smile:",
    "a\x1b[31mb",
    "\x1b]0;title\x07",
    "\x9b2J",
    "a\rb",
    "\u202eb",
    "\ud800",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_strings_are_printed_as_text_in_lines_and_in_tables(text):
    console = PlainConsole(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    console.print(text)
    table = Table(text, title=text, box=None)
    table.add_row(text)
    console.print(table)
    lines = [line.strip() for line in console.file.getvalue().splitlines()]
    assert lines == [printable(text)] * 4
    assert not set("\x1b\x07\x9b\r\u202e\ud800") & set(console.file.getvalue())


def test_escapes_name_the_character_and_leave_all_other_text():
    assert printable("a\x1b[31m\r\x85\u2028\ud800") == r"a\x1b[31m\r\x85\u2028\ud800"
    assert printable("Zoë, 新しい\tمی‌شود\n") == "Zoë, 新しい\tمی‌شود\n"  # with a zero-width non-joiner


@pytest.mark.parametrize("text", HOSTILE)
def test_an_error_shows_the_text_of_a_file(text):
    @click.command()
    @readable_errors
    def command():
        raise InputError(f"{text} is no class")

    result = CliRunner().invoke(command)
    assert result.exit_code == 1 and result.stderr == f"error: {printable(text)} is no class\n"


def test_an_endless_error_is_cut_and_says_how_much_is_left_out():
    @click.command()
    @readable_errors
    def command():
        raise InputError("\n".join(["x" * 10_000] * 1000))

    lines = CliRunner().invoke(command).stderr.splitlines()
    assert len(lines) == MOST_LINES + 1 and max(map(len, lines)) < 2200
    assert "10,000 characters" in lines[0] and f"{1000 - MOST_LINES:,} more lines" in lines[-1]


@pytest.mark.parametrize("text", HOSTILE)
def test_json_on_stdout_is_the_value_and_safe_for_a_terminal(text):
    command = click.command()(lambda: print_json({"class": text}, indent=1))
    output = CliRunner().invoke(command).stdout
    assert json.loads(output) == {"class": text} and printable(output) == output


def test_progress_takes_names_as_text(monkeypatch):
    console = PlainConsole(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr("dferc.core.console.console", console)
    with progress_bar() as bar:
        list(bar.track(range(2), description="[/] clips"))
    assert "[/] clips" in console.file.getvalue()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_too_little_memory_is_one_message(error):
    @click.command()
    @readable_errors
    def command():
        raise error

    result = CliRunner().invoke(command)
    assert result.exit_code == 1 and result.stderr.startswith("error: the memory is too small (")


@pytest.mark.parametrize(
    "fault",
    [
        "a fault",
        "CUDA error: an illegal memory access was encountered",
        "more than one element of the written-to tensor refers to a single memory location",
        "required rank 4 tensor to use channels_last memory format",
    ],
)
def test_fault_of_the_program_keeps_its_traceback(fault):
    @click.command()
    @readable_errors
    def command():
        raise RuntimeError(fault)

    assert isinstance(CliRunner().invoke(command).exception, RuntimeError)
