"""Who speaks in a cue, decided over all cues of a file (docs/own-data.md has the table of what is recognised)."""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from dferc.store.cells import normalise
from pipeline.corpora.table.cues import Cue
from pipeline.corpora.table.markup import TAG_CLOSE, TAG_OPEN

_MOST_WORDS = 6  # of a name before a colon; more is a sentence
_LOOKED_AT = 20  # colons within a text
_LONGEST = 90  # characters of a name, with what is in brackets beside it

CLOCK = r"(?:\d+:)?\d{1,2}:\d\d(?:[.,]\d+)?"  # a time in a text, such as 0:05 or 1:02:03.5
_COLONS = ":：﹕︓∶፥፦៖᠄"  # the last are Ethiopic, Khmer, Mongolian
_QUOTES = r"\"”»」』"
_ENDS = rf".?!…。？！؟۔।॥።፧។՞։｡{_QUOTES}"  # of a sentence, in any script
_OPEN, _CLOSE = f"[(【（{TAG_OPEN}", rf"\])】）{TAG_CLOSE}"
_LETTERS = rf"[^{re.escape(_OPEN)}{_CLOSE}?!;。？！；؟؛۔।።\n]"
_HEAD = re.compile(
    rf"(?:[\[(]\s*{CLOCK}\s*[\])]\s*)?(?P<open>[{re.escape(_OPEN)}])?\s*"
    rf"(?P<name>{_LETTERS}(?:{_LETTERS}|\([^()]{{1,20}}\)){{0,39}}?)\s*"  # `+1 (415) 555-0100`
    rf"(?P<aside>[(\[（][^()\[\]（）]{{1,40}}[)\]）](?:\s*\([^()]{{1,40}}\))?)?\s*"  # `(V.O.) (CONT'D)`
    rf"(?P<close>[{_CLOSE}])?"
)
_SIGNS = re.compile(rf"[{_COLONS}|{re.escape(_OPEN)}]")
_COLON = re.compile(rf"[{_COLONS}](?!\d)|(?<!\d)[{_COLONS}]")  # not that of 12:30
_BOLD = re.compile(r"(\*\*|__)([^*_:]{1,40})(:?)\1(:?)")  # Markdown's: `**Anna:** text`
_BRACKETS = re.compile(
    r"(?:\[([^\[\]]{1,40})\]|\(([^()]{1,40})\)|【([^【】]{1,40})】|（([^（）]{1,40})）"
    rf"|{TAG_OPEN}([^/{TAG_OPEN}{TAG_CLOSE}]{{1,40}}){TAG_CLOSE})\s*(.*)"
)
_MACHINE = re.compile(
    rf"[{re.escape(_OPEN)}]?\s*((?:speaker|spk)[\s_-]*\d{{1,3}})\s*(?:[{_CLOSE}]\s*[{_COLONS}|]?|[{_COLONS}|]|\Z)"
    r"\s*(.*)",
    re.IGNORECASE,
)
"""What diarization writes: `SPEAKER_00: text`, `SPEAKER_00|text`, `[SPEAKER_00] text`, a line that is `Speaker 1`."""
_PRONOUNS = re.compile(r"\W\s*\w{1,6}\s*/\s*\w{1,6}(?:\s*/\s*\w{1,6})?\s*\W")
_SENTENCE_END = re.compile(r"[^\W\d_]{5,}\.\s|\d:\d")  # no abbreviation, such as "Capt. Ross"
DASH = re.compile(r"[-‐‑–—―−－]{1,3}(?!\d)\s*")
_SENTENCES = re.compile(rf"(?<=[{_ENDS})\]♪])\s*(?=\S)|(?<=[-–—,;،؛፣])\s+(?=\S)")  # cuts before a known speaker alone
_SMALL = "a-zß-ÿąćęłńśźżčďěňřšťůžőűășțāēģīķļņūėįųğışά-ώа-џա-և"  # of most scripts with capitals
_GOES_ON = rf"(?<=[{_QUOTES}])\s+[-‐‑–—―−－]{{1,3}}\s*[{_SMALL}]"  # `«Титаник» — это фильм`
_DASHED = re.compile(rf"(?<=[{_ENDS}])(?!{_GOES_ON})\s+(?=[-‐‑–—―−－]{{1,3}}\s*[^\s\d])")
_TURN = re.compile(r"\s*(?:[>＞]{2,}|≫|\[SPEAKER[_ ]TURN\])\s*", re.IGNORECASE)
_TURN_SIGN = re.compile(r"[>＞≫]|\[S", re.IGNORECASE)  # without one there is no turn: found much faster


