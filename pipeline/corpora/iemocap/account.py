"""Account of IEMOCAP's turns for the problems, the protocol card and the screen: promoted, merged, dropped, counted."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from dferc.core.console import print_table
from dferc.core.problems import Problem
from dferc.store.rows import Note
from pipeline.corpora._published_csv import found_and_published
from pipeline.corpora.iemocap import protocol as protocols
from pipeline.corpora.iemocap.release import SESSIONS, Release, Turn
from pipeline.settings import IemocapOptions

_INCOMPARABLE = "scores are not comparable with published ones"
_OWN = f"kept as found; {_INCOMPARABLE}"
_OWN_PROMOTED = f"promoted by the same rule, from the votes that are there; {_INCOMPARABLE}"
_RULE = "Happiness alone has the most votes: every label of the raters, the first of each actor's own"


def find_problems(
    release: Release, protocol: protocols.Protocol, splits: Mapping[str, str], options: IemocapOptions
) -> Iterator[Problem]:
    """Yield what was ignored, promoted or left out, and differences from the published release."""
    for file, oddity in release.oddities:
        yield Problem(where=file, file=file, problem=oddity, consequence="not used")
    for turn in release.all_turns:
        if not turn.text:
            yield Problem(turn.turn_id, "", "empty transcript", "kept, text empty")
    if release.overlaps:
        overlaps = f"overlap lines: {release.overlaps} transcript lines of both at once (_MXX, _FXX)"
        yield Problem("transcriptions", "", overlaps, "left out: nobody's turn")
    if protocol.promotes:
        promoted = [turn for turn in release.all_turns if protocols.is_promoted(turn)]
        for turn in promoted:
            counted = ", ".join(f"{label} {count}" for label, count in protocols.votes(turn).most_common())
            yield Problem(turn.turn_id, "", f"promoted: undecided, {counted}", "happy")
        if protocols.hash_of(turn.turn_id for turn in promoted) != protocols.PROMOTED_SHA256:
            differ = f"promoted turns differ: {len(promoted)}, not the {protocols.PROMOTED} of the field's pickles"
            yield Problem("EmoEvaluation", "", differ, _OWN_PROMOTED)
    outside = defaultdict(list)
    for turn in release.all_turns:
        if not protocol.emotion(turn):
            outside[turn.code].append(turn.turn_id)
    action = "dropped" if options.context_turns == "drop" else "kept without a label, as context"
    for code, ids in sorted(outside.items()):
        problem = f"outside the classes: {code}, {len(ids)} turn(s)"
        yield Problem(ids[0], "", problem, f"{action} (context_turns: {options.context_turns})")
    for session in sorted(set(SESSIONS) - set(release.sessions)):
        yield Problem(f"Session{session}", "", "session missing", _OWN)
    for name, count, published in _counts(release, protocol):
        if count != published:
            yield Problem(name, "", f"count differs: {count}, published {published}", _OWN)
    for name in protocols.COSMIC_VALIDATION if options.validation == "cosmic" else ():
        if name not in splits:
            yield Problem(name, "", "validation dialogue missing", _OWN)


def notes(release: Release, protocol: protocols.Protocol, options: IemocapOptions) -> Iterator[Note]:
    """Yield the numbers of turns dropped, kept, promoted and merged, for the protocol card."""
    codes = Counter(turn.code for turn in release.all_turns if not protocol.emotion(turn))
    action, why = {
        "drop": ("dropped", "outside the classes; context_turns: drop"),
        "keep": ("kept", "outside the classes; context_turns: keep, unlabelled, as context"),
    }[options.context_turns]
    for code in sorted(codes):
        yield Note(action=action, what=f"turns labelled {code}", count=codes[code], why=why)
    if protocol.promotes:
        promoted = sum(map(protocols.is_promoted, release.all_turns))
        yield Note(action="promoted", what="undecided turns (xxx) to happy", count=promoted, why=_RULE)
    if protocol.classes.get("exc") == "happy":
        merged = sum(turn.code == "exc" for turn in release.all_turns)
        yield Note(action="merged", what="excited turns into happy", count=merged, why="the four-class protocol")
    if release.overlaps:
        why = "transcript lines of both at once have no label"
        yield Note(action="dropped", what="overlap lines (_MXX, _FXX)", count=release.overlaps, why=why)


def print_counts(release: Release, protocol: protocols.Protocol) -> None:
    """Print the labelled turns of each session and class beside the published ones."""
    rows = [[name, found_and_published(*counts)] for name, *counts in _counts(release, protocol)]
    print_table(["", "turns"], rows, "IEMOCAP (where they differ: found / published)")


def _counts(release: Release, protocol: protocols.Protocol) -> Iterator[tuple[str, int, int]]:
    """Yield sessions and classes with their labelled turns, found and published."""
    labelled: list[Turn] = [turn for turn in release.all_turns if protocol.emotion(turn)]
    sessions = Counter(turn.session for turn in labelled)
    for session, published in zip(SESSIONS, protocol.per_session, strict=True):
        yield f"session {session}", sessions[session], published
    classes = Counter(map(protocol.emotion, labelled))
    for name, published in zip(protocol.names, protocol.per_class, strict=True):
        yield name, classes[name], published
