"""Cues of an .srt or .vtt file as rows, each with its number, line, times, speaker and text.

The parser is our own, since the libraries repair silently: pysubs2 reads -00:00:01 as one second and a malformed time
as text, webvtt-py skips what it cannot read, and neither keeps the lines that a message needs.
"""

import html
import re
from collections.abc import Sequence
from pathlib import Path

from dferc.core.errors import InputError
from dferc.core.problems import Problem
from pipeline.corpora import refuse
from pipeline.corpora._own_tables import TableRow, read_text

EMPTY_CUE = "empty cue"  # kind of problem of a cue that is left out
_LONGEST_NAME = 3  # most words of a speaker's name before a colon; more is a sentence

_ARROW = "-->"
_TIMING = re.compile(rf"\s*(\S+)\s*{_ARROW}\s*(\S+)(\s.*)?")
_TIME = re.compile(r"(?P<sign>-?)(?:(?P<h>\d+):)?(?P<m>[0-5]?\d):(?P<s>[0-5]?\d)[.,](?P<ms>\d{1,3})")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
_TAG = re.compile(r"</?[a-zA-Z][^>]*>|<[\d:.]+>|\{\\[^}]*\}")
_NAME = re.compile(r"[\[(]?(?P<name>[^\W_][^:\[\]()]{0,30}?)[\])]?:\s+(?P<text>\S.*)", re.DOTALL)
_DASH = re.compile(r"\s*(?:[-–—](?!\d)|>>)\s*")


def read_cues(path: Path, name: str, media: str, speaker_prefix: bool) -> tuple[list[TableRow], list[Problem]]:
    """Read a subtitle file in order of time; cues without a text are left out and listed.

    `name` and `media` are the paths of the file and its video below the raw folder. `speaker_prefix` takes the speaker
    from "NAME: text"; VTT's `<v NAME>` counts in any case.
    """
    lines = re.split(r"\r\n|\r|\n", read_text(path))
    vtt = path.suffix.lower() == ".vtt"
    dialogue = name[: -len(path.suffix)]
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
    rows, problems = [], []
    stray = [line.strip() for line in lines[: timings[0]] if line.strip() and not line.strip().isdigit()]
    if stray and not vtt:  # a .vtt has its header there
        problem = f"text before the first cue: {stray[0][:60]!r}"
        problems.append(Problem(f"{name}, line 1", name, problem, "left out"))
    for number, (timing, following) in enumerate(zip(timings, [*timings[1:], None]), start=1):
        start_s, end_s = map(_seconds, _TIMING.fullmatch(lines[timing]).groups()[:2])
        where = f"{name}, line {timing + 1}"
        content = _content(lines[timing + 1 : following], last=following is None, vtt=vtt)
        speaker, text, fault = _speaker_and_text(content, speaker_prefix)
        if fault:
            problems.append(Problem(where, name, fault, "kept as one utterance"))
        if not text:
            problems.append(Problem(where, name, f"{EMPTY_CUE}: number {number}", "left out"))
            continue
        utterance = {"dialogue_id": dialogue, "utterance_id": f"{dialogue}_{number}", "speaker": speaker, "text": text}
        rows.append(TableRow(where=where, **utterance, media=media, start_s=start_s, end_s=end_s))
    return sorted(rows, key=lambda row: row.start_s), problems


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
