"""IEMOCAP's full release as it comes: sessions, their label and transcript files, the turns in them.

A dialogue is `Ses01F_impro01` (its letter: the actor who wears the markers), a turn `Ses01F_impro01_M000` (its letter:
who speaks). Only the files at the top of EmoEvaluation count: its sub-folders repeat single raters.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dferc.core.errors import InputError
from pipeline.corpora._rows import nearest, refuse

SESSIONS = (1, 2, 3, 4, 5)

UNDECIDED = "xxx"
CODES = ("hap", "sad", "neu", "ang", "exc", "fru", "sur", "fea", "dis", "oth", UNDECIDED)
"""Majority labels of the release; `xxx`: the raters have none."""

_DIALOGUE = re.compile(r"Ses0([1-5])[FM]_\w+")
_LABEL = re.compile(r"\[(\d+\.?\d*)\s*-\s*(\d+\.?\d*)\]\s+(\S+)\s+(\S+)\s+\[[^\]]*\]")
_VOTE = re.compile(r"C-([EFM])\d*:([^(]*)(?:\(.*)?")
_WORDS = re.compile(r"(\S+)\s+\[[\d.]+\s*-\s*[\d.]+\]:?(.*)")
_OVERLAP = re.compile(r"\w+_[FM]XX\w*")
_TURN = re.compile(r"_([FM])\d+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One labelled turn.

    Attributes:
        turn_id: `<dialogue>_F012`.
        dialogue: the dialogue's name.
        position: place among all labelled turns of the dialogue, by time.
        speaker: F or M.
        start_s: begin in the dialogue's video, in seconds.
        end_s: end in it.
        code: majority label, one of `CODES`.
        text: transcript; empty where there is none.
        external: labels of each rater who watched (`C-E…`), in the order given.
        own: labels that the actors gave themselves (`C-F…`, `C-M…`), likewise.
    """

    turn_id: str
    dialogue: str
    position: int
    speaker: str
    start_s: float
    end_s: float
    code: str
    text: str
    external: tuple[tuple[str, ...], ...]
    own: tuple[tuple[str, ...], ...]

    @property
    def session(self) -> int:
        """1 to 5."""
        return int(self.dialogue[4])


@dataclass(kw_only=True)
class Release:
    """What was found.

    Attributes:
        sessions: folder of each session, relative to the raw folder.
        turns: by dialogue, sorted by name; turns by time.
        overlaps: transcript lines of both at once (`_MXX…`), which no one labelled.
        oddities: what was passed over, as (file relative to the raw folder, what it is).
    """

    sessions: dict[int, Path] = field(default_factory=dict)
    turns: dict[str, list[Turn]] = field(default_factory=dict)
    overlaps: int = 0
    oddities: list[tuple[str, str]] = field(default_factory=list)

    @property
    def all_turns(self) -> list[Turn]:
        """Dialogue after dialogue."""
        return [turn for turns in self.turns.values() for turn in turns]


def read_release(raw: Path) -> Release:
    """Read every session below a folder.

    Raises:
        InputError: no session, a session without labels, labels without transcripts, or malformed lines (which ones).
    """
    release = Release(sessions=_find_sessions(raw))
    faults = []
    for number, folder in release.sessions.items():
        labels = _text_files(raw / folder / "dialog" / "EmoEvaluation")
        transcripts = _text_files(raw / folder / "dialog" / "transcriptions")
        if not labels:
            faults.append(f"{folder}/dialog/EmoEvaluation: no label files; expected one <dialogue>.txt per dialogue")
        for name, path in labels.items():
            file = path.relative_to(raw)
            if not _DIALOGUE.fullmatch(name) or int(name[4]) != number:
                release.oddities.append((str(file), f"no dialogue of session {number}: ignored"))
            elif name not in transcripts:
                missing = folder / "dialog" / "transcriptions" / path.name
                faults.append(f"{file}: the dialogue has no transcript; expected {missing}")
            else:
                turns = _read_dialogue(raw, path, transcripts[name], release, faults)
                release.turns |= {name: turns} if turns else {}
                release.oddities += [] if turns else [(str(file), "no label lines: ignored")]
        unlabelled = sorted(set(transcripts) - set(labels))
        release.oddities += [
            (str(transcripts[name].relative_to(raw)), "transcript without labels: ignored") for name in unlabelled
        ]
    refuse(raw, faults)
    release.turns = dict(sorted(release.turns.items()))
    return release


