"""Training of combinations of feature sets, and the linear floor of each: `dferc encoders`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dferc.core.console import console
from dferc.core.device import choose_device
from dferc.core.errors import InputError
from dferc.core.files import write_text
from dferc.core.records import Score, StoredRecord, Text, read_record
from dferc.core.sources import code_hash
from dferc.engine import Workers
from dferc.evaluation.ablate import run_ablation
from dferc.evaluation.floor import linear_floor
from dferc.settings.combinations import Combination, settings_of
from dferc.store.hdf5 import read_corpus
from dferc.training.checkpoint import describe_corpus
from dferc.training.display import show_settings
from dferc.training.sweep import Sweep

FLOOR = "floor.json"  # beside the runs of a set alone


def train_runs(runs: Sequence[Combination], there: Sequence[str], sweep: Sweep, workers: Workers) -> None:
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
        settings = settings_of(sweep.settings, combination, there)
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


def floor_of(folder: Path, features: Path, combination: Combination, there: Sequence[str]) -> Mapping:
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
