"""Paths of an extractor: the options that the three commands share."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from dferc.core.console import PATH, CorpusName, shown_option
from dferc.core.files import SET_NAME
from pipeline.extraction.scratch import DEFAULT_PATH


@dataclass(frozen=True, kw_only=True)
class Places:
    """Paths that a stage reads and writes; see `stage_options` for the defaults."""

    corpus: str
    set: str | None  # name of a further feature set; None = the first of its modality
    params: Path
    raw: Path
    table: Path
    utterances: Path
    out: Path
    problems: Path
    log: Path
    scratch: Path


def stage_options(modality: str) -> Callable:
    """Decorate a click command with path options; it receives them as `Places`, with defaults by corpus name."""
    defaults = {
        "raw": ("data/raw/{corpus}", "Folder of the raw corpus."),
        "table": ("data/{corpus}/utterances.csv", "Utterances, from pipeline.prepare."),
        "utterances": ("features/{corpus}/utterances.h5", "The same utterances in the trainer's format."),
        "out": ("features/{corpus}/{set}.h5", "Features to write."),
        "problems": ("data/{corpus}/problems_extract_{set_}.csv", "Table of problems to write."),
        "log": ("data/{corpus}/extract_{set_}.json", "Versions, counts and times of the last run, to write."),
    }
    shown = {"corpus": "{corpus}", "set": modality, "set_": modality}

    def decorate(command: Callable) -> Callable:
        @functools.wraps(command)
        def wrapped(*args, corpus: str, set_name: str | None, params: Path, scratch: Path, **options):
            if set_name is not None and not (set_name.startswith(f"{modality}/") and re.match(SET_NAME, set_name)):
                raise click.BadParameter(f"{set_name!r:.80}: expected {modality}/NAME, such as {modality}/second.")
            names = {"corpus": corpus, "set": set_name or modality, "set_": (set_name or modality).replace("/", "_")}
            paths = {name: options.pop(name) or Path(usual.format(**names)) for name, (usual, _) in defaults.items()}
            places = Places(corpus=corpus, set=set_name, params=params, scratch=scratch, **paths)
            return command(*args, places=places, **options)

        declared = [
            click.option("--corpus", type=CorpusName(), required=True, help="Name of the corpus block in params.yaml."),
            click.option("--set", "set_name", help=f"A further set, {modality}/NAME, by the settings in `sets`."),
            shown_option("--params", type=PATH, default="params.yaml", help="Settings."),
            *(
                click.option(f"--{name}", type=PATH, help=f"{text}  [default: {default.format(**shown)}]")
                for name, (default, text) in defaults.items()
            ),
            shown_option("--scratch", type=PATH, default=DEFAULT_PATH, help="Finished work."),
        ]
        return functools.reduce(lambda function, option: option(function), reversed(declared), wrapped)

    return decorate
