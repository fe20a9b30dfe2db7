"""Errors for people: the input or the run is at fault."""

import difflib
from collections.abc import Iterable, Sequence

LISTED = 10  # faults of a file that its error message lists; the others are counted


class InputError(ValueError):
    """A fault of the input or the run: what was found, what was expected, where, and the remedy."""


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return `" Did you mean 'full'?"` where a known name is close to `name` (1: equal), else an empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=cutoff)
    return f" Did you mean {close[0]!r}?" if close else ""


def listed(items: Iterable[object], most: int = 20) -> str:
    """Return items separated by commas, at most `most` of them, then how many there are in all."""
    items = [f"{item!s:.60}" for item in items]
    return ", ".join(items[:most]) + (f", … ({len(items)} in all)" if len(items) > most else "")


def refuse(where: object, faults: Sequence[str], remedy: str = "") -> None:
    """Raise InputError with the first faults of a file or folder, if there are any."""
    if faults:
        more = f"\n  … and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
        remedy = f"\n{remedy}" if remedy else ""
        raise InputError(f"{where}: {len(faults)} fault(s)\n  " + "\n  ".join(faults[:LISTED]) + more + remedy)
