"""Commands that apply trained models: `evaluate`, `predict`."""

import click

from dferc.cli.options import CORPUS, DEVICE, FEATURES, FILE, FOLDER, JSON, LABEL, OUT, SEEDS, VARIANT, options
from dferc.core.console import PATH, console, print_json, print_note, readable_errors, shown_option, warn_of_simulation
from dferc.core.errors import InputError, counted


@click.command()
@options(CORPUS, VARIANT, LABEL, SEEDS, FEATURES, OUT, DEVICE, JSON)
@readable_errors
def evaluate(corpus, variant, label, seeds, features, out, device, as_json) -> None:
    """Score the trained seeds of OUT/CORPUS/VARIANT on validation and test (default: every finished seed)."""
    from dferc.core.device import choose_device
    from dferc.evaluation.files import write_absence
    from dferc.model.variants import get_variant
    from dferc.store.hdf5 import read_corpus
    from dferc.training.checkpoint import record_of_weights
    from dferc.training.seeds import find_checkpoints, is_marked_absent, run_name, sets_of_run
    from dferc.training.task import why_absent

    get_variant(variant)
    folder = out / corpus / run_name(variant, label)
    cached = read_corpus(features / corpus, corpus, sets_of_run(folder / "train"))
    if not seeds and is_marked_absent(folder / "train") and (reason := why_absent(cached, variant)):
        metrics = write_absence(folder, cached, reason)
        print_note(f"{reason}: no scores, and shown as absent in tables.")
    else:
        checkpoints = find_checkpoints(folder / "train", seeds)
        if not seeds:  # as after `dferc train`: tables do not tell a seed of an interrupted training
            unfinished = [path for path in checkpoints if not record_of_weights(path)["finished"]]
            checkpoints = [path for path in checkpoints if path not in unfinished]
            if not checkpoints:
                raise InputError(f"{folder} has no seed whose training is finished. Name others to score them: --seed.")
            for path in unfinished:
                print_note(f"{path.name} is left out: its training was interrupted. The same `dferc train` goes on.")
        metrics = score_and_show(cached, folder, checkpoints, choose_device(device, "float32").device)
    if as_json:
        print_json(metrics, indent=2)


def score_and_show(corpus, folder, checkpoints, device) -> dict:
    """Score checkpoints, write the files of the evaluation into `folder`, print them, and return the metrics."""
    from dferc.evaluation.evaluate import evaluate
    from dferc.evaluation.files import show_evaluation, write_evaluation

    evaluations = evaluate(corpus, checkpoints, device)
    metrics = write_evaluation(folder, corpus, evaluations)
    show_evaluation(folder, metrics, evaluations)
    return metrics


@click.command()
@click.option("--run", type=PATH, required=True, help="A trained variant, such as runs/meld/full; a seed; or a bundle.")
@click.option("--features", type=FOLDER, required=True, help="Of the corpus to predict, such as features/mine.")
@click.option("--revision", help="Of a bundle on the hub: branch, tag or commit.")
@click.option("--out", type=FILE, required=True, help="Table to write: .csv or .json.")
@options(SEEDS, DEVICE)
@shown_option(
    "--abstain",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Leave `predicted` empty where the highest probability is below this.",
)
@readable_errors
def predict(run, revision, features, out, seeds, device, abstain) -> None:
    """Predict the emotion of every utterance of a corpus, labelled or not (mean over the run's seeds).

    Probabilities are calibrated by the temperatures stored with each seed and with the run (docs/bundle.md).
    """
    from dferc.core.metrics import MAIN_FIRST, SCORES
    from dferc.evaluation.predict import load, writer_of

    write = writer_of(out)
    table = load(run, seeds, device, revision).predict(features, abstain)
    if table.synthetic:
        warn_of_simulation(["the model was trained on it", *table.synthetic], "these predictions")
    for note in table.notes:
        print_note(note)
    write(table, out)
    if table.scores is not None:
        scores = ", ".join(f"{SCORES[name]} {getattr(table.scores, name):.4f}" for name in MAIN_FIRST)
        included = " (undecided ones included)" if table.undecided else ""
        console.print(f"on its {counted(table.scores.actual_C.sum(), 'labelled utterance')}{included}: {scores}")
        console.print(f"protocol card {table.card}; the model was trained on {table.trained_on}")
    left = f"; {table.undecided} undecided: their highest probability is below {abstain:g}" if abstain else ""
    console.print(
        f"predicted: {out}, {counted(len(table), 'utterance')}, mean of {counted(table.models, 'model')}{left}"
    )
