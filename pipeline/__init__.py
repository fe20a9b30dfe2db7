"""Stage 1 of DF-ERC: media -> features. Faulty input raises `dferc.core.errors.InputError` with place and remedy.

>>> from pipeline import Recogniser
>>> Recogniser.load("models/meld.dferc")("talk.mp4").to_json("talk.json")
"""

import importlib

import dferc.core  # noqa: F401 - sets how threads wait, before torch is imported anywhere

__all__ = ["Recogniser"]


def __getattr__(name: str):
    """Import `Recogniser` when it is asked for: the stages need only parts of what it imports."""
    if name == "Recogniser":
        return importlib.import_module("pipeline.video.recogniser").Recogniser
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
