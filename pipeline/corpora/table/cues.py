"""Structure of an .srt or .vtt file: its cues, each with number, line, times and lines of text, as players read them.

The parser is our own. pysubs2 reads -00:00:01 as one second, a malformed time as text, and drops the cues' numbers,
which labels refer to. webvtt-py skips what it cannot read. Neither keeps the lines of the file that a message needs.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dferc.core.errors import InputError, Problem
from pipeline.corpora import refuse
from pipeline.corpora._own_tables import read_text

INVISIBLE = re.compile("[\ufeff\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufdd0-\ufdef]")
"""Byte order marks and marks of writing direction, which hide a line's first character, and Unicode's noncharacters."""

_ARROW = "-->"
_TIMING = re.compile(rf"\s*(\S+)\s*{_ARROW}\s*(\S+)(\s.*)?")
_TIME = re.compile(r"(?P<sign>-?)(?:(?P<h>\d{1,6}):)?(?P<m>[0-5]?\d):(?P<s>[0-5]?\d)(?:[.,](?P<ms>\d{1,9}))?")
_CLOCK = r"-?\d+\s*:\s*\d{1,2}(?:\s*:\s*\d{1,2}(?:\s*[.,:;]\s*\d+)?|\s*[.,]\s*\d{2,3})"
_BARE_TIMING = re.compile(rf"\s*{_CLOCK}\D{{1,12}}{_CLOCK}\D*|\s*\d+:\d\d:\d\d[.,]\d+\s*")
"""Times of a cue without the arrow that players ask for: they would pass as text."""
_LONGEST_TIMING = 200  # characters of a line that may be times without an arrow
_MANY = 20_000  # cues, or lines, above which a file has at least so many bytes for each as below
SHORT_CUE, SHORT_LINE = 20, 12
_SETTING = re.compile(r"(?:region|vertical|line|position|size|align|[XY][12]):\S*", re.IGNORECASE)
_NUMBER = re.compile(r"\s*(\d{1,9})\s*")
_HEADER = re.compile(r"WEBVTT(?!\S)")  # also in the midst of segments that were joined


@dataclass(frozen=True, slots=True)
class Cue:
    """A cue of a subtitle file."""

    line: int  # line of its times, from 1
    number: int | None  # its number in the file
    start_s: float
    end_s: float
    lines: tuple[str, ...]
    voices: tuple[str, ...] = ()  # of each line: the name in VTT's <v NAME>, or ""; filled with the mark-up's removal


def parse_cues(path: Path, name: str) -> tuple[list[Cue], list[Problem]]:
    """Return the cues of a subtitle file in its order, empty ones included, and the text that is in no cue.

    Which format it is, is decided by the first line. `name` is the path below the raw folder. InputError if there is no
    cue, or if times are malformed.
    """
    lines = re.split(r"(?<!\r)\r*\n|\r", INVISIBLE.sub("", read_text(path)))
    top = next((number for number, line in enumerate(lines) if line.strip()), 0)
    vtt = _HEADER.match(lines[top]) is not None
    problems = []
    if path.suffix.lower() == ".vtt" and not vtt:
        raise InputError(f"{path}, line {top + 1}: expected WEBVTT, found {lines[top][:40]!r}. Is it an .srt file?")
    if vtt and top:
        problems.append(Problem(f"{name}, line {top + 1}", name, "WEBVTT is not the first line", "read as WebVTT"))
    if vtt and path.suffix.lower() != ".vtt":
        problems.append(Problem(f"{name}, line {top + 1}", name, "WebVTT under another suffix", "read as WebVTT"))
    timings = [number for number, line in enumerate(lines) if has_times(line)]
    if not timings:
        raise InputError(f"{path} has no cue: no line such as 00:00:01,000 {_ARROW} 00:00:02,500.")
    verify_density(path, len(timings), "cues", SHORT_CUE)
    refuse(path, list(_time_faults(lines, timings)))
    numbers, digits = _number_lines(lines, timings, vtt)
    heads = [_head(lines, timing, numbers, vtt) for timing in timings]
    before = range(top, heads[0])
    named = [head for timing, head in zip(timings, heads, strict=True) if head < timing and timing not in numbers]
    for head in named if 2 * len(named) < len(timings) else ():  # where most cues have a name, it is no text
        problem = f"name of a cue, or a text: {lines[head].strip()[:60]!r}"
        problems.append(Problem(f"{name}, line {head + 1}", name, problem, "left out"))
    voices: dict[int, str] = {}
    if vtt and named and 2 * len(named) >= len(timings):
        names = {head: re.sub("[<>]", "", lines[head]).strip() for head in named}
        apart = {(title, lines[head + 1]) for head, title in names.items()}  # a cue may be there twice, with its times
        voices = names if 3 * len(set(names.values())) <= 2 * len(apart) else {}  # identifiers differ, speakers do not
        then = "they are speakers: they come again" if voices else "not used: cues are called by their place"
        found = f"names of cues: {len(named)}, first {names[named[0]][:60]!r}"
        problems.append(Problem(f"{name}, line {named[0] + 1}", name, found, then))
    cues, blanks, joined, decimals, loose = [], [], [], [], []
    for timing, head, end in zip(timings, heads, [*heads[1:], len(lines)], strict=True):
        body = range(timing + 1, end)
        if vtt:  # ends at the first empty line (YouTube's captions hold lines of a blank); then come notes and others
            stop = next((number for number in body if not lines[number] or _HEADER.match(lines[number])), end)
            loose.append(range(stop, end))
            body = range(timing + 1, stop)
        filled = [number for number in body if lines[number].strip()]
        if any(not lines[number] for number in body[: filled[-1] - timing if filled else 0]):
            blanks.append(timing + 1)
        if head and (lines[head - 1] if vtt else head == timing and lines[head - 1].strip()):
            joined.append(timing + 1)
        start, end_time, settings = _TIMING.fullmatch(lines[timing]).groups()
        if re.search(r"[.,](?!\d{3}\b)", f"{start} {end_time}"):
            decimals.append(timing + 1)
        if unused := " ".join(word for word in (settings or "").split() if not _SETTING.fullmatch(word)):
            problem = f"text after a cue's times: {unused[:60]!r}"
            problems.append(Problem(f"{name}, line {timing + 1}", name, problem, "left out"))
        number = int(lines[numbers[timing]]) if timing in numbers else None
        spoken = tuple(lines[number] for number in filled)
        if head in voices and spoken and "<v" not in spoken[0]:
            spoken = (f"<v {voices[head]}>{spoken[0]}", *spoken[1:])
        cues.append(Cue(timing + 1, number, _seconds(start), _seconds(end_time), spoken))
    problems += _loose_text(lines, before, loose, name, vtt)
    problems += counted(name, blanks, "empty line within a cue", "the text after it belongs to the cue, as in players")
    problems += counted(name, joined, "no empty line before a cue", "the text above it belongs to the cue before")
    problems += counted(name, digits, "line of digits above a cue's times", "taken for text: most cues have no number")
    problems += counted(name, decimals, "time without three decimals", "read as decimals: 1,5 is 1.5 s")
    last = cues[-1]
    if last.number is not None and last.lines[-1:] == (str(last.number + 1),):
        problems.append(Problem(f"{name}, line {last.line}", name, "number without a cue at the end", "taken for text"))
    return cues, problems


def verify_density(path: Path, count: int, what: str, least: int) -> None:
    """Refuse a file of far more cues, or lines of them, than its size explains: it would take minutes."""
    size = path.stat().st_size
    if count > _MANY and count * least > size:
        raise InputError(
            f"{path}: {count} {what} in {size} bytes; expected at least {least} bytes for each, with its times. Is it "
            "a subtitle file?"
        )


def counted(name: str, lines: Sequence[int], problem: str, consequence: str) -> list[Problem]:
    """Return one problem for all lines of a file that have it, or none."""
    if not lines:
        return []
    return [Problem(f"{name}, line {lines[0]}", name, f"{problem}: {len(lines)} time(s)", consequence)]


def has_times(line: str) -> bool:
    """Return whether a line has, or was to have, the times of a cue."""
    if _ARROW in line:  # "left --> right" is a text
        before, _, after = line.partition(_ARROW)
        nearest = [*before.split()[-1:], *after.split()[:1]]
        return len(nearest) < 2 or any(map(str.isdigit, "".join(nearest)))
    if len(line) > _LONGEST_TIMING or ":" not in line and "：" not in line:
        return False
    return bool(_BARE_TIMING.fullmatch(unicodedata.normalize("NFKC", line)))


def _time_faults(lines: Sequence[str], timings: Sequence[int]) -> Iterable[str]:
    """Yield the malformed times."""
    for number in timings:
        match = _TIMING.fullmatch(lines[number])
        times = match.groups()[:2] if match else []
        malformed = [time for time in times if not _TIME.fullmatch(time)]
        if not match or _ARROW in (match[3] or ""):
            malformed = [lines[number].strip()]
        if malformed:
            expected = f"expected 00:00:01,000 {_ARROW} 00:00:02,500"
            found = ", ".join(f"{time[:60]!r}" for time in malformed)
            yield f"line {number + 1}: found the time(s) {found}; {expected}"


def _seconds(time: str) -> float:
    """Return the seconds of `[-][h:]mm:ss,mmm`."""
    sign, hours, minutes, seconds, fraction = _TIME.fullmatch(time).groups()
    total_s = 3600 * int(hours or 0) + 60 * int(minutes) + int(seconds) + float(f"0.{fraction or 0}")
    return -total_s if sign else total_s


def _number_lines(lines: Sequence[str], timings: Sequence[int], vtt: bool) -> tuple[dict[int, int], list[int]]:
    """Return the line of each cue's number by the line of its times, and other lines of digits above times, from 1.

    A line of digits is a number if most cues have one there, directly above the times or with blank lines between, or
    if it is VTT's identifier; otherwise it is a text. A text such as "1984" before a cue without a number looks alike.
    """
    directly, above = {}, {}
    for timing in timings:
        line = timing - 1
        while line > 0 and not lines[line].strip():
            line -= 1
        if line >= 0 and _NUMBER.fullmatch(lines[line]):
            (directly if line == timing - 1 else above)[timing] = line
    numbers = next((most for most in (directly, directly | above) if 2 * len(most) > len(timings)), {})
    if vtt:
        numbers |= {timing: line for timing, line in directly.items() if not lines[line - 1]}
    return numbers, [line + 1 for timing, line in directly.items() if timing not in numbers]


def _head(lines: Sequence[str], timing: int, numbers: dict[int, int], vtt: bool) -> int:
    """Return the first line of a cue: of its number, VTT's identifier, or its times."""
    if timing in numbers:
        return numbers[timing]
    identified = vtt and timing > 1 and lines[timing - 1] and not lines[timing - 2]
    return timing - 1 if identified else timing


