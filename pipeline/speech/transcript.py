"""Transcript of one medium: its utterances, their origin, and what was odd about them."""

from dataclasses import dataclass

from dferc.core.errors import Problem

GIVE_ONE = "beside it or by --transcript; on the page of dferc-serve, choose it with the video."
"""Where a transcript is put, for messages that a terminal or a browser shows."""
ONE_SPEAKER = "No speakers are known: all utterances count as one speaker's."  # note of a transcript without speakers


@dataclass(frozen=True, kw_only=True, slots=True)
class SpokenWord:
    """A word of speech recognition, with its times in seconds from the start of the medium."""

    start_s: float
    end_s: float
    text: str  # as recognised: with its punctuation, and the blank before it where the script has one


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """An utterance. Times are in seconds from the start of the medium; None for both where they are unknown."""

    utterance_id: str  # unique in its transcript: the name of the file, then the cue's number, or a count from 1
    start_s: float | None
    end_s: float | None
    speaker: str  # "" where unknown
    text: str
    own_id: str = ""  # of a table in which each row has one
    words: tuple[SpokenWord, ...] = ()  # of speech recognition; () in a transcript that was read


@dataclass(frozen=True, kw_only=True, slots=True)
class Transcript:
    """Utterances of a medium in their order."""

    utterances: tuple[Spoken, ...]
    origin: str  # the file's name, or the speech recognition and its model
    language: str  # code such as `en`; "" where unknown
    speakers_from: str  # the file's name, the diarization's model, or "" where no speakers are known
    notes: tuple[str, ...] = ()  # sentences for the reader of the results
    problems: tuple[Problem, ...] = ()  # faults of the transcript, and their consequences


def first_line(error: Exception) -> str:
    """Return the type and the first line of an error of a speech library, at most 200 characters of it."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]:.200}"
