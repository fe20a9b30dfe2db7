"""An ablation from features to scores, as `dferc ablate` and `dvc repro` run it."""

from dataclasses import replace
from pathlib import Path

from dferc.core.console import console, print_note, warn_of_simulation
from dferc.core.device import choose_device
from dferc.core.files import verify_writable
from dferc.engine import Workers
from dferc.evaluation.evaluate import evaluate, zero_f1
from dferc.evaluation.files import write_absence, write_evaluation
from dferc.evaluation.score_table import show_scores
from dferc.model.variants import settings_of
from dferc.store.card import simulations
from dferc.store.hdf5 import read_corpus
from dferc.training.display import SweepTable, show_ignored, show_settings, show_sweep
from dferc.training.resume import remove_abandoned
from dferc.training.run import refuse_other_settings
from dferc.training.seeds import finish_run, mark_absent, run_name
from dferc.training.sweep import Sweep, perform, place, refuse_failures, status_folder
from dferc.training.task import describe_run, why_absent


def run_ablation(sweep: Sweep, workers: Workers, *, gpu_share: float, score: bool, brief: bool = False) -> None:
    """Train every variant with every seed, show the progress, and score each variant whose seeds are all trained.

    A variant whose modalities the corpus lacks is skipped with a note, and recorded as absent. The scores of a variant
    are those of all its seeds that are trained, not only of the seeds of this call. `brief` shows the progress alone,
    for a caller with several sweeps.
    """
    corpus = read_corpus(sweep.features, sweep.corpus, sweep.settings.features)
    metrics, wanted = {}, sweep.variants
    for variant in wanted:  # before anything is written: an absent one would replace the scores of other settings
        refuse_other_settings(sweep.train_folder(variant), settings_of(variant, sweep.settings, sweep.corpus))
        verify_writable(sweep.train_folder(variant))
    for variant in wanted:
        if reason := why_absent(corpus, variant):
            print_note(f"{reason}: skipped, and shown as absent in tables.")
            mark_absent(sweep.train_folder(variant), reason, corpus.sets)
            if score:
                metrics[variant] = write_absence(sweep.run_folder(variant), corpus, reason)
    sweep = replace(sweep, variants=tuple(variant for variant in wanted if not why_absent(corpus, variant)))
    if not sweep.variants:
        return
    # The machines of a cluster choose their device themselves; this one only scores.
    device = choose_device("cpu" if workers.cluster else sweep.device, sweep.settings.precision)
    workers = place(workers, sweep, device.device.type == "cuda", gpu_share)
    if not brief:
        show_sweep(sweep, workers)
        show_settings(sweep.settings, device)
        of_runs = (settings_of(variant, sweep.settings, sweep.corpus) for variant in sweep.variants)
        show_ignored(corpus, tuple(corpus.modalities), *of_runs)
    missing = {variant: set(sweep.seeds) for variant in sweep.variants}
    failures, left_out, zeros = {}, [], []
    with status_folder(sweep) as status, SweepTable(sweep, Path(status)) as table:
        for run, outcome in perform(sweep, workers, Path(status)):
            table.add(run, outcome)
            if outcome.error is not None:
                failures[run] = outcome.error
                continue
            missing[run.variant].remove(run.seed)
            if not missing[run.variant]:
                about = describe_run(corpus, run.variant, sweep.settings)
                folders, notes = finish_run(sweep.train_folder(run.variant), about)
                left_out += [f"{run.variant}, {sentence}" for sentence in notes]
                if score:
                    evaluations = evaluate(corpus, folders, device.device)
                    metrics[run.variant] = write_evaluation(sweep.run_folder(run.variant), corpus, evaluations)
                    zeros += [f"{run.variant}, {sentence}" for sentence in zero_f1(evaluations)]
    remove_abandoned(sweep.scratch, lambda message: console.print(message))
    if metrics and not brief:
        show_scores({run_name(variant, sweep.label): metrics[variant] for variant in wanted if variant in metrics})
        warn_of_simulation(simulations(describe_run(corpus, sweep.variants[0], sweep.settings)))
        more = f"differences, intervals and tests: dferc table --corpus {sweep.corpus}"
        console.print(f"in {sweep.folder}; {more}")
    for note in left_out:
        print_note(note)
    for sentence in () if brief else zeros:
        print_note(sentence, "F1 = 0:", "bold red")
    refuse_failures(failures, len(sweep.variants) * len(sweep.seeds))
