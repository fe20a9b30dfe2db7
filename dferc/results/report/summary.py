"""What a reader must know before any number: protocol card, sizes, seeds, features, and what is simulated."""

from typing import NamedTuple

import numpy as np

from dferc.core.errors import InputError
from dferc.results.compare import Ablation, scores_of
from dferc.results.grid import spread
from dferc.results.runs import Run
from dferc.results.simulated import simulated
from dferc.store.inspection import inspect_corpus
from dferc.store.rows import CachedCorpus

NOTHING = "Nothing is declared as simulated."


class Basis(NamedTuple):
    """What the numbers of a report rest on: the end of every caption."""

    split: str
    utterances: int
    """Labelled ones."""
    dialogues: int
    simulated: str
    """A sentence for every caption."""

    def sentence(self, seeds: int, run: str = "") -> str:
        """The run, n, seeds and what is simulated."""
        size = f"n = {self.utterances:,} labelled utterances in {self.dialogues:,} dialogues ({self.split})"
        return f"{f'Run {run}; ' if run else ''}{size}; {counted(seeds, 'seed')}. {self.simulated}"


def counted(number: int, thing: str) -> str:
    """`1 seed`, `5 seeds`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def basis_of(ablation: Ablation) -> Basis:
    """What the figures of a report rest on."""
    run = ablation.reference
    said = "; ".join(simulated({row.name: row.run for row in ablation.rows}))
    return Basis(run.split, len(run.actual_N), run.dialogues, f"{said[0].upper()}{said[1:]}." if said else NOTHING)


def summary(ablation: Ablation, corpus: CachedCorpus, basis: Basis) -> dict:
    """The first section of the report.

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
    names = {"weighted_f1": "weighted F1", "macro_f1": "macro F1", "accuracy": "accuracy"}
    return {
        "corpus": ablation.corpus,
        "split": run.split,
        "reference": run.folder.name,
        "seeds": len(run.seeds),
        "runs": len(ablation.rows),
        "utterances": len(run.actual_N),
        "dialogues": run.dialogues,
        "headline": [(title, spread(scores[name])) for name, title in names.items()],
        "simulated": basis.simulated,
        "warn": basis.simulated != NOTHING,
        "card": card,
        "zero_f1": [sentence for row in ablation.rows if (sentence := zero_f1(row.name, row.run))],
    }


def zero_f1(name: str, run: Run) -> str:
    """Which classes some seed never gets right though the split has them; empty where there is none."""
    never_SC = run.scores.f1_C == 0
    found = [
        f"{run.classes[at]} ({never_SC[:, at].sum()} of {counted(len(run.seeds), 'seed')}, n = {run.support[at]})"
        for at in np.flatnonzero(never_SC.any(axis=0) & (run.support > 0))
    ]
    return f"{name}: {', '.join(found)}" if found else ""
