"""Progress in a log and on a terminal, and how a command ends."""

import io
import os
import signal

import click
import numpy as np
import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from rich.console import Console

import dferc.core.console
from dferc.core.console import LINE_EVERY_S, print_table, progress_bar, readable_errors, warn_of_simulation


class Clock:
    """Seconds that pass only when a test advances them."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    """Replace the console's clock; its `log` is the file that the console writes to."""
    clock = Clock()
    clock.log = io.StringIO()
    monkeypatch.setattr(dferc.core.console, "console", Console(file=clock.log, get_time=clock, soft_wrap=True))
    return clock


def test_progress_in_a_log_is_a_line_now_and_then_with_rate_and_time_left(clock):
    """2000 clips at 4 a second: lines after 30 s and 60 s, 500 s in all."""
    with progress_bar() as bar:
        task = bar.add_task("extract_audio meld", total=2000)
        for _ in range(260):
            clock.now_s += 0.25
            bar.advance(task)
    assert LINE_EVERY_S == 30
    assert clock.log.getvalue().splitlines() == [
        "extract_audio meld: 120 of 2,000, 4.0/s, 0:07:50 left",
        "extract_audio meld: 240 of 2,000, 4.0/s, 0:07:20 left",
    ]


def test_progress_of_an_iterable_in_a_log(clock):
    with progress_bar() as bar:
        for _ in bar.track(range(3), description="epoch 1"):
            clock.now_s += 20
    assert clock.log.getvalue().splitlines() == ["epoch 1: 2 of 3, 0.1/s, 0:00:20 left"]


def test_progress_of_short_work_says_nothing_in_a_log(clock):
    with progress_bar() as bar:
        assert list(bar.track(range(1000))) == list(range(1000))
    assert clock.log.getvalue() == ""


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(dferc.core.console, "console", Console(file=screen, force_terminal=True, width=100))
    with progress_bar() as bar:
        list(bar.track(range(3), description="clips"))
    assert "clips" in screen.getvalue() and "3/3" in screen.getvalue()


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_command_says_so_in_one_line_and_puts_the_handler_back(sent, status):
    @click.command()
    @readable_errors
    def command():
        os.kill(os.getpid(), sent)
        raise AssertionError("goes on")

    before = signal.getsignal(signal.SIGTERM)
    result = CliRunner().invoke(command)
    assert result.exit_code == status
    assert result.stderr.splitlines() == ["interrupted; finished work is kept: the same command goes on from there"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_reader_of_the_output_that_has_gone_is_no_error_message():
    @click.command()
    @readable_errors
    def command():
        raise BrokenPipeError(32, "Broken pipe")

    outcome = CliRunner().invoke(command)
    assert (outcome.exit_code, outcome.output) == (1, "")


def test_second_sigterm_does_not_cut_the_saving_short():
    saved = []

    @click.command()
    @readable_errors
    def command():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            saved.append(True)

    assert CliRunner().invoke(command).exit_code == 143 and saved


# ---------------------------------------------------------------------------------------------------- tables


def shown(width: int | None, *arguments, monkeypatch, terminal: bool = False) -> list[str]:
    """Return the printed lines of `print_table`; without a width, as in a file."""
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None, soft_wrap=True)
    monkeypatch.setattr(dferc.core.console, "console", console)
    print_table(*arguments)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("width", [10, 40, 60, 80, 120, None])
def test_no_table_cuts_a_number_or_a_name(monkeypatch, width, terminal):
    """Tables of any size, with names in Latin and in Chinese: every cell is there whole, once, and fits the width."""
    random = np.random.default_rng(0)
    names = ("no_modality_level", "a", "[red]x[/]", "情绪识别", "a very long name of one of the published systems")
    for _ in range(25):
        header = ["", *(f"{names[random.integers(len(names))]} {column}" for column in range(random.integers(0, 14)))]
        rows = [
            [f"{names[random.integers(len(names))]} {row}", *(f"{random.normal():.4f}" for _ in header[1:])]
            for row in range(random.integers(1, 6))
        ]
        lines = shown(width, header, rows, "a title", monkeypatch=monkeypatch, terminal=terminal)
        assert lines[0] == "a title"
        text = "\n".join(lines)
        assert "…" not in text
        for cell in (cell for row in [header, *rows] for cell in row[1:] if cell):
            assert cell in text
        for row in rows:
            assert row[0] in text
        widest = max(cell_len(cell) for row in [header, *rows] for cell in row) + 2
        firsts = max(cell_len(row[0]) for row in [header, *rows]) + 2
        if widest + firsts <= (width or 80):
            assert max(map(cell_len, lines)) <= (width or 80)


def test_columns_that_do_not_fit_follow_below_the_first_column_again(monkeypatch):
    lines = shown(20, ["run", "seeds", "F1", "accuracy"], [["full", "5", "0.8", "0.9"]], monkeypatch=monkeypatch)
    assert [line.split() for line in lines] == [
        ["run", "seeds", "F1"],
        ["full", "5", "0.8"],
        [],
        ["run", "accuracy"],
        ["full", "0.9"],
    ]


def test_where_not_even_two_columns_fit_each_row_is_a_block(monkeypatch):
    lines = shown(12, ["run", "weighted F1"], [["full", "0.8"], ["t", "0.7"]], monkeypatch=monkeypatch)
    assert lines == ["full", "  weighted F1: 0.8", "t", "  weighted F1: 0.7"]


def test_simulated_data_are_named_loudly(clock):
    warn_of_simulation(["the corpus is no recording: [demo], synthetic"], "these predictions")
    printed = " ".join(clock.log.getvalue().split())
    assert printed.startswith("SYNTHETIC DATA the corpus is no recording: [demo], synthetic; these predictions say")
