"""Transcripts that lie beside a medium: subtitles, a table, or plain lines of text."""

import bisect
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dferc.core.errors import InputError, Problem, listed, refuse
from dferc.store.cells import fold, normalise
from pipeline.corpora._own_tables import TableRow, read_table
from pipeline.corpora.table import row_problems
from pipeline.corpora.table.subtitles import Prefixes, read_cues, read_lines
from pipeline.corpora.table.videos import OTHER_TRANSCRIPTS
from pipeline.media.files import MEDIA_SUFFIXES
from pipeline.speech.transcript import ONE_SPEAKER, Spoken, Transcript

_SUBTITLES, _TABLES, _LINES = (".srt", ".vtt"), (".csv", ".tsv", ".jsonl"), (".txt",)
TRANSCRIPTS = (*_SUBTITLES, *_TABLES, *_LINES)  # suffixes of transcripts
_SLOWEST = 0.03  # characters per second, of a whole transcript: speech has 10 to 20, in milliseconds 0.01 to 0.025
_REGION = r"(?:[-_](?:[A-Za-z]{2,4}(?:[-_][A-Za-z]{2})?|\d{3}|[\w-]{11}))?"
_LANGUAGE = re.compile(rf"(?:\.((?!(?:cc|sdh)\b)[a-z]{{2,3}}){_REGION})?(\.(?:cc|sdh|transcript))?")
"""What a name may have behind the medium's: `.en`, `.pt-BR`, `.zh-Hans-CN`, `.es-419`, YouTube's `.en-nP7-2PuUl7o`; and
a kind, as in `.en.sdh`."""
_VIEW = re.compile(r"(?<=_Recording)(?:_[a-z]+)?_\d{3,4}x\d{3,4}$")  # of Zoom's videos, which share one transcript
_OPTION = "; list speakers in prepare.options.speaker_prefix"  # advice for a corpus, which one medium is not


def find_transcript(media: Path) -> Path | None:
    """Return the transcript beside a medium, the medium itself if it is a transcript, or None.

    `talk.mp4` has `talk.srt`, `.vtt`, `.csv`, `.tsv`, `.jsonl` or `.txt`; failing that `talk.mp4.srt` or `talk.en.srt`,
    unless it is that of another medium beside (`talk.bob.srt` of `talk.bob.mp4`). Zoom's `X_Recording_1920x1080.mp4`
    has `X_Recording.transcript.vtt`.

    Raises:
        InputError: several files may be its transcript.
    """
    if media.suffix.lower() in TRANSCRIPTS:
        return media
    files = sorted(media.parent.iterdir()) if media.parent.is_dir() else []
    beside = [path for path in files if path.suffix.lower() in TRANSCRIPTS and path.is_file()]
    stem, name = normalise("NFC", media.stem), normalise("NFC", media.name)
    stems = {path: normalise("NFC", path.stem) for path in beside}  # a Mac's files have another form
    same = [path for path in beside if stems[path] == stem]
    owned = {path.stem for path in files if path.suffix.lower() in MEDIA_SUFFIXES and path.name != media.name}
    named = {path: _named_after(path, media.stem) for path in beside}
    others = [path for path in beside if path.stem not in owned and (stems[path] == name or named[path])]
    plain = [path for path in others if stems[path] == name or not named[path][2]]
    candidates = same or plain or others
    if len(candidates) > 1:
        raise InputError(
            f"{media}: {len(candidates)} files beside it may be its transcript: "
            f"{listed(path.name for path in candidates)}. Name one with --transcript, or leave one."
        )
    return candidates[0] if candidates else None


def unread_beside(media: Path) -> str:
    """Return a sentence on the transcripts beside a medium that no reader is for; empty where there are none."""
    files = sorted(media.parent.iterdir())
    names = [path.name for path in files if path.suffix.lower() in OTHER_TRANSCRIPTS and _named_after(path, media.stem)]
    stem, others = fold(media.stem), [fold(path.stem) for path in files if path.suffix.lower() in MEDIA_SUFFIXES]
    for path in (path for path in files if path.suffix.lower() in TRANSCRIPTS):  # `talk.English.srt`, `Talk.srt`
        own = fold(path.stem)
        longer = any(own.startswith(other) for other in others if len(other) > len(stem))  # is another medium's
        names += [path.name] * (own.startswith(stem) and not own[len(stem) :][:1].isalnum() and not longer)
    how = "If one is the transcript, convert it to .srt or .vtt, or name one of these by --transcript."
    return f"Not read: {listed(names, 5)}. {how}" if names else ""


