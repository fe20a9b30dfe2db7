"""What was done to IEMOCAP's turns and why: promoted, merged, dropped or kept; and the published counts beside it."""

from collections import Counter
from collections.abc import Iterator, Mapping

from rich.table import Table

from dferc.core.console import console
from dferc.core.problems import Problem
from dferc.store.rows import Note
from pipeline.corpora.iemocap.protocol import (
    COSMIC_VALIDATION,
    PROMOTED,
    PROMOTED_SHA256,
    Protocol,
    hash_of,
    is_promoted,
    votes,
)
from pipeline.corpora.iemocap.release import SESSIONS, Release, Turn
from pipeline.settings import IemocapOptions

_OWN = "kept as found; scores are not comparable with published ones"
_RULE = "Happiness alone has the most votes: every label of the raters, the first of each actor's own"


def find_problems(
    release: Release, protocol: Protocol, splits: Mapping[str, str], options: IemocapOptions
) -> list[Problem]:
    """What was passed over, promoted or left out, and where the release is not the published one."""
    problems = [
        Problem(where=file, file=file, problem=oddity, consequence="not used") for file, oddity in release.oddities
    ]
    problems += [
        Problem(where=turn.turn_id, file="", problem="empty transcript", consequence="kept, text empty")
        for turn in release.all_turns
        if not turn.text
    ]
    if release.overlaps:
        said = f"overlap lines: {release.overlaps} transcript lines of both at once (_MXX, _FXX)"
        problems.append(Problem(where="transcriptions", file="", problem=said, consequence="left out: nobody's turn"))
    problems += _promoted(release, protocol) + _outside(release, protocol, options)
    problems += _differences(release, protocol)
    missing = [name for name in COSMIC_VALIDATION if name not in splits] if options.validation == "cosmic" else []
    return problems + [
        Problem(where=name, file="", problem="validation dialogue missing", consequence=_OWN) for name in missing
    ]


def notes(release: Release, protocol: Protocol, options: IemocapOptions) -> list[Note]:
    """The same for the protocol card, in numbers."""
    codes = Counter(turn.code for turn in release.all_turns if not protocol.emotion(turn))
    action, why = {
        "drop": ("dropped", "outside the classes; context_turns: drop"),
        "keep": ("kept", "outside the classes; context_turns: keep, unlabelled, as context"),
    }[options.context_turns]
    found = [Note(action=action, what=f"turns labelled {code}", count=codes[code], why=why) for code in sorted(codes)]
    if protocol.promotes:
        promoted = sum(map(is_promoted, release.all_turns))
        found.append(Note(action="promoted", what="undecided turns (xxx) to happy", count=promoted, why=_RULE))
    if protocol.classes.get("exc") == "happy":
        merged = sum(turn.code == "exc" for turn in release.all_turns)
        found.append(
            Note(action="merged", what="excited turns into happy", count=merged, why="the four-class protocol")
        )
    if release.overlaps:
        why = "transcript lines of both at once have no label"
        found.append(Note(action="dropped", what="overlap lines (_MXX, _FXX)", count=release.overlaps, why=why))
    return found


def print_counts(release: Release, protocol: Protocol, labelled: list[Turn], media: tuple[str, ...]) -> None:
    """Print the labelled turns of each session and class beside the published ones."""
    table = Table("", "turns", title="IEMOCAP (where they differ: found / published)")
    for name, found, published in _compared(protocol, labelled):
        table.add_row(name, str(found) if found == published else f"[bold red]{found} / {published}[/]")
    console.print(table)
    if not media:
        console.print("No wavs and no videos: a text-only corpus.")


# ---------------------------------------------------------------------------------------------------- parts


def _compared(protocol: Protocol, labelled: list[Turn]) -> Iterator[tuple[str, int, int]]:
    """Sessions and classes, with labelled turns found and published."""
    sessions = Counter(turn.session for turn in labelled)
    for session, published in zip(SESSIONS, protocol.per_session, strict=True):
        yield f"session {session}", sessions[session], published
    classes = Counter(map(protocol.emotion, labelled))
    for name, published in zip(protocol.names, protocol.per_class, strict=True):
        yield name, classes[name], published


def _differences(release: Release, protocol: Protocol) -> list[Problem]:
    labelled = [turn for turn in release.all_turns if protocol.emotion(turn)]
    problems = [
        Problem(where=f"Session{session}", file="", problem="session missing", consequence=_OWN)
        for session in SESSIONS
        if session not in release.sessions
    ]
    return problems + [
        Problem(where=name, file="", problem=f"count differs: {found}, published {published}", consequence=_OWN)
        for name, found, published in _compared(protocol, labelled)
        if found != published
    ]


def _promoted(release: Release, protocol: Protocol) -> list[Problem]:
    """Each promoted turn with its votes; and whether they are the 53 of the field's pickles."""
    if not protocol.promotes:
        return []
    promoted = [turn for turn in release.all_turns if is_promoted(turn)]
    problems = []
    for turn in promoted:
        counted = ", ".join(f"{label} {count}" for label, count in votes(turn).most_common())
        problems.append(
            Problem(where=turn.turn_id, file="", problem=f"promoted: undecided, {counted}", consequence="happy")
        )
    if hash_of(turn.turn_id for turn in promoted) != PROMOTED_SHA256:
        said = f"promoted turns differ: {len(promoted)}, not the {PROMOTED} of the field's pickles"
        then = "promoted by the same rule, from the votes that are there; scores are not comparable with published ones"
        problems.append(Problem(where="EmoEvaluation", file="", problem=said, consequence=then))
    return problems


def _outside(release: Release, protocol: Protocol, options: IemocapOptions) -> list[Problem]:
    """Turns outside the classes, one line per majority label."""
    outside: dict[str, list[str]] = {}
    for turn in release.all_turns:
        if not protocol.emotion(turn):
            outside.setdefault(turn.code, []).append(turn.turn_id)
    then = "dropped" if options.context_turns == "drop" else "kept without a label, as context"
    return [
        Problem(
            where=ids[0],
            file="",
            problem=f"outside the classes: {code}, {len(ids)} turn(s)",
            consequence=f"{then} (context_turns: {options.context_turns})",
        )
        for code, ids in sorted(outside.items())
    ]
