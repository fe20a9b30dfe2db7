"""Transcripts that lie beside a medium: subtitles, a table, or plain lines of text."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.speech.transcript import Transcript


def find_transcript(media: Path) -> Path | None:
    """Return the transcript beside a medium, the medium itself if it is a transcript, or None.

    `talk.mp4` has `talk.srt`, `.vtt`, `.csv`, `.tsv`, `.jsonl` or `.txt`; failing that `talk.mp4.srt` or `talk.en.srt`.
    Results of ours are not taken.

    Raises:
        InputError: several files may be its transcript.
    """
    raise NotImplementedError


def read_transcript(
    path: Path, media: Path | None, length_s: float | None, speaker_prefix: bool | Sequence[str] = True
) -> Transcript:
    """Read a transcript by the rules of `pipeline.corpora.table` (docs/own-data.md).

    Args:
        path: subtitles (.srt, .vtt), a table (.csv, .tsv, .jsonl) or lines of text (.txt).
        media: the medium that it is of; None for a transcript alone.
        length_s: length of the medium in seconds; None where there is none.
        speaker_prefix: take the speaker from `NAME: text`, or of the names listed.

    Raises:
        InputError: the file cannot be read, has no utterance, or is of another medium: most utterances begin behind
            its end.
    """
    raise NotImplementedError