def _named_after(path: Path, stem: str) -> re.Match | None:
    own, stem = normalise("NFC", path.stem), normalise("NFC", stem)
    stem = stem if own.startswith(stem) else _VIEW.sub("", stem)
    return _LANGUAGE.fullmatch(own.removeprefix(stem)) if own.startswith(stem) else None


def read_transcript(
    path: Path, media: Path | None, length_s: float | None, speaker_prefix: Prefixes = True, named: Path | None = None
) -> Transcript:
    """Read a transcript by the rules of `pipeline.corpora.table` (docs/own-data.md).

    Times are those of the file: what lies beyond the medium is listed where its span is measured.

    Args:
        path: subtitles (.srt, .vtt), a table (.csv, .tsv, .jsonl) or lines of text (.txt).
        media: the medium that it is of; None for a transcript alone.
        length_s: length of the medium in seconds; None where there is none.
        speaker_prefix: take the speaker from `NAME: text`, or of the names listed.
        named: the file's own name where it lies under another, as an upload does.

    Raises:
        InputError: the file cannot be read, has no utterance, or is of another medium: most utterances begin behind
            its end.
    """
    suffix, name, medium = path.suffix.lower(), path.name, media.name if media else ""
    if suffix in _SUBTITLES:
        rows, problems, _ = read_cues(path, name, medium, speaker_prefix)
    elif suffix in _LINES:
        rows, problems, _ = read_lines(path, name, medium, speaker_prefix)
    elif suffix in _TABLES:
        rows, problems = _rows_of_table(path, medium, media)
    else:
        raise InputError(f"{path}: expected a transcript that ends in {', '.join(TRANSCRIPTS)}. Rename the file.")
    if not rows:
        raise InputError(f"{path}: no utterance has a text. Expected the words of {medium or 'a conversation'}.")
    if suffix in _TABLES:
        _verify_unit(path, rows)
    rows = _with_times(path, rows, length_s)
    if length_s is not None:
        _verify_length(path, rows, media, length_s)
    problems += row_problems([replace(row, media=medium) for row in rows])
    speakers = any(row.speaker for row in rows)
    own_ids = suffix in _TABLES and all(row.utterance_id for row in rows)
    in_name = _named_after(named or path, media.stem) if media else None  # such as `en` of `talk.en.srt`
    return Transcript(
        utterances=tuple(
            Spoken(
                utterance_id=row.utterance_id or f"{path.stem}_{number}",
                own_id=row.utterance_id if own_ids else "",
                start_s=row.start_s,
                end_s=row.end_s,
                speaker=row.speaker,
                text=row.text,
            )
            for number, row in enumerate(rows, start=1)
        ),
        origin=name,
        language=(in_name[1] or "") if in_name else "",
        speakers_from=name if speakers else "",
        notes=() if speakers else (ONE_SPEAKER,),
        problems=tuple(replace(problem, consequence=problem.consequence.removesuffix(_OPTION)) for problem in problems),
    )


