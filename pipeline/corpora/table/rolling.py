"""Cues that show again what the cue before showed: rolling captions, duplicates -> each line once."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from dferc.core.errors import Problem
from pipeline.corpora.table.cues import Cue, counted

DUPLICATE_CUE, MERGED_CUE = "duplicate cue", "merged cue"  # kinds of problems of cues that are left out
_FLASH_S = 0.05  # longest cue that only holds a caption until the next (YouTube's last 10 ms)
_MOST_LINES, _MOST_WORDS = 10, 100  # of a cue that are compared with the next
_GAP_S = 1.0  # longest pause between cues of which one may roll into the other

_TAG = re.compile(r"<[^<>]*>|\{[^{}]*\}")
_WORD_TIME = re.compile(r"<(?:\d+:)?\d+:\d+")  # in YouTube's rolling captions, which `show_once` merges


class Overlap(NamedTuple):
    """What a cue shows of the cue before."""

    lines: int  # lines of the cue that hold it
    rest: str  # what the last of these lines adds
    grows: bool  # the rest goes on with a line of the cue before


def merge_highlights(
    marked: Sequence[Cue], plain: Sequence[Cue], name: str
) -> tuple[list[Cue], list[Problem], dict[int, int]]:
    """Merge cues that show one text while a mark-up moves through it: Whisper's highlighted words, karaoke.

    They have the same text, one begins where the other ends, and their mark-up differs, within the text and not around
    the whole of it: that is another speaker's colour, somebody off screen. So two cues of a single word are merged only
    in a file that highlights words of others.

    Args:
        marked: cues with their mark-up, in the order of the file.
        plain: the same without.
        name: the file, for problems.

    Returns:
        As `show_once`, in the order of the file.
    """
    pairs = list(zip(marked, plain, strict=True))
    if not any(one.lines == two.lines and _moves(mark, then) for (mark, one), (then, two) in itertools.pairwise(pairs)):
        return list(plain), [], {}
    cues, merged, before = [], {}, None
    for mark, cue in pairs:
        last = cues[-1] if cues else None
        if (
            last is not None
            and cue.lines
            and (cue.lines, cue.voices) == (last.lines, last.voices)
            and (_moves(before, mark) or mark.lines != before.lines and len(" ".join(cue.lines).split()) == 1)
            and abs(cue.start_s - last.end_s) <= _FLASH_S
        ):
            cues[-1] = replace(last, end_s=max(last.end_s, cue.end_s))
            merged[cue.line] = last.line
        else:
            cues.append(cue)
        before = mark
    problems = []
    if merged:
        found = f"highlighted words: {len(plain)} cues show {len(cues)} texts"
        problems.append(Problem(f"{name}, line {min(merged.values())}", name, found, "merged: each text once"))
        problems += [_merged(name, line, first) for line, first in merged.items()]
    return cues, problems, merged


def _moves(before: Cue, mark: Cue) -> bool:
    """Return whether the mark-up of one text differs, and is within it in one of the cues; times of words are none."""
    parts = [[part for part in _TAG.split(" ".join(cue.lines)) if part.strip()] for cue in (before, mark)]
    texts = ["".join(cue.lines) for cue in (before, mark)]
    return texts[0] != texts[1] and max(map(len, parts)) > 1 and not any(map(_WORD_TIME.search, texts))


def _merged(name: str, line: int, first: int) -> Problem:
    again = f"{MERGED_CUE}: shows again what the cue in line {first} shows"
    return Problem(f"{name}, line {line}", name, again, "left out")


def show_once(cues: Sequence[Cue], name: str) -> tuple[list[Cue], list[Problem], dict[int, int]]:
    """Return the cues in order of time with what they add to the cue before, problems, and where cues were merged.

    The last gives, by the line of a merged cue, the line of the cue that has its text. Captions roll if at least half
    of the cues show lines or words of the cue before, and some add to it. Elsewhere a repeated line may have been
    spoken twice: it is kept, and reported.
    """
    unique: dict[tuple, Cue] = {}
    merged: dict[int, int] = {}
    problems = []
    for cue in sorted(cues, key=lambda cue: cue.start_s):
        first = unique.setdefault((cue.start_s, cue.end_s, cue.lines, cue.voices) if cue.lines else (cue.line,), cue)
        if first is not cue:
            merged[cue.line] = first.line
            same = f"{DUPLICATE_CUE}: times and text of the cue in line {first.line}"
            problems.append(Problem(f"{name}, line {cue.line}", name, same, "left out"))
    shown = [cue for cue in unique.values() if cue.lines]
    kept = [cue for cue in unique.values() if not cue.lines]
    spoken, typed = _merge_typed(shown)
    merged |= typed
    problems += [_merged(name, line, first) for line, first in typed.items()]
    pairs = _adjacent(spoken)
    by_lines = _is_rolling(pairs, words=False)
    rolling = by_lines or _is_rolling(pairs, words=True)
    repeated, texts = [], 0
    for before, cue in zip([None, *spoken], spoken):
        adjacent = before is not None and cue.start_s <= before.end_s + _GAP_S
        overlap = _overlap(before, cue, words=rolling and not by_lines) if adjacent or before and rolling else None
        shared = " ".join(cue.lines[: overlap.lines]).split() if overlap else []
        again = overlap and not overlap.rest and overlap.lines == len(cue.lines)
        if overlap and not adjacent and (again or not by_lines and len(shared) - len(overlap.rest.split()) == 1):
            overlap = None  # said again after a pause: what only stayed has more below it
        if overlap and (rolling or overlap.lines == len(cue.lines) and cue.end_s - cue.start_s <= _FLASH_S):
            lines = cue.lines[overlap.lines :]
            if overlap.rest and overlap.grows and adjacent:
                last = kept[-1]
                grown = (*last.lines[:-1], f"{last.lines[-1]} {overlap.rest}")
                kept[-1] = replace(last, lines=grown, end_s=max(last.end_s, cue.end_s))
            elif overlap.rest:
                lines = (overlap.rest, *lines)
            if not lines:
                merged[cue.line] = kept[-1].line
                problems.append(_merged(name, cue.line, kept[-1].line))
                continue
            cue = replace(cue, lines=lines, voices=cue.voices[-len(lines) :])
        elif overlap:
            repeated.append(cue.line)
        kept.append(cue)
        texts += 1
    if rolling or texts < len(shown):
        found = f"rolling captions: {len(shown)} cues show {texts} texts"
        problems.insert(0, Problem(f"{name}, line {shown[0].line}", name, found, "merged: each text once"))
    problems += counted(name, repeated, "cue that repeats lines of the cue before", "kept")
    return sorted(kept, key=lambda cue: cue.start_s), problems, merged


def _adjacent(spoken: Sequence[Cue]) -> list[tuple[Cue, Cue]]:
    return [(one, two) for one, two in itertools.pairwise(spoken) if two.start_s <= one.end_s + _GAP_S]


def _merge_typed(spoken: Sequence[Cue]) -> tuple[list[Cue], dict[int, int]]:
    """Merge cues that show one text while it is typed, letter by letter: captions of live television.

    So it is where at least half of the cues begin with all that the cue before shows, twice with a part of a word.
    Also returned is the line of the first such cue by the lines of the others.
    """
    pairs = _adjacent(spoken)
    grown = [_typed_on(one, two) for one, two in pairs]
    if 2 * grown.count(None) > len(pairs) or grown.count(True) < 2:
        return list(spoken), {}
    typed = {two.line for (_, two), within in zip(pairs, grown, strict=True) if within is not None}
    cues, merged = [], {}
    for cue in spoken:
        if cue.line in typed:
            first = cues[-1]
            merged[cue.line] = first.line
            lasting = {"start_s": first.start_s, "end_s": max(first.end_s, cue.end_s)}
            cues[-1] = replace(cue, line=first.line, number=first.number, **lasting)
        else:
            cues.append(cue)
    return cues, merged


def _typed_on(before: Cue, cue: Cue) -> bool | None:
    """Return whether a cue goes on within the last word of the cue before; None where it does not begin with it."""
    one, two = " ".join(before.lines), " ".join(cue.lines)
    if len(two) == len(one) or not two.startswith(one) or cue.voices[: len(before.voices)] != before.voices:
        return None
    return one[-1].isalnum() and two[len(one)].isalnum()


def _is_rolling(pairs: Sequence[tuple[Cue, Cue]], words: bool) -> bool:
    """Return whether captions roll by whole lines, or by words."""
    shared = [(overlap, two) for one, two in pairs if (overlap := _overlap(one, two, words))]
    adding = sum(bool(overlap.rest) or overlap.lines < len(two.lines) for overlap, two in shared)
    return len(shared) > 1 and 2 * len(shared) >= len(pairs) and adding >= (max(2, len(pairs) / 2) if words else 1)


def _overlap(before: Cue, cue: Cue, words: bool) -> Overlap | None:
    """Return the longest end of a cue with which the next begins, in whole lines or, with `words`, in words.

    A single word counts where it is all of a line.
    """
    begins = cue.lines[0] in before.lines
    for first in range(max(0, len(before.lines) - _MOST_LINES), len(before.lines)) if begins else ():
        shown = before.lines[first:]
        if cue.lines[: len(shown)] == shown:
            return Overlap(len(shown), "", grows=False)
    if not words or cue.lines[0].split()[0] not in " ".join(before.lines).split():
        return None
    old = [(word, place == 0) for line in before.lines for place, word in enumerate(line.split())]
    new = [(word, number) for number, line in enumerate(cue.lines) for word in line.split()]
    old, new = old[-_MOST_WORDS:], new[:_MOST_WORDS]
    for count in range(min(len(old), len(new)), 0, -1):
        begins_line = old[-count][1]
        if (count > 1 or begins_line) and all(one[0] == two[0] for one, two in zip(old[-count:], new)):
            number = new[count - 1][1]
            rest = cue.lines[number].split()[count - sum(line < number for _, line in new[:count]) :]
            return Overlap(number + 1, " ".join(rest), grows=begins_line)
    return None
