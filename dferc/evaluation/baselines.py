"""Baselines on the same features, splits, seeds and protocol card, written as runs, so that tables show them.

`majority` says the most frequent training class, `logistic` is the linear floor (`dferc.evaluation.floor`), `bc_lstm`
and `late_fusion` are recurrent (`dferc.evaluation.recurrent`). N utterances, C classes.
"""

import difflib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dferc.core.console import progress_bar
from dferc.core.device import cpu_threads
from dferc.core.errors import InputError
from dferc.evaluation.evaluate import SCORED, Evaluation, Predictions, score
from dferc.evaluation.floor import fit_floor
from dferc.evaluation.record import write_report
from dferc.evaluation.recurrent import Fitted, fit_recurrent, predict_recurrent
from dferc.store.rows import CachedCorpus
from dferc.training.checkpoint import Checkpoint, describe_corpus
from dferc.training.data import Dialogues
from dferc.training.task import Task

BASELINES = ("majority", "logistic", "bc_lstm", "late_fusion")


def verify_baseline(name: str) -> None:
    """Check that there is such a baseline.

    Raises:
        InputError: there is none; the message names the nearest.
    """
    if name not in BASELINES:
        close = difflib.get_close_matches(name, BASELINES, n=3)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise InputError(f"There is no baseline {name!r}.{hint} Baselines: {', '.join(BASELINES)}.")


def run_baseline(name: str, task: Task, seeds: Sequence[int], folder: Path) -> tuple[dict, list[Evaluation]]:
    """Fit one baseline per seed and write its scores and predictions as a run's.

    Those without chance in them (`majority`, `logistic`) are fitted once and say the same for every seed.

    Args:
        name: one of `BASELINES`.
        task: made for the variant `full`.
        seeds: one run each.
        folder: runs/<corpus>/<name>.

    Returns:
        What metrics.json holds, and what it was made from.

    Raises:
        InputError: no such baseline, or the floor has nothing to learn from.
    """
    verify_baseline(name)
    fits = _fit_each(name, task, seeds)
    with cpu_threads(task.settings.threads):
        evaluations = [_evaluate(name, task, seed, folder, *fit) for seed, fit in zip(seeds, fits, strict=True)]
    return write_report(folder, task.corpus, evaluations), evaluations


def _fit_each(name: str, task: Task, seeds: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """For each seed the chosen epoch (0 = there are none) and [N, C] probabilities of all utterances of the corpus."""
    corpus = task.corpus
    if name in ("majority", "logistic"):
        probabilities_NC = majority(corpus) if name == "majority" else logistic(corpus, task.variant.modalities)
        yield from ((0, probabilities_NC) for _ in seeds)
        return
    with progress_bar() as bar:
        for seed in seeds:
            epochs = bar.add_task(f"{name} {corpus.utterances.corpus}, seed {seed}", total=task.settings.epochs)
            fitted = fit_recurrent(task, seed, late=name == "late_fusion", report=partial(bar.advance, epochs))
            yield fitted.best_epoch, _predict(fitted, task)


def _predict(fitted: Fitted, task: Task) -> np.ndarray:
    """[N, C] of all utterances of the corpus; zeros outside the scored splits."""
    rows, modalities = task.corpus.utterances, task.variant.modalities
    probabilities_NC = np.zeros((len(rows), task.classes))
    for split in set(SCORED) & set(rows.split):
        dialogues = Dialogues(task.corpus, split, task.normalisation, modalities, task.device.device)
        rows_N, made_NC = predict_recurrent(fitted.model, dialogues)
        probabilities_NC[rows_N.numpy()] = made_NC.numpy()
    return probabilities_NC


def majority(corpus: CachedCorpus) -> np.ndarray:
    """[N, C]: every utterance has the training split's shares of the classes, so the largest wins."""
    rows = corpus.utterances
    labels = rows.emotion[(rows.split == "train") & (rows.emotion >= 0)]
    share_C = np.bincount(labels, minlength=len(rows.classes)) / len(labels)
    return np.tile(share_C, (len(rows), 1))


def logistic(corpus: CachedCorpus, modalities: Sequence[str]) -> np.ndarray:
    """[N, C] probabilities of the linear floor; 0 for a class that training lacks."""
    model, features_ND = fit_floor(corpus, tuple(modalities))
    probabilities_NC = np.zeros((len(features_ND), len(corpus.utterances.classes)))
    probabilities_NC[:, model.classes_] = model.predict_proba(features_ND)
    return probabilities_NC


def _evaluate(
    name: str, task: Task, seed: int, folder: Path, best_epoch: int, probabilities_NC: np.ndarray
) -> Evaluation:
    """As a model's evaluation; contributions, context weight and agreement do not exist here: no columns, and NaN."""
    rows = task.corpus.utterances
    record = describe_corpus(task.corpus, task.variant.modalities)
    record |= {"variant": name, "seed": seed, "best_epoch": best_epoch, "finished": True, "widths": {}}
    predictions, scores = {}, {}
    for split in SCORED:
        here_N = np.flatnonzero(rows.split == split)
        if not len(here_N):
            continue
        none_N = np.full(len(here_N), np.nan)
        made_NC = probabilities_NC[here_N]
        predictions[split] = Predictions(here_N, made_NC, np.zeros((len(here_N), 0)), none_N, none_N)
        if (rows.emotion[here_N] >= 0).any():
            scores[split] = score(rows.emotion[here_N], made_NC.argmax(axis=1), task.classes)
    return Evaluation(Checkpoint(folder, None, task.normalisation, record), predictions, scores)