def _rows_of_table(path: Path, medium: str, media: Path | None) -> tuple[list[TableRow], list[Problem]]:
    """Read a table; rows of other media than this one are left out."""
    rows, problems = read_table(path, dialogue=path.name)
    rows = [replace(row, media=_as_named(row.media, media)) for row in rows] if media else rows
    recordings = dict.fromkeys(row.media for row in rows if row.media)
    if not medium and len(recordings) > 1:
        raise InputError(
            f"{path}: its column media names {len(recordings)} files, {listed(recordings, most=5)}, and a transcript "
            "alone is of one. Name the media themselves, with this table as --transcript, or leave the rows of one."
        )
    others = {row for row in rows if medium and row.media and Path(row.media).name != medium}
    same = dict.fromkeys(row.media for row in rows if medium and row.media and row not in others)
    apart = [name for name in same if any(not _may_be_one(name, other) for other in same)]
    if apart:  # `day1/cam.mp4` and `day2/cam.mp4`
        fitting = [name for name in same if _may_be_one(name, str(media.absolute()))]
        if not fitting or any(not _may_be_one(one, two) for one in fitting for two in fitting):
            raise InputError(
                f"{path}: its column media has several files called {medium}: {listed(apart, most=5)}, and the place "
                f"of {media} does not say which of them it is. Leave the rows of one."
            )
        others |= {row for row in rows if row.media in same and row.media not in fitting}
    if others:
        if len(others) == len(rows):
            names = listed(dict.fromkeys(row.media for row in rows), most=5)
            raise InputError(f"{path}: no row is of {medium}; its column media names {names}. Name another transcript.")
        first = next(row for row in rows if row in others)
        counted = f"rows of other media: {len(others)} of {len(rows)}, first {first.media!r} ({first.where})"
        problems.append(Problem(path.name, path.name, counted, "left out"))
    rows = [row for row in rows if row not in others]
    if len(dialogues := dict.fromkeys(row.dialogue_id for row in rows)) > 1:
        found = f"dialogue_id: {len(dialogues)} conversations ({listed(dialogues, most=5)})"
        problems.append(Problem(path.name, path.name, found, "taken for one: each lets the others weigh in"))
    counts = Counter(row.utterance_id for row in rows if row.utterance_id)
    refuse(path, [f"the utterance_id {name!r} is there {count} times" for name, count in counts.items() if count > 1])
    return rows, problems


def _as_named(place: str, media: Path) -> str:
    """Return a file of a table by the medium's own name, if that is meant: in another case or form, or Windows' way."""
    path = Path(place.replace("\\", "/"))
    other_name = fold(path.name) == fold(media.name) and not (media.parent / path.name).exists()
    return path.with_name(media.name).as_posix() if path.name == media.name or other_name else place


def _may_be_one(one: str, two: str) -> bool:
    """Return whether two paths may name one file: one is the end of the other."""
    return all(part == other for part, other in zip(reversed(Path(one).parts), reversed(Path(two).parts)))


def _with_times(path: Path, rows: Sequence[TableRow], length_s: float | None) -> list[TableRow]:
    """Complete the times: an utterance without end lasts until the next, a single one without times the whole medium.

    Any other utterance without times has none. InputError where there is an end and no begin.
    """
    endless = [row for row in rows if row.start_s is None and row.end_s]
    refuse(path, [f"{row.where}: an end, {row.end_s:g} s, and no start" for row in endless], "Write both, or neither.")
    if len(rows) == 1 and rows[0].start_s is None and length_s is not None:
        return [replace(rows[0], start_s=0.0, end_s=length_s)]
    starts = sorted({row.start_s for row in rows if row.start_s is not None})
    completed = []
    for row in rows:
        if row.start_s is not None and row.end_s is None:
            later = bisect.bisect_right(starts, row.start_s)  # of the table, whatever its order
            end_s = starts[later] if later < len(starts) else length_s
            row = replace(row, end_s=max(row.start_s, end_s or 0.0))
        completed.append(row)
    return completed


def _verify_unit(path: Path, rows: Sequence[TableRow]) -> None:
    """Refuse times that are milliseconds, as in Whisper's own .tsv: whole numbers, and next to no text for them."""
    timed = [row for row in rows if row.start_s is not None and row.end_s is not None and row.end_s > row.start_s]
    length_s = sum(row.end_s - row.start_s for row in timed)
    whole = all(time_s == int(time_s) for row in timed for time_s in (row.start_s, row.end_s))
    if timed and whole and sum(len(row.text) for row in timed) < _SLOWEST * length_s:
        first = timed[0]
        raise InputError(
            f"{path}: its {len(timed)} utterances take {length_s:g} s, the first {first.end_s - first.start_s:g} s for "
            f"{first.text[:40]!r} ({first.where}). Times in a table are seconds: divide milliseconds, such as those of "
            "Whisper's .tsv, by 1000."
        )


def _verify_length(path: Path, rows: Sequence[TableRow], media: Path | None, length_s: float) -> None:
    timed = [row for row in rows if row.start_s is not None]
    beyond = [row for row in timed if row.start_s >= length_s]
    if 2 * len(beyond) > len(timed):
        first = beyond[0]
        raise InputError(
            f"{path}: {len(beyond)} of {len(timed)} utterances begin after the end of {media.name} ({length_s:.1f} s), "
            f"the first at {first.start_s:g} s ({first.where}). Is it the transcript of another video? "
            "Times in a table are seconds, not milliseconds."
        )
