"""Corpora: one adapter per raw corpus, all giving the same rows.

An adapter is a module `pipeline/corpora/<name>.py` with one function, `read(raw, settings) -> RawCorpus`. It reads
transcripts, labels and splits, and says where the clips should be; it opens no media. `prepare` measures those. A new
corpus is one such file and one block in params.yaml (see CONTRIBUTING.md).
"""

import csv
import difflib
import importlib
import pkgutil
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from dferc.core.errors import InputError
from dferc.core.problems import Problem
from dferc.store.rows import Note
from pipeline.rows.utterances import Utterance
from pipeline.settings import Prepare

IMPORTED = "import"
"""What stands in place of an adapter where features can only be imported."""


@dataclass(frozen=True, kw_only=True)
class RawCorpus:
    """What an adapter found; everything that only the media can tell is left for `prepare` to measure.

    Attributes:
        classes: class names; their order is the class ids.
        protocol: which labels, splits and exclusions: two scores are comparable only under the same protocol.
        utterances: dialogues contiguous, utterances in order; `media` relative to the raw folder and set wherever a
            clip is expected, found or not, and empty in all rows of a corpus without clips; `start_s` and `end_s` where
            the utterance lies in a longer file (`end_s` 0: up to its end); likewise `sound` with its span where the
            sound is a file of its own; `region` where the speaker is in a part of the picture; `has_audio` and
            `has_video` False.
        problems: what the adapter found wrong in transcripts and labels, and what follows from it.
        notes: what the adapter dropped, promoted, merged, repaired or knowingly kept, for the protocol card.
        speaker_independent: the protocol claims that no speaker of the test split occurs in another split; `speaker`
            must then name persons, across the whole corpus ("Ses01F", not "F").
    """

    classes: tuple[str, ...]
    protocol: str
    utterances: list[Utterance]
    problems: list[Problem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    speaker_independent: bool = False


def read(raw: str | Path, settings: Prepare) -> RawCorpus:
    """Read a raw corpus with the adapter that the settings name.

    Args:
        raw: folder the user put the corpus in.
        settings: its `prepare` section; `adapter` is the name of a module in this package, `options` are for it.

    Raises:
        InputError: no such adapter, or it cannot read the corpus (missing folder, missing column, unknown label …), or
            it is itself at fault.
    """
    verify_adapter(settings.adapter)
    module = importlib.import_module(f"{__name__}.{settings.adapter}")
    try:
        found = module.read(Path(raw), settings)
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, csv.Error) as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = [f"{module.__file__}, line {at.lineno}" for at in frames if at.filename == module.__file__]
        raise InputError(
            f"{where[-1] if where else module.__file__}: the adapter failed on {raw} "
            f"({type(error).__name__}: {error}). "
            "Mend the adapter, or the file that it was reading; --debug shows where it was."
        ) from error
    if not isinstance(found, RawCorpus):
        raise InputError(
            f"{module.__file__}: its read() gave {type(found).__name__}; expected a RawCorpus (see CONTRIBUTING.md)."
        )
    return found


def verify_adapter(adapter: str) -> None:
    """Check that there is an adapter of that name.

    Raises:
        InputError: there is none.
    """
    if adapter == IMPORTED:
        raise InputError(
            "prepare.adapter: this corpus has no media to make features from; `dferc import FILE…` brings its "
            "features, and `dferc train --corpus NAME` trains on them. Take it out of `corpora` in params.yaml."
        )
    known = adapter_names()
    if adapter not in known:
        close = difflib.get_close_matches(adapter, known, n=1)
        nearest = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(
            f"prepare.adapter: no adapter {adapter!r}: pipeline/corpora/{adapter}.py does not exist; there are: "
            f"{', '.join(known)}.{nearest} Correct it in params.yaml, or write one (see CONTRIBUTING.md)."
        )


def adapter_names() -> list[str]:
    """The adapters that exist as files, sorted; a leading underscore marks a part of one."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
