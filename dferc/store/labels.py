"""A column of labels -> class ids: one set of rules for `prepare` and `dferc import`.

Missing values in any spelling are unlabelled. 1, 1.0 and "1" are one class, and so are names that differ in case,
spaces or Unicode's form. Whatever was taken for something else is a problem of the list, never silent.
"""

import difflib
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dferc.core.errors import LISTED, InputError, did_you_mean, listed, refuse
from dferc.store.cells import NULLS, fold, is_no_label, number_of, plain, storage_fault, tidy
from dferc.store.rows import UNLABELLED, Note

MANY = 100  # classes, from which on labels are taken for texts or ids unless each has several rows
_LONGEST_SLIP = 100  # characters of a name that is compared with others
RARE = 5  # rows of a class, at most, whose name may be a slip

_VOTE = re.compile(r"([^:;]++):\s*+([^\s:;]++)\s*+;?")  # of a cell such as `anger:2 joy:1`
_ROUNDED = 0.005 + 1e-9  # largest error of a share: tables round to two digits

_SCORES = re.compile(
    r"[\[({](?=.*[\d,:]).*[\])}]|[\d.eE+-]+(?:[\s,;|]+[\d.eE+-]+)+"
    r"|(?:[^:;]++:\s*+[\d.,]++[\s;]*+){2,}|[^\W\d].*?[\s:=(](?:[01]?[.,]\d+|\d+ ?%|\d+ ?/ ?\d+)\W*",  # `joy (0.8)`
    re.DOTALL,
)
_OTHER, _SCORE_TYPES = re.compile(r"\[[A-Za-z]\w*: "), re.compile(r"\[(list|dict|ndarray): ")  # see `_spelling`
_SEVERAL = re.compile(r"\s*[;|,/+&]\s*")
_WRAPPED = frozenset((1 << bits) - 1 for bits in (8, 16, 32, 64))  # -1 as an unsigned number

Problems = list[tuple[str, str]]  # (problem, consequence)


class Labels(NamedTuple):
    """Labels of a table, by row, and what had to be decided to read them."""

    ids: list[int]  # class ids, or `UNLABELLED`
    classes: tuple[str, ...]
    missing: Counter  # rows by spelling of the missing value; "" = an empty cell
    problems: Problems
    notes: list[Note]  # for the protocol card

    def names(self) -> list[str]:
        """Return the class name of each row; empty = unlabelled."""
        return [(*self.classes, "")[number] for number in self.ids]

    @property
    def missing_then(self) -> str:
        """The consequence of a missing label."""
        named = "; a class of this name must be declared" if any(self.missing.keys() - {""}) else ""
        return f"context only: in no loss and no score{named}"

    def missing_label(self, first: str) -> str:
        """Return the problem of the rows without a label, the first of which is `first`; empty if there are none."""
        spelled = ", ".join(f"{spelling!r:.30} {count}" for spelling, count in self.missing.most_common(6) if spelling)
        count = self.missing.total()
        how = f" (spelled {spelled})" if spelled else ""
        return f"no emotion label: {count} of {len(self.ids)}{how}, first {first}" if count else ""


