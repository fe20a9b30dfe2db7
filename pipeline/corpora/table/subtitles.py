"""Cues of an .srt or .vtt file as rows, each with its number, line, times, speaker and text."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dferc.core.errors import InputError, Problem
from pipeline.corpora._own_tables import TableRow, read_text
from pipeline.corpora.table.cues import INVISIBLE, SHORT_LINE, Cue, counted, has_times, parse_cues, verify_density
from pipeline.corpora.table.markup import remove_markup, remove_tags
from pipeline.corpora.table.rolling import merge_highlights, show_once
from pipeline.corpora.table.speakers import CLOCK, DASH, CueTurn, Speakers, find_speakers, names_above, pieces_in

EMPTY_CUE, SPLIT_CUE = "empty cue", "several speakers in one cue"  # kinds of problems
_MANY_WORDS, _OF_WORDS = 10, 0.8  # cues, and share of single words, from which on sentences were cut into words
_WITHOUT_SPACES = "\u2e80"  # from here on, scripts write no spaces
_MOST_PIECES = 2000  # lines and turns of a cue: a page of text has a hundred
_STAMP = re.compile(
    rf"\s*(?:[\[(]\s*{CLOCK}[^\])]{{0,30}}[\])]|{CLOCK}(?=[\s:=]|$|[-–]+>?\d)|#{CLOCK}(?:-\d+)?#"
    rf"|[^\[(:]{{1,60}}(?:[\[(]{CLOCK}[\])]\s*:|:\s*[\[(]{CLOCK}[\])])"
    r"|\{\d+\}\{\d*\}|\[\d+\]\s?\[\d*\]|\[\d+\.\d+\s*s?\s*(?:-|–|→)\W*\d|Dialogue:\s*\d+,\d)"
)
"""At the begin: `[0:05] Hi.`, `Bo (0:07): Hi.`, TMPlayer, MicroDVD, MPL2, `[1.50s -> 3.20s] Hi.`, and ASS."""
# In brackets, near 0, with seconds: not "10:30"
_OF_RECORDING = re.compile(r"[\[(]\s*\d+:\d\d|\b0?0:\d\d|\d:\d\d:\d\d|^\s*[\[{]\d|\d minutes? \d+ sec")
_STAMP_END = re.compile(rf"\s[\[(]?{CLOCK}[\])]?:?\s*$|#{CLOCK}(?:-\d+)?#\s*$|\b\d+ minutes? \d+ seconds?\s*$")
"""At the end of a line: `Anna Smith  0:05` (Otter), `Bo (0:07):` (Rev), `What a day. #00:05-2#` (F4), and Teams' `Bo
0 minutes 7 seconds`."""
_TIME = re.compile(rf"-?\d+(?:[.,]\d+)?|{CLOCK}(?:\s*[-–]\s*{CLOCK})?")  # a field of Audacity, ELAN, Praat, NVivo
_UNSTORABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FORMS = re.compile(
    r"\s*(?:(?P<RTF>\{\\rtf)|(?P<JSON>\{\s*(?:\"|$)|\[\s*(?:\{|$))|(?P<XML><\?xml|<!DOCTYPE|<html|<tt\b)"
    r"|(?P<CHAT>@(?:UTF8|Begin)\b)|(?P<WebVTT>WEBVTT(?!\S))|(?P<ASS>\[Script Info\]))",
    re.IGNORECASE,
)
"""What other formats begin with."""

Prefixes = bool | Sequence[str]  # whether `NAME:` before a text is its speaker, or the names that are speakers


class Subtitles(NamedTuple):
    """What a subtitle file holds."""

    rows: list[TableRow]  # in order of time
    problems: list[Problem]
    absent: dict[str, str]  # ids that no row has though the file has such a cue, and why


def read_cues(path: Path, name: str, media: str, speaker_prefix: Prefixes) -> Subtitles:
    """Read a subtitle file.

    `name` and `media` are the paths of the file and its video below the raw folder. `speaker_prefix` takes the speaker
    from "NAME: text", where NAME repeats or is one of those listed; VTT's `<v NAME>` counts in any case.
    """
    dialogue = _dialogue_of(path, name)
    in_file, problems = parse_cues(path, name)
    ids, number_problems, absent = _ids(in_file, dialogue, name)
    plain = [remove_markup(cue, name) for cue in in_file]
    _verify_size(path, [cue for cue, _ in plain])
    problems += [*number_problems, *itertools.chain.from_iterable(found for _, found in plain)]
    back = [cue.line for before, cue in itertools.pairwise(in_file) if cue.start_s < before.start_s]
    problems += counted(name, back, "cue that begins before the one above it", "sorted by time")
    shown, highlight_problems, highlighted = merge_highlights(in_file, [cue for cue, _ in plain], name)
    cues, merge_problems, merged = show_once(shown, name)
    problems += highlight_problems + merge_problems
    merged |= highlighted
    absent |= {ids[line]: f"its cue is merged into {ids[other]}" for line, other in merged.items()}
    spoken = _rows(cues, ids, dialogue, name, media, speaker_prefix)
    return Subtitles(spoken.rows, problems + spoken.problems, absent | spoken.absent)


def read_lines(path: Path, name: str, media: str, speaker_prefix: Prefixes) -> Subtitles:
    """Read a file of plain text: each line that is not blank is an utterance without times, named by its place."""
    dialogue = _dialogue_of(path, name)
    text = INVISIBLE.sub("", read_text(path))  # beside other line ends, U+0085 is cp1252's ellipsis
    text = text.replace("\x85", "…" if re.search(r"[\r\n]", text.strip()) else "\n")
    lines = re.split(r"(?<!\r)\r*\n|[\r\x0b\x0c\u2028\u2029]", text)
    if timed := next((number for number, line in enumerate(lines, start=1) if has_times(line)), None):
        raise InputError(
            f"{path}, line {timed}: times of subtitles, {lines[timed - 1].strip()[:60]!r}, in a file of plain text. "
            "Name the file .srt or .vtt if it is one, or export it as one."
        )
    spoken = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if spoken and spoken[0][1].startswith(('File type = "ooTextFile', '"ooTextFile')):
        raise InputError(f"{path}: a file of Praat. Export its tier as a table with the columns start, end, text.")
    if spoken and (form := _FORMS.match(spoken[0][1])):
        raise InputError(f"{path}: {form.lastgroup}, no plain text. Write a table: the columns start, speaker, text.")
    tabular = [(number, line) for number, line in spoken if _is_row(line)]
    tabular = tabular if 3 * len(tabular) >= len(spoken) else []
    stamped = tabular or [(number, line) for number, line in spoken if _STAMP.match(line) or _STAMP_END.search(line)]
    of_recording = bool(tabular) or stamped and _OF_RECORDING.search(stamped[0][1].replace("#", "["))
    if 3 * len(stamped) >= len(spoken) and len(stamped) > 1 - bool(tabular) and of_recording:
        number, line = stamped[0]
        raise InputError(
            f"{path}, line {number}: a time, {line.strip()[:60]!r}, in a file of plain text, and in {len(stamped)} of "
            f"{len(spoken)} lines. Write a table with the columns start, speaker, text, or remove the times."
        )
    alone = {number for number, line in spoken if re.fullmatch(r"\s*\d{1,2}:\d\d:\d\d\s*", line)}  # Google Meet
    spoken = [(number, line) for number, line in spoken if number not in alone]
    again = Counter(line.strip() for _, line in spoken if line.strip()[-1].isalnum() and len(line.split()) <= 6)
    again = {line: count for line, count in again.items() if count > 1}
    plain = [remove_markup(Cue(number, None, 0.0, 0.0, (line,)), name) for number, line in spoken]
    written = [cue for cue, _ in plain]
    _verify_size(path, written)
    cues = names_above(written) if speaker_prefix else written
    names = sorted({cue.line for cue in written} - {cue.line for cue in cues})
    problems = counted(name, sorted(alone), "line that is only a time", "left out")
    problems += counted(name, names, "line that only names a speaker", "the speaker of the lines below it")
    ids = {cue.line: f"{dialogue}_{place}" for place, cue in enumerate(cues, start=1)}
    said = _rows(cues, ids, dialogue, name, media, speaker_prefix)
    if 4 * sum(again.values()) >= len(spoken) and not any(row.speaker for row in said.rows):  # `ANNA` above her words
        counts = ", ".join(f"{line!r} {count}" for line, count in [*again.items()][:6])
        found = f"lines without a sentence that come again: {counts}"
        problems.append(Problem(name, name, found, "kept as utterances; write `NAME:` if they name who speaks"))
    rows = [replace(row, start_s=None, end_s=None) for row in said.rows]
    problems += [*itertools.chain.from_iterable(found for _, found in plain), *said.problems]
    return Subtitles(rows, problems, said.absent)


def _is_row(line: str) -> bool:
    """Return whether a line is a row of a table with two times and a text."""
    fields = [field.strip() for field in line.split("\t") if field.strip()]
    times = [field for field in fields if _TIME.fullmatch(field)]
    return len(fields) > len(times) >= 2 and not all(map(str.isdigit, times))


def _dialogue_of(path: Path, name: str) -> str:
    if _UNSTORABLE.search(name):
        raise InputError(f"{name!a}: a file name with control characters, or that is not UTF-8. Rename the file.")
    return name[: -len(path.suffix)]


def _rows(
    cues: Sequence[Cue], ids: Mapping[int, str], dialogue: str, name: str, media: str, speaker_prefix: Prefixes
) -> Subtitles:
    """Return what is spoken in plain cues; `ids` has the utterance id of each line of a cue."""
    listed = () if isinstance(speaker_prefix, bool) else speaker_prefix
    speakers = find_speakers([cue for cue in cues if cue.lines], bool(speaker_prefix), listed)
    rows: list[TableRow] = []
    problems: list[Problem] = []
    absent: dict[str, str] = {}
    for cue in cues:
        where = f"{name}, line {cue.line}"
        turns, found = _turns(cue, speakers)
        utterance_ids = [ids[cue.line]]
        if not turns:
            found.append((f"{EMPTY_CUE}: {ids[cue.line]}", "left out"))
            absent[ids[cue.line]] = "its cue has no text"
        if len(turns) > 1:
            utterance_ids = [f"{ids[cue.line]}.{part}" for part in range(1, len(turns) + 1)]
            absent[ids[cue.line]] = f"its cue is split by speaker into {', '.join(utterance_ids)}"
        problems += [Problem(where, name, problem, consequence) for problem, consequence in found]
        for utterance_id, turn, (start_s, end_s) in zip(utterance_ids, turns, _spans(cue, turns), strict=False):
            utterance = {"dialogue_id": dialogue, "utterance_id": utterance_id, **turn._asdict()}
            rows.append(TableRow(where=where, **utterance, media=media, start_s=start_s, end_s=end_s))
    problems += _doubts(rows, speakers, name)
    return Subtitles(rows, problems, absent)


def _verify_size(path: Path, cues: Sequence[Cue]) -> None:
    """Refuse what no subtitles are and what would take minutes: cues of thousands of lines, or next to no text."""
    total = 0
    for cue in cues:
        pieces = pieces_in(cue)
        total += max(1, pieces)
        if pieces > _MOST_PIECES:
            raise InputError(
                f"{path}, line {cue.line}: a cue of {pieces} lines and turns; expected at most {_MOST_PIECES}. Is it a "
                "transcript without times? Divide it into cues."
            )
    verify_density(path, total, "lines and turns", SHORT_LINE)


def _turns(cue: Cue, speakers: Speakers) -> tuple[list[CueTurn], list[tuple[str, str]]]:
    """Return what is said in a cue, and problems with their consequences."""
    named, left_out = speakers.turns_in(cue)
    problems = [(f"text beside a speaker's name: {piece!r}", "left out") for piece in left_out]
    turns = []
    for turn in named:
        text, tags = remove_tags(turn.text)
        problems += [(f"unknown tag: {tag[:60]!r}", "left out") for tag in tags]
        turns += [turn._replace(text=text)] * bool(text)
        if within := speakers.name_within(text):
            problems.append((f"speaker's name within a text: {within!r}: another speaker?", "kept as one utterance"))
    if len(turns) > 1:
        several = ", ".join(turn.speaker or "?" for turn in turns)
        problems.append((f"{SPLIT_CUE}: {several}", "split; times divided by the lengths of the texts"))
    elif any(map(DASH.match, cue.lines[1:])):
        problems.append(("line that begins with a dash: another speaker?", "kept as one utterance"))
    return turns, problems


def _ids(cues: Sequence[Cue], dialogue: str, name: str) -> tuple[dict[int, str], list[Problem], dict[str, str]]:
    """Return the utterance id of each cue by its line, the problems of the numbers, and ids that would be ambiguous.

    Cues are called by their number in the file; by their place in the file where it has no numbers at all; and by
    their line, `talk_line12`, where numbers are missing or occur twice.
    """
    numbers = [cue.number for cue in cues]
    counts = Counter(numbers)
    if set(numbers) == {None}:
        return {cue.line: f"{dialogue}_{place}" for place, cue in enumerate(cues, start=1)}, [], {}
    if odd := next((cue for cue in cues if cue.number is None or counts[cue.number] > 1), None):
        twice = f"number {odd.number} is there {counts[odd.number]} times"
        fault = "a cue without a number" if odd.number is None else twice
        ids = {cue.line: f"{dialogue}_line{cue.line}" for cue in cues}
        where = f"{name}, line {odd.line}"
        problem = Problem(where, name, f"cue numbers unusable: {fault}", f"cues are called by line: {ids[odd.line]}")
        reason = f"{fault} ({where}); use ids such as {ids[odd.line]}, or number the cues anew"
        ambiguous = {*counts, *range(1, len(cues) + 1)} - {None}
        return ids, [problem], {f"{dialogue}_{number}": reason for number in ambiguous}
    problems = []
    for place, (cue, expected) in enumerate(zip(cues, [1, *(number + 1 for number in numbers)], strict=False)):
        if cue.number != expected:
            after = f"after {numbers[place - 1]}" if place else "first"
            found = f"cue numbers are not 1, 2, 3, …: {cue.number} comes {after}"
            problems.append(Problem(f"{name}, line {cue.line}", name, found, "the file's own numbers are kept"))
            break
    return {cue.line: f"{dialogue}_{cue.number}" for cue in cues}, problems, {}


def _spans(cue: Cue, turns: Sequence[CueTurn]) -> Iterator[tuple[float, float]]:
    """Yield the times of each turn: the cue's, divided by the lengths of the texts."""
    total, done, start_s = sum(len(turn.text) for turn in turns), 0, cue.start_s
    for turn in turns:
        done += len(turn.text)
        end_s = cue.end_s if done == total else round(cue.start_s + (cue.end_s - cue.start_s) * done / total, 3)
        yield start_s, end_s
        start_s = end_s


def _doubts(rows: Sequence[TableRow], speakers: Speakers, name: str) -> Iterator[Problem]:
    """Yield what is doubtful about the cues and the speakers of a file."""
    alone = sum(len(row.text.split()) == 1 and row.text[0] < _WITHOUT_SPACES for row in rows)
    if len(rows) >= _MANY_WORDS and alone > _OF_WORDS * len(rows):
        found = f"cues of a single word: {alone} of {len(rows)}"
        yield Problem(name, name, found, "each is an utterance; export sentences, if they were cut into words")
    counts = Counter(row.speaker for row in rows)
    if 0 < counts[""] < len(rows):
        some = f"speakers named in some cues only: {len(rows) - counts['']} of {len(rows)} utterances"
        yield Problem(name, name, some, "the others have no speaker")
    if speakers.undecided:
        listed = ", ".join(f"{opening!r} (line {line})" for opening, line in list(speakers.undecided.items())[:10])
        more = f" and {len(speakers.undecided) - 10} more" if len(speakers.undecided) > 10 else ""
        once = f"opening that may name a speaker: {listed}{more}"
        yield Problem(name, name, once, "kept as text; list speakers in prepare.options.speaker_prefix")
    for spellings in speakers.names.values():
        if len(spellings) > 1:
            one = f"spellings of one speaker: {', '.join(map(repr, spellings))}"
            yield Problem(name, name, one, f"one speaker, {spellings[0]!r}")
