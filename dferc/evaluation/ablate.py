"""An ablation from features to scores, as `dferc ablate` and `dvc repro` run it."""

from pathlib import Path

from dferc.core.console import console
from dferc.core.device import choose_device
from dferc.core.files import verify_writable
from dferc.engine import Workers
from dferc.evaluation.evaluate import evaluate, zero_f1
from dferc.evaluation.record import write_report
from dferc.store.hdf5 import read_corpus
from dferc.store.rows import CachedCorpus
from dferc.training.display import show_settings
from dferc.training.resume import forget_abandoned
from dferc.training.sweep import Sweep, finish_variant, perform, place, refuse_failures, status_folder
from dferc.training.sweep_display import SweepTable, show_scores, show_sweep
from dferc.training.train import refuse_other_settings


def run_ablation(sweep: Sweep, workers: Workers, *, gpu_share: float, score: bool) -> None:
    """Train every variant with every seed, tell how far it is, and score each variant that is whole.

    Args:
        sweep: what.
        workers: where, and how many runs at once.
        gpu_share: of a GPU that a run takes on a cluster.
        score: whether to score validation and test.

    Raises:
        InputError: the features cannot be read, a folder holds runs of other settings, or runs failed.
    """
    corpus = read_corpus(sweep.features, sweep.corpus)
    # On a cluster its machines choose; this one only scores.
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
                    metrics[run.variant], told = _score(corpus, sweep, run.variant, folders, device.device)
                    notes += told
    forget_abandoned(sweep.scratch)
    _tell(sweep, metrics, notes)
    refuse_failures(failures, len(sweep.variants) * len(sweep.seeds))


def _score(corpus: CachedCorpus, sweep: Sweep, variant: str, folders: list[Path], device) -> tuple[dict, list[str]]:
    """What metrics.json of a variant holds, and a sentence for each class that is never right."""
    evaluations = evaluate(corpus, folders, device)
    metrics = write_report(sweep.folder / variant, corpus, evaluations)
    return metrics, [f"{variant}, {sentence}" for sentence in zero_f1(evaluations)]


def _tell(sweep: Sweep, metrics: dict, notes: list[str]) -> None:
    trained = [variant for variant in sweep.variants if variant in metrics]
    if trained:
        show_scores({variant: metrics[variant] for variant in trained})
        more = f"differences, intervals and tests: dferc table --corpus {sweep.corpus}"
        console.print(f"in {sweep.folder}; {more}", markup=False)
    for note in notes:
        console.print(f"[bold red]F1 = 0:[/] {note}")