def read_labels(
    values: Sequence[object],
    where: Callable[[int], str],
    *,
    file: object,
    option: str,
    declared: Sequence[str] = (),
    published: Sequence[str] = (),
) -> Labels:
    """Return the class ids of a column of labels, which may be names or whole numbers.

    Args:
        values: A cell per row, as the file has it.
        where: Names the place of a row in a message.
        file: The table, for messages.
        option: The setting that declares the classes, for messages.
        declared: Class names in order, by that setting; each must have a row.
        published: Class names in order, of a published corpus; any may lack rows. Without names, they are the column's.

    Raises:
        InputError: Labels that are no class, scores in place of classes, a declared class without a row, or one class
            alone.
    """
    known = tuple(map(tidy, declared or published))
    _verify_names(file, known, option)
    rows: dict[str, list[int]] = {}  # by spelling
    for row, value in enumerate(values):
        rows.setdefault(_spelling(value), []).append(row)
    index = {_key(name): number for number, name in enumerate(known)}
    keys = {spelling: _key(spelling) for spelling in rows}
    missing = {text for text, key in keys.items() if is_no_label(key) and key not in index}
    given = {text: key for text, key in keys.items() if text not in missing}
    names = set(given.values())
    faults = ((text, _no_class(text, names)) for text, key in given.items() if key not in index)
    remedy = f"A class of this name? Name it in {option}."
    refuse(file, [f"{_place(rows[text], where)}: {fault}" for text, fault in faults if fault], remedy)
    counts = Counter()
    for text, key in given.items():
        counts[key] += len(rows[text])
    numbers = {key: number for key in counts if (number := number_of(key)) is not None}
    as_numbers = bool(counts) and len(numbers) == len(counts) and not set(counts) & set(index)
    problems: Problems = []
    if as_numbers:
        index, known = _number_classes(numbers, known, problems)
    elif not known:
        known, index = _name_classes(rows, given)
    if unknown := [text for text, key in given.items() if key not in index]:
        faults = [_unknown(text, rows[text], where, known, problems) for text in unknown[:LISTED]]
        refuse(file, faults + [""] * (len(unknown) - len(faults)), _remedy(counts, option))
    spelled = listed(sorted(text for text in missing if text))
    taken = f" Taken for missing: {spelled}; name it in {option} if it is a class." if spelled else ""
    _verify_counts(file, counts, index, known, declared, option, problems, as_numbers, taken)
    problems += _spelling_problems(rows, given, numbers)
    if not (as_numbers or declared or published) and len(known) <= MANY:
        problems += _rare_lookalikes(counts, known, index)
    if numbers and not as_numbers and len(numbers) < len(counts):
        problems.append((f"numbers among the names of classes: {listed(sorted(numbers))}", "each is a class"))
    respelled = 0 if as_numbers else sum(len(rows[text]) for text, key in given.items() if text != known[index[key]])
    ids = [UNLABELLED] * len(values)
    for text, key in given.items():
        for row in rows[text]:
            ids[row] = index[key]
    why = "case, spaces or Unicode's form of the name"
    notes = [Note(action="merged", what="labels of another spelling", count=respelled, why=why)] if respelled else []
    return Labels(ids, known, Counter({text: len(rows[text]) for text in missing}), problems, notes)


def read_votes(
    values: Sequence[object] | np.ndarray, classes: Sequence[str], where: Callable[[int], str], file: object
) -> np.ndarray:
    """Return the shares of the annotators' votes of each row, [N, C] float64; NaN in rows without votes.

    Args:
        values: A cell per row, such as `anger:2 joy:1` (classes that are not named have 0; empty = no votes); or an
            array [N, C] in the order of the classes (a row of NaN = no votes). Counts are whole numbers, shares sum to
            1.
        classes: Class names in order.
        where: Names the place of a row in a message.
        file: The table, for messages.

    Raises:
        InputError: Votes that are no counts and no shares, for another number of classes, or for a class that is none.
    """
    if isinstance(values, np.ndarray) and values.ndim == 2:
        if values.shape[1] != len(classes) or values.dtype.kind not in "biuf":
            raise InputError(
                f"{file}: votes are {values.shape[1]} columns of {values.dtype}; expected a number for each of the "
                f"{len(classes)} classes, in their order: {', '.join(classes) or 'none, for want of labels'}."
            )
        rows, faults = values.astype(np.float64), []
    else:
        index = {fold(name): number for number, name in enumerate(classes)}
        rows, faults = np.full((len(values), len(classes)), np.nan), []
        for row, cell in enumerate(values):
            text = "" if plain(cell) is None else str(cell).strip()
            if not text or text in NULLS:
                continue
            votes = _VOTE.findall(text) if re.fullmatch(f"(?:{_VOTE.pattern})*+", text) else []
            pairs = [(fold(name), number_of(count)) for name, count in votes]
            names = [name for name, _ in pairs]
            if not pairs or None in [count for _, count in pairs]:
                faults.append(f"{where(row)}: the votes are {text!r:.60}; expected class:count, such as anger:2 joy:1")
            elif unknown := [name for name in names if name not in index]:
                known = listed(classes, 30) or "none, for want of labels"
                nearest = did_you_mean(unknown[0], classes)
                faults.append(f"{where(row)}: votes for {unknown[0]!r:.40}, no class of {known}.{nearest}")
            elif len(set(names)) < len(names):
                faults.append(f"{where(row)}: the votes {text!r:.60} name a class twice")
            else:
                rows[row] = 0.0
                rows[row, [index[name] for name in names]] = [count for _, count in pairs]
    with np.errstate(invalid="ignore", over="ignore"):
        total_N, whole_N = rows.sum(axis=1), (rows == np.round(rows)).all(axis=1)
        given_N, off_N = ~np.isnan(rows).all(axis=1), np.abs(total_N - 1) > _ROUNDED * len(classes)
        for wrong_N, fault in (
            (~np.isfinite(total_N), "a value or their sum is no finite number"),
            ((rows < 0).any(axis=1), "a value is negative"),
            (total_N == 0, "all are 0"),
            (~whole_N & off_N, "they are neither whole counts nor shares with a sum of 1"),
        ):
            numbers = np.flatnonzero(given_N & wrong_N)
            faults += [f"{where(row)}: the votes are {rows[row].tolist()!s:.80}: {fault}" for row in numbers]
            given_N &= ~wrong_N
        refuse(file, faults, "Correct them; leave the votes of a row empty to train it on its label.")
        return rows / total_N[:, None]


