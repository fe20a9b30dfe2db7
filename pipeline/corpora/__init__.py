"""Corpora: one adapter per raw corpus, all returning the same rows.

An adapter is a module `pipeline/corpora/<name>.py` with one function, `read(raw, settings) -> RawCorpus`. It reads
transcripts, labels and splits, and names the expected clips; it opens no media, which `prepare` measures. A new corpus
is one such file and one block in params.yaml (see CONTRIBUTING.md).
"""

import csv
import importlib
import pkgutil
import traceback
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dferc.core.errors import InputError, Problem, did_you_mean
from dferc.core.errors import refuse as refuse  # offered to the adapters
from dferc.store.rows import Note
from pipeline.corpora._files import remaining_files
from pipeline.rows.utterances import Utterance
from pipeline.settings import Prepare


@dataclass(frozen=True, kw_only=True)
class RawCorpus:
    """Rows, classes and protocol of a raw corpus; everything that depends on the media is left for `prepare`.

    Dialogues are contiguous, utterances in order. `media` is relative to the raw folder and set wherever a clip is
    expected, present or not, and empty in all rows of a corpus without clips; `start_s` and `end_s` where the utterance
    lies in a longer file (`end_s` 0: up to its end); likewise `sound` with its span where the sound is a file of its
    own; `region` where the speaker is in a part of the picture; `has_audio` and `has_video` False.
    """

    classes: tuple[str, ...]  # class names; their order is the class ids
    protocol: str  # labels, splits and exclusions; two scores are comparable only under the same protocol
    utterances: list[Utterance]
    problems: list[Problem] = field(default_factory=list)  # faults in transcripts and labels, with their consequences
    # Shares of the annotators' votes by utterance id, in the order of the classes, with a sum of 1; rows may lack them.
    votes: Mapping[str, Sequence[float]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)  # rows dropped, promoted, merged, repaired or knowingly kept
    # The protocol claims that no speaker of the test split occurs in another split; `speaker` must then name persons,
    # across the whole corpus ("Ses01F", not "F").
    speaker_independent: bool = False
    # Tables that were read: `read` lists all other files below the raw folder that no row uses. None: the adapter does.
    tables: Collection[Path] | None = None


def read(raw: str | Path, settings: Prepare) -> RawCorpus:
    """Read a raw corpus with the adapter that `prepare` names; InputError if that fails, whatever is at fault."""
    verify_adapter(settings.adapter)
    module = importlib.import_module(f"{__name__}.{settings.adapter}")
    try:
        corpus = module.read(Path(raw), settings)
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, csv.Error) as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f", line {frame.lineno}" for frame in frames if frame.filename == module.__file__]
        raise InputError(
            f"{module.__file__}{''.join(lines[-1:])}: the adapter failed on {raw} ({type(error).__name__}: {error}). "
            "Mend the adapter, or the file that it was reading; --debug shows where it was."
        ) from error
    if not isinstance(corpus, RawCorpus):
        raise InputError(
            f"{module.__file__}: its read() gave {type(corpus).__name__}; expected a RawCorpus (see CONTRIBUTING.md)."
        )
    if corpus.tables is None:
        return corpus
    media = {Path(raw, file) for row in corpus.utterances for file in (row.media, row.sound) if file}
    return replace(corpus, problems=[*corpus.problems, *remaining_files(Path(raw), media.union(corpus.tables))])


def verify_adapter(adapter: str) -> None:
    """Raise InputError if there is no adapter of that name; `import` stands for features that are only imported."""
    if adapter == "import":
        raise InputError(
            "prepare.adapter: this corpus has no media to make features from; `dferc import FILE…` brings its "
            "features, and `dferc train --corpus NAME` trains on them. Leave it out of `corpora` in params.yaml."
        )
    # A leading underscore marks a helper module.
    known = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    if adapter not in known:
        raise InputError(
            f"prepare.adapter: no adapter {adapter!r}: pipeline/corpora/{adapter}.py does not exist; there are: "
            f"{', '.join(known)}.{did_you_mean(adapter, known)} Correct it in params.yaml, or write one (see "
            "CONTRIBUTING.md)."
        )