def _find_sessions(raw: Path) -> dict[int, Path]:
    """Folders `Session1` to `Session5` with a folder `dialog` in them, at whatever depth."""
    if not raw.is_dir():
        raise InputError(
            f"{raw}: no such folder. Put IEMOCAP there (data/raw/iemocap/README.md says what), or name it with --raw."
        )
    found = {}
    for folder, inner, _ in os.walk(raw, followlinks=True):
        match = re.fullmatch(r"Session([1-5])", Path(folder).name)
        if match and "dialog" in inner:
            found.setdefault(int(match[1]), []).append(Path(folder).relative_to(raw))
            inner.clear()  # tens of thousands of files, none of them a session
        inner.sort()
    if not found:
        here = ", ".join(sorted(path.name for path in raw.iterdir())[:5]) or "nothing"
        raise InputError(
            f"{raw}: no folder Session1 to Session5 with a folder `dialog` below it (found {here}). Unpack "
            "IEMOCAP_full_release there; data/raw/iemocap/README.md says what is needed of it."
        )
    twice = [f"Session{number}: {', '.join(map(str, paths))}" for number, paths in found.items() if len(paths) > 1]
    if twice:
        raise InputError(f"{raw}: sessions found twice ({'; '.join(twice)}). Leave one of each.")
    return {number: paths[0] for number, paths in sorted(found.items())}


def _text_files(folder: Path) -> dict[str, Path]:
    """The .txt files at the top of a folder by stem, macOS's `._*` left out; none where there is no folder."""
    return {path.stem: path for path in sorted(folder.glob("*.txt")) if not path.name.startswith("._")}


# ---------------------------------------------------------------------------------------------------- one dialogue


@dataclass(kw_only=True, slots=True)
class _Labelled:
    """A label line and the votes that follow it."""

    turn_id: str
    start_s: float
    end_s: float
    code: str
    votes: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)


def _read_dialogue(raw: Path, labels: Path, transcript: Path, release: Release, faults: list[str]) -> list[Turn]:
    """The turns of a dialogue; faults and oddities are added to the lists of the release."""
    name = labels.stem
    words = _read_transcript(raw, transcript, release, faults)
    labelled = {}
    for turn in _read_labels(raw, labels, release, faults):
        if turn.turn_id in labelled:
            faults.append(f"{labels.relative_to(raw)}: {turn.turn_id} is labelled twice")
        labelled[turn.turn_id] = turn
    file = str(transcript.relative_to(raw))
    release.oddities += [(file, f"no label: {turn_id}, left out") for turn_id in words if turn_id not in labelled]
    by_time = sorted(labelled.values(), key=lambda turn: (turn.start_s, turn.end_s, turn.turn_id))
    return [
        Turn(
            turn_id=turn.turn_id,
            dialogue=name,
            position=position,
            speaker=turn.turn_id[len(name) + 1],
            start_s=turn.start_s,
            end_s=turn.end_s,
            code=turn.code,
            text=words.get(turn.turn_id, ""),
            external=tuple(given for rater, given in turn.votes if rater == "E"),
            own=tuple(given for rater, given in turn.votes if rater != "E"),
        )
        for position, turn in enumerate(by_time)
    ]


def _read_labels(raw: Path, path: Path, release: Release, faults: list[str]) -> list[_Labelled]:
    found: list[_Labelled] = []
    file = path.relative_to(raw)
    for number, line in _lines(path):
        label, vote = _LABEL.fullmatch(line), _VOTE.fullmatch(line)
        if label:
            fault = _label_fault(path.stem, label)
            faults += [f"{file}, line {number}: {fault}"] if fault else []
            if not fault:
                found.append(_Labelled(turn_id=label[3], start_s=float(label[1]), end_s=float(label[2]), code=label[4]))
        elif vote and found:
            found[-1].votes.append((vote[1], tuple(word.strip() for word in vote[2].split(";") if word.strip())))
        elif line.startswith(("[", "C-")) or path.stem in line:
            expected = "`[start - end]<tab>turn<tab>code<tab>[v, a, d]`, then votes `C-E2:<tab>Label;<tab>()`"
            faults.append(f"{file}, line {number}: {line!r}; expected {expected}")
        elif not line.startswith(("%", "A-")):  # headers; ratings of valence, activation, dominance
            release.oddities.append((str(file), f"line not understood: line {number}, {line!r}, ignored"))
    return found


def _label_fault(dialogue: str, label: re.Match) -> str | None:
    """What is wrong with a label line, or None."""
    turn_id, code = label[3], label[4]
    if not turn_id.startswith(dialogue) or not _TURN.fullmatch(turn_id.removeprefix(dialogue)):
        return f"{turn_id!r} is no turn of {dialogue}; expected {dialogue}_F000 or the like"
    if code not in CODES:
        return f"{turn_id}: unknown emotion code {code!r}; expected {', '.join(CODES)}.{nearest(code, CODES)}"
    return None


def _read_transcript(raw: Path, path: Path, release: Release, faults: list[str]) -> dict[str, str]:
    """Transcripts by turn; lines where both talk (`_MXX…`) are counted, and have no label."""
    words, file = {}, path.relative_to(raw)
    for number, line in _lines(path):
        match = _WORDS.fullmatch(line)
        if match and _OVERLAP.fullmatch(match[1]):
            release.overlaps += 1
        elif match and match[1] in words:
            faults.append(f"{file}, line {number}: {match[1]} is transcribed twice")
        elif match:
            words[match[1]] = match[2].strip()
        else:
            release.oddities.append((str(file), f"line not understood: line {number}, {line!r}, ignored"))
    return words


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers; a byte that is not UTF-8 (raters' remarks) is Latin-1."""
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.strip()
