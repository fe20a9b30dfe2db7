"""Baselines on the same features, splits, seeds and protocol card, written as runs, so that tables show them.

`majority` predicts the most frequent training class, `logistic` is the linear floor (`dferc.evaluation.floor`),
`bc_lstm` and `late_fusion` are recurrent (`dferc.evaluation.recurrent`). N utterances, C classes.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dferc.core.console import progress_bar
from dferc.core.device import cpu_threads
from dferc.core.errors import InputError, did_you_mean
from dferc.evaluation.evaluate import SCORED, Evaluation, Predictions, make_evaluation
from dferc.evaluation.files import write_evaluation
from dferc.evaluation.floor import fit_floor
from dferc.evaluation.recurrent import fit_recurrent, predict_recurrent
from dferc.store.rows import CachedCorpus
from dferc.training.checkpoint import describe_corpus
from dferc.training.data import Dialogues
from dferc.training.task import Task

DETERMINISTIC = ("majority", "logistic")
BASELINES = (*DETERMINISTIC, "bc_lstm", "late_fusion")


def verify_baseline(name: str) -> None:
    """Check that there is a baseline of that name."""
    if name not in BASELINES:
        raise InputError(
            f"There is no baseline {name!r}.{did_you_mean(name, BASELINES)} Baselines: {', '.join(BASELINES)}."
        )


def run_baseline(name: str, task: Task, seeds: Sequence[int], folder: Path) -> tuple[dict, list[Evaluation]]:
    """Fit a baseline per seed on a task of the variant `full`, write it into runs/<corpus>/<name>, and score it.

    Deterministic baselines (`majority`, `logistic`) are fitted once and predict the same for every seed.
    """
    verify_baseline(name)
    with cpu_threads(task.settings.threads):
        fits = zip(seeds, _fit_each(name, task, seeds), strict=True)
        evaluations = [_evaluate(name, task, seed, folder, *fit) for seed, fit in fits]
    return write_evaluation(folder, task.corpus, evaluations), evaluations


def _fit_each(name: str, task: Task, seeds: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield for each seed the selected epoch (0 = there are none) and probabilities [N, C] of the whole corpus."""
    corpus, modalities = task.corpus, task.variant.modalities
    if name in DETERMINISTIC:
        probabilities_NC = majority(corpus) if name == "majority" else logistic(corpus, modalities)
        yield from ((0, probabilities_NC) for _ in seeds)
        return
    rows = corpus.utterances
    with progress_bar() as bar:
        for seed in seeds:
            epochs = bar.add_task(f"{name} {rows.corpus}, seed {seed}", total=task.settings.epochs)
            advance = partial(bar.advance, epochs)
            model, progress = fit_recurrent(task, seed, late=name == "late_fusion", report=advance)
            probabilities_NC = np.zeros((len(rows), task.classes))  # zeros outside the scored splits
            for split in set(SCORED) & set(rows.split):
                dialogues = Dialogues(corpus, split, task.normalisation, modalities, task.device.device)
                rows_N, predicted_NC = predict_recurrent(model, dialogues)
                probabilities_NC[rows_N.numpy()] = predicted_NC.numpy()
            yield progress.best_epoch, probabilities_NC


def majority(corpus: CachedCorpus) -> np.ndarray:
    """Return [N, C]: every utterance has the training split's shares of the classes, so the largest wins."""
    rows = corpus.utterances
    labels = rows.emotion[(rows.split == "train") & (rows.emotion >= 0)]
    share_C = np.bincount(labels, minlength=len(rows.classes)) / len(labels)
    return np.tile(share_C, (len(rows), 1))


def logistic(corpus: CachedCorpus, modalities: Sequence[str]) -> np.ndarray:
    """Return the probabilities [N, C] of the linear floor; 0 for a class that training lacks."""
    model, features_ND = fit_floor(corpus, tuple(modalities))
    probabilities_NC = np.zeros((len(features_ND), len(corpus.utterances.classes)))
    probabilities_NC[:, model.classes_] = model.predict_proba(features_ND)
    return probabilities_NC


def _evaluate(
    name: str, task: Task, seed: int, folder: Path, best_epoch: int, probabilities_NC: np.ndarray
) -> Evaluation:
    """Evaluate like a model; contributions, context weight and agreement do not exist: no columns, and NaN."""
    rows = task.corpus.utterances
    record = describe_corpus(task.corpus, task.variant.modalities)
    record |= {"variant": name, "seed": seed, "best_epoch": best_epoch, "finished": True, "widths": {}}
    used = () if name in DETERMINISTIC else ("normalisation", "select_by")
    record["settings"] = {setting: getattr(task.settings, setting) for setting in used}
    predictions = {}
    for split in SCORED:
        rows_N = np.flatnonzero(rows.split == split)
        if len(rows_N):
            none_N0, none_N = np.zeros((len(rows_N), 0)), np.full(len(rows_N), np.nan)
            predictions[split] = Predictions(rows_N, probabilities_NC[rows_N], none_N0, none_N, none_N)
    return make_evaluation(folder, record, predictions, rows)
