"""IEMOCAP (Busso et al., 2008) from the full release: labels and transcripts, a wav per turn, split-screen videos.

The letter of a dialogue names the actor in the left half of its video; the other is in the right half. Labels and
transcripts alone give a text-only corpus, with the wavs one without pictures. The corpus needs a signed agreement and
is not ours to ship: what to put where is in data/raw/iemocap/README.md.
"""

from collections.abc import Mapping
from pathlib import Path

from dferc.core.errors import InputError
from dferc.store.vocabulary import SPLITS
from pipeline.corpora import RawCorpus
from pipeline.corpora.iemocap.account import find_problems, notes, print_counts
from pipeline.corpora.iemocap.protocol import PROTOCOLS, Protocol, split_of
from pipeline.corpora.iemocap.release import Release, Turn, read_release
from pipeline.rows.utterances import Region, Utterance
from pipeline.settings import IemocapOptions, Prepare

_SOUND = "sentences/wav/{dialogue}/{turn}.wav"
_VIDEO = "dialog/avi/DivX/{dialogue}.avi"


def read(raw: Path, settings: Prepare) -> RawCorpus:
    """Read IEMOCAP's turns, label and split them by a protocol of the field, and say where sound and picture are.

    Raises:
        InputError: the release lacks what a split is made of, or has malformed files (which lines).
    """
    options = settings.options
    protocol = PROTOCOLS[options.protocol]
    release = read_release(raw)
    splits = split_of(release.turns, options)
    labelled = [turn for turn in release.all_turns if protocol.emotion(turn)]
    _check_splits(raw, release, {splits[turn.dialogue] for turn in labelled}, options)
    media = _which_media(raw, release)
    kept = release.all_turns if options.context_turns == "keep" else labelled
    print_counts(release, protocol, labelled, media)
    problems = find_problems(release, protocol, splits, options)
    complete = not any(problem.kind == "count differs" for problem in problems)
    return RawCorpus(
        classes=protocol.names,
        protocol=_describe(options) + ("" if complete else f", own selection ({len(labelled)} labelled turns)"),
        utterances=[_utterance(turn, protocol, splits, release, media, options) for turn in kept],
        problems=problems,
        notes=notes(release, protocol, options),
        speaker_independent=True,  # a session's two actors are in no other session
    )


def _describe(options: IemocapOptions) -> str:
    seed = f" (seed {options.split_seed})" if options.validation == "random-10pct" else ""
    return (
        f"IEMOCAP {options.protocol}, split {options.split}, validation {options.validation}{seed}, "
        f"context_turns {options.context_turns}"
    )


def _check_splits(raw: Path, release: Release, filled: set[str], options: IemocapOptions) -> None:
    """Refuse a part of the release that leaves a split without labels."""
    empty = [split for split in SPLITS if split not in filled]
    if empty:
        found = ", ".join(map(str, release.sessions))
        raise InputError(
            f"{raw}: no labelled turn for {' and '.join(empty)} with split {options.split} and validation "
            f"{options.validation}: found session(s) {found} with {len(release.turns)} dialogue(s). Put the other "
            "sessions there as well, or choose another iemocap.prepare.options.split or validation."
        )


def _which_media(raw: Path, release: Release) -> tuple[str, ...]:
    """Which patterns of media files the release has at all: a part of it need not come with sound or pictures."""
    globs = {pattern: pattern.format(dialogue="Ses*", turn="Ses*") for pattern in (_SOUND, _VIDEO)}
    folders = [raw / folder for folder in release.sessions.values()]
    return tuple(p for p, wanted in globs.items() if any(any(folder.glob(wanted)) for folder in folders))


def _utterance(
    turn: Turn,
    protocol: Protocol,
    splits: Mapping[str, str],
    release: Release,
    media: tuple[str, ...],
    options: IemocapOptions,
) -> Utterance:
    """A turn as a row; its span is that of the dialogue's video, its wav is heard as a whole."""
    folder = release.sessions[turn.session]
    video, sound = (
        (folder / pattern.format(dialogue=turn.dialogue, turn=turn.turn_id)).as_posix() if pattern in media else ""
        for pattern in (_VIDEO, _SOUND)
    )
    return Utterance(
        utterance_id=turn.turn_id,
        dialogue_id=turn.dialogue,
        position=turn.position,
        speaker=f"{turn.dialogue[:5]}{turn.speaker}",  # a person: the letter alone means another in each session
        emotion=protocol.emotion(turn),
        split=splits[turn.dialogue],
        text=turn.text,
        media=video,
        start_s=turn.start_s if video else 0.0,
        end_s=turn.end_s if video else 0.0,
        region=_half(turn, options.crop) if video else Region(),
        sound=sound,
    )


def _half(turn: Turn, crop: tuple[float, float, float, float]) -> Region:
    """Where the speaker is in the split screen: the crop, within the left half for the actor the dialogue names."""
    left, top, right, bottom = crop
    begin = 0.0 if turn.speaker == turn.dialogue[5] else 0.5
    return Region(begin + left / 2, top, begin + right / 2, bottom)
