"""The commands of stage 2: `dferc train`, `evaluate`, `predict`, `inspect` …; `dferc-train` is `dferc train`.

Every heavy import stands in the command that needs it: `dferc --help` answers at once.
"""

import json
from collections.abc import Callable
from pathlib import Path

import click

from dferc import __version__
from dferc.console import CorpusName, console, readable_errors
from dferc.engine.options import engine_options
from dferc.importing.command import import_features

FOLDER = click.Path(file_okay=False, path_type=Path)

_corpus = click.option(
    "--corpus", type=CorpusName(), required=True, help="Its block in params.yaml; its folder in --features."
)
_variant = click.option("--variant", default="full", show_default=True, help="An ablation row (see README).")
_features = click.option(
    "--features", type=FOLDER, default=Path("features"), show_default=True, help="Holds a folder per corpus."
)
_out = click.option("--out", type=FOLDER, default=Path("runs"), show_default=True, help="Where runs are kept.")
_runs = click.option("--runs", type=FOLDER, default=Path("runs"), show_default=True, help="Where runs are kept.")
_split = click.option(
    "--split", type=click.Choice(["test", "validation"]), help="Which to score.  [default: test, where it has labels]"
)
_params = click.option(
    "--params",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("params.yaml"),
    show_default=True,
    help="The settings.",
)
_seeds = click.option("--seed", "seeds", type=click.IntRange(min=0), multiple=True, help="Repeatable.")
_device = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="auto: CUDA if any."
)
_set = click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Try a setting. Repeatable.")
_fresh = click.option("--fresh", is_flag=True, help="Train again what is finished or was interrupted.")
_score = click.option(
    "--evaluate/--no-evaluate", default=True, show_default=True, help="Score validation and test afterwards."
)
_scratch = click.option(
    "--scratch",
    type=FOLDER,
    default=Path(".scratch/train"),
    show_default=True,
    help="States of runs, kept for 30 days; may be deleted.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout.")


def _options(*options: Callable) -> Callable:
    """Several click options as one decorator, in this order in --help."""

    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group()
@click.version_option(__version__, prog_name="dferc")
def main() -> None:
    """Emotions in conversation from cached features: train, score, look.

    Exit status: 0 = done, 1 = the input or the run is at fault, 2 = usage; 130 or 143 = interrupted by Ctrl-C or
    SIGTERM (run it again to go on).
    """


@main.command()
@_options(_corpus, _variant, _seeds, _features, _out, _params, _set, _device, _score, _fresh, _scratch)
@readable_errors
def train(corpus, variant, seeds, features, out, params, overrides, device, evaluate, fresh, scratch) -> None:
    """Train one model per seed into OUT/CORPUS/VARIANT/train/ (default seeds: ablate.seeds).

    What is finished already is kept; several variants, or several runs at once: `dferc ablate`.
    """
    from dferc.params import load_params
    from dferc.variants import get_variant

    get_variant(variant)
    settings = load_params(params, overrides, corpus)
    block = settings.corpus(corpus).train  # faults so far need no torch, nor the wait for its import
    from dferc.device import choose_device
    from dferc.display import EpochTable, show_task
    from dferc.files import verify_writable
    from dferc.resume import forget_abandoned
    from dferc.store import read_corpus
    from dferc.task import make_task
    from dferc.train import refuse_other_settings
    from dferc.train import train as run

    seeds = tuple(dict.fromkeys(seeds)) or tuple(settings.ablate.seeds)
    task = make_task(read_corpus(features / corpus, corpus), variant, block, choose_device(device, block.precision))
    folder = out / corpus / variant
    refuse_other_settings(folder / "train", block)
    verify_writable(folder / "train")
    show_task(task, seeds)
    with EpochTable() as table:
        checkpoints = run(task, seeds, folder=folder / "train", scratch=scratch, fresh=fresh, report=table.add)
    forget_abandoned(scratch)
    console.print(f"trained: {folder / 'train'}, {len(checkpoints)} seed(s)")
    if evaluate:
        _evaluate(task.corpus, folder, checkpoints, task.device.device)


@main.command()
@_options(_corpus)
@click.option("--variant", "variants", multiple=True, help="Repeatable.  [default: ablate.variants]")
@_options(_seeds, _features, _out, _params, _set, _device, _score, _fresh, _scratch, engine_options)
@click.option(
    "--gpu-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Of a GPU that a run takes, on a Ray cluster with GPUs.",
)
@readable_errors
def ablate(variants, seeds, features, out, params, overrides, corpus, evaluate, workers, gpu_share, **options) -> None:
    """Train and score variants x seeds, several runs at once (default: ablate.variants, ablate.seeds).

    Each run is kept on its own in OUT/CORPUS/VARIANT/train/: a variant or seed more trains only that, and a run that
    fails or is interrupted costs no other. The number at once changes no result.
    """
    from dferc.params import load_params
    from dferc.variants import get_variant

    for variant in variants:
        get_variant(variant)
    settings = load_params(params, overrides, corpus)
    from dferc.ablate import run_ablation
    from dferc.sweep import Sweep

    sweep = Sweep(
        corpus=corpus,
        features=(features / corpus).absolute(),
        folder=(out / corpus).absolute(),
        scratch=options.pop("scratch").absolute(),
        variants=tuple(dict.fromkeys(variants)) or tuple(settings.ablate.variants),
        seeds=tuple(dict.fromkeys(seeds)) or tuple(settings.ablate.seeds),
        settings=settings.corpus(corpus).train,
        **options,
    )
    run_ablation(sweep, workers, gpu_share=gpu_share, score=evaluate)


