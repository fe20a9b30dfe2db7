"""Folder of finished work of the user: features of utterances, and transcripts of speech recognition.

A killed run pays only for what is missing. Deleting the folder costs time, never correctness.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dferc.core.files import file_hash, write_atomically
from dferc.core.sources import code_hash
from pipeline.extraction.scratch import key_of
from pipeline.speech import Transcript
from pipeline.speech.recogniser import HeardWords, Keep

FEATURES = "features.sqlite"

_TRANSCRIPT, _PIECE = TypeAdapter(Transcript), TypeAdapter(HeardWords)


def kept_transcript(
    cache: Path, model: str, language: str | None, content: str, cut: Sequence, recognise: Callable[[Keep], Transcript]
) -> Transcript:
    """Return the recognised speech of a medium, from earlier runs as far as they came.

    Args:
        cache: folder of finished work.
        model: name or folder of the model.
        language: of the speech; None = recognised.
        content: hash of the medium.
        cut: settings by which words are cut into utterances.
        recognise: recognises the speech, given what keeps each piece of it.
    """
    files = sorted(path for path in Path(model).glob("*") if path.is_file()) if Path(model).is_dir() else []
    identity = [(path.name, file_hash(path)) for path in files] or model
    pieces = cache / "transcripts" / key_of(identity, language, content, code_hash("pipeline.speech.recogniser"))

    def keep(name: str, recognise_piece: Callable[[], HeardWords]) -> HeardWords:
        return _kept(pieces / f"{name}.json", _PIECE, recognise_piece)

    return _kept(pieces / f"whole-{'-'.join(map(repr, cut))}.json", _TRANSCRIPT, lambda: recognise(keep))


def _kept(path: Path, schema: TypeAdapter, make: Callable[[], Any]) -> Any:
    """Return the content of a file, which is made and written unless it is there and whole."""
    try:
        return schema.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        made = make()
    write_atomically(path, lambda temporary: temporary.write_bytes(schema.dump_json(made)))
    return made
