"""First section of the report: protocol card, sizes, seeds, features, and what is simulated."""

import numpy as np

from dferc.core.errors import InputError
from dferc.results.ablation_table import SCORES
from dferc.results.compare import Ablation, scores_of
from dferc.results.corpus_runs import simulated
from dferc.results.figures.description import NOTHING_SIMULATED, Sample, counted, simulation_sentence
from dferc.results.runs import FinishedRun
from dferc.results.text_tables import mean_cell
from dferc.store.inspection import inspect_corpus
from dferc.store.rows import CachedCorpus


def sample_of(ablation: Ablation) -> Sample:
    """Return the utterances behind the numbers of a report."""
    run = ablation.reference
    sentences = list(simulated({row.name: row.run for row in ablation.rows}))
    return Sample(run.split, len(run.labelled.actual_T), run.dialogues, simulation_sentence(sentences))


def summary(ablation: Ablation, corpus: CachedCorpus, sample: Sample) -> dict:
    """Return the first section of the report.

    Returns:
        corpus, split, reference (its name), seeds, headline (pairs of name and value of the reference's scores),
        simulated (a sentence) and warn (whether anything is), card (the protocol card and the features, as
        `dferc inspect --json` gives them), zero_f1 (sentences).

    Raises:
        InputError: the features are of another protocol than the runs.
    """
    run, card = ablation.reference, inspect_corpus(corpus)
    if card["card"] != run.card["card"]:
        raise InputError(
            f"the features are of protocol card {card['card']} ({card['protocol']}), {run.folder} of "
            f"{run.card['card']} ({run.card['protocol']}): texts and labels would be those of another corpus. "
            "Name the features that the runs were trained on with --features."
        )
    scores = scores_of(run)
    headline = {title: mean_cell(scores[name]) for name, title in SCORES.items()}
    return {
        "corpus": ablation.corpus,
        "split": run.split,
        "reference": run.folder.name,
        "seeds": len(run.seeds),
        "runs": len(ablation.rows),
        "utterances": sample.utterances,
        "dialogues": sample.dialogues,
        "headline": [(title, headline[title]) for title in ("weighted F1", "macro F1", "accuracy")],
        "simulated": sample.simulated,
        "warn": sample.simulated != NOTHING_SIMULATED,
        "card": card,
        "zero_f1": [sentence for row in ablation.rows if (sentence := zero_f1(row.name, row.run))],
    }


def zero_f1(name: str, run: FinishedRun) -> str:
    """Return which classes some seed never gets right though the split has them; empty where there is none."""
    never_SC = run.scores.f1_C == 0
    classes = [
        f"{run.classes[index]} ({never_SC[:, index].sum()} of {counted(len(run.seeds), 'seed')}, "
        f"n = {run.support[index]})"
        for index in np.flatnonzero(never_SC.any(axis=0) & (run.support > 0))
    ]
    return f"{name}: {', '.join(classes)}" if classes else ""