def describe_votes(votes_NC: np.ndarray, ids: Sequence[int], where: Callable[[int], str]) -> Problems:
    """Return problems, with consequences, of votes [N, C] beside class ids: one is missing, or they disagree."""
    labelled_N, given_N = np.asarray(ids) >= 0, ~np.isnan(votes_NC[:, 0])
    of_label_N = np.take_along_axis(votes_NC, np.maximum(ids, 0)[:, None], axis=1)[:, 0]
    without = np.flatnonzero(labelled_N & ~given_N)
    fewer = np.flatnonzero(labelled_N & given_N & (of_label_N < np.nan_to_num(votes_NC).max(axis=1)))
    beyond = np.flatnonzero(~labelled_N & given_N)
    found = (
        (without, "no votes beside a label", "trained on the label"),
        (fewer, "label of fewer votes than another class", "scored by the label"),
        (beyond, "votes without a label", "context only, as without votes"),
    )
    return [(f"{what}: {len(rows)}, first {where(rows[0])}", then) for rows, what, then in found if len(rows)]


def _spelling(value: object) -> str:
    """Return the label as text; of anything that cannot name a class, its type and the beginning of its content."""
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return tidy(value)
    if isinstance(value, int) or isinstance(value, float) and math.isfinite(value):
        return str(value)
    return f"[{type(value).__name__}: {value!s:.50}]"


def _key(spelling: str) -> str:
    """Return the form in which labels are compared: numbers by value, names folded."""
    number = number_of(spelling)
    return fold(spelling) if number is None else str(number)


def _place(rows: Sequence[int], where: Callable[[int], str]) -> str:
    return where(rows[0]) + (f" and {len(rows) - 1} more" if rows[1:] else "")


def _no_class(text: str, names: set[str]) -> str:
    """Return why a text cannot name one class; empty where it can."""
    if fault := storage_fault(text):
        return f"the label holds {fault}"
    number = number_of(text)
    if _OTHER.match(text) and not _SCORE_TYPES.match(text):
        return f"the label is {text!r:.60}; expected a name or a whole number"
    if isinstance(number, float) or number is None and _SCORES.fullmatch(text):
        kind = "a score" if number is not None else "one-hot or soft scores"
        return f"the label is {text!r:.60}: {kind}, expected one class. Write the class of the highest score"
    parts = [part for part in _SEVERAL.split(text) if part]
    keys = {_key(part) for part in parts}
    if number is None and len(parts) > 1 and (keys <= names or keys & names and re.search("[;|,]", text)):
        return f"the label {text!r:.60} names {len(parts)} classes, expected one"
    return ""


def _verify_names(file: object, names: Sequence[str], option: str) -> None:
    """Check that class names are words, and differ by more than case, spaces, Unicode's form or a number's zeros."""
    folded = [_key(name) for name in names]
    faults = [f"the class {name!r:.60} holds {fault}" for name in names if (fault := storage_fault(name))]
    faults += [f"the class {name!r:.60} is no name" for name, key in zip(names, folded) if not key]
    faults += [f"the class {name!r:.60} is there twice" for name, key in zip(names, folded) if folded.count(key) > 1]
    refuse(file, faults, f"Correct {option}.")


