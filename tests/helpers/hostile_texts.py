"""Subtitles, tables and labels that are made to take long: each repeats what a reader might look at twice."""

import os
from pathlib import Path

SIZE = 1_000_000 if "DFERC_PERTURBATIONS" in os.environ else 400_000  # characters of each file
_TIMES = "00:00:01,000 --> 00:00:09,000\n"


def _filled(begin: str, unit: str, end: str = "\n") -> str:
    """Return a text of `SIZE` characters: a begin, as many units as fit, an end."""
    return begin + unit * ((SIZE - len(begin) - len(end)) // len(unit)) + end


def _cues(text: str) -> str:
    """Return as many cues as fit, each a second after the one before; `text` may hold the cue's number as {n}."""
    cues, length, number = [], 0, 0
    while length < SIZE:
        minute, second = divmod(number, 60)
        start = f"{minute // 60}:{minute % 60:02}:{second:02}.000"
        stop = f"{minute // 60}:{minute % 60:02}:{second:02}.900"
        cues.append(f"{start} --> {stop}\n{text.replace('{n}', str(number))}\n\n")
        length += len(cues[-1])
        number += 1
    return "".join(cues)


def _in_a_cue(unit: str, begin: str = "", end: str = "\n") -> str:
    return _filled(f"1\n{_TIMES}{begin}", unit, end)


_COMBINING = "\u0316\u0300"  # two marks in an order that Unicode's normal form sorts

SUBTITLES = {
    "cues": _filled("", "0:1-->0:2\na\n\n"),
    "numbered cues": _cues("{n}"),
    "empty cues": _filled("", "0:1-->0:2\n\n"),
    "times without an arrow": _filled(_TIMES + "a\n", "1:00:00.1\n"),
    "times out of order": _filled("", "0:2-->0:1\na\n\n0:1-->0:2\nb\n\n"),
    "malformed times": _filled("", "0:99-->0:2\na\n\n"),
    "digits above times": _filled("", "7\n0:1-->0:2\na\n\n"),
    "blank lines": _filled(_TIMES + "a", "\n", "b\n"),
    "carriage returns": _filled(_TIMES + "a", "\r", "b\n"),
    "lines of a cue": _in_a_cue("a\n"),
    "text before the first cue": _filled("", "a\n\n", _TIMES + "a\n"),
    "one line": _in_a_cue("a"),
    "one line of words": _in_a_cue("a "),
    "arrows in a line": _filled(_TIMES + "a\n\n0:1", "-->", " 0:2\na\n"),
    "spaces around an arrow": _filled(_TIMES + "a\n\n0:1", " ", "--> 0:2\na\n"),
    "settings of a cue": _filled(_TIMES.rstrip(), " position:1", "\na\n"),
    "blanks beside a highlighted word": _filled(f"{_TIMES}a b\n\n{_TIMES}a", " ", "<i>b</i>\n"),
    "digits of a time": _filled(_TIMES + "a\n\n", "1", ":00 --> 0:02\na\n"),
    "colons": _in_a_cue(":"),
    "tags without an end": _in_a_cue("<b"),
    "open angle brackets": _in_a_cue("<"),
    "nested tags": _in_a_cue("<b>", end="a\n"),
    "unknown tags": _in_a_cue("<x>", end="a\n"),
    "attributes without an end": _in_a_cue("=", "<font "),
    "classes without an end": _in_a_cue(" ", "<b."),
    "a voice without an end": _in_a_cue(" ", "<v"),
    "voices": _in_a_cue("<v A>a"),
    "ruby": _in_a_cue("<rt>"),
    "a drawing without an end": _in_a_cue("\\p1", "{"),
    "end of a drawing without an end": _in_a_cue("p0", "{\\p1}{\\"),
    "drawings": _in_a_cue("{\\p1}"),
    "open braces": _in_a_cue("{\\"),
    "entities": _in_a_cue("&amp;"),
    "escaped entities": _in_a_cue("&amp;amp;amp;"),
    "ampersands": _in_a_cue("&"),
    "control characters": _in_a_cue("\x01"),
    "lost characters in cues": _filled("", "0:1-->0:2\n\ufffd\n\n"),
    "combining marks": _in_a_cue(_COMBINING, "a:"),
    "combining marks in a name": _cues("A" + _COMBINING * 15 + ": a"),
    "ends of sentences": _in_a_cue("."),
    "speakers in a line": _in_a_cue("A: a. "),
    "speakers and turns in a line": _in_a_cue("A:a.>>"),
    "speakers, each once": _cues("A{n}: a"),
    "speakers, each twice": _cues("A{n}: a\nA{n}: a"),
    "spellings of a speaker": _filled("", "0:1-->0:2\nab: a\naB: a\nAb: a\nAB: a\n"),
    "machine's speakers": _in_a_cue("SPEAKER_00: a\n"),
    "speakers in brackets": _filled("", "0:1-->0:2\n[A]\n\n"),
    "dashes": _in_a_cue("- a\n"),
    "signs of a turn": _in_a_cue(">"),
    "turns": _in_a_cue(">>a"),
    "rolling lines": _cues("a{n}\na{n}\na{n}"),
    "rolling words": _cues("a " * 100),
    "equal cues": _filled("", "0:1-->0:2\na a a a a a\n\n"),
    "cues of many lines": _cues("a\n" * 200),
    "notes": _filled("WEBVTT\n\n", "NOTE a\n\n", _TIMES.replace(",", ".") + "a\n"),
    "header": _filled("WEBVTT\n", "a:b\n", "\n" + _TIMES.replace(",", ".") + "a\n"),
    "identifiers": _filled("WEBVTT\n\n", "a\n00:01.000 --> 00:02.000\n\n"),
}
"""Contents of subtitle files by what they repeat."""


def _rows(header: str, row: str) -> str:
    lines, length = [header], len(header)
    while length < SIZE:
        lines.append(row.replace("{n}", str(len(lines))))
        length += len(lines[-1]) + 1
    return "\n".join(lines) + "\n"


TABLES = {
    "short rows.csv": _rows("dialogue_id,text", "a,b"),
    "dialogues.csv": _rows("dialogue_id,text", "{n},b"),
    "columns.csv": _filled("dialogue_id,text", ",a", "\n"),
    "different columns.csv": "dialogue_id,text" + "".join(f",c{n}" for n in range(SIZE // 7)) + "\na,b\n",
    "empty columns.csv": _filled("dialogue_id,text", ",", "\na,b\n"),
    "one cell.csv": _filled("dialogue_id,text\na,", "b"),
    "quotes.csv": _filled('dialogue_id,text\na,"', '""', '"\n'),
    "open quote.csv": _filled('dialogue_id,text\na,"', "b\n"),
    "cells of line breaks.csv": _filled("dialogue_id,text\n", 'a,"\n"\n'),
    "blank lines.csv": _filled("dialogue_id,text\n", "\n", "a,b\n"),
    "labels.csv": _rows("dialogue_id,text,emotion", "a,b,c{n}"),
    "labels alike.csv": _rows("dialogue_id,text,emotion", "a,b,xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{n}"),
    "labels of two rows.csv": _rows("dialogue_id,text,emotion", "a,b,c{n}\nd,b,c{n}\na,d,c{n}\nd,d,c{n}\na,e,c{n}"),
    "speakers.csv": _rows("dialogue_id,text,speaker", "a,b,c{n}"),
    "spellings.csv": _rows("dialogue_id,text,speaker", "a,b,c\na,b,C"),
    "splits.csv": _rows("dialogue_id,text,split", "{n},b,{n}"),
    "digits of an id.csv": _filled("dialogue_id,text\n", "1", ",b\n"),
    "media.csv": _rows("dialogue_id,media", "a,{n}"),
    "formulas.csv": _rows("dialogue_id,text", "a,=b"),
    "spaces.csv": _filled("dialogue_id,text\na,", " ", "-\n"),
    "tabs.tsv": _filled("dialogue_id\ttext\n", "\t"),
    "rows.jsonl": _rows("", '{"dialogue_id":"a","text":"b"}'),
    "nested.jsonl": _filled("", "[", "\n"),
    "nested objects.jsonl": _filled("", '{"a":', "\n"),
    "keys.jsonl": "{" + ",".join(f'"k{n}":1' for n in range(SIZE // 12)) + "}\n",
    "keys of each row.jsonl": _rows("", '{"dialogue_id":"a","text":"b","k{n}":1}'),
    "one key.jsonl": _filled("{", '"a":1,', '"b":1}\n'),
    "number.jsonl": _filled('{"dialogue_id":"a","text":', "1", "}\n"),
    "escapes.jsonl": _filled('{"dialogue_id":"a","text":"', "\\u0061", '"}\n'),
}
_CELL = 100_000  # characters of a cell: Python's csv takes 131,072
TABLES |= {
    f"{column} of {name}.csv": "".join(
        [f"dialogue_id,text,{column}\na,b,joy\na,b,joy\nc,b,sad\nc,b,sad\nd,b,sad\n"]
        + [f"a,b,{begin}{(unit * _CELL)[:_CELL]}{number}\n" for number in range(9)]
    )
    for column in ("emotion", "votes", "speaker", "utterance_id", "split", "start", "media")
    for name, begin, unit in [
        ("letters", "", "abcdefghij"),
        ("separators", "", "a;"),
        ("digits", "", "1"),
        ("digits in brackets", "[", "1,"),
        ("numbers", "", "1 "),
        ("combining marks", "a", _COMBINING),
        ("folders", "", "a/"),
    ]
}
"""Contents of tables by file name."""

LABELS = {
    "many.csv": _rows("utterance_id,emotion", "talk_{n},joy"),
    "alike.csv": _rows("utterance_id,emotion", "talk_1{n}x,joy"),
    "twice.csv": _rows("utterance_id,emotion", "talk_1,joy"),
    "long.csv": _filled("utterance_id,emotion\n", "talk_1", ",joy\n"),
}
"""Contents of tables of labels beside a subtitle file `talk.srt` of 20,000 cues, by file name."""


def write_hostile(folder: Path, kind: str, name: str) -> dict[str, object]:
    """Write one of these into a folder; return the options of prepare with which it is read."""
    if kind == "subtitles":
        content = SUBTITLES[name]
        (folder / f"talk.{'vtt' if content.startswith('WEBVTT') else 'srt'}").write_text(content, encoding="utf-8")
        return {"table": "subtitles"}
    if kind == "tables":
        (folder / name).write_text(TABLES[name], encoding="utf-8")
        return {"table": name}
    (folder / "talk.srt").write_text("".join(f"{n}\n{_TIMES}a{n}\n\n" for n in range(1, 20_000)), encoding="utf-8")
    (folder / name).write_text(LABELS[name], encoding="utf-8")
    return {"table": "subtitles", "labels": name}
