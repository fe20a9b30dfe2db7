"""The commands of stage 2: `dferc train`, `evaluate`, `predict` …; `dferc-train` is `dferc train`.

Here are those that make models and predictions; `dferc.looking` has those that only look, `dferc.importing.command` the
import. Every heavy import stands in the command that needs it: `dferc --help` answers at once.
"""

import json
from pathlib import Path

import click

from dferc import __version__, looking
from dferc.console import console, readable_errors
from dferc.engine.options import engine_options
from dferc.importing.command import import_features
from dferc.options import (
    CORPUS,
    DEVICE,
    FEATURES,
    FOLDER,
    FRESH,
    JSON,
    OUT,
    PARAMS,
    SCORE,
    SCRATCH,
    SEEDS,
    SET,
    VARIANT,
    options,
)


@click.group()
@click.version_option(__version__, prog_name="dferc")
def main() -> None:
    """Emotions in conversation from cached features: train, score, look.

    Exit status: 0 = done, 1 = the input or the run is at fault, 2 = usage; 130 or 143 = interrupted by Ctrl-C or
    SIGTERM (run it again to go on).
    """


@main.command()
@options(CORPUS, VARIANT, SEEDS, FEATURES, OUT, PARAMS, SET, DEVICE, SCORE, FRESH, SCRATCH)
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
@options(CORPUS)
@click.option("--variant", "variants", multiple=True, help="Repeatable.  [default: ablate.variants]")
@options(SEEDS, FEATURES, OUT, PARAMS, SET, DEVICE, SCORE, FRESH, SCRATCH, engine_options)
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
@options(CORPUS, VARIANT, SEEDS, FEATURES, OUT, DEVICE, JSON)
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
@options(SEEDS, DEVICE)
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
@options(CORPUS)
@click.option("--name", "names", multiple=True, help="majority, logistic, bc_lstm or late_fusion; all. Repeatable.")
@options(SEEDS, FEATURES, OUT, PARAMS, SET, DEVICE)
@readable_errors
def baselines(corpus, names, seeds, features, out, params, overrides, device) -> None:
    """Fit baselines with the corpus' train settings into OUT/CORPUS/NAME/ (default seeds: ablate.seeds)."""
    from dferc.params import load_params

    settings = load_params(params, overrides, corpus)
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


for command in (import_features, *looking.COMMANDS):
    main.add_command(command)


def train_main() -> None:
    """Entry point of `dferc-train`."""
    train(prog_name="dferc-train")


def ablate_main() -> None:
    """Entry point of `dferc-ablate`."""
    ablate(prog_name="dferc-ablate")
