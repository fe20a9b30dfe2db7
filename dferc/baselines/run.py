"""Baselines trained, predicted and written as runs, so that tables show them. N utterances, C classes."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dferc.baselines.registry import DETERMINISTIC, TRAINED, verify_baseline
from dferc.baselines.shared import make_adam
from dferc.core.console import console, print_note, progress_bar
from dferc.core.device import cpu_threads
from dferc.core.sources import code_hash
from dferc.evaluation.evaluate import BATCH_DIALOGUES, Evaluation, Predictions, make_evaluation, scored_corpus
from dferc.evaluation.files import write_evaluation
from dferc.store.vocabulary import SCORED
from dferc.training.checkpoint import describe_corpus
from dferc.training.data import Dialogues
from dferc.training.optimiser import make_machinery
from dferc.training.resume import Progress, claim, load_progress, run_key, save_progress
from dferc.training.run import train_model
from dferc.training.task import Task

READ = (
    "hidden", "dropout", "class_weights", "input_dropout", "label_smoothing", "learning_rate", "betas", "eps",
    "weight_decay", "warmup_steps", "clip_norm", "weight_average", "batch_dialogues", "epochs", "patience",
)  # fmt: skip
"""Settings of `train` that bc-LSTM and late fusion learn by, beside those that protocol.json has of every run."""


def run_baseline(
    name: str, task: Task, seeds: Sequence[int], folder: Path, scratch: Path | None = None, fresh: bool = False
) -> tuple[dict, list[Evaluation]]:
    """Fit a baseline per seed on a task of the variant `full`, write it into runs/<corpus>/<name>, and score it.

    Deterministic baselines (`majority`, `logistic`) are fitted once and predict the same for every seed.

    Args:
        name: of the baseline.
        task: of the variant `full`.
        seeds: of the runs.
        folder: runs/<corpus>/<name>.
        scratch: folder of the states of the peers' runs, which resume from there; None = no states.
        fresh: ignore such states.
    """
    verify_baseline(name)
    with cpu_threads(task.settings.threads):
        fits = zip(seeds, _fit_each(name, task, seeds, scratch, fresh), strict=True)
        evaluations = [_evaluate(name, task.of_seed(seed), seed, folder, *fit) for seed, fit in fits]
    return write_evaluation(folder, task.corpus, evaluations), evaluations


def _fit_each(
    name: str, task: Task, seeds: Sequence[int], scratch: Path | None, fresh: bool
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield for each seed the selected epoch (0 = there are none) and probabilities [N, C] of the whole corpus."""
    modalities, refit = task.variant.modalities, task.settings.selection == "refit"
    if name in DETERMINISTIC:
        for seed in seeds:
            of_seed = task.of_seed(seed)
            if seed == seeds[0] or of_seed is not task:
                probabilities_NC = DETERMINISTIC[name](of_seed.corpus, modalities, refit, task.settings.select_by)
            yield 0, probabilities_NC
        return
    rows, task = task.corpus.utterances, adapt(name, task)
    for sentence in _remarks(name, task):
        print_note(sentence)
    with progress_bar() as bar:
        for seed in seeds:
            fitted = task.of_seed(seed)
            epochs = bar.add_task(f"{name} {rows.corpus}, seed {seed}", total=task.settings.epochs)
            with _kept(name, fitted, seed, scratch, fresh) as (progress, save):
                bar.update(epochs, completed=progress.epoch)
                model = fit(name, fitted, seed, progress, save=save, report=lambda *_: bar.advance(epochs))  # noqa: B023
            if refit:
                fitted = fitted.merged(progress.best_epoch)
                with _kept(name, fitted, seed, scratch, fresh) as (again, save):
                    model = fit(name, fitted, seed, again, save=save)
            probabilities_NC = np.zeros((len(rows), task.classes))  # zeros outside the scored splits
            for split in set(SCORED) & set(fitted.corpus.utterances.split):
                dialogues = Dialogues(fitted.corpus, split, fitted.normalisation, modalities, task.device.device)
                rows_N, predicted_NC = predict_baseline(name, model, fitted, dialogues)
                probabilities_NC[rows_N.numpy()] = predicted_NC.numpy()
            yield progress.best_epoch, probabilities_NC


def _remarks(name: str, task: Task) -> Iterator[str]:
    """Yield a sentence about the constants of a peer, and one about utterances whose speaker it does not know."""
    if recipe := TRAINED[name].recipe(task.corpus.utterances.corpus):
        constants = {"rate": recipe.learning_rate, "dialogues a step": recipe.batch_dialogues, "epochs": recipe.epochs}
        listed = ", ".join(f"{what} {value:g}" for what, value in (constants | recipe.sizes).items())
        yield f"{name} has its authors' constants, whatever `train` holds ({listed}): docs/baselines.md."
        if task.settings.causal:
            yield f"{name} reads whole dialogues, what comes later as well: train.causal is not for the peers."
        if unnamed := int((task.train.speaker_N < 0).sum()):
            yield (
                f"{name} reads who speaks, and {unnamed} of {len(task.train.speaker_N)} training utterances have no "
                "speaker: those of a dialogue count as one party."
            )


