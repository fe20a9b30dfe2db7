"""Errors for people: the input or the run is at fault."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """The input or the run is at fault, not the program.

    The message says what was found, what was expected, in which file, dialogue or utterance, and how to mend it.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'full'?"` where a known name is close to `name`, else an empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
