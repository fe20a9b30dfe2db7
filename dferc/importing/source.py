"""One feature file, whatever its format, as dialogues: the common form that layouts and tables are turned into."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dferc.core.errors import InputError
from dferc.importing.corpora import KNOWN_FILES
from dferc.importing.readers.pickles import MAX_GROWTH, SPARE_BYTES
from dferc.store.rows import Note


@dataclass(frozen=True, kw_only=True)
class About:
    """A file, named: what stands in the identity of every feature made from it."""

    path: Path
    bytes: int
    sha256: str
    git_blob: str
    layout: str = ""

    @property
    def known_as(self) -> str:
        """Whose file it is, by its git blob hash, or empty."""
        return KNOWN_FILES.get(self.git_blob, "")


@dataclass(frozen=True, kw_only=True)
class Source:
    """What one file holds; every mapping is by dialogue, its values one per utterance.

    Attributes:
        corpus: of `known.CORPORA`, or empty where the file does not say.
        classes: class names where the file has them.
        splits: train, validation or test, by dialogue.
        labels: class ids; as class names in a table, with `classes` saying their order.
        utterances: positions (int) or utterance ids (str) where the file has them.
        features: [n, D] float32 by modality; the modality `?` is to be told by the user or by its width.
        vectors: [D] float32 by modality and utterance id, in files that know utterances and no dialogues.
    """

    about: About
    corpus: str
    classes: tuple[str, ...] = ()
    splits: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, list[int]] = field(default_factory=dict)
    utterances: Mapping[str, list] = field(default_factory=dict)
    speakers: Mapping[str, list[str]] = field(default_factory=dict)
    texts: Mapping[str, list[str]] = field(default_factory=dict)
    features: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    vectors: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    problems: tuple[tuple[str, str, str], ...] = ()
    """(where, problem, consequence)."""
    notes: tuple[Note, ...] = ()
    """What was mended, for the protocol card."""

    @property
    def path(self) -> Path:
        """The file."""
        return self.about.path

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those it has features of, `?` where it does not say."""
        return (*self.features, *self.vectors)

    def width(self, modality: str) -> int:
        """D of a modality."""
        return next(iter((self.features.get(modality) or self.vectors[modality]).values())).shape[-1]


def about_file(path: Path) -> About:
    """Hash a file, by SHA-256 and as git does (SHA-1 over a header and the content)."""
    size = path.stat().st_size
    sha256, git_blob = hashlib.sha256(), hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            git_blob.update(chunk)
    return About(path=path, bytes=size, sha256=sha256.hexdigest(), git_blob=git_blob.hexdigest())


def a_type(value: object) -> str:
    """Return the name of a value's type with its article; never its content, which may be enormous."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def text_of(value: object) -> str | None:
    """Return a text of either Python as `str` (Python 2's as latin-1); None for anything else."""
    return str(value, "latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else None


def kind(value: object) -> str:
    """What a value is, in a few words; never its content, which may be enormous."""
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return f"{a_type(value)} of {len(value)}"
    return a_type(value)


def rows_of(value: object, where: str) -> list:
    """The utterances of one dialogue, from a list, a tuple or an array.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(value, np.ndarray) and value.ndim:
        return value.tolist() if value.dtype == object else list(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    raise InputError(f"{where}: expected a list of utterances, found {kind(value)}.")


def vector_of(value: object) -> np.ndarray | None:
    """A vector [D] float32 from a list of numbers or an array [D] or [1, D]; None where it is neither."""
    if isinstance(value, np.ndarray):
        if value.ndim == 2 and len(value) == 1:
            value = value[0]
        if value.dtype == object and value.ndim == 1:
            return vector_of(value.tolist())
        if value.ndim != 1 or value.dtype.kind not in "biuf":
            return None
    elif isinstance(value, (list, tuple)):
        if any(type(part) not in (float, int, bool) for part in value):
            return None
    else:
        return None
    with np.errstate(over="ignore"):  # beyond float32 is inf, which is marked as absent later
        return np.asarray(value, dtype=np.float32)


def to_matrices(values: Mapping[str, object], about: About, what: str) -> dict[str, np.ndarray]:
    """Features [n, D] float32 by dialogue, of one width.

    Raises:
        InputError: an utterance has no vector, widths disagree, or the file blows up beyond `MAX_GROWTH`.
    """
    rows = {key: rows_of(value, f"{about.path}, {what} of dialogue {key}") for key, value in values.items()}
    first = next((vector_of(row) for utterances in rows.values() for row in utterances), None)
    width = 0 if first is None else len(first)
    needed, allowed = 4 * width * sum(map(len, rows.values())), SPARE_BYTES + MAX_GROWTH * about.bytes
    if needed > allowed:
        raise InputError(
            f"{about.path}: its {what} would fill {needed >> 20} MiB, at most {allowed >> 20} are expected of "
            f"a file of {about.bytes} bytes: it repeats the same values by reference. Save each utterance's own."
        )
    return {key: _to_matrix(utterances, width, about, what, key) for key, utterances in rows.items()}


def _to_matrix(rows: list, width: int, about: About, what: str, key: str) -> np.ndarray:
    matrix = np.empty((len(rows), width), dtype=np.float32)
    for place, row in enumerate(rows):
        vector = vector_of(row)
        if vector is None:
            raise InputError(
                f"{about.path}, {what} of dialogue {key}, utterance {place}: found {kind(row)}, expected one vector of "
                f"{width} numbers."
            )
        if len(vector) != width:
            raise InputError(
                f"{about.path}, {what} of dialogue {key}, utterance {place}: {len(vector)} values, expected {width} as "
                "in the file's first dialogue. One modality has one width: extract the dialogue again, or leave it out."
            )
        matrix[place] = vector
    return matrix


_CP1252 = {code: bytes([code]).decode("cp1252", errors="ignore") or chr(code) for code in range(0x80, 0xA0)}
_CP1252[0xA0] = " "


def clean_text(value: object) -> str | None:
    """A transcript in Unicode, its cp1252 punctuation mended; Python 2's may be UTF-8 or cp1252. None: no text."""
    if isinstance(value, bytes):
        try:
            return str(value, "utf-8").translate(_CP1252).strip()
        except UnicodeDecodeError:
            pass  # then it is cp1252, which the next lines read
    text = text_of(value)
    return None if text is None else text.translate(_CP1252).strip()


def is_cp1252(value: object) -> bool:
    """Whether a transcript has cp1252's punctuation read as something else, which `clean_text` mends."""
    text = text_of(value)
    return text is not None and any(mark in _CP1252 for mark in map(ord, text))


def check_same_length(lengths: Mapping[str, Mapping[str, Iterable]], path: Path) -> None:
    """Every column of a file must have the same dialogues, and as many utterances in each.

    Raises:
        InputError: with the first dialogue where two columns disagree.
    """
    (first, expected), *others = lengths.items()
    for name, column in others:
        missing = sorted(set(expected) ^ set(column))
        if missing:
            raise InputError(
                f"{path}: {first} has {len(expected)} dialogues, {name} {len(column)}; the first that only one has is "
                f"{missing[0]}. The file contradicts itself: get it again, or make it anew."
            )
        for key in expected:
            if len(expected[key]) != len(column[key]):
                raise InputError(
                    f"{path}, dialogue {key}: {len(expected[key])} utterances in {first}, {len(column[key])} in "
                    f"{name}. The file contradicts itself: get it again, or make it anew."
                )
