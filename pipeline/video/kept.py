"""Folder of finished work of the user: features of utterances, and transcripts of speech recognition.

A killed run pays only for what is missing. Deleting the folder costs time, never correctness.
"""

import os
from collections.abc import Callable
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from dferc.core.files import file_hash, write_atomically
from dferc.core.sources import code_hash
from pipeline.extraction.scratch import key_of
from pipeline.speech import Transcript

FEATURES = "features.sqlite"

_TRANSCRIPT = TypeAdapter(Transcript)


def user_cache() -> Path:
    """Return the folder `dferc` in $XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dferc"


def kept_transcript(
    cache: Path, model: str, language: str | None, content: str, recognise: Callable[[], Transcript]
) -> Transcript:
    """Return the recognised speech of a medium, from an earlier run where there is one.

    Args:
        cache: folder of finished work.
        model: name or folder of the model.
        language: of the speech; None = recognised.
        content: hash of the medium.
        recognise: recognises the speech.
    """
    weights = Path(model) / "model.bin"
    identity = file_hash(weights) if weights.is_file() else model
    key = key_of(identity, language, content, code_hash("pipeline.speech.recogniser"))
    path = cache / "transcripts" / f"{key}.json"
    try:
        return _TRANSCRIPT.validate_json(path.read_bytes())
    except (OSError, ValidationError):  # not there, or not whole
        transcript = recognise()
    write_atomically(path, lambda temporary: temporary.write_bytes(_TRANSCRIPT.dump_json(transcript)))
    return transcript
