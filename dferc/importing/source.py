"""One feature file, whatever its format, as dialogues: the common form that pickles and tables are turned into."""

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dferc.core.errors import InputError
from dferc.core.files import regular_file
from dferc.importing.corpora import KNOWN_FILES, MELD, MELD_NAMES, MELD_SPLITS, meld_dialogue
from dferc.importing.readers.pickles import MAX_GROWTH, SPARE_BYTES
from dferc.store.cells import CP1252, fold, tidy
from dferc.store.rows import Note, Utterances


@dataclass(frozen=True, kw_only=True)
class About:
    """Name and hashes of a file: the identity of every feature made from it."""

    path: Path
    bytes: int
    sha256: str
    git_blob: str
    layout: str = ""

    def __str__(self) -> str:
        return str(self.path)  # with which messages begin

    @property
    def known_as(self) -> str:
        """The published file that has this git blob hash, or empty."""
        return KNOWN_FILES.get(self.git_blob, "")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Content of one file. Every mapping is by dialogue, its values one per utterance."""

    about: About
    corpus: str  # a name of `corpora.CORPORA`, or empty where the file does not show it
    classes: tuple[str, ...] = ()
    splits: Mapping[str, str] = field(default_factory=dict)  # train, validation or test, by dialogue
    labels: Mapping[str, list[int]] = field(default_factory=dict)
    utterances: Mapping[str, list] = field(default_factory=dict)
    """Positions (int) or utterance ids (str) where the file has them."""
    votes: Mapping[str, np.ndarray] = field(default_factory=dict)  # shares [n, C] by dialogue; NaN where there are none
    speakers: Mapping[str, list[str]] = field(default_factory=dict)
    texts: Mapping[str, list[str]] = field(default_factory=dict)
    features: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    """[n, D] float32 by modality; `?` is a modality that neither the file's names nor its width show."""
    vectors: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    """[D] float32 by modality and utterance id, in files that know utterances and no dialogues."""
    problems: tuple[tuple[str, str, str], ...] = ()  # (where, problem, consequence)
    notes: tuple[Note, ...] = ()  # repairs, for the protocol card
    counted: bool = False  # its numbers of utterances do but count them: they show no gaps, and nothing that lacks
    rows: Utterances | None = None  # all of the utterances, where `prepare` has listed them

    @property
    def path(self) -> Path:
        """The file."""
        return self.about.path

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that the file has features of."""
        return (*self.features, *self.vectors)

    def width(self, modality: str) -> int:
        """Return D of a modality."""
        return next(iter((self.features.get(modality) or self.vectors[modality]).values())).shape[-1]

    def labels_by(self, classes: tuple[str, ...], dialogue: str) -> list[int]:
        """Return a dialogue's labels as ids of these classes: another file may have them in another order."""
        index, labels = {fold(name): number for number, name in enumerate(classes)}, self.labels.get(dialogue, [])
        if self.classes == classes or not index.keys() & set(map(fold, self.classes)):  # numbers beside names
            return list(labels)
        return [label if label < 0 else index.get(fold(self.classes[label]), len(classes)) for label in labels]


FILE_ORDER = "rows in the order of the file; a column `position` orders them"  # consequence of a problem of names


def renamed(given: Mapping, ours: Mapping[str, str]) -> dict:
    """Return a mapping by our spelling of its names, where theirs is another Unicode form of it, as a Mac writes.

    Zeros before a number do not count, unless they alone tell two names apart.
    """

    def unpadded(name: str) -> str:
        return re.sub("(?<![0-9])0+(?=[0-9])", "", tidy(name))

    form = unpadded if all(len(set(map(unpadded, names))) == len(names) for names in (given, ours)) else tidy
    forms = {form(name): name for name in ours}
    names = {name: name if name in ours else forms.get(form(name), name) for name in given}
    return {ours.get(names[name], name): value for name, value in given.items()}


