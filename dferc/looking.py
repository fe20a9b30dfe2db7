"""The commands that train nothing: they look at settings, features and runs, and write reports of them."""

import json
from pathlib import Path

import click

from dferc import MODALITIES
from dferc.console import console, readable_errors
from dferc.options import CORPUS, DEVICE, FEATURES, FOLDER, JSON, PARAMS, RUNS, SPLIT, options


@click.command()
@PARAMS
@JSON
@readable_errors
def check(params, as_json) -> None:
    """Check every value of params.yaml and say what `dvc repro` would run (its files: `python -m pipeline.check`)."""
    from dferc.params import load_params

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
    from dferc.inspection import inspect_folder, show_inspection

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
    from dferc.verification import verify_folder

    verify_folder(folder, modalities or MODALITIES, ["--sample", str(sample), "--seed", str(seed), *further])


@click.command()
@options(CORPUS, FEATURES, JSON)
@readable_errors
def floor(corpus, features, as_json) -> None:
    """Score the linear floor: a z-scored logistic regression on the concatenated modalities."""
    from dferc.floor import linear_floor
    from dferc.protocol import card_hash
    from dferc.store import read_corpus

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


@click.command()
@options(CORPUS, RUNS, SPLIT)
@click.option("--against", default="full", show_default=True, help="The run that the others are compared with.")
@click.option("--out", type=FOLDER, default=Path("reports"), show_default=True, help="Tables go to OUT/CORPUS/.")
@readable_errors
def table(corpus, runs, split, against, out) -> None:
    """Write the ablation table: every run of a corpus, differences to one of them, paired tests, published scores."""
    from dferc.ablation import collect
    from dferc.runs import choose_split
    from dferc.tables import show_ablation, write_tables

    ablation = collect(runs / corpus, split or choose_split(runs / corpus / against), against)
    show_ablation(ablation)
    console.print(f"written: {', '.join(map(str, write_tables(out / corpus, ablation)))}", markup=False)


@click.command()
@click.argument("run", type=FOLDER)
@click.argument("reference", type=FOLDER)
@options(SPLIT, JSON)
@readable_errors
def compare(run, reference, split, as_json) -> None:
    """Compare two runs of one protocol, such as runs/meld/full and runs/trial/meld/full: RUN less REFERENCE."""
    from dferc.ablation import compare as run_comparison
    from dferc.runs import choose_split, read_run
    from dferc.tables import comparison_json, show_comparison

    split = split or choose_split(reference)
    one, two = read_run(run, split), read_run(reference, split)
    found = run_comparison(one, two)
    if as_json:
        click.echo(json.dumps(comparison_json(one, two, found), indent=2, ensure_ascii=False))
    else:
        show_comparison(one, two, found)


@click.command()
@options(CORPUS, RUNS, FEATURES, SPLIT, DEVICE)
@click.option("--run", default="full", show_default=True, help="The run whose models are looked into.")
@click.option("--figures/--no-figures", default=True, show_default=True, help="Figures as PDF and PNG, too.")
@click.option("--out", type=FOLDER, default=Path("reports"), show_default=True, help="Files go to OUT/CORPUS/.")
@readable_errors
def analyse(corpus, runs, features, split, device, run, figures, out) -> None:
    """Write the paper's analyses of a corpus' runs (analyses.json): contributions, context, dialogues, missing."""
    from dferc.analyses.collect import analyse as analyse_runs
    from dferc.analyses.collect import write_analyses
    from dferc.analyses.figures import verify_matplotlib, write_figures
    from dferc.device import choose_device
    from dferc.runs import choose_split

    if figures:
        verify_matplotlib()
    split = split or choose_split(runs / corpus / run)
    found = analyse_runs(runs / corpus, features / corpus, split, run, choose_device(device, "float32").device)
    for note in found["notes"]:
        console.print(f"note: {note}", markup=False)
    console.print(f"written: {write_analyses(out / corpus, found)}", markup=False)
    if figures:
        written = write_figures(out / corpus / "figures", found)
        console.print(f"written: {len(written)} figures in {out / corpus / 'figures'}", markup=False)


@click.command()
@options(CORPUS, FEATURES, RUNS, SPLIT)
@click.option("--against", default="full", show_default=True, help="The run that the others are compared with.")
@click.option("--out", type=FOLDER, default=Path("reports"), show_default=True, help="Where reports are kept.")
@readable_errors
def report(corpus, features, runs, split, against, out) -> None:
    """Write OUT/CORPUS/index.html: tables, figures and a dialogue browser of every run, in one file."""
    from dferc.reporting.page import write_page
    from dferc.runs import choose_split

    path = out / corpus / "index.html"
    split = split or choose_split(runs / corpus / against)
    write_page(path, features / corpus, runs / corpus, split=split, against=against)
    console.print(f"written: {path}, {path.stat().st_size / 1e6:.1f} MB: open it in any browser", markup=False)


COMMANDS = (check, inspect, verify, floor, table, compare, analyse, report)
