"""Check of stage 1's settings before anything runs: adapters, feature sets, face finders, face models.

`dferc check` checks types and ranges; this checks that the named adapters, feature sets and files exist. `make repro`
runs both, and `prepare`, a corpus' first stage, checks its own block for those who call DVC directly.

    python -m pipeline.check
"""

from collections.abc import Mapping
from pathlib import Path

import click

from dferc.core.console import console, readable_errors
from dferc.core.errors import InputError
from dferc.settings.class_weights import class_weights
from pipeline import corpora
from pipeline.audio import functionals
from pipeline.faces import finder
from pipeline.faces.densenet import FERPLUS, NONE, find_weights
from pipeline.settings import StageSettings, load_settings


@click.command()
@click.option("--params", type=click.Path(dir_okay=False), default="params.yaml", show_default=True, help="Settings.")
@readable_errors
def main(params: str) -> None:
    """Check the stage 1 settings of the corpora that `dvc repro` would run."""
    settings = load_settings(params)
    check_corpora({corpus: settings.corpus(corpus) for corpus in settings.corpora})
    console.print(f"{params}: adapters, feature sets and face finders of {', '.join(settings.corpora)} are there.")


def check_corpora(blocks: Mapping[str, StageSettings]) -> None:
    """Raise InputError with all adapters, feature sets, finders and face models of the blocks that do not exist."""
    faults = []
    for corpus, settings in blocks.items():
        visual, source = settings.extract_visual, settings.train_face.source
        for check, *arguments in (
            (corpora.verify_adapter, settings.prepare.adapter),
            (functionals.open_smile, settings.extract_audio.feature_set),
            (finder.make_finder, visual.finder, visual.min_face),
            *([] if source in (FERPLUS, NONE) else [(find_weights, Path(source))]),
        ):
            try:
                check(*arguments)
            except InputError as error:
                faults.append(f"  - {corpus}.{error}")
    if faults:
        raise InputError(f"params.yaml asks for what is not there: {len(faults)} fault(s)\n" + "\n".join(faults))


def check_classes(corpus: str, settings: StageSettings, classes: tuple[str, ...]) -> None:
    """Raise InputError if `train.class_weights` names no class, or lacks one; the raw corpus gives the classes."""
    if not classes:  # a corpus without labels is only predicted
        return
    try:
        class_weights(settings.train.class_weights, classes, labels=range(len(classes)))
    except InputError as error:
        raise InputError(f"{corpus}.{error}") from None


if __name__ == "__main__":
    main()
