"""Differences between runs of one protocol: every variant against `full`, or one run against another.

B resamples, D dialogues, S seeds, N utterances, C classes.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dferc.core.metrics import SCORES, Scores
from dferc.model.variants import get_variant
from dferc.results import statistics
from dferc.results.published import Published, published_scores
from dferc.results.runs import FinishedRun, absent_runs, align, read_runs, reference_of, simulated, simulated_features
from dferc.results.statistics import Interval, MeanScores, draw_dialogues, score_resamples
from dferc.settings.sections import complete_settings
from dferc.store.vocabulary import in_order


class Difference(NamedTuple):
    """One score of a run minus the reference's; an interval is None where it cannot be computed."""

    mean: float
    dialogues: Interval | None
    seeds: Interval | None


class PValues(NamedTuple):
    """p of weighted F1 over dialogues and over seeds, and of McNemar; None where there is no test."""

    dialogues: float | None
    seeds: float | None
    mcnemar: float | None


class Comparison(NamedTuple):
    """Differences between a run and a reference."""

    seeds: tuple[int, ...]
    """Seeds of both runs, by which they are paired; empty: none in common, so all of each are compared."""
    differences: dict[str, Difference]  # difference of each score, named as in `scores_of`
    mcnemar: float  # p for the accuracy of the class that the seeds choose together

    @property
    def p_values(self) -> PValues:
        """The tests of the ablation table."""
        _, dialogues, seeds = self.differences["weighted_f1"]
        return PValues(dialogues and dialogues.p, seeds and seeds.p, self.mcnemar)


class AblationRow(NamedTuple):
    """Row of the ablation table; the reference has no comparison."""

    name: str
    run: FinishedRun
    comparison: Comparison | None
    corrected: PValues | None  # Holm-corrected over the rows of the table


class Ablation(NamedTuple):
    """Contents of a corpus' ablation table, without its formatting (`dferc.results.tables`)."""

    corpus: str
    reference: FinishedRun
    rows: list[AblationRow]
    notes: list[str]  # sentences that a reader must know: rows left out, seeds not shared, intervals withheld
    published: tuple[Published, ...]  # none beside simulated features, which scores of recordings do not measure
    synthetic: tuple[str, ...]  # a sentence for a corpus that is no recording, and for each simulated modality
    absent: dict[str, str]  # variants that cannot exist on these features, with the reason


def scores_of(run: FinishedRun, scores: Scores | MeanScores | None = None) -> dict[str, np.ndarray]:
    """Return `SCORES` and f1_<class>, without classes that the split lacks.

    They are those of the run, [S] each, or `scores` of its resamples, [B] each.
    """
    scores = run.scores if scores is None else scores
    named = {name: getattr(scores, name) for name in SCORES}
    return named | {f"f1_{run.classes[index]}": scores.f1_C[..., index] for index in np.flatnonzero(run.support)}


def compare(run: FinishedRun, reference: FinishedRun, drawn_BD: np.ndarray | None = None) -> Comparison:
    """Compare two runs of one protocol by the seeds of both; `drawn_BD`, of `draw_dialogues`, can be shared."""
    run = align(run, reference)
    seeds = tuple(seed for seed in run.seeds if seed in reference.seeds)
    if seeds:
        run, reference = run.only(seeds), reference.only(seeds)
    drawn_BD = draw_dialogues(reference.dialogues) if drawn_BD is None else drawn_BD
    scores, others = scores_of(run), scores_of(reference)
    resampled, others_resampled = (scores_of(one, score_resamples(one.counts, drawn_BD)) for one in (run, reference))
    differences = {
        name: Difference(
            mean=float(scores[name].mean() - others[name].mean()),
            dialogues=statistics.compare_dialogues(resampled[name] - others_resampled[name], reference.dialogues),
            seeds=statistics.compare_seeds(scores[name], others[name]) if seeds else None,
        )
        for name in scores
    }
    p = statistics.mcnemar(run.labelled.actual_T, run.labelled.together, reference.labelled.together)
    return Comparison(seeds, differences, p)


def collect(
    folder: Path, split: str | None = None, against: str = "full", names: Collection[str] | None = None
) -> Ablation:
    """Compare finished runs in runs/<corpus> with one of them, which also chooses the split by default.

    Args:
        folder: runs/<corpus>.
        split: test or validation; None = test, where it has labels.
        against: name of the reference.
        names: runs to compare; None = all that are there.
    """
    runs, notes = read_runs(folder, split, against, names)
    reference = reference_of(runs, against)
    against = reference.folder.name
    drawn_BD = draw_dialogues(reference.dialogues)
    comparisons = {name: compare(run, reference, drawn_BD) for name, run in runs.items() if name != against}
    corrected = correct(comparisons)
    rows = [AblationRow(name, run, comparisons.get(name), corrected.get(name)) for name, run in runs.items()]
    for name, comparison in comparisons.items():
        notes += pair_notes(name, runs[name], reference, comparison)
    notes += class_notes(reference)
    notes += run_notes(runs)
    comparable = reference.split == "test" and not any(simulated_features(runs))
    published = published_scores(reference.card) if comparable else ()
    return Ablation(folder.name, reference, rows, notes, published, tuple(simulated(runs)), absent_runs(folder))


