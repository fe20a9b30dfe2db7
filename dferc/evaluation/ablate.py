"""An ablation from features to scores, as `dferc ablate` and `dvc repro` run it."""

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from dferc.core.console import console, print_note
from dferc.core.device import choose_device
from dferc.core.files import verify_writable
from dferc.engine import Workers
from dferc.evaluation.evaluate import SCORED, evaluate, zero_f1
from dferc.evaluation.files import mean_and_spread, write_evaluation
from dferc.store.hdf5 import read_corpus
from dferc.training.display import SweepTable, show_settings, show_sweep
from dferc.training.resume import remove_abandoned
from dferc.training.run import refuse_other_settings
from dferc.training.sweep import Sweep, finish_variant, perform, place, refuse_failures, status_folder


def run_ablation(sweep: Sweep, workers: Workers, *, gpu_share: float, score: bool) -> None:
    """Train every variant with every seed, show the progress, and score each variant whose seeds are all trained."""
    corpus = read_corpus(sweep.features, sweep.corpus)
    # The machines of a cluster choose their device themselves; this one only scores.
    device = choose_device("cpu" if workers.cluster else sweep.device, sweep.settings.precision)
    workers = place(workers, sweep, device.device.type == "cuda", gpu_share)
    for variant in sweep.variants:
        refuse_other_settings(sweep.train_folder(variant), sweep.settings)
        verify_writable(sweep.train_folder(variant))
    show_sweep(sweep, workers)
    show_settings(sweep.settings, device)
    missing = {variant: set(sweep.seeds) for variant in sweep.variants}
    failures, metrics, notes = {}, {}, []
    with status_folder(sweep) as status, SweepTable(sweep, Path(status)) as table:
        for run, outcome in perform(sweep, workers, Path(status)):
            table.add(run, outcome)
            if outcome.error is not None:
                failures[run] = outcome.error
                continue
            missing[run.variant].remove(run.seed)
            if not missing[run.variant]:
                folders = finish_variant(sweep, run.variant)
                if score:
                    evaluations = evaluate(corpus, folders, device.device)
                    metrics[run.variant] = write_evaluation(sweep.folder / run.variant, corpus, evaluations)
                    notes += [f"{run.variant}, {sentence}" for sentence in zero_f1(evaluations)]
    remove_abandoned(sweep.scratch, lambda message: console.print(message, markup=False))
    if metrics:
        show_scores({variant: metrics[variant] for variant in sweep.variants if variant in metrics})
        more = f"differences, intervals and tests: dferc table --corpus {sweep.corpus}"
        console.print(f"in {sweep.folder}; {more}", markup=False)
    for note in notes:
        print_note(note, "F1 = 0:", "bold red")
    refuse_failures(failures, len(sweep.variants) * len(sweep.seeds))


def show_scores(metrics: Mapping[str, Mapping]) -> None:
    """Print a row of scores per variant, from the content of each one's metrics.json."""
    table = Table("variant", "seeds", *(f"{split} weighted F1" for split in SCORED), box=None, header_style="bold")
    for variant, of_variant in metrics.items():
        scores = (mean_and_spread(of_variant[split], "weighted_f1") if split in of_variant else "–" for split in SCORED)
        table.add_row(variant, str(of_variant["seeds"]), *scores)
    console.print(table)
