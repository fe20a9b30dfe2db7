"""Commands about settings and features: `check`, `inspect`, `verify`, `floor`."""

import json

import click

from dferc.cli.options import (
    CORPUS,
    FEATURES,
    FOLDER,
    JSON,
    PARAMS,
    options,
)
from dferc.core.console import console, readable_errors
from dferc.store.vocabulary import MODALITIES


@click.command()
@PARAMS
@JSON
@readable_errors
def check(params, as_json) -> None:
    """Check every value of params.yaml and say what `dvc repro` would run (its files: `python -m pipeline.check`)."""
    from dferc.settings.document import load_params

    settings = load_params(params)
    found = {"corpora": settings.corpora, **settings.ablate.model_dump(), "blocks": list(settings.blocks)}
    if as_json:
        click.echo(json.dumps(found))
        return
    console.print(f"{params} is sound.")
    for name, values in found.items():
        console.print(f"  {name}: {', '.join(map(str, values)) or 'none'}")


@click.command()
@click.argument("folder", type=FOLDER)
@JSON
@readable_errors
def inspect(folder, as_json) -> None:
    """Verify a features folder and say what is in it."""
    from dferc.store.inspection import inspect_folder, show_inspection

    found = inspect_folder(folder)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        show_inspection(found)


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--modality", "modalities", type=click.Choice(MODALITIES), multiple=True, help="Repeatable.  [default: all]"
)
@click.option(
    "--sample", type=click.IntRange(min=1), default=20, show_default=True, help="Utterances of each to compute again."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the choice of utterances.")
@click.argument("further", nargs=-1, metavar="[-- OPTION ...]")
@readable_errors
def verify(folder, modalities, sample, seed, further) -> None:
    """Compute a random sample of the features in FOLDER again from their media; exit status 1 where one differs.

    For files got from others. Needs what made them: the repository (run it at its top), its `pipeline` extra, media,
    params.yaml and models. What follows `--` goes to `python -m pipeline.verify`, whose --help says what there is:

        dferc verify features/meld -- --raw /media/meld --device cuda
    """
    from dferc.cli.verification import verify_folder

    verify_folder(folder, modalities or MODALITIES, ["--sample", str(sample), "--seed", str(seed), *further])


@click.command()
@options(CORPUS, FEATURES, JSON)
@readable_errors
def floor(corpus, features, as_json) -> None:
    """Score the linear floor: a z-scored logistic regression on the concatenated modalities."""
    from dferc.evaluation.floor import linear_floor
    from dferc.store.card import card_hash
    from dferc.store.hdf5 import read_corpus

    cached = read_corpus(features / corpus, corpus)
    found, card = linear_floor(cached), card_hash(cached.utterances)
    if as_json:
        click.echo(json.dumps({"card": card, **found._asdict()}))
        return
    test = "no labelled utterance" if found.test is None else f"{found.test:.4f}"
    console.print(
        f"{corpus}: linear floor, weighted F1: validation {found.validation:.4f}, test {test} (C = {found.c}); "
        f"protocol card {card}"
    )
    if found.few:
        console.print(
            f"[bold yellow]note:[/] hardly anything is labelled ({found.few} utterances): these scores say little."
        )