def by_our_dialogues(source: Source, base: Source) -> Source:
    """Return a source by the base's names of dialogues."""
    dialogues = {name: name for name in base.splits}
    if not source.splits:  # its numbers of dialogues have no split before them, as ours have
        numbers = [name.rpartition("_") for name in base.splits if name.rpartition("_")[0] in MELD_SPLITS]
        counts = Counter(number for *_, number in numbers)
        dialogues |= {number: f"{split}_{number}" for split, _, number in numbers if counts[number] == 1}
    ours = {name.removeprefix(f"{MELD_NAMES[split]}_"): name for name, split in base.splits.items()}
    if source.corpus == MELD.name != base.corpus and not source.splits and len(ours) == len(base.splits):
        theirs = {meld_dialogue(key)[0]: str(key) for key in range(1433)}  # keys taken for MELD's
        if {theirs.get(name) for given in source.features.values() for name in given} <= ours.keys():
            dialogues |= {name: ours[number] for name, number in theirs.items() if number in ours}
    for name, split in base.splits.items():
        number = name.removeprefix(f"{MELD_NAMES[split]}_")
        if number.isdecimal():  # kept as a number it has its split before it, kept as text it has none
            dialogues.setdefault(f"{MELD_NAMES[split]}_{number}", name)
            if source.splits.get(number) == split:
                dialogues.setdefault(number, name)
    parts = {name: renamed(getattr(source, name), dialogues) for name in ("labels", "utterances", "speakers", "texts")}
    parts["features"] = {name: renamed(given, dialogues) for name, given in source.features.items()}
    return replace(source, **parts)


def are_numbers(names: Iterable) -> bool:
    """Return whether a file names all of these utterances by numbers."""
    return all(isinstance(name, int) for name in names)


def stepped(name: int | str, by: int) -> int | str:
    """Return a number, or a name with the number at its end, with this added: `talk_09` becomes `talk_10`."""
    if isinstance(name, int):
        return name + by
    match = re.fullmatch(r"(.*?)([0-9]{1,18})", name, re.DOTALL)
    return f"{match[1]}{int(match[2]) + by:0{len(match[2])}}" if match else name


def _do_count(source: Source) -> bool:
    """Return whether numbers of utterances run without a gap in each dialogue."""
    dialogues = source.utterances.values()
    return all(are_numbers(of) and [name - of[0] for name in of] == [*range(len(of))] for of in dialogues)


def counted_alike(source: Source, base: Source) -> tuple[Source, int]:
    """Return a source whose numbers of utterances are counted as the base's, from 0 or from 1, and what was added.

    It is what makes more of the numbers equal; where nothing gains by it, 0.
    """
    known: Mapping[str, list] = base.utterances
    if base.rows is not None:  # names, and their places
        known = {dialogue: [] for dialogue in base.splits}
        for dialogue, position in zip(base.rows.dialogue_id, base.rows.position.tolist()):
            known[dialogue].append(position)
    alike = all(len(theirs) == len(base.labels.get(name, theirs)) for name, theirs in source.utterances.items())
    source = replace(source, counted=alike and (_do_count(source) or _do_count(base)))

    def equal(by: int, ours: Mapping[str, list]) -> int:
        given = source.utterances.items()
        return sum(len({str(stepped(n, by)) for n in of} & {*map(str, ours.get(each, ()))}) for each, of in given)

    # Numbers that run on are names.
    if not (added := max((0, 1, -1), key=lambda by: max(equal(by, known), equal(by, base.utterances)))):
        return source, 0
    renumbered = {dialogue: [stepped(name, added) for name in theirs] for dialogue, theirs in source.utterances.items()}
    return replace(source, utterances=renumbered), added


def numbered_by(source: Source, guide: Source) -> Source:
    """Return a source whose numbers of utterances are counted as the corpus's own list does; a problem says so."""
    renumbered, added = counted_alike(source, guide)
    problem = f"utterances counted from another number than in {guide.path.name}"
    problems = (*source.problems, (source.path.name, problem, f"{added:+} to each"))
    return replace(renumbered, problems=problems) if added else source


def places_in(
    source: Source, base: Source, dialogue: str, ids: Sequence[str], positions: Sequence[int]
) -> list[int | None] | None:
    """Return where a source has each utterance of a dialogue, by the ids of both (None: nowhere).

    None in place of the list: it has no ids, or others; then utterances can be joined by their place alone.
    """
    theirs, known = source.utterances.get(dialogue), base.utterances.get(dialogue)
    if theirs is None:
        return None
    numbered = are_numbers(theirs)
    place = {str(name): number for number, name in enumerate(theirs)}
    for names in (known or (), positions if numbered else ids):  # the base's own, and those of the corpus
        found = [place.get(str(name)) for name in names]
        if set(place) == set(map(str, names)):
            return found
    if known is None or source.counted or numbered != are_numbers(known) or set(found) == {None}:
        return None
    labels = source.labels_by(base.classes, dialogue)
    by_id = [label if where is None else labels[where] for label, where in zip(labels, found)]
    in_place = len(theirs) == len(found) and labels == base.labels[dialogue] != by_id
    return None if in_place else found  # the same labels in the same order, and in no other