def adapt(name: str, task: Task) -> Task:
    """Return the task with the constants of a trained baseline's paper; unchanged where the corpus' settings apply."""
    recipe = TRAINED[name].recipe(task.corpus.utterances.corpus)
    return recipe.adapt(task) if recipe else task


@contextlib.contextmanager
def _kept(
    name: str, task: Task, seed: int, scratch: Path | None, fresh: bool
) -> Iterator[tuple[Progress, Callable[[Progress], None]]]:
    """Hold the state of a peer's run, so that a kill costs an epoch, and the function that keeps it."""
    recipe = TRAINED[name].recipe(task.corpus.utterances.corpus)
    if scratch is None or recipe is None:  # the others train in less time than their states take
        yield Progress(), lambda progress: None
        return
    about = {"variant": name, "sizes": dict(recipe.sizes), "seed": seed, "device": task.device.device.type}
    about["speakers"] = task.corpus.utterances.speakers_hash
    about["refit"] = list(task.refit) if task.refit else None
    state = scratch / run_key(task.describe() | about, code_hash(__name__)) / "state.pt"
    run = f"{name}, seed {seed}"
    with claim(state, lambda: console.print(f"{run}: another process is training this run; waiting for it to finish")):
        if fresh:
            state.unlink(missing_ok=True)
        progress = load_progress(state, lambda message: console.print(f"{run}: {message}"))
        if progress.epoch:
            stage = f"resumes after epoch {progress.epoch}" if progress.machinery else f"finished, taken from {state}"
            console.print(f"{run}: {stage} (--fresh trains it again)")
        yield progress, partial(save_progress, state)


def fit(name: str, task: Task, seed: int, progress: Progress, **callbacks: Callable) -> nn.Module:
    """Train one seed of a baseline; return the model with the weights of the epoch that is best on validation.

    Args:
        name: of a trained baseline.
        task: from `adapt`.
        seed: seed of initialisation, dropout and order.
        progress: state of the run, filled epoch by epoch.
        callbacks: `save` and `report` of `dferc.training.loop.fit`.
    """
    baseline = TRAINED[name]
    recipe = baseline.recipe(task.corpus.utterances.corpus)
    build = partial(baseline.build, task, **recipe.sizes) if recipe else partial(baseline.build, task)
    machinery = make_adam if recipe else make_machinery
    model = train_model(task, build, seed, progress, baseline.objective, machinery=machinery, **callbacks)
    model.load_state_dict(progress.best)
    return model.eval()


@torch.inference_mode()
def predict_baseline(name: str, model: nn.Module, task: Task, dialogues: Dialogues) -> tuple[Tensor, Tensor]:
    """Return rows of the corpus [N] and their probabilities [N, C] in float32, on the CPU."""
    objective = TRAINED[name].objective
    parts = [(batch.rows_N, objective(model, batch, task)[1]) for batch in dialogues.batches(BATCH_DIALOGUES)]
    return tuple(torch.cat(column).cpu() for column in zip(*parts, strict=True))


def _evaluate(
    name: str, task: Task, seed: int, folder: Path, best_epoch: int, probabilities_NC: np.ndarray
) -> Evaluation:
    """Evaluate like a model; contributions, context weight and agreement do not exist: no columns, and NaN."""
    corpus = task.source or task.corpus
    record = describe_corpus(corpus, task.variant.modalities)
    record |= {"variant": name, "seed": seed, "best_epoch": best_epoch, "finished": True, "widths": {}}
    used = ("selection", "validation_split")
    used += () if name == "majority" else ("select_by",)
    used += () if name in DETERMINISTIC else ("normalisation", "labels")
    used += ("causal",) if name in TRAINED and not TRAINED[name].recipes else ()  # the peers read whole dialogues
    record["settings"] = {setting: getattr(task.settings, setting) for setting in used}
    if name in TRAINED and not TRAINED[name].recipes:
        record["trained_with"] = task.settings.model_dump(mode="json", include=set(READ))
    rows = scored_corpus(corpus, record["settings"], seed).utterances
    predictions = {}
    for split in SCORED:
        rows_N = np.flatnonzero(rows.split == split)
        if len(rows_N):
            none_N0, none_N = np.zeros((len(rows_N), 0)), np.full(len(rows_N), np.nan)
            predictions[split] = Predictions(rows_N, probabilities_NC[rows_N], none_N0, none_N, none_N)
    return make_evaluation(folder, record, predictions, rows)
