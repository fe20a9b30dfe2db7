"""Differences between runs of one protocol: every variant against `full`, or one run against another.

B resamples, D dialogues, S seeds, N utterances, C classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dferc.results.runs import Run, align, read_runs
from dferc.results.simulated import simulated_features
from dferc.results.statistics import (
    Interval,
    Scores,
    compare_dialogues,
    compare_seeds,
    draw_dialogues,
    holm,
    mcnemar,
    score_resamples,
)


class Difference(NamedTuple):
    """Of one score, a run's less its reference's; an interval is None where there is nothing to draw it from."""

    mean: float
    dialogues: Interval | None
    seeds: Interval | None


class Comparison(NamedTuple):
    """A run against a reference."""

    seeds: tuple[int, ...]
    """Those of both, by which they are paired; empty: they share none, and all of each are taken."""
    differences: dict[str, Difference]
    """By score, as `by_name` names them."""
    mcnemar: float
    """p for the accuracy of what the seeds choose together."""


class Corrected(NamedTuple):
    """p of weighted F1 over dialogues and over seeds and of McNemar, Holm-corrected over the rows of a table."""

    dialogues: float | None
    seeds: float | None
    mcnemar: float | None


class Row(NamedTuple):
    """A line of the ablation table; the reference is compared with nothing."""

    name: str
    run: Run
    comparison: Comparison | None
    corrected: Corrected | None


class Ablation(NamedTuple):
    """The ablation table of a corpus, before anyone has decided how it looks."""

    corpus: str
    reference: Run
    rows: list[Row]
    notes: list[str]
    """What a reader must know: rows left out, seeds not shared, intervals withheld."""
    simulated: tuple[str, ...]
    """A sentence for each modality whose features are simulated."""


def by_name(scores: Scores, classes: Sequence[str], support_C: np.ndarray) -> dict[str, np.ndarray]:
    """accuracy, weighted_f1, macro_f1 and f1_<class>, [...] each; classes that the split lacks are left out."""
    named = {name: getattr(scores, name) for name in ("accuracy", "weighted_f1", "macro_f1")}
    return named | {f"f1_{name}": scores.f1_C[..., at] for at, name in enumerate(classes) if support_C[at]}


def scores_of(run: Run) -> dict[str, np.ndarray]:
    """`by_name` of a run, [S] each."""
    return by_name(run.scores, run.classes, run.support)


def compare(run: Run, reference: Run, drawn_BD: np.ndarray | None = None) -> Comparison:
    """Compare two runs on the same utterances, by the seeds that both have.

    Args:
        run: of the same protocol.
        reference: what it is compared with.
        drawn_BD: of `draw_dialogues`, where several comparisons share it.

    Raises:
        InputError: the protocols differ.
    """
    run = align(run, reference)
    seeds = tuple(seed for seed in run.seeds if seed in reference.seeds)
    if seeds:
        run, reference = run.only(seeds), reference.only(seeds)
    drawn_BD = draw_dialogues(reference.dialogues) if drawn_BD is None else drawn_BD
    one, two = scores_of(run), scores_of(reference)
    many, others = (
        by_name(score_resamples(each.counts, drawn_BD), each.classes, each.support) for each in (run, reference)
    )
    differences = {
        name: Difference(
            mean=float(one[name].mean() - two[name].mean()),
            dialogues=compare_dialogues(many[name] - others[name], reference.dialogues),
            seeds=compare_seeds(one[name], two[name]) if seeds else None,
        )
        for name in one
    }
    return Comparison(seeds, differences, mcnemar(run.actual_N, run.together, reference.together))


def collect(folder: Path, split: str = "test", against: str = "full") -> Ablation:
    """Read every run of a corpus and compare it with one of them.

    Args:
        folder: runs/<corpus>; a run that is not finished is left out, and noted.
        split: which to score.
        against: name of the reference.

    Raises:
        InputError: the reference is not there or not finished, or two runs follow different protocols.
    """
    runs, notes = read_runs(folder, split, against)
    reference = runs[against]
    drawn_BD = draw_dialogues(reference.dialogues)
    comparisons = {name: compare(run, reference, drawn_BD) for name, run in runs.items() if name != against}
    corrected = _correct(comparisons)
    rows = [Row(name, run, comparisons.get(name), corrected.get(name)) for name, run in runs.items()]
    notes += [
        note for name, compared in comparisons.items() for note in seed_notes(name, runs[name], reference, compared)
    ]
    notes += class_notes(reference)
    return Ablation(folder.name, reference, rows, notes, tuple(simulated_features(runs)))


def _correct(comparisons: Mapping[str, Comparison]) -> dict[str, Corrected]:
    """Holm's correction, for each test over all rows."""
    found = [(each.differences["weighted_f1"], each.mcnemar) for each in comparisons.values()]
    families = (
        [made.dialogues and made.dialogues.p for made, _ in found],
        [made.seeds and made.seeds.p for made, _ in found],
        [p for _, p in found],
    )
    return dict(zip(comparisons, map(Corrected, *map(holm, families)), strict=True))


def seed_notes(name: str, run: Run, reference: Run, compared: Comparison) -> Iterator[str]:
    """What the seeds of two runs do not allow to say."""
    other, withheld = reference.folder.name, "the interval and test over seeds are withheld"
    has = f"{name} has seeds {_list(run.seeds)}, {other} {_list(reference.seeds)}"
    if not compared.seeds:
        yield f"{has}, none in common: all of each are compared, and {withheld}"
    elif len(compared.seeds) < max(len(run.seeds), len(reference.seeds)):
        yield f"{has}: compared on {_list(compared.seeds)}"
    if len(compared.seeds) == 1:
        yield f"{name} is compared with {other} on one seed only: {withheld}"
    elif compared.seeds and compared.differences["weighted_f1"].seeds is None:
        yield f"{name} differs from {other} alike in every seed: {withheld}"


def class_notes(run: Run) -> Iterator[str]:
    """Classes without an utterance in the split."""
    absent = [emotion for emotion, count in zip(run.classes, run.support, strict=True) if count == 0]
    if absent:
        yield f"{', '.join(absent)}: no utterance in the {run.split} split, so no F1, and no part in macro F1"


def _list(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