def correct(comparisons: Mapping[str, Comparison]) -> dict[str, PValues]:
    """Return the p of each comparison, Holm-corrected over all of them."""
    families = zip(*(comparison.p_values for comparison in comparisons.values()), strict=True)
    p_values = zip(*map(statistics.holm, families), strict=True)
    return dict(zip(comparisons, map(PValues._make, p_values), strict=True))


def pair_notes(name: str, run: FinishedRun, reference: FinishedRun, comparison: Comparison) -> Iterator[str]:
    """Yield what the seeds of two runs leave undecided, and how their features and settings differ."""
    other, withheld = reference.folder.name, "the interval and test over seeds are withheld"
    seeds = (run.seeds, reference.seeds, comparison.seeds)
    own, others, common = (", ".join(map(str, numbers)) for numbers in seeds)
    both = f"{name} has seeds {own}, {other} {others}"
    if not comparison.seeds:
        yield f"{both}, none in common: all of each are compared, and {withheld}"
    elif len(comparison.seeds) < max(len(run.seeds), len(reference.seeds)):
        yield f"{both}: compared on {common}"
    if len(comparison.seeds) == 1:
        yield f"{name} is compared with {other} on one seed only: {withheld}"
    elif comparison.seeds and comparison.differences["weighted_f1"].seeds is None:
        yield f"{name} differs from {other} alike in every seed: {withheld}"
    yield from set_notes(name, run, reference)
    yield from setting_notes(name, run, reference)


def run_notes(runs: Mapping[str, FinishedRun]) -> Iterator[str]:
    """Yield notes on runs whose scores use the rows that are scored, and on those not selected by weighted F1."""
    for name, run in runs.items():
        if transductive := run.card.get("transductive"):
            yield f"{name} is {transductive}"
        if selected_by := run.card.get("selected_by"):
            yield f"{name} was selected by {SCORES[selected_by]} on validation"
        if run.card.get("selection"):
            yield f"{name} was trained anew on training and validation, for the steps that selection found (refit)"
        if run.card.get("validation_split"):
            yield f"each seed of {name} drew its own validation split: the spread is over splits and seeds"
        if run.card.get("causal"):
            yield f"{name} reads the past alone (train.causal)"
        if run.card.get("labels"):
            yield f"{name} learnt the shares of the annotators' votes, not their majority"


def set_notes(name: str, run: FinishedRun, reference: FinishedRun) -> Iterator[str]:
    """Yield on which other features than the reference a run was trained: their difference is one of features, too."""
    ours, theirs, other = run.card.get("sets", {}), reference.card.get("sets", {}), reference.folder.name
    sets = {modality: (ours.get(modality), theirs.get(modality)) for modality in in_order({*ours, *theirs})}
    differ = [
        f"{modality} from {_sets(one, modality, run)} ({other}: {_sets(two, modality, reference)})"
        for modality, (one, two) in sets.items()
        if one != two
    ]
    if differ:
        yield f"{name} reads other feature sets than {other}: {'; '.join(differ)}"
    one, two = run.trained_features, reference.trained_features
    chosen = (get_variant(each.record.get("variant", "full")) for each in (run, reference))  # a baseline reads all
    all_read = not any(each.modalities or each.without for each in chosen)
    if all_read and one and two and (set(one) ^ set(two)) - sets.keys():
        each = f"{name} was trained on {', '.join(in_order(one))}, {other} on {', '.join(in_order(two))}"
        yield f"{each}: the features had other modalities then"
    alike = (modality for modality in in_order(set(one) & set(two)) if ours.get(modality) == theirs.get(modality))
    values = [each.record.get("values", {}) for each in (run, reference)]  # an identity may not tell them
    values = {modality: {of[modality] for of in values if modality in of} for modality in one}
    if otherwise := [each for each in alike if one[each] != two[each] or len(values[each]) > 1]:
        yield (
            f"{name} was trained on {', '.join(otherwise)} features that were made otherwise than those of {other}, "
            "under the same name: train the older of them again"
        )


_NOTED = {"features", "select_by", "selection", "validation_split", "labels"}  # settings that have notes of their own


def setting_notes(name: str, run: FinishedRun, reference: FinishedRun) -> Iterator[str]:
    """Yield with which other settings than the reference a run was trained, but for its variant's own."""
    ours, theirs, other = run.trained_settings, reference.trained_settings, reference.folder.name
    one, two = run.record, reference.record
    if one and two and one["variant"] == two["variant"]:  # its own values may be changed
        ours, theirs = (complete_settings(each["settings"]) for each in (one, two))
    names = sorted((ours.keys() & theirs.keys()) - _NOTED)
    if differ := [f"{key} {ours[key]} ({other}: {theirs[key]})" for key in names if ours[key] != theirs[key]]:
        yield f"{name} was trained with other settings than {other}: {', '.join(differ)}"


def _sets(chosen: Sequence[str] | None, modality: str, run: FinishedRun) -> str:
    features = run.trained_features  # older runs do not know them
    read = [modality] if modality in features or not features else []
    return " + ".join(read if chosen is None else chosen) or "none"


def class_notes(run: FinishedRun) -> Iterator[str]:
    """Yield a note on classes without an utterance in the split."""
    if absent := [emotion for emotion, count in zip(run.classes, run.support, strict=True) if count == 0]:
        yield f"{', '.join(absent)}: no utterance in the {run.split} split, so no F1, and no part in macro F1"
