"""Score saved checkpoints on validation and test, once each, by the model that validation selected.

No epoch is ever selected by its test score. The forward pass is float32, also on CUDA. N utterances, C classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
import torch

from dferc.core.device import cpu_threads
from dferc.core.errors import InputError, counted
from dferc.core.metrics import MAIN_FIRST, PER_CLASS, Scores, score_labels
from dferc.model.calibration import calibration_error, fit_of_probabilities, temper
from dferc.store.rows import CachedCorpus, Utterances
from dferc.store.vocabulary import SCORED
from dferc.training.checkpoint import Checkpoint, load_checkpoint, verify_corpus
from dferc.training.data import Dialogues
from dferc.training.seeds import verify_seeds
from dferc.training.task import draw_validation, merge_validation

BATCH_DIALOGUES = 32  # per forward pass, for speed only: a batch's composition does not change an utterance's logits


class Predictions(NamedTuple):
    """Outputs of one model for one split, aligned with `rows_N` (indices into the corpus' utterances).

    The probabilities are the softmax of the logits, without the temperature of the checkpoint.
    """

    rows_N: np.ndarray
    probabilities_NC: np.ndarray
    contribution_NM: np.ndarray
    context_weight_N: np.ndarray
    agreement_N: np.ndarray


class Evaluation(NamedTuple):
    """Predictions and scores of one seed by split; a split without labels has no scores."""

    folder: Path
    record: dict  # record of the checkpoint
    predictions: dict[str, Predictions]
    scores: dict[str, Scores]
    calibration_errors: dict[str, dict[str, float]]
    """ECE of the scored splits: `ece`, and `ece_calibrated` where the record has a temperature; likewise `votes_loss`
    and `votes_loss_calibrated`, the mean cross-entropy to the annotators' votes, where the corpus has any."""


def evaluate(corpus: CachedCorpus, folders: Sequence[Path], device: torch.device) -> list[Evaluation]:
    """Evaluate one checkpoint per folder; refuse one of other features, and those that differ by more than the seed."""
    checkpoints = [load_checkpoint(folder, device) for folder in folders]
    for checkpoint in checkpoints:
        verify_corpus(checkpoint, corpus)
    verify_seeds(checkpoints)
    evaluations = []
    for checkpoint in checkpoints:
        settings = checkpoint.record["settings"]
        of_seed = scored_corpus(corpus, settings, checkpoint.record["seed"])
        with cpu_threads(settings["threads"]):
            splits = [split for split in SCORED if (of_seed.utterances.split == split).any()]
            predictions = {split: predict(checkpoint, of_seed, split, device) for split in splits}
        evaluations.append(make_evaluation(checkpoint.folder, checkpoint.record, predictions, of_seed.utterances))
    return evaluations


def scored_corpus(corpus: CachedCorpus, settings: Mapping, seed: int) -> CachedCorpus:
    """Return the corpus with the splits on which a run may be scored.

    By `train.validation_split`, the validation split is that of the seed; by `train.selection: refit` the model has
    learnt it, so that it counts as training.
    """
    if settings.get("validation_split") == "by_seed":
        corpus = draw_validation(corpus, seed)
    return merge_validation(corpus) if settings.get("selection") == "refit" else corpus


@torch.inference_mode()
def predict(checkpoint: Checkpoint, corpus: CachedCorpus, split: str, device: torch.device) -> Predictions:
    """Predict every utterance of a split in one forward pass, in the corpus' order."""
    dialogues = Dialogues(corpus, split, checkpoint.normalisation, checkpoint.modalities, device)
    batches = []
    for batch in dialogues.batches(BATCH_DIALOGUES):
        outputs = checkpoint.model(batch.features, batch.present_MN, batch.layout, batch.speaker_N)
        of_model = (outputs.contribution_MN.T, outputs.context_weight_N, outputs.agreement_N)
        batches.append((batch.rows_N, outputs.logits_NC.softmax(dim=1), *of_model))
    predictions = Predictions(*(torch.cat(column).cpu().numpy() for column in zip(*batches, strict=True)))
    if not np.isfinite(predictions.probabilities_NC).all():
        raise InputError(
            f"{checkpoint.folder} predicts values that are no numbers on the {split} split: its weights or these "
            "features are far too large. Train again, or extract the features again."
        )
    return predictions


def make_evaluation(folder: Path, record: dict, predictions: dict[str, Predictions], rows: Utterances) -> Evaluation:
    """Score the labelled utterances of each split that has any, and the calibration of their probabilities."""
    scores, errors = {}, {}
    for split, predicted in predictions.items():
        actual_N, probabilities_NC = rows.emotion[predicted.rows_N], predicted.probabilities_NC
        labelled_N = actual_N >= 0
        if not labelled_N.any():
            continue
        scores[split] = score_labels(actual_N, probabilities_NC.argmax(axis=1), len(rows.classes))
        by_name = {"ece": probabilities_NC}
        if calibration := record.get("calibration"):
            by_name["ece_calibrated"] = temper(probabilities_NC, calibration["temperature"])
        errors[split] = _calibration_errors(probabilities_NC, by_name, actual_N)
        if rows.votes is not None:
            votes_NC = np.where(labelled_N[:, None], rows.votes[predicted.rows_N], np.nan)
            losses = {name.replace("ece", "votes_loss"): votes_loss(votes_NC, each) for name, each in by_name.items()}
            errors[split] |= {name: loss for name, loss in losses.items() if loss is not None}
    return Evaluation(folder, record, predictions, scores, errors)


def _calibration_errors(choosing_NC: np.ndarray, by_name: Mapping, actual_N: np.ndarray) -> dict[str, float]:
    """Return the calibration error of probabilities by name, on the labelled utterances, for the classes of others."""
    labelled_N = actual_N >= 0
    right_N = (choosing_NC.argmax(axis=1) == actual_N)[labelled_N]
    return {name: calibration_error(p_NC.max(axis=1)[labelled_N], right_N) for name, p_NC in by_name.items()}


def votes_loss(votes_NC: np.ndarray, probabilities_NC: np.ndarray) -> float | None:
    """Return the mean of `-sum_c votes_c log p_c` over the rows with votes (not NaN); None without one."""
    given_N = ~np.isnan(votes_NC[:, 0])
    if not given_N.any():
        return None
    p_NC = np.maximum(probabilities_NC[given_N].astype(np.float64), np.finfo(np.float32).tiny)
    return float(-(votes_NC[given_N] * np.log(p_NC)).sum(axis=1).mean())


def calibrate_mean(evaluations: Sequence[Evaluation], rows: Utterances) -> tuple[dict, dict[str, dict[str, float]]]:
    """Fit one more temperature, to the mean over the seeds of their calibrated probabilities, on the validation split.

    A mean is less sure than its parts, so that the temperatures of the parts leave it too unsure.

    Returns:
        The content of `mean` in metrics.json (schema `dferc.store.records.Calibration`), and by split the calibration
        error of the mean before and after; both empty for one seed, for seeds without temperatures or labels.
    """
    fitted = [(each.record.get("calibration") or {}).get("temperature") for each in evaluations]
    if len(fitted) < 2 or None in fitted or "validation" not in evaluations[0].scores:
        return {}, {}
    first, *others = (each.predictions["validation"].rows_N for each in evaluations)
    if not all(np.array_equal(first, rows_N) for rows_N in others):  # each seed has its own validation split
        return {}, {}
    means, labels, errors = {}, {}, {}
    for split in evaluations[0].scores:
        predicted = [each.predictions[split] for each in evaluations]
        of_seeds = [temper(of_seed.probabilities_NC, of_fit) for of_seed, of_fit in zip(predicted, fitted)]
        means[split], labels[split] = np.mean(of_seeds, axis=0), rows.emotion[predicted[0].rows_N]
    temperature, note = fit_of_probabilities(means["validation"], labels["validation"])
    for split, mean_NC in means.items():
        by_name = {"ece_of_mean": mean_NC, "ece_of_mean_calibrated": temper(mean_NC, temperature)}
        of_split = _calibration_errors(mean_NC, by_name, labels[split])
        errors[split] = {name: round(error, 6) for name, error in of_split.items()}
    count = int((labels["validation"] >= 0).sum())
    return {"temperature": temperature, "utterances": count} | ({"note": note} if note else {}), errors


def summarise(evaluations: Sequence[Evaluation], rows: Utterances) -> dict:
    """Return the content of metrics.json: protocol card, means and standard deviations over the seeds, class by class.

    `ece` is the calibration error of the probabilities as the models give them, `ece_calibrated` that of those divided
    by the `temperatures`, by seed; where a model has none, so has the file. `ece_of_mean` is that of the mean over the
    seeds of the latter, `ece_of_mean_calibrated` that with the temperature of `mean`.
    """
    record = evaluations[0].record
    metrics: dict = {"card": record["card"], "protocol": record["protocol"], "seeds": len(evaluations)}
    of_seeds = {str(each.record["seed"]): each.record.get("calibration") for each in evaluations}
    if all(of_seeds.values()):
        metrics["temperatures"] = {seed: calibration["temperature"] for seed, calibration in of_seeds.items()}
    of_mean, errors_of_mean = calibrate_mean(evaluations, rows)
    if of_mean:
        metrics["mean"] = of_mean
    for split in evaluations[0].scores:
        scores = [evaluation.scores[split] for evaluation in evaluations]
        metrics[split] = {}
        by_name = {name: [float(getattr(of_seed, name)) for of_seed in scores] for name in MAIN_FIRST}
        errors = [evaluation.calibration_errors[split] for evaluation in evaluations]
        by_name |= {name: [of_seed[name] for of_seed in errors] for name in errors[0] if all(name in e for e in errors)}
        for name, values in by_name.items():
            metrics[split][name] = round(fmean(values), 6)
            if len(values) > 1:
                metrics[split][f"{name}_std"] = round(stdev(values), 6)
        metrics[split] |= errors_of_mean.get(split, {})
        seeds_C = np.sum([of_seed.actual_C > 0 for of_seed in scores], axis=0)  # a drawn split may lack a class
        for name in PER_CLASS:
            sum_C = np.sum([getattr(of_seed, f"{name}_C") * (of_seed.actual_C > 0) for of_seed in scores], axis=0)
            mean_C = (sum_C / np.maximum(seeds_C, 1)).round(6)
            metrics[split][name] = dict(zip(record["classes"], mean_C.tolist(), strict=True))
    return metrics


def zero_f1(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """Yield a sentence for each split and class that some seed never recognises though the split has it."""
    classes = evaluations[0].record["classes"]
    for split in evaluations[0].scores:
        f1_SC = np.array([evaluation.scores[split].f1_C for evaluation in evaluations])
        actual_SC = np.array([evaluation.scores[split].actual_C for evaluation in evaluations])
        zero_SC = (f1_SC == 0) & (actual_SC > 0)  # a split that is drawn by seed may lack a class
        for index in np.flatnonzero(zero_SC.any(axis=0)):
            yield (
                f"{split}: {classes[index]} has F1 = 0 in {zero_SC[:, index].sum()} of "
                f"{(actual_SC[:, index] > 0).sum()} seed(s) ({counted(actual_SC[:, index].max(), 'utterance')})"
            )
