"""Check of stage 1's settings before anything runs: adapters, feature sets, face finders, face models.

`dferc check` checks types and ranges; this checks that the named adapters, feature sets and files exist. `make repro`
runs both, and `prepare`, a corpus' first stage, checks its own block for those who call DVC directly.

    python -m pipeline.check
"""

from collections.abc import Iterator
from pathlib import Path

import click

from dferc.core.console import console, readable_errors
from dferc.core.errors import InputError
from dferc.settings.class_weights import class_weights
from pipeline import corpora
from pipeline.audio import functionals
from pipeline.faces import finder as faces
from pipeline.faces.densenet import FERPLUS, NONE, find_weights
from pipeline.settings import StageSettings, load_settings


@click.command()
@click.option("--params", type=click.Path(dir_okay=False), default="params.yaml", show_default=True, help="Settings.")
@readable_errors
def main(params: str) -> None:
    """Check the stage 1 settings of the corpora that `dvc repro` would run."""
    settings = load_settings(params)
    _refuse([fault for corpus in settings.corpora for fault in _faults(corpus, settings.corpus(corpus))])
    console.print(f"{params}: adapters, feature sets and face finders of {', '.join(settings.corpora)} are there.")


def check_corpus(corpus: str, settings: StageSettings) -> None:
    """Raise InputError with every adapter, feature set, face finder and face model of a block that does not exist."""
    _refuse(list(_faults(corpus, settings)))


def check_classes(corpus: str, settings: StageSettings, classes: tuple[str, ...]) -> None:
    """Raise InputError if `train.class_weights` names no class, or lacks one; the raw corpus gives the classes."""
    if not classes:  # a corpus without labels is only predicted
        return
    try:
        class_weights(settings.train.class_weights, classes, labels=range(len(classes)))
    except InputError as error:
        raise InputError(f"{corpus}.{error}") from None


def _faults(corpus: str, settings: StageSettings) -> Iterator[str]:
    face = settings.train_face.source
    checks = (
        lambda: corpora.verify_adapter(settings.prepare.adapter),
        lambda: functionals.open_smile(settings.extract_audio.feature_set),
        lambda: faces.make_finder(settings.extract_visual.finder, settings.extract_visual.min_face),
        lambda: face in (FERPLUS, NONE) or find_weights(Path(face)),
    )
    for check in checks:
        try:
            check()
        except InputError as error:
            yield f"{corpus}.{error}"


def _refuse(faults: list[str]) -> None:
    if faults:
        raise InputError(
            f"params.yaml asks for what is not there: {len(faults)} fault(s)\n"
            + "\n".join(f"  - {fault}" for fault in faults)
        )


if __name__ == "__main__":
    main()
