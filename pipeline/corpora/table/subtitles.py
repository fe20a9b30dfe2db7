"""Cues of an .srt or .vtt file, each with its number, line, times, speaker and text.

The parser is our own, since the libraries repair silently: pysubs2 reads -00:00:01 as one second and a malformed time
as text, webvtt-py skips what it cannot read, and neither keeps the lines that a message needs.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dferc.core.errors import InputError
from dferc.core.problems import Problem
from pipeline.corpora import refuse
from pipeline.corpora._own_tables import read_text

EMPTY_CUE = "empty cue"
"""Kind of problem of a cue that is left out."""

_LONGEST_NAME = 3
"""Most words of a speaker's name before a colon; more is a sentence."""

_ARROW = "-->"
_TIMING = re.compile(rf"\s*(\S+)\s*{_ARROW}\s*(\S+)(\s.*)?")
_TIME = re.compile(r"(?P<sign>-?)(?:(?P<h>\d+):)?(?P<m>[0-5]?\d):(?P<s>[0-5]?\d)[.,](?P<ms>\d{1,3})")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
_TAG = re.compile(r"</?[a-zA-Z][^>]*>|<[\d:.]+>|\{\\[^}]*\}")
_NAME = re.compile(r"[\[(]?(?P<name>[^\W_][^:\[\]()]{0,30}?)[\])]?:\s+(?P<text>\S.*)", re.DOTALL)
_DASH = re.compile(r"\s*(?:[-–—](?!\d)|>>)\s*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cue:
    """One subtitle: its number from 1, the line of its times, these as written, even if they make no sense."""

    number: int
    line: int
    start_s: float
    end_s: float
    speaker: str
    text: str


def read_cues(path: Path, name: str, speaker_prefix: bool) -> tuple[list[Cue], list[Problem]]:
    """Read a subtitle file; cues without a text are left out and listed.

    Args:
        path: .srt or .vtt, in UTF-8.
        name: its name in the problems.
        speaker_prefix: take the speaker from "NAME: text"; from VTT's `<v NAME>` in any case.
    """
    lines = re.split(r"\r\n|\r|\n", read_text(path))
    vtt = path.suffix.lower() == ".vtt"
    if vtt and not lines[0].startswith("WEBVTT"):
        raise InputError(f"{path}, line 1: expected WEBVTT, found {lines[0][:40]!r}. Is it an .srt file?")
    timings = [number for number, line in enumerate(lines) if _ARROW in line]
    if not timings:
        raise InputError(f"{path} has no cue: no line such as 00:00:01,000 {_ARROW} 00:00:02,500.")
    faults = []
    for number in timings:
        match = _TIMING.fullmatch(lines[number])
        times = match.groups()[:2] if match else []
        malformed = [time for time in times if not _TIME.fullmatch(time)] if match else [lines[number].strip()]
        if malformed:
            expected = f"expected 00:00:01,000 {_ARROW} 00:00:02,500"
            faults.append(f"line {number + 1}: found the time(s) {', '.join(map(repr, malformed))}; {expected}")
    refuse(path, faults)
    cues, problems = [], []
    stray = [line.strip() for line in lines[: timings[0]] if line.strip() and not line.strip().isdigit()]
    if stray and not vtt:  # a .vtt has its header there
        problem = f"text before the first cue: {stray[0][:60]!r}"
        problems.append(Problem(where=f"{name}, line 1", file=name, problem=problem, consequence="left out"))
    for number, (timing, following) in enumerate(zip(timings, [*timings[1:], None]), start=1):
        start_s, end_s = map(_seconds, _TIMING.fullmatch(lines[timing]).groups()[:2])
        where = f"{name}, line {timing + 1}"
        content = _content(lines[timing + 1 : following], last=following is None, vtt=vtt)
        speaker, text, fault = _speaker_and_text(content, speaker_prefix)
        if fault:
            problems.append(Problem(where=where, file=name, problem=fault, consequence="kept as one utterance"))
        if not text:
            empty = f"{EMPTY_CUE}: number {number}"
            problems.append(Problem(where=where, file=name, problem=empty, consequence="left out"))
            continue
        cues.append(Cue(number=number, line=timing + 1, start_s=start_s, end_s=end_s, speaker=speaker, text=text))
    return cues, problems


def _seconds(time: str) -> float:
    """Return the seconds of `[-][h:]mm:ss,mmm`."""
    match = _TIME.fullmatch(time)
    seconds = 3600 * int(match["h"] or 0) + 60 * int(match["m"]) + int(match["s"]) + float(f"0.{match['ms']}")
    return -seconds if match["sign"] else seconds


def _content(lines: Sequence[str], last: bool, vtt: bool) -> list[str]:
    """Return the lines of a cue's text from all lines up to the next line of times."""
    if vtt:  # ends at the first empty line (YouTube's captions hold lines of a blank); then come notes and names
        lines = lines[: next((number for number, line in enumerate(lines) if not line), len(lines))]
    elif not last and lines and lines[-1].strip().isdigit():  # the next cue's number
        lines = lines[:-1]
    return [line for line in lines if line.strip()]


def _speaker_and_text(lines: Sequence[str], speaker_prefix: bool) -> tuple[str, str, str | None]:
    """Return speaker, text without mark-up, and the reason to doubt that there is one speaker."""
    voices = list(dict.fromkeys(html.unescape(name).strip() for line in lines for name in _VOICE.findall(line)))
    plain = [html.unescape(_TAG.sub("", line)) for line in lines]
    spoken = [line[dash.end() :] if (dash := _DASH.match(line)) else line for line in plain]
    text = " ".join(" ".join(spoken).split())
    several = f"two speakers in one cue: {', '.join(voices)}" if len(voices) > 1 else None
    if sum(one != two for one, two in zip(plain, spoken, strict=True)) > 1:
        several = "two speakers in one cue: lines that begin with a dash"
    match = _NAME.fullmatch(text) if speaker_prefix and not voices else None
    words = match["name"].split() if match else []
    # A few words, each with a capital or a number: "ANNA", "Dr. Ross", "Speaker 2".
    if 0 < len(words) <= _LONGEST_NAME and all(word[0].isupper() or word[0].isdigit() for word in words):
        return match["name"].strip(), match["text"], several
    return voices[0] if voices else "", text, several
