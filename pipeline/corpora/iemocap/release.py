"""IEMOCAP's full release as distributed: sessions, their label and transcript files, the turns in them.

A dialogue is `Ses01F_impro01` (its letter: the actor who wears the markers), a turn `Ses01F_impro01_M000` (its letter:
the speaker). Only the files at the top of EmoEvaluation count: its sub-folders repeat single raters.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dferc.core.errors import InputError, did_you_mean
from dferc.store.cells import CP1252
from pipeline.corpora import refuse
from pipeline.corpora._files import walk

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


@dataclass(kw_only=True, slots=True)
class Turn:
    """One labelled turn."""

    turn_id: str  # `<dialogue>_F012`
    dialogue: str
    start_s: float  # in the dialogue's video
    end_s: float
    code: str  # majority label, one of `CODES`
    external: list[tuple[str, ...]] = field(default_factory=list)  # labels of each rater who watched, in order (`C-E…`)
    own: list[tuple[str, ...]] = field(default_factory=list)  # labels of the actors themselves (`C-F…`, `C-M…`)
    text: str = ""  # transcript; empty where there is none
    position: int = 0  # place among all labelled turns of the dialogue, by time

    @property
    def session(self) -> int:
        """1 to 5."""
        return int(self.dialogue[4])

    @property
    def speaker(self) -> str:
        """F or M."""
        return self.turn_id[len(self.dialogue) + 1]


@dataclass(kw_only=True)
class Release:
    """Contents of a release, or of a part of one."""

    sessions: dict[int, Path]  # folder of each session, relative to the raw folder
    turns: dict[str, list[Turn]] = field(default_factory=dict)  # by dialogue, sorted by name; turns by time
    files: list[Path] = field(default_factory=list)  # labels and transcripts that were read, relative to the raw folder
    overlaps: int = 0  # number of transcript lines where both talk (`_MXX…`), which have no label
    oddities: list[tuple[str, str]] = field(default_factory=list)  # ignored files (relative) and lines, described

    @property
    def all_turns(self) -> list[Turn]:
        """Turns, dialogue after dialogue."""
        return [turn for turns in self.turns.values() for turn in turns]


def read_release(raw: Path) -> Release:
    """Read every session below a folder."""
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
            elif turns := _read_dialogue(raw, path, transcripts[name], release, faults):
                release.turns[name] = turns
                release.files += [file, transcripts[name].relative_to(raw)]
            else:
                release.oddities.append((str(file), "no label lines: ignored"))
        for name in sorted(set(transcripts) - set(labels)):
            release.oddities.append((str(transcripts[name].relative_to(raw)), "transcript without labels: ignored"))
    refuse(raw, faults)
    release.turns = dict(sorted(release.turns.items()))
    return release


def _find_sessions(raw: Path) -> dict[int, Path]:
    """Find the folders `Session1` to `Session5` that have a folder `dialog`, at whatever depth."""
    if not raw.is_dir():
        raise InputError(
            f"{raw}: no such folder. Put IEMOCAP there (data/raw/iemocap/README.md says what), or name it with --raw."
        )
    sessions = {}
    for folder, inner, _ in walk(raw):
        match = re.fullmatch(r"Session([1-5])", Path(folder).name)
        if match and "dialog" in inner:
            sessions.setdefault(int(match[1]), []).append(Path(folder).relative_to(raw))
            inner.clear()  # tens of thousands of files, none of them a session
        inner.sort()
    if not sessions:
        present = ", ".join(sorted(path.name for path in raw.iterdir())[:5]) or "nothing"
        raise InputError(
            f"{raw}: no folder Session1 to Session5 with a folder `dialog` below it (found {present}). Unpack "
            "IEMOCAP_full_release there; data/raw/iemocap/README.md says what is needed of it."
        )
    twice = [f"Session{number}: {', '.join(map(str, paths))}" for number, paths in sessions.items() if len(paths) > 1]
    if twice:
        raise InputError(f"{raw}: sessions found twice ({'; '.join(twice)}). Leave one of each.")
    return {number: paths[0] for number, paths in sorted(sessions.items())}


def _text_files(folder: Path) -> dict[str, Path]:
    """List the .txt files at the top of a folder by stem, without macOS's `._*`; none where there is no folder."""
    return {path.stem: path for path in sorted(folder.glob("*.txt")) if not path.name.startswith("._")}


def _read_dialogue(raw: Path, labels: Path, transcript: Path, release: Release, faults: list[str]) -> list[Turn]:
    """Return the turns of a dialogue; add to the faults, and to the release's oddities."""
    words = _read_transcript(raw, transcript, release, faults)
    turns = {}
    for turn in _read_labels(raw, labels, release, faults):
        if turn.turn_id in turns:
            faults.append(f"{labels.relative_to(raw)}: {turn.turn_id} is labelled twice")
        turns[turn.turn_id] = turn
    file = str(transcript.relative_to(raw))
    release.oddities += [(file, f"no label: {turn_id}, left out") for turn_id in words if turn_id not in turns]
    by_time = sorted(turns.values(), key=lambda turn: (turn.start_s, turn.end_s, turn.turn_id))
    for position, turn in enumerate(by_time):
        turn.position, turn.text = position, words.get(turn.turn_id, "")
    return by_time


def _read_labels(raw: Path, path: Path, release: Release, faults: list[str]) -> list[Turn]:
    """Return the turns of a label file, without texts; the lines of votes follow the line of their turn."""
    turns: list[Turn] = []
    file = path.relative_to(raw)
    for number, line in _lines(path):
        label, vote = _LABEL.fullmatch(line), _VOTE.fullmatch(line)
        if label:
            start_s, end_s, turn_id, code = float(label[1]), float(label[2]), label[3], label[4]
            if not turn_id.startswith(path.stem) or not _TURN.fullmatch(turn_id.removeprefix(path.stem)):
                expected = f"expected {path.stem}_F000 or the like"
                faults.append(f"{file}, line {number}: {turn_id!r} is no turn of {path.stem}; {expected}")
            elif code not in CODES:
                expected = f"expected {', '.join(CODES)}.{did_you_mean(code, CODES)}"
                faults.append(f"{file}, line {number}: {turn_id}: unknown emotion code {code!r}; {expected}")
            else:
                turns.append(Turn(turn_id=turn_id, dialogue=path.stem, start_s=start_s, end_s=end_s, code=code))
        elif vote and turns:
            votes = turns[-1].external if vote[1] == "E" else turns[-1].own
            votes.append(tuple(word.strip() for word in vote[2].split(";") if word.strip()))
        elif line.startswith(("[", "C-")) or path.stem in line:
            expected = "`[start - end]<tab>turn<tab>code<tab>[v, a, d]`, then votes `C-E2:<tab>Label;<tab>()`"
            faults.append(f"{file}, line {number}: {line!r}; expected {expected}")
        elif not line.startswith(("%", "A-")):  # headers; ratings of valence, activation, dominance
            release.oddities.append((str(file), f"line not understood: line {number}, {line!r}, ignored"))
    return turns


def _read_transcript(raw: Path, path: Path, release: Release, faults: list[str]) -> dict[str, str]:
    """Return transcripts by turn; lines where both talk (`_MXX…`) are counted, and have no label."""
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
    """Yield the lines that are not blank, with their numbers; a file that is not UTF-8 is read as cp1252."""
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1").translate(CP1252)
    for number, line in enumerate(re.split("\r?\n|\r", text), start=1):
        if line.strip():
            yield number, line.strip()
