"""A good subtitle file with one to three slips: same rows as FFmpeg's, a problem listed, or a refusal; never silence.

`DFERC_PERTURBATIONS=5000 pytest …` tries as many.
"""

import os
import random
import re
from collections import Counter
from pathlib import Path

import av
import pytest

from dferc.core.errors import InputError
from tests.helpers.own_files import read_subtitles, write

COUNT = int(os.environ.get("DFERC_PERTURBATIONS", "60"))
TOKEN = re.compile(r"zq\w+")
TIMES = re.compile(r"\s*\S*\d\S*\s*-->\s*\S+")
USUAL = {"no emotion label"}


def good_file(rng: random.Random, vtt: bool) -> list[str]:
    """Return the lines of a file of some ten cues; every word of its texts is unique and begins with zq."""
    lines, time_s = ["WEBVTT", ""] if vtt else [], 1.0
    numbered = not vtt or rng.random() < 0.5
    for number in range(1, rng.randint(6, 12)):
        span = [f"00:00:{time_s + shift:06.3f}" for shift in (0, 1.5)]
        words = [f"zq{chr(96 + number)}{place}x" for place in range(rng.choice([2, 2, 4]))]
        texts = [" ".join(words[place : place + 2]) for place in range(0, len(words), 2)]
        if rng.random() < 0.3:
            texts[0] = rng.choice(["<i>{}</i>", "{{\\an8}}{}", "<b>{}</b>", "<font color='red'>{}</font>"]).format(
                texts[0]
            )
        arrow = " --> ".join(span) if vtt else " --> ".join(span).replace(".", ",")
        lines += [str(number)] * numbered + [arrow, *texts, ""]
        time_s += 2
    return lines


def drop(lines: list[str], place: int, rng: random.Random) -> None:
    del lines[place]


def double(lines: list[str], place: int, rng: random.Random) -> None:
    lines.insert(place, lines[place])


def swap(lines: list[str], place: int, rng: random.Random) -> None:
    other = rng.randrange(len(lines))
    lines[place], lines[other] = lines[other], lines[place]


def blank(lines: list[str], place: int, rng: random.Random) -> None:
    lines.insert(place, rng.choice(["", " ", "\t", "\ufeff"]))


def move(lines: list[str], place: int, rng: random.Random) -> None:
    lines.insert(rng.randrange(len(lines)), lines.pop(place))


def number(lines: list[str], place: int, rng: random.Random) -> None:
    lines.insert(place, str(rng.choice([0, 1, 7, 1984])))


def character(lines: list[str], place: int, rng: random.Random) -> None:
    """Damage a line that is no text: deletes, doubles, or replaces a character."""
    line = lines[place]
    if line and "zq" not in line:
        at = rng.randrange(len(line))
        lines[place] = line[:at] + rng.choice(["", line[at] * 2, " ", "-", ";", "．", "9", "x"]) + line[at + 1 :]


def cut(lines: list[str], place: int, rng: random.Random) -> None:
    del lines[place:]


def cue(lines: list[str], place: int, rng: random.Random) -> None:
    """Move or double a block."""
    end = next((at for at in range(place, len(lines)) if not lines[at]), len(lines)) + 1
    block = lines[place:end]
    if rng.random() < 0.5:
        del lines[place:end]
    at = rng.randrange(len(lines) + 1)
    lines[at:at] = block


EDITS = [drop, drop, double, swap, swap, blank, blank, move, number, character, character, cut, cue]
ENCODINGS = ["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "latin-1"]
ENDS = ["\n"] * 6 + ["\r\n", "\r", "\r\r\n", "\n\n"]


def as_players_read(path: Path) -> set[tuple[str, float, float]]:
    """Return each word and its times as FFmpeg reads them."""
    words = set()
    with av.open(str(path), format={".srt": "srt", ".vtt": "webvtt"}[path.suffix]) as container:
        for packet in container.demux(container.streams.subtitles[0]):
            if packet.size:
                span = packet.pts / 1000, (packet.pts + packet.duration) / 1000
                words |= {(word, *span) for word in TOKEN.findall(bytes(packet).decode())}
    return words


def numbers_in(lines: list[str]) -> set[tuple[str, str]]:
    """Return each word and the number above its times."""
    numbers, current = set(), ""
    for place, line in enumerate(lines):
        if TIMES.match(line):
            current = next(filter(None, map(str.strip, reversed(lines[:place]))), "")
        numbers |= {(word, current) for word in TOKEN.findall(line)}
    return numbers


def silent_faults(path: Path, lines: list[str], text: str) -> list[str] | None:
    """Return how the rows differ from the file; None where a problem is listed or the file refused."""
    try:
        corpus = read_subtitles(path.parent, speaker_prefix=False)
    except InputError as error:
        return None if path.name in str(error) or "no cue" in str(error) else [f"no file in: {error}"]
    if {problem.kind for problem in corpus.problems} - USUAL:
        return None
    faults = []
    rows = [(word, row) for row in corpus.utterances for word in row.text.split() if not word.isdigit()]
    if Counter(TOKEN.findall(text)) != Counter(word for word, _ in rows):
        faults.append("other words")
    path.write_bytes("\n".join(lines).replace("\ufeff", "").encode())  # FFmpeg takes neither \r\r\n nor a mark within
    ours = {(word, round(row.start_s, 3), round(row.end_s, 3)) for word, row in rows}
    if differing := ours ^ as_players_read(path):
        faults.append(f"other times than FFmpeg's: {sorted(differing)}")
    if any(TIMES.match(two) and one.isdigit() for one, two in zip(lines, lines[1:])):
        ids = {(word, row.utterance_id.rpartition("_")[2]) for word, row in rows}
        if differing := ids ^ numbers_in(lines):
            faults.append(f"other numbers: {sorted(differing)}")
    return faults


@pytest.mark.parametrize("suffix", ["srt", "vtt"])
def test_no_slip_passes_silently(tmp_path, suffix):
    outcomes = Counter()
    write(tmp_path, "a.mp4", b"")
    for seed in range(COUNT):
        rng = random.Random(f"{suffix} {seed}")
        lines = good_file(rng, suffix == "vtt")
        for _ in range(rng.randint(1, 3)):
            if lines:
                rng.choice(EDITS)(lines, rng.randrange(len(lines)), rng)
        text = rng.choice(ENDS).join(lines)
        path = write(tmp_path, f"a.{suffix}", text.encode(rng.choice(ENCODINGS), errors="ignore"))
        faults = silent_faults(path, lines, text)
        outcomes["reported" if faults is None else "silent"] += 1
        assert not faults, f"{seed}: {faults}\n{text}"
    assert min(outcomes.values()) > COUNT / 50, outcomes
