"""IEMOCAP (Busso et al., 2008) from the full release: labels and transcripts, a wav per turn, split-screen videos.

The letter of a dialogue names the actor in the left half of its video; the other is in the right half. Labels and
transcripts alone give a text-only corpus, with the wavs one without pictures. The corpus needs a signed agreement and
is not ours to ship: data/raw/iemocap/README.md lists the files, docs/data.md the facts of the corpus.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath

from dferc.core.console import console, print_table
from dferc.core.errors import InputError, Problem
from dferc.store.rows import Note
from dferc.store.vocabulary import SPLITS
from pipeline.corpora import RawCorpus
from pipeline.corpora._files import first_clip
from pipeline.corpora._published_csv import found_and_published
from pipeline.corpora.iemocap import protocol as protocols
from pipeline.corpora.iemocap.release import SESSIONS, Release, Turn, read_release
from pipeline.rows.utterances import Region, Utterance
from pipeline.settings import IemocapOptions, Prepare

_SOUND = "sentences/wav/{dialogue}/{turn}.wav"
_VIDEO = "dialog/avi/DivX/{dialogue}.avi"

_INCOMPARABLE = "scores are not comparable with published ones"
_OWN = f"kept as found; {_INCOMPARABLE}"
_OWN_PROMOTED = f"promoted by the same rule, from the votes that are there; {_INCOMPARABLE}"
_RULE = "Happiness alone has the most votes: every label of the raters, the first of each actor's own"

_Media = dict[str, dict[str, PurePath]]  # pattern -> name without suffix -> file, relative to the raw folder


def read(raw: Path, settings: Prepare) -> RawCorpus:
    """Read IEMOCAP's turns, label and split them by a protocol of the field, and find their sound and picture."""
    options = settings.options
    protocol = protocols.PROTOCOLS[options.protocol]
    release = read_release(raw)
    splits = protocols.split_of(release.turns, options)
    labelled = [turn for turn in release.all_turns if protocol.emotion(turn)]
    filled = {splits[turn.dialogue] for turn in labelled}
    if empty := [split for split in SPLITS if split not in filled]:
        sessions = ", ".join(map(str, release.sessions))
        raise InputError(
            f"{raw}: no labelled turn for {' and '.join(empty)} with split {options.split} and validation "
            f"{options.validation}: found session(s) {sessions} with {len(release.turns)} dialogue(s). Put the other "
            "sessions there as well, or choose another iemocap.prepare.options.split or validation."
        )
    # A part of the release may lack sound or pictures.
    folders = [raw / folder for folder in release.sessions.values()]
    media = {pattern: _find_media(raw, folders, pattern) for pattern in (_SOUND, _VIDEO)}
    counts = [[name, found_and_published(*pair)] for name, *pair in _counts(release, protocol)]
    print_table(["", "turns"], counts, "IEMOCAP (where they differ: found / published)")
    if not any(media.values()):
        console.print("No wavs and no videos: a text-only corpus.")
    problems = list(_find_problems(release, protocol, splits, options))
    described = _describe(options)
    if any(problem.kind == "count differs" for problem in problems):
        described += f", own selection ({len(labelled)} labelled turns)"
    utterances = []
    for turn in release.all_turns if options.context_turns == "keep" else labelled:
        folder = release.sessions[turn.session]
        utterances.append(_utterance(turn, protocol.emotion(turn), splits[turn.dialogue], folder, media, options))
    rated = release.all_turns if options.votes else ()
    return RawCorpus(
        classes=protocol.names,
        protocol=described,
        utterances=utterances,
        problems=problems,
        tables=[raw / file for file in release.files],
        votes={turn.turn_id: shares for turn in rated if (shares := protocols.vote_shares(turn, protocol))},
        notes=list(_notes(release, protocol, options)),
        speaker_independent=True,  # a session's two actors are in no other session
    )


def _describe(options: IemocapOptions) -> str:
    """Return the protocol in words."""
    seed = f" (seed {options.split_seed})" if options.validation == "random-10pct" else ""
    split = f"split {options.split}, validation {options.validation}{seed}"
    return f"IEMOCAP {options.protocol}, {split}, context_turns {options.context_turns}"


def _find_media(raw: Path, folders: Iterable[Path], pattern: str) -> dict[str, PurePath]:
    """Return the files of a pattern by their name without suffix; converted ones too, where the published is not."""
    suffix = PurePath(pattern).suffix
    glob = pattern.removesuffix(suffix).format(dialogue="Ses*", turn="Ses*") + ".*"
    found = defaultdict(list)
    for path in sorted(path for folder in folders for path in folder.glob(glob)):
        found[path.stem].append(path)
    clips = {name: first_clip(paths, suffix) for name, paths in found.items()}
    return {name: clip.relative_to(raw) for name, clip in clips.items() if clip is not None}


def _utterance(turn: Turn, emotion: str, split: str, folder: Path, media: _Media, options: IemocapOptions) -> Utterance:
    """Return a turn as a row; its span is that of the dialogue's video, its wav is heard as a whole."""
    video, sound = (
        media[pattern].get(name, folder / pattern.format(dialogue=turn.dialogue, turn=turn.turn_id)).as_posix()
        if media[pattern]
        else ""
        for pattern, name in ((_VIDEO, turn.dialogue), (_SOUND, turn.turn_id))
    )
    # The crop is within the left half of the split screen for the actor that the dialogue names, else in the right.
    half = 0.0 if turn.speaker == turn.dialogue[5] else 0.5
    left, top, right, bottom = options.crop
    region = Region(half + left / 2, top, half + right / 2, bottom)
    return Utterance(
        utterance_id=turn.turn_id,
        dialogue_id=turn.dialogue,
        position=turn.position,
        speaker=f"{turn.dialogue[:5]}{turn.speaker}",  # a person: the letter alone means another in each session
        emotion=emotion,
        split=split,
        text=turn.text,
        sound=sound,
        **({"media": video, "start_s": turn.start_s, "end_s": turn.end_s, "region": region} if video else {}),
    )


def _find_problems(
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


def _notes(release: Release, protocol: protocols.Protocol, options: IemocapOptions) -> Iterator[Note]:
    """Yield the numbers of turns dropped, kept, promoted and merged, for the protocol card."""
    codes = Counter(turn.code for turn in release.all_turns if not protocol.emotion(turn))
    action, role = ("kept", ", unlabelled, as context") if options.context_turns == "keep" else ("dropped", "")
    why = f"outside the classes; context_turns: {options.context_turns}{role}"
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


def _counts(release: Release, protocol: protocols.Protocol) -> Iterator[tuple[str, int, int]]:
    """Yield sessions and classes with their labelled turns, found and published."""
    labelled: list[Turn] = [turn for turn in release.all_turns if protocol.emotion(turn)]
    sessions = Counter(turn.session for turn in labelled)
    for session, published in zip(SESSIONS, protocol.per_session, strict=True):
        yield f"session {session}", sessions[session], published
    classes = Counter(map(protocol.emotion, labelled))
    for name, published in zip(protocol.names, protocol.per_class, strict=True):
        yield name, classes[name], published
