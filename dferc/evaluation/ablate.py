"""An ablation from features to scores, as `dferc ablate` and `dvc repro` run it, and those of `dferc encoders`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dferc.core.console import console, print_note, warn_of_simulation
from dferc.core.device import choose_device
from dferc.core.errors import InputError
from dferc.core.files import verify_writable, write_text
from dferc.core.records import Score, StoredRecord, Text, read_record
from dferc.core.sources import code_hash
from dferc.engine import Workers
from dferc.evaluation.evaluate import evaluate, zero_f1
from dferc.evaluation.files import write_absence, write_evaluation
from dferc.evaluation.floor import linear_floor
from dferc.evaluation.score_table import show_scores
from dferc.model.variants import settings_of
from dferc.settings import combinations
from dferc.store.card import simulations
from dferc.store.hdf5 import read_corpus
from dferc.training.checkpoint import describe_corpus
from dferc.training.display import SweepTable, show_ignored, show_settings, show_sweep
from dferc.training.resume import remove_abandoned
from dferc.training.run import refuse_other_settings
from dferc.training.seeds import finish_run, mark_absent, run_name
from dferc.training.sweep import Sweep, perform, place, refuse_failures, status_folder
from dferc.training.task import describe_run, why_absent

FLOOR = "floor.json"  # beside the runs of a set alone


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
        console.print(f"in {sweep.folder}; differences, intervals and tests: dferc table --corpus {sweep.corpus}")
    for note in left_out:
        print_note(note)
    for sentence in () if brief else zeros:
        print_note(sentence, "F1 = 0:", "bold red")
    refuse_failures(failures, len(sweep.variants) * len(sweep.seeds))


def train_runs(runs: Sequence[combinations.Combination], there: Sequence[str], sweep: Sweep, workers: Workers) -> None:
    """Train and score combinations that are not finished, one after another, each with all seeds at once.

    Args:
        runs: the combinations.
        there: feature sets of the corpus.
        sweep: of the first sets; each combination has its own label and setting `features`.
        workers: where, and how many at once.

    Raises:
        InputError: some runs failed; the others are finished.
    """
    failures = []
    show_settings(sweep.settings, choose_device("cpu" if workers.cluster else sweep.device, sweep.settings.precision))
    for number, combination in enumerate(runs, start=1):
        console.print(f"{number} of {len(runs)}: {combination}")
        settings = combinations.settings_of(sweep.settings, combination, there)
        of_sets = replace(sweep, settings=settings, label=combination.label)
        try:
            run_ablation(of_sets, workers, gpu_share=1.0, score=True, brief=True)
        except InputError as error:
            failures.append(f"{combination}: {error}")
    if failures:
        raise InputError("\n".join([f"{len(failures)} of {len(runs)} combinations failed:", *failures]))


class FloorRecord(StoredRecord):
    """Schema of floor.json: the linear floor of a feature set."""

    key: Text
    validation: Score
    test: Score | None = None


def floor_of(folder: Path, features: Path, combination: combinations.Combination, there: Sequence[str]) -> Mapping:
    """Return `validation` and `test` weighted F1 of the linear floor on some sets, kept in `folder` once fitted."""
    corpus = read_corpus(features, features.name, combination.features(there))
    about = json.dumps(describe_corpus(corpus, tuple(corpus.modalities)), sort_keys=True)
    parts = [part for each in corpus.modalities.values() for part in (each.features, each.present)]
    values = [hashlib.sha256(part).hexdigest() for part in parts]  # of test, too: an identity may not tell them
    key = hashlib.sha256(f"{about}{values}{code_hash('dferc.evaluation.floor')}".encode()).hexdigest()[:16]
    path = folder / FLOOR
    if path.exists():
        kept = read_record(path, FloorRecord, f"Remove {path}: it is made again.")
        if kept["key"] == key:
            return kept
    floor = linear_floor(corpus)
    record = {"key": key, "validation": floor.validation, "test": floor.test}
    write_text(path, json.dumps(record) + "\n")
    return record