class Opening(NamedTuple):
    """The begin of a line that may name a speaker."""

    name: str
    key: str  # the name as names are compared
    text: str  # after it; empty where it is in the next lines, or nowhere
    aside: str = ""  # in brackets after the name: pronouns, or how it was spoken
    sure: bool = False  # its form is that of no text
    bare: bool = False  # a name in brackets, without a colon: the form of a sound, too


class CueTurn(NamedTuple):
    """What one speaker says in a cue."""

    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class Speakers:
    """The speakers of a file, by the names as they are compared."""

    names: dict[str, list[str]]  # all spellings of prefixes and voices, the first one first
    undecided: dict[str, int]  # openings that were kept as text: the line of the first cue with each
    openings: dict[str, Opening | None]  # of each line, empty where prefixes name no speakers

    def turns_in(self, cue: Cue) -> tuple[list[CueTurn], list[str]]:
        """Return what each speaker says in a cue, and what was left out beside the names.

        A new turn begins at another speaker's name or voice, at `>>`, and at a dash where two lines or sentences have
        one.
        """
        dashes = sum(DASH.match(piece) is not None for line in cue.lines for piece in _split_at_turns(line))
        turns: list[tuple[str, list[str]]] = []
        asides = []
        for voice, line in zip(cue.voices, cue.lines, strict=True):
            for change, piece in self._pieces(line):
                dash = DASH.match(piece)
                text = piece[dash.end() :] if dash else piece
                name = self.names[_key(voice)][0] if voice else ""
                if opening := self._known(text) if not voice else None:
                    name, text = self.names[opening.key][0], opening.text
                    asides += [opening.aside] * bool(opening.aside)
                if not turns or change or dash and dashes > 1 or name and name != turns[-1][0]:
                    turns.append((name, []))
                if text:
                    turns[-1][1].append(text)
        spoken = [CueTurn(name, " ".join(texts)) for name, texts in turns if texts]
        silent = [name for name, texts in turns if not texts and name]
        if silent and not spoken:  # a name alone is no one's speech, but it is all there is
            return [CueTurn("", " ".join(cue.lines))], []
        return spoken, asides + silent

    def name_within(self, text: str) -> str:
        """Return a known speaker's name before a colon within a text, "" if there is none: "hi there BO: hello"."""
        for colon in itertools.islice(_COLON.finditer(text) if self.names else (), _LOOKED_AT):
            words = text[max(0, colon.start() - _LONGEST) : colon.start()].split()[-_MOST_WORDS:]
            for name in (" ".join(words[first:]) for first in range(len(words))):
                if _key(name) in self.names:
                    return name
        return ""

    def _pieces(self, line: str) -> Iterator[tuple[bool, str]]:
        """Yield the pieces of a line between marks of a new turn, with whether such a mark is before it.

        A known speaker after the end of a sentence is such a mark: "Hi. BO: Hello."
        """
        for number, piece in enumerate(_split_at_turns(line)):
            begin, dash = 0, DASH.match(piece)
            opening = self._known(piece[dash.end() :] if dash else piece)
            name = len(piece) - len(opening.text) if opening else 0  # it may have a comma: "Smith, Ann: hi"
            for end in (match.end() for match in _SENTENCES.finditer(piece)):
                if end > name and self._known(piece[end : end + 2 * _LONGEST]):
                    yield number > 0 and not begin, piece[begin:end].strip()
                    begin = end
            if piece[begin:]:
                yield number > 0 and not begin, piece[begin:]

    def _known(self, text: str) -> Opening | None:
        """Return the opening of a text if it is a known speaker."""
        opening = self.openings[text] if text in self.openings else _opening(text) if self.openings else None
        return opening if opening and opening.key in self.names else None


def find_speakers(cues: Sequence[Cue], prefixes: bool, declared: Iterable[str]) -> Speakers:
    """Return the speakers of a file's cues.

    The opening of a line is a speaker if it opens two lines or cues, if its form is that of no text (`[ANNA]:`,
    `SPEAKER_00`, pronouns), or if it is declared. One that occurs once is a speaker, too, if it is in capitals as all
    those that repeat. Names in brackets without a colon are speakers if they open half of the cues: sounds look alike.
    """
    of_lines: dict[str, Opening | None] = {}
    openings = []
    for cue in cues if prefixes else ():
        for line, more in _lines(cue):
            opening = of_lines[line] = of_lines[line] if line in of_lines else _opening(line)
            if opening and (opening.text or more):
                openings.append((opening, cue.line))
    counts = Counter(opening.key for opening, _ in openings)
    spellings, first = defaultdict(list), {}
    for opening, line in openings:
        spellings[opening.key].append(opening.name)
        first.setdefault(opening.key, line)
    sure = {opening.key for opening, _ in openings if opening.sure}
    bare = {opening.key for opening, _ in openings if opening.bare} - sure
    repeated = {key for key, count in counts.items() if count > 1}
    names = sure | (repeated - bare) | set(map(_key, declared))
    doubtful = set(counts) - bare | repeated
    if 2 * len({line for opening, line in openings if opening.bare}) >= len(cues):
        names |= repeated
        doubtful = set(counts)
    if repeated - bare - sure and all(_in_capitals(spellings[key][0]) for key in repeated - bare - sure):
        names |= {key for key in set(counts) - bare if all(map(_in_capitals, spellings[key]))}
    doubtful -= names
    undecided = {spellings[key][0]: first[key] for key in counts if key in doubtful}
    for voice in (voice for cue in cues for voice in cue.voices if voice):
        names.add(_key(voice))
        spellings[_key(voice)].append(voice)
    known = {key: list(dict.fromkeys(spellings[key])) for key in sorted(names & set(spellings))}
    return Speakers(known, undecided, of_lines)


