"""Errors for people: the input or the run is at fault."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A fault of the input or the run, not of the program.

    The message names what was found, what was expected, in which file, dialogue or utterance, and the remedy.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'full'?"` where a known name is close to `name`, else an empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