def _number_classes(
    numbers: dict[str, float | int], known: tuple[str, ...], problems: Problems
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the class id of each number, and the class names; numbers that are no class are left out."""
    usable = {key: number for key, number in numbers.items() if number >= 0 and not _is_wrapped(number, numbers)}
    least, most = min(usable.values(), default=0), max(usable.values(), default=0)
    if known:
        first = int(least == 1 and most == len(known))
        if first:
            problems.append((f"labels numbered from 1: 1 to {most}", f"1 is {known[0]}, {most} is {known[-1]}"))
        elif least > 0 and most < len(known):
            problems.append((f"labels from {least} to {most} for {len(known)} classes", ""))
            return {}, known
        return {key: number - first for key, number in usable.items() if number - first < len(known)}, known
    ordered = sorted(usable, key=usable.__getitem__)
    if least > 0:
        problems.append((f"labels numbered from {least}: {least} to {most}", "the classes are named by their numbers"))
    if usable and most - least + 1 > len(usable):
        gap = f"labels with gaps in their numbers: {listed(ordered)}"
        problems.append((gap, "the classes are those that have a row"))
    return {key: number for number, key in enumerate(ordered)}, tuple(ordered)


def _is_wrapped(number: float | int, numbers: dict[str, float | int]) -> bool:
    """Return whether a number is -1 kept as an unsigned one: the largest of its type, far from all others."""
    return number in _WRAPPED and str(number - 1) not in numbers


def _name_classes(rows: dict[str, list[int]], given: dict[str, str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the classes, sorted, each in its most frequent spelling, and the class id of each folded name."""
    spelled: dict[str, str] = {}
    for text in sorted(given, key=lambda text: (-len(rows[text]), text)):
        spelled.setdefault(given[text], text)
    classes = tuple(sorted(spelled.values()))
    return classes, {given[text]: number for number, text in enumerate(classes)}


def _unknown(text: str, rows: Sequence[int], where: Callable, known: Sequence[str], problems: Problems) -> str:
    number = number_of(text)
    ambiguous = next((f" Are {problem} counted from 0 or from 1?" for problem, then in problems if not then), "")
    if number is not None and number in _WRAPPED:
        ambiguous = " Is it -1, kept as an unsigned number?"
    numbers = "" if any(number_of(name) is not None for name in known) else f" (or its number, 0 to {len(known) - 1})"
    expected = f"one of {listed(known, 30)}{numbers}" if known else "a number from 0"
    nearest = did_you_mean(text, known) if number is None else ""
    shown = text if number is not None else f"{text!r:.60}"
    return f"{_place(rows, where)}: the label is {shown}; expected {expected}, or nothing.{nearest}{ambiguous}"


def _remedy(counts: Counter, option: str) -> str:
    numbers = [number_of(key) for key in counts]
    if counts and None not in numbers:
        return f"Its numbers are {min(numbers)} to {max(numbers)}: {option} must name a class for each, from 0."
    return f"Its labels are {listed(sorted(counts))}: correct them, or name all of them in {option}."


def _verify_counts(
    file: object,
    counts: Counter,
    index: dict[str, int],
    known: Sequence[str],
    declared: Sequence[str],
    option: str,
    problems: Problems,
    as_numbers: bool,
    taken: str,
) -> None:
    """Refuse one class alone, and declared classes without a row; list published classes without one."""
    if not counts:
        return
    with_rows = {index[key] for key in counts}
    without = [name for number, name in enumerate(known) if number not in with_rows]
    if len(with_rows) == 1:
        only = known[next(iter(with_rows))]
        raise InputError(
            f"{file}: every labelled row has the emotion {only!r} ({counts.total()} rows); two classes are needed to "
            "learn anything. Is it the right column? Leave it empty for predictions of a model trained elsewhere."
            f"{taken}"
        )
    if len(known) > MANY and 4 * len(known) > counts.total() and not declared:
        raise InputError(
            f"{file}: {len(known)} different labels in {counts.total()} rows, such as {listed(known, 3)}. Is it the "
            f"right column? If they are classes, name them in {option}."
        )
    if without and declared:
        numbered = " Are the labels numbered from 0, in the order of the classes?" if as_numbers else ""
        raise InputError(
            f"{file}: no row has the class {listed(without)}, which {option} names; found {listed(sorted(counts))}. "
            f"Correct the labels, or take it out of {option}.{numbered}{taken}"
        )
    if without:
        problems.append((f"classes without a row: {listed(without)}", "kept, as published; never learned"))


def _rare_lookalikes(counts: Counter, known: Sequence[str], index: dict[str, int]) -> Problems:
    """Return a problem per class of few rows whose name resembles a more frequent one's: `jyo` beside `joy`."""
    problems = []
    for key, count in counts.items():
        more = [other for other in counts if counts[other] >= 10 * count or count == 1 < counts[other]]
        frequent = [other for other in more if len(other) <= _LONGEST_SLIP]
        if count <= RARE and len(key) <= _LONGEST_SLIP and (near := difflib.get_close_matches(key, frequent, n=1)):
            name, like = known[index[key]], known[index[near[0]]]
            problem = f"rare class that resembles another: {name!r} {count}, {like!r} {counts[near[0]]}"
            problems.append((problem, "kept as a class of its own; correct it, if it is a slip"))
    return problems


def _spelling_problems(rows: dict[str, list[int]], given: dict[str, str], numbers: dict[str, float | int]) -> Problems:
    """Return a problem per class that has several spellings."""
    spellings: dict[str, list[str]] = {}
    for text, key in given.items():
        spellings.setdefault(key, []).append(text)
    problems = []
    for key, texts in spellings.items():
        if len(texts) > 1:
            counted = ", ".join(f"{text!r} {len(rows[text])}" for text in sorted(texts)[:6])
            what = "number" if key in numbers else "class"
            problems.append((f"one {what} in several spellings: {counted}", "one class"))
    return problems
