"""Removal of mark-up from the lines of a cue: tags of SRT, WebVTT and ASS, entities, invisible characters."""

import html
import re
from dataclasses import replace

from dferc.core.errors import Problem
from pipeline.corpora.table.cues import INVISIBLE, Cue

_VOICE = re.compile(r"<v(?:\.[^\s<>]*+)?(?:\s++([^<>]*+))?>", re.IGNORECASE)
_STYLE = re.compile(
    r"</?(?:b|i|u|s|c|em|strong|tt|small|big|sup|sub|ruby|rt|q|p|a|span|div|font|lang|v)(?:\.[^<>]*+|\s*+/?)>"
    r"|<(?:p|a|span|div|font|b|i|u|s)\s[^<>=]*+=[^<>]*+>|<lang\s[^<>]*+>"
    r"|<(?:\d+:)?\d+:\d+(?:\.\d+)?>"  # times of words
    r"|<\|[\w.]{1,24}\|>"  # what Whisper writes between texts: times, language, task
    r"|\{(?:\\[^{}]*|/?[biu]|[yc]:[\w,$]*)\}",  # ASS, and what players take from MicroDVD
    re.IGNORECASE,
)
# Possessive repetitions (*+) keep a megabyte without the closing bracket linear.
_COLOUR = re.compile(
    r"<font[^<>]*?color\s*=\s*[\"']?([#\w]+)|<c\.(white|yellow|cyan|lime|green|red|blue|magenta)\b", re.IGNORECASE
)
_BREAK = re.compile(r"<[bB][rR]\s*/?>|\\N|[\x0b\x0c\x85\u2028\u2029]")  # the last are Word's, and Unicode's
_UNSPOKEN = re.compile(
    r"<rt>.{0,99}?</rt>"
    r"|\{(?:(?!\\p[1-9]\d*+[\\}])\\[^{}\\]*+)*+\\p[1-9]\d*+(?:\\[^{}]*+)?\}.*?(?:\{\\(?:(?!p0)[^{}])*+p0[^{}]*+\}|\Z)",
    re.DOTALL,
)
"""Readings above a word (ruby), and drawings of ASS."""
_UNKNOWN_TAG = re.compile(r"<(/?[^\W\d_][^<>]*)>")
TAG_OPEN, TAG_CLOSE = "\ufdd0\ufdd1"
"""Stand for < and > of tags that players do not know, beside which an escaped &lt; is a text; no text has these."""
_MARKED_TAG = re.compile(f"{TAG_OPEN}([^{TAG_CLOSE}]*){TAG_CLOSE}")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_ANY = re.compile(r"[<{&\\\ufffd\u2028\u2029\x00-\x08\x0b\x0c\x0e-\x1b\x7f-\x9f]")
"""First characters of all that is removed or reported."""


def remove_markup(cue: Cue, name: str) -> tuple[Cue, list[Problem]]:
    """Return the cue with plain lines and the voices of them, and problems of what was left out.

    Tags that players do not know stay, between `TAG_OPEN` and `TAG_CLOSE`: they may name a speaker. `remove_tags`
    removes them.
    """
    raw, problems = "\n".join(cue.lines), []
    if not _ANY.search(raw):  # most cues, and much faster
        lines = tuple(filter(None, (" ".join(line.split()) for line in raw.split("\n"))))
        return Cue(cue.line, cue.number, cue.start_s, cue.end_s, lines, ("",) * len(lines)), []
    where = f"{name}, line {cue.line}"
    for piece in _UNSPOKEN.findall(raw):
        problems.append(Problem(where, name, f"reading of a word, or drawing: {piece[:60]!r}", "left out"))
    colours = {(one or two).lower() for one, two in _COLOUR.findall(raw)}
    if len(cue.lines) > 1 and len(colours) > 1:
        found = f"several colours in one cue: {', '.join(sorted(colours))}: several speakers?"
        problems.append(Problem(where, name, found, "kept as one utterance"))
    pieces = _VOICE.split(_BREAK.sub("\n", _UNSPOKEN.sub("", raw)).replace(r"\h", " "))
    lines, voices = [], []
    for voice, piece in zip(["", *pieces[1::2]], pieces[::2], strict=True):
        if voice and not _unescape(voice).strip(" \xa0?.…*_~-‐‑–—―−－"):  # Rev's `<v ->`, `<v ???>`: no name
            voice, piece = "", f"- {piece}"
        marked = _UNKNOWN_TAG.sub(rf"{TAG_OPEN}\1{TAG_CLOSE}", _STYLE.sub("", piece))
        for line in _unescape(marked).split("\n"):
            if text := _tidy(line):
                lines.append(text)
                voices.append(_tidy(_unescape(voice or "")))
    cue = replace(cue, lines=tuple(lines), voices=tuple(voices))
    if control := _CONTROL.findall(_unescape(raw)):
        problems.append(Problem(where, name, f"control character: {control[0]!r}", "taken for a blank"))
    if "\ufffd" in "".join(lines):
        lost = "character lost: U+FFFD, an earlier conversion did not know its encoding"
        problems.append(Problem(where, name, lost, "kept"))
    return cue, problems


def remove_tags(text: str) -> tuple[str, list[str]]:
    """Return the text without the tags that players do not know, and these tags."""
    if TAG_OPEN not in text:
        return " ".join(text.split()), []
    return _tidy(_MARKED_TAG.sub("", text)), [f"<{tag}>" for tag in _MARKED_TAG.findall(text)]


def _tidy(text: str) -> str:
    return " ".join(_CONTROL.sub(" ", text).split())


def _unescape(text: str) -> str:
    """Return the text without entities, escaped once or twice; html.unescape alone makes "¬es" of "&notes"."""
    for _ in range(2):
        text = _ENTITY.sub(lambda entity: INVISIBLE.sub("", html.unescape(entity[0])), text)
    return text