def names_above(cues: Sequence[Cue]) -> list[Cue]:
    """Return lines of plain text without those that only name who speaks below (`Anna:`), whose voice is that name.

    If one such name is there twice, all of them are, else those of the form of no text (`Speaker 1`). Each holds until
    the next name, alone or before a text.
    """
    plain = [len(cue.lines) == 1 and not cue.voices[0] for cue in cues]
    openings = [_opening(cue.lines[0]) if one else None for cue, one in zip(cues, plain)]
    alone = Counter(opening.key for opening in openings if opening and not opening.text and not opening.bare)
    if max(alone.values(), default=0) < 2:
        alone = Counter(each.key for each in openings if each and each.sure and not each.text)
    if not alone:
        return list(cues)
    counts = Counter(opening.key for opening in openings if opening)
    spoken, voice = [], ""
    for cue, opening, one in zip(cues, openings, plain):
        if opening and opening.key in alone and not opening.text:
            voice = opening.name
            continue
        named = not one or opening and counts[opening.key] > 1
        voice = "" if named else voice
        spoken.append(cue if named else replace(cue, voices=(voice,)))
    return spoken


def pieces_in(cue: Cue) -> int:
    """Return how many turns a cue can have at most: its lines, and the marks of a new turn within them."""
    return sum(len(_split_at_turns(line)) for line in cue.lines)


def _lines(cue: Cue) -> Iterator[tuple[str, bool]]:
    """Yield what may open with a speaker in a cue, without marks before it, and whether more lines follow."""
    for number, (voice, line) in enumerate(zip(cue.voices, cue.lines, strict=True), start=1):
        for piece in _split_at_turns(line) if not voice else ():
            dash = DASH.match(piece)
            yield piece[dash.end() :] if dash else piece, number < len(cue.lines)


def _split_at_turns(line: str) -> list[str]:
    parts = _TURN.split(line) if _TURN_SIGN.search(line) else [line]
    return [piece for part in parts for piece in (_DASHED.split(part) if DASH.match(part) else [part])]


def _opening(line: str) -> Opening | None:
    """Return the begin of a line that may name a speaker."""
    if bold := _BOLD.match(line):
        line = bold[2] + (bold[3] or bold[4]) + line[bold.end() :]
    if match := _MACHINE.fullmatch(line):
        return Opening(match[1], _key(match[1]), match[2], sure=True)
    if not _SIGNS.search(line, 0, _LONGEST):
        return None
    if colon := _COLON.search(line, 1, _LONGEST):
        text, after = line[colon.end() :].strip(), line[colon.end() : colon.end() + 1]
        apart = colon[0] != ":" or not after or after.isspace() or after.isalpha() or after in "“«¿¡♪"
        head = _HEAD.fullmatch(line[: colon.start()].strip()) if apart else None
        if head and _is_name(head["name"]) and bool(head["open"]) == bool(head["close"]):
            name, aside = head["name"].strip(), head["aside"] or ""
            sure = bool(head["open"]) or bool(aside and _PRONOUNS.fullmatch(aside))
            return Opening(name, _key(name), text, aside, sure=sure)
    match = _BRACKETS.fullmatch(line)
    if not match:
        return None
    name = next(filter(None, match.groups()[:5])).strip()
    named = _is_name(name) and any(map(str.isalpha, name))
    return Opening(name, _key(name), match[6], bare=True) if named else None


def _is_name(name: str) -> bool:
    few = 0 < len(name.split()) <= _MOST_WORDS
    return few and any(map(str.isalnum, name)) and not _SENTENCE_END.search(name)


def _in_capitals(name: str) -> bool:
    return name.isupper() and sum(map(str.isalpha, name)) > 1


def _key(name: str) -> str:
    """Return a name as names are compared: without case, spaces and ways of composing a character."""
    return " ".join(normalise("NFC", name).casefold().split())
