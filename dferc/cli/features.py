"""Commands for settings and features: `check`, `inspect`, `floor`."""

import click

from dferc.cli.options import CORPUS, FEATURES, JSON, PARAMS, dir_option, options
from dferc.core.console import PATH, console, print_json, print_note, readable_errors


@click.command()
@options(PARAMS, JSON)
@readable_errors
def check(params, as_json) -> None:
    """Check stage 2's sections of params.yaml (corpora, ablate, train) and list what `dvc repro` would run.

    `python -m pipeline.check` checks the sections of stage 1.
    """
    from dferc.settings.document import load_params

    settings = load_params(params)
    summary = {"corpora": settings.corpora, **settings.ablate.model_dump(), "blocks": list(settings.blocks)}
    if as_json:
        print_json(summary)
        return
    console.print(f"{params} is sound for stage 2; `python -m pipeline.check` checks the sections of stage 1.")
    for name, values in summary.items():
        console.print(f"  {name}: {', '.join(map(str, values)) or 'none'}")


@click.command()
@click.argument("path", type=PATH)
@JSON
@readable_errors
def inspect(path, as_json) -> None:
    """Verify a features folder, or a bundle, and describe its content.

    Of a features folder: the protocol card, who made each modality, and whether feature sets have seen the labels, by a
    linear model on training rows, held-out training dialogues, validation and test (docs/import.md).
    """
    from dferc.evaluation.seen_labels import check_honesty, show_honesty
    from dferc.store.bundle import is_bundle, is_hub_id
    from dferc.store.hdf5 import read_sets
    from dferc.store.inspection import inspect_bundle, inspect_corpus, show_bundle, show_inspection

    if is_bundle(path) or is_hub_id(path):
        inspection = inspect_bundle(path)
        print_json(inspection, indent=2) if as_json else show_bundle(inspection)
        return
    corpus = read_sets(path)
    inspection = {"folder": str(path), **inspect_corpus(corpus)}
    honesty = check_honesty(corpus.utterances, corpus.modalities)
    if as_json:
        print_json(inspection | {"honesty": {name: found._asdict() for name, found in honesty.items()}}, indent=2)
        return
    show_inspection(inspection)
    show_honesty(honesty)


@click.command("features")
@options(CORPUS, FEATURES)
@dir_option("--data", "data", "Logs of extractions, for the time.")
@JSON
@readable_errors
def feature_sets(corpus, features, data, as_json) -> None:
    """List the feature sets of a corpus: width, presence in train, validation and test, maker, time.

    `audio` is a modality's first set, FEATURES/CORPUS/audio.h5; `audio/wavlm` is FEATURES/CORPUS/audio/wavlm.h5. The
    setting train.features chooses sets, such as --set 'train.features={audio: [audio, audio/wavlm]}'.
    """
    from dferc.store.inspection import inspect_sets, show_sets

    sets = inspect_sets(features / corpus, data / corpus)
    if as_json:
        print_json({"corpus": corpus, "sets": sets}, indent=2)
    elif sets:
        show_sets(sets)
    else:
        console.print(f"{features / corpus} has no feature set: `dvc repro` makes them, `dferc import` reads others'.")


@click.command()
@options(CORPUS, FEATURES)
@click.option(
    "--use",
    multiple=True,
    metavar="SET",
    help="A feature set, such as audio/wavlm, and no other. Repeatable.  [default: the first of each modality]",
)
@JSON
@readable_errors
def floor(corpus, features, use, as_json) -> None:
    """Score the linear floor: a z-scored logistic regression on the concatenated modalities."""
    from dferc.evaluation.floor import linear_floor
    from dferc.store.card import card_hash
    from dferc.store.hdf5 import find_sets, read_corpus

    names = {name.partition("/")[0] for name in (*find_sets(features / corpus), *use)} if use else ()
    sets = {modality: [name for name in use if name.partition("/")[0] == modality] for modality in names}
    cached = read_corpus(features / corpus, corpus, sets)
    scores, card = linear_floor(cached), card_hash(cached.utterances)
    if as_json:
        print_json({"card": card, **scores._asdict()})
        return
    test = "no labelled utterance" if scores.test is None else f"{scores.test:.4f}"
    console.print(
        f"{corpus}: linear floor, weighted F1: validation {scores.validation:.4f}, test {test} (C = {scores.c}); "
        f"protocol card {card}"
    )
    if scores.few:
        print_note(f"hardly anything is labelled (utterances: {scores.few}): these scores mean little.")