def _loose_text(lines: Sequence[str], before: range, loose: Sequence[range], name: str, vtt: bool) -> Iterable[Problem]:
    """Yield the text that is in no cue; not VTT's styles and regions."""
    notes = []
    for start, block in _blocks(lines, [before, *loose]):
        where, first = f"{name}, line {start + 1}", block[0].split()[0]
        if vtt and start == before.start:  # WEBVTT and the header's lines, such as `Kind: captions`
            clocks = (line for line in block if line.startswith("X-TIMESTAMP-MAP"))
            if offset := [line for line in clocks if not re.search("MPEGTS:0(?!\\d)", line)]:
                problem = f"times count from another clock than the video's: {offset[0][:60]!r}"
                yield Problem(where, name, problem, "not applied: compare the times with the video")
            block = [line for line in block[1:] if not re.search("[:=]", line)]
            if not block:
                continue
        elif vtt and first in ("STYLE", "REGION", "NOTE"):
            notes += [start + 1] * (first == "NOTE")
            continue
        place = "before the first cue" if start < before.stop else "outside of a cue"
        yield Problem(where, name, f"text {place}: {' '.join(block)[:60]!r}", "left out")
    yield from counted(name, notes, "comment (NOTE)", "left out")


def _blocks(lines: Sequence[str], ranges: Iterable[range]) -> Iterable[tuple[int, list[str]]]:
    """Yield the first line's number, from 0, and the lines of each block between blank lines."""
    for numbers in ranges:
        for is_filled, run in itertools.groupby(numbers, key=lambda number: bool(lines[number].strip())):
            block = [*run]
            if is_filled:
                yield block[0], [lines[number].strip() for number in block]
