"""Paths of an extractor: the options that the three commands share."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from dferc.core.console import CorpusName
from pipeline.extraction.scratch import DEFAULT_PATH


@dataclass(frozen=True, kw_only=True)
class Places:
    """Paths that a stage reads and writes; see `stage_options` for the defaults."""

    corpus: str
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
        "out": (f"features/{{corpus}}/{modality}.h5", "Features to write."),
        "problems": (f"data/{{corpus}}/problems_extract_{modality}.csv", "Table of problems to write."),
        "log": (f"data/{{corpus}}/extract_{modality}.json", "Versions, counts and times of the last run, to write."),
    }

    def decorate(command: Callable) -> Callable:
        @functools.wraps(command)
        def wrapped(*args, corpus: str, params: Path, scratch: Path, **options):
            paths = {
                name: options.pop(name) or Path(default.format(corpus=corpus))
                for name, (default, _) in defaults.items()
            }
            return command(*args, places=Places(corpus=corpus, params=params, scratch=scratch, **paths), **options)

        path = click.Path(path_type=Path)
        declared = [
            click.option("--corpus", type=CorpusName(), required=True, help="Name of the corpus block in params.yaml."),
            click.option("--params", type=path, default="params.yaml", show_default=True, help="Settings."),
            *(
                click.option(f"--{name}", type=path, help=f"{text}  [default: {default}]")
                for name, (default, text) in defaults.items()
            ),
            click.option("--scratch", type=path, default=DEFAULT_PATH, show_default=True, help="Finished work."),
        ]
        return functools.reduce(lambda function, option: option(function), reversed(declared), wrapped)

    return decorate