def about_file(path: Path) -> About:
    """Hash a file, by SHA-256 and as git does (SHA-1 over a header and the content)."""
    size = regular_file(path).stat().st_size
    sha256, git_blob = hashlib.sha256(), hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            git_blob.update(chunk)
    return About(path=path, bytes=size, sha256=sha256.hexdigest(), git_blob=git_blob.hexdigest())


def kind(value: object) -> str:
    """Describe a value in a few words; never its content, which may be enormous."""
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    name = type(value).__name__
    name = f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
    return f"{name} of {len(value)}" if isinstance(value, (list, tuple, dict, set, frozenset)) else name


def rows_of(value: object, where: str) -> list:
    """Return the utterances of one dialogue, from a list, a tuple or an array."""
    if isinstance(value, np.ndarray) and value.ndim:
        return value.tolist() if value.dtype == object else list(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    raise InputError(f"{where}: expected a list of utterances, found {kind(value)}.")


def vector_of(value: object) -> np.ndarray | None:
    """Return a vector [D] float32 from a list of numbers or an array [D] or [1, D]; None where it is neither."""
    if isinstance(value, np.ndarray):
        value = value[0] if value.ndim == 2 and len(value) == 1 else value
        if value.dtype == object and value.ndim == 1:
            return vector_of(value.tolist())
        if value.ndim != 1 or value.dtype.kind not in "biuf":
            return None
    elif not isinstance(value, (list, tuple)) or any(type(part) not in (float, int, bool) for part in value):
        return None
    with np.errstate(over="ignore"):  # beyond float32 is inf, which is marked as absent later
        return np.asarray(value, dtype=np.float32)


def verify_growth(about: About, needed: int, what: str) -> None:
    """Check that the values read from a file do not fill far more memory than the file's size explains."""
    if needed > (allowed := SPARE_BYTES + MAX_GROWTH * about.bytes):
        raise InputError(
            f"{about}: {what} would fill {needed >> 20} MiB, at most {allowed >> 20} are expected of a file of "
            f"{about.bytes} bytes: it repeats the same values by reference. Save each utterance's own."
        )


def to_matrices(values: Mapping[str, object], about: About, what: str) -> dict[str, np.ndarray]:
    """Return features [n, D] float32 by dialogue, of one width, not far larger than the file."""
    rows = {key: rows_of(value, f"{about}, {what} of dialogue {key}") for key, value in values.items()}
    first = next((vector_of(row) for utterances in rows.values() for row in utterances), None)
    width = 0 if first is None else len(first)
    verify_growth(about, 4 * width * sum(map(len, rows.values())), f"its {what}")
    matrices = {key: np.empty((len(utterances), width), dtype=np.float32) for key, utterances in rows.items()}
    for key, matrix in matrices.items():
        for place, row in enumerate(rows[key]):
            vector, where = vector_of(row), f"{about}, {what} of dialogue {key}, utterance {place}"
            if vector is None:
                raise InputError(f"{where}: found {kind(row)}, expected one vector of {width} numbers.")
            if len(vector) != width:
                raise InputError(
                    f"{where}: {len(vector)} values, expected {width} as in the file's first dialogue. One modality "
                    "has one width: extract the dialogue again, or leave it out."
                )
            matrix[place] = vector
    return matrices


def text_of(value: object) -> str | None:
    """Return a text of either Python as `str` (Python 2's as latin-1); None for anything else."""
    return str(value, "latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else None


def clean_text(value: object) -> str | None:
    """Return a transcript with its cp1252 punctuation repaired; Python 2's may be UTF-8 or cp1252. None: no text."""
    text = text_of(value)
    if isinstance(value, bytes):
        with contextlib.suppress(UnicodeDecodeError):  # else it is cp1252
            text = str(value, "utf-8")
    return None if text is None else text.translate(CP1252).strip()


def is_cp1252(value: object) -> bool:
    """Return whether a transcript has cp1252's punctuation read as something else, which `clean_text` repairs."""
    text = text_of(value)
    return text is not None and any(mark in CP1252 for mark in map(ord, text))