@main.command()
@_options(_corpus, _variant, _seeds, _features, _out, _device, _json)
@readable_errors
def evaluate(corpus, variant, seeds, features, out, device, as_json) -> None:
    """Score the trained seeds of OUT/CORPUS/VARIANT on validation and test (default: every seed that is there)."""
    from dferc.device import choose_device
    from dferc.evaluate import find_checkpoints
    from dferc.store import read_corpus
    from dferc.variants import get_variant

    get_variant(variant)
    folder = out / corpus / variant
    cached = read_corpus(features / corpus, corpus)
    checkpoints = find_checkpoints(folder / "train", seeds)
    metrics = _evaluate(cached, folder, checkpoints, choose_device(device, "float32").device)
    if as_json:
        click.echo(json.dumps(metrics, indent=2, ensure_ascii=False))


def _evaluate(cached, folder, checkpoints, device) -> dict:
    from dferc.evaluate import evaluate
    from dferc.report import show_report, write_report

    evaluations = evaluate(cached, checkpoints, device)
    metrics = write_report(folder, cached, evaluations)
    show_report(folder, metrics, evaluations)
    return metrics


@main.command()
@click.option("--run", type=FOLDER, required=True, help="A trained variant, such as runs/meld/full; or one seed of it.")
@click.option("--features", type=FOLDER, required=True, help="Of the corpus to predict, such as features/mine.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Table (CSV) to write.")
@_options(_seeds, _device)
@readable_errors
def predict(run, features, out, seeds, device) -> None:
    """Say the emotion of every utterance of a corpus, labelled or not (mean over the run's seeds)."""
    from dferc.device import choose_device
    from dferc.history import write_csv
    from dferc.predict import find_run, fit_to, load_run, predict_corpus, prediction_rows, score_labelled
    from dferc.protocol import card_hash
    from dferc.store import read_corpus

    where = choose_device(device, "float32").device
    folders = find_run(run, seeds)
    corpus = read_corpus(features)
    checkpoints = load_run(folders, where)
    for checkpoint in checkpoints:
        fitted, notes = fit_to(checkpoint, corpus)
    for note in notes:
        console.print(f"note: {note}", markup=False)
    made = predict_corpus(checkpoints, fitted, where)
    rows = list(prediction_rows(checkpoints[0], fitted, made))
    write_csv(out, list(rows[0]), rows)
    scores = score_labelled(checkpoints[0], fitted, made)
    if scores is not None:
        said = f"weighted F1 {scores.weighted_f1:.4f}, accuracy {scores.accuracy:.4f}"
        console.print(f"on its {scores.support_C.sum()} labelled utterances: {said}")
        trained_on = checkpoints[0].record["card"]
        console.print(f"protocol card {card_hash(corpus.utterances)}; the model was trained on {trained_on}")
    console.print(f"predicted: {out}, {len(rows)} utterances, mean of {len(checkpoints)} model(s)", markup=False)


@main.command()
@click.argument("folder", type=FOLDER)
@_json
@readable_errors
def inspect(folder, as_json) -> None:
    """Verify a features folder and say what is in it."""
    from dferc.inspection import inspect_folder, show_inspection

    found = inspect_folder(folder)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        show_inspection(found)


@main.command()
@_options(_corpus, _features, _json)
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


@main.command()
@_options(_corpus)
@click.option("--name", "names", multiple=True, help="majority, logistic, bc_lstm or late_fusion; all. Repeatable.")
@_options(_seeds, _features, _out, _params, _device)
@readable_errors
def baselines(corpus, names, seeds, features, out, params, device) -> None:
    """Fit baselines with the corpus' train settings into OUT/CORPUS/NAME/ (default seeds: ablate.seeds)."""
    from dferc.params import load_params

    settings = load_params(params, (), corpus)
    block = settings.corpus(corpus).train
    from dferc.baselines import BASELINES, run_baseline, verify_baseline
    from dferc.device import choose_device
    from dferc.report import show_report
    from dferc.store import read_corpus
    from dferc.task import make_task

    names = tuple(dict.fromkeys(names)) or BASELINES
    for name in names:
        verify_baseline(name)
    seeds = tuple(dict.fromkeys(seeds)) or tuple(settings.ablate.seeds)
    task = make_task(read_corpus(features / corpus, corpus), "full", block, choose_device(device, block.precision))
    for name in names:
        folder = out / corpus / name
        show_report(folder, *run_baseline(name, task, seeds, folder))


@main.command()
@_options(_corpus, _runs, _split)
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


@main.command()
@_options(_corpus, _runs, _features, _split, _device)
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


@main.command()
@_options(_corpus, _features, _runs, _split)
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


@main.command()
@click.argument("run", type=FOLDER)
@click.argument("reference", type=FOLDER)
@_options(_split, _json)
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


@main.command()
@_params
@_json
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


main.add_command(import_features)


def train_main() -> None:
    """Entry point of `dferc-train`."""
    train(prog_name="dferc-train")


def ablate_main() -> None:
    """Entry point of `dferc-ablate`."""
    ablate(prog_name="dferc-ablate")
