"""Faults that people are told of: errors of the input or the run, and the problems that a problems.csv lists."""

import difflib
import itertools
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_COMPARED, _LONGEST = 2000, 100  # names, and characters of a name, that are compared for a suggestion
LISTED = 10  # faults of a file that its error message lists; the others are counted
NOT_USED = "not used"  # consequence of a problem that lists files which nothing was taken from


class InputError(ValueError):
    """A fault of the input or the run: what was found, what was expected, where, and the remedy."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of an input file and its consequence, a row of problems.csv; nothing is dropped silently."""

    where: str  # utterance id, dialogue, file, or another place
    file: str  # the file at fault, or empty; a corpus' files relative to its raw folder
    problem: str  # the fault, as `kind` or `kind: detail`
    consequence: str  # what was done about it

    @property
    def kind(self) -> str:
        """The problem without its detail; problems are counted by kind."""
        return self.problem.partition(": ")[0]


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return `" Did you mean 'full'?"` where a known name is close to `name` (1: equal), else an empty string."""
    candidates = [known_name for known_name in itertools.islice(known, _COMPARED) if len(known_name) <= _LONGEST]
    close = difflib.get_close_matches(str(name), candidates, n=1, cutoff=cutoff) if len(str(name)) <= _LONGEST else []
    return f" Did you mean {close[0]!r}?" if close else ""


def listed(items: Iterable[object], most: int = 20) -> str:
    """Return items separated by commas, at most `most` of them, then how many there are in all."""
    items = [f"{item!s:.60}" for item in items]
    return ", ".join(items[:most]) + (f", … ({len(items)} in all)" if len(items) > most else "")


def counted(number: int, thing: str) -> str:
    """Return `1 seed`, `5 seeds`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


class _Brief(reprlib.Repr):
    """`repr` of bounded length; the standard library's fails for a number of thousands of digits."""

    def __init__(self):
        super().__init__()
        self.maxstring = self.maxother = 100
        self.maxlevel = 3

    def repr_int(self, value: int, level: int) -> str:
        return repr(value) if value.bit_length() < 128 else f"a number of {value.bit_length():,} bits"


def brief(value: object) -> str:
    """Return a value as Python writes it, cut to some hundred characters: for messages about the files of others."""
    return _Brief().repr(value)


def explained(error: Exception) -> str | None:
    """Return the message of an error of the input, the machine or the memory; None for a fault of the program."""
    if isinstance(error, InputError | OSError):
        return str(error)
    # PyTorch's own errors of memory, of the CPU and of CUDA, are RuntimeErrors.
    full = any(of in str(error) for of in ("out of memory", "allocate memory", "enough memory", "_ALLOC_FAILED"))
    if isinstance(error, MemoryError) or isinstance(error, RuntimeError) and full:
        reason = f"the memory is too small ({brief(str(error))[1:-1]})"
        return f"{reason}. Close other programs, run fewer at once (--workers, if any), or choose smaller settings."
    return None


def refuse(where: object, faults: Sequence[str], remedy: str = "") -> None:
    """Raise InputError with the first faults of a file or folder, if there are any."""
    if faults:
        more = f"\n  … and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
        remedy = f"\n{remedy}" if remedy else ""
        raise InputError(f"{where}: {len(faults)} fault(s)\n  " + "\n  ".join(faults[:LISTED]) + more + remedy)
