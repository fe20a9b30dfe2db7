"""Commands that apply trained models: `evaluate`, `predict`."""

import json
from pathlib import Path

import click

from dferc.cli.options import CORPUS, DEVICE, FEATURES, FOLDER, JSON, OUT, SEEDS, VARIANT, options
from dferc.core.console import console, readable_errors


@click.command()
@options(CORPUS, VARIANT, SEEDS, FEATURES, OUT, DEVICE, JSON)
@readable_errors
def evaluate(corpus, variant, seeds, features, out, device, as_json) -> None:
    """Score the trained seeds of OUT/CORPUS/VARIANT on validation and test (default: every seed that is there)."""
    from dferc.core.device import choose_device
    from dferc.evaluation.evaluate import find_checkpoints
    from dferc.model.variants import get_variant
    from dferc.store.hdf5 import read_corpus

    get_variant(variant)
    folder = out / corpus / variant
    cached = read_corpus(features / corpus, corpus)
    checkpoints = find_checkpoints(folder / "train", seeds)
    metrics = score_and_show(cached, folder, checkpoints, choose_device(device, "float32").device)
    if as_json:
        click.echo(json.dumps(metrics, indent=2, ensure_ascii=False))


def score_and_show(cached, folder, checkpoints, device) -> dict:
    """Score checkpoints, write the results into `folder`, print them, and return the metrics."""
    from dferc.evaluation.evaluate import evaluate
    from dferc.evaluation.record import show_report, write_report

    evaluations = evaluate(cached, checkpoints, device)
    metrics = write_report(folder, cached, evaluations)
    show_report(folder, metrics, evaluations)
    return metrics


@click.command()
@click.option("--run", type=FOLDER, required=True, help="A trained variant, such as runs/meld/full; or one seed of it.")
@click.option("--features", type=FOLDER, required=True, help="Features of the corpus, such as features/mine.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Table (CSV) to write.")
@options(SEEDS, DEVICE)
@readable_errors
def predict(run, features, out, seeds, device) -> None:
    """Predict the emotion of every utterance of a corpus, labelled or not (mean over the run's seeds)."""
    from dferc.core.device import choose_device
    from dferc.core.tables import write_csv
    from dferc.evaluation.predict import find_run, fit_to, load_run, predict_corpus, prediction_rows, score_labelled
    from dferc.store.card import card_hash
    from dferc.store.hdf5 import read_corpus

    where = choose_device(device, "float32").device
    folders = find_run(run, seeds)
    corpus = read_corpus(features)
    checkpoints = load_run(folders, where)
    for checkpoint in checkpoints:
        fitted, notes = fit_to(checkpoint, corpus)
    for note in notes:
        console.print(f"note: {note}", markup=False)
    predictions = predict_corpus(checkpoints, fitted, where)
    rows = list(prediction_rows(checkpoints[0], fitted, predictions))
    write_csv(out, list(rows[0]), rows)
    scores = score_labelled(checkpoints[0], fitted, predictions)
    if scores is not None:
        console.print(
            f"on its {scores.support_C.sum()} labelled utterances: weighted F1 {scores.weighted_f1:.4f}, "
            f"accuracy {scores.accuracy:.4f}"
        )
        trained_on = checkpoints[0].record["card"]
        console.print(f"protocol card {card_hash(corpus.utterances)}; the model was trained on {trained_on}")
    console.print(f"predicted: {out}, {len(rows)} utterances, mean of {len(checkpoints)} model(s)", markup=False)
