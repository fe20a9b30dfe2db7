"""Parts of a figure as plain data, and the sentences of its caption; page/figures.js and `static` draw them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from dferc.core.errors import counted

COLOURS = ("blue", "vermilion", "green", "purple", "orange", "sky", "yellow", "grey")
"""Okabe and Ito's palette, which people with any colour vision can tell apart."""
MARKERS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star", "triangle-down")
"""Markers, so that colour is never the only difference; with `-open` they are outlines."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis of numbers or of names."""

    title: str = ""
    names: bool = False  # values are names, in the order of the series; on the vertical axis the first is on top
    percent: bool = False  # numbers are shares, shown in percent
    limits: tuple[float, float] | None = None  # None = what the numbers need
    zoom: bool = False  # static figures, which are small, leave the limits to the numbers
    from_zero: bool = False
    blank: bool = False  # the values have no meaning of their own


@dataclass(frozen=True, kw_only=True)
class Series:
    """Values of one kind with one look; None where there is no value."""

    name: str
    x: Sequence
    y: Sequence
    x_spread: Sequence | None = None  # half the length of the error bars
    y_spread: Sequence | None = None
    notes: Sequence[str] = ()  # further facts of each point, shown on hovering
    labels: Sequence[str] = ()  # text within each bar
    colour: str = "blue"
    marker: str = "circle"  # empty for lines alone
    line: str = ""  # `solid`, `dash` or `dot`; empty for markers alone
    width: float = 2
    size: float | Sequence[float] = 9
    opacity: float = 1
    hatch: str = ""
    in_legend: bool = True


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Series on two axes."""

    kind: Literal["points", "bars", "matrix"] = "points"
    """Lines and markers; horizontal bars, stacked; or percentages in cells, a series per row, for the page only."""
    series: Sequence[Series]
    x: Axis = field(default_factory=Axis)
    y: Axis = field(default_factory=Axis)
    heading: str = ""  # stands above the panel where several are side by side
    height: int = 400  # pixels on the page


@dataclass(frozen=True, kw_only=True)
class View:
    """One state of a figure: a run, where there are several to choose from."""

    name: str = ""
    panel: Panel
    how: str  # method behind the numbers; long, for the page only
    basis: str  # run, n, seeds and what is simulated: the end of every caption
    finding: str = ""
    printed: bool = True  # is part of the static figure

    @property
    def caption(self) -> str:
        """Method, finding, and what the numbers rest on."""
        return " ".join(filter(None, (self.how, self.finding, self.basis)))


@dataclass(frozen=True)
class Figure:
    """A figure; readers of the page choose one of its views."""

    key: str
    title: str
    views: Sequence[View]
    choice: str = "Run"  # name of the choice between views


@dataclass(frozen=True)
class Sample:
    """The utterances that a report's numbers rest on."""

    split: str
    utterances: int  # labelled ones
    dialogues: int
    simulations: Sequence[str]  # a sentence for each part that is declared as simulated

    @property
    def simulated(self) -> str:
        """One sentence on everything that is declared as simulated."""
        text = "; ".join(self.simulations)
        return f"{text[0].upper()}{text[1:]}." if text else "Nothing is declared as simulated."

    def basis(self, seeds: str, *runs: str) -> str:
        """Return runs, n, seeds and what is simulated."""
        size = f"n = {counted(self.utterances, 'labelled utterance')} in {counted(self.dialogues, 'dialogue')}"
        named = f"{'Run' if len(runs) == 1 else 'Runs'} {', '.join(runs)}; " if runs else ""
        return f"{named}{size} ({self.split}); {seeds}. {self.simulated}"
