"""All analyses of a corpus' runs in one document (schema: `dferc.results.analyses`)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from dferc.core.files import digest
from dferc.results.analyses.calibration import analyse_calibration
from dferc.results.analyses.context import analyse_context, count_votes
from dferc.results.analyses.contributions import analyse_contributions
from dferc.results.analyses.dialogues import analyse_dialogues
from dferc.results.analyses.document import SCHEMA
from dferc.results.analyses.geometry import analyse_geometry, embed, levels_of, sample_rows, silhouettes
from dferc.results.analyses.inside import look_into
from dferc.results.analyses.missing import analyse_missing, draws_per_seed, reduce_input
from dferc.results.compare import class_notes
from dferc.results.runs import FinishedRun, read_runs, reference_of, simulated
from dferc.store.hdf5 import read_corpus
from dferc.store.vocabulary import in_order

CPU = torch.device("cpu")


def analyse(
    folder: Path, features: Path, split: str | None = None, name: str = "full", device: torch.device = CPU
) -> dict:
    """Analyse every finished run in runs/<corpus>, and the models of the one called `name`.

    Without features/<corpus>, analyses that need models are left out, with a note.
    """
    runs, notes = read_runs(folder, split, name)
    run = reference_of(runs, name)
    insides, needs = iter(()), "geometry, missing modalities and votes need models and features"
    if not (run.folder / "train").is_dir():
        notes.append(f"{run.folder.name} kept no model (a baseline): {needs}")
    elif not features.is_dir():
        notes.append(f"{features} is not there: {needs}")
    else:
        corpus = read_corpus(features, features.name, run.card.get("sets"))
        insides = look_into(run.folder, corpus, run.split, run.seeds, device)
    votes, reduced, of_levels, tsne = [], [], [], None
    rows, heads = {"modality": np.zeros(0), "utterance": np.zeros(0)}, 1
    for inside in insides:
        heads = len(inside.model.members)
        if counts := count_votes(inside):
            votes.append(counts)
        reduced.append(reduce_input(inside, draws_per_seed(len(run.seeds))))
        rows = sample_rows(inside.batch.present_MN.cpu().numpy())  # the same for every seed
        levels = levels_of(inside, rows)
        of_levels.append(silhouettes(levels, rows))
        tsne = tsne or _embed(inside.seed, levels, rows, run)
    if heads > 1:
        notes.append(f"{run.folder.name} has {heads} heads: geometry and votes are of the first head's spaces alone")
    return _describe(folder.name, runs, run, notes) | {
        "contributions": analyse_contributions(runs),
        "context": analyse_context(runs, votes),
        "dialogues": analyse_dialogues(runs),
        "calibration": analyse_calibration(runs),
        "geometry": analyse_geometry(of_levels, rows, tsne),
        "missing": analyse_missing(run.modalities, reduced, int(run.is_labelled.sum())),
    }


def _embed(seed: int, levels: Mapping, rows: Mapping, run: FinishedRun) -> dict | None:
    """Return the t-SNE with what its points are; None for fewer than four points."""
    if len(rows["utterance"]) < 4:
        return None
    return {
        "seed": seed,
        "utterance_id": run.utterance_id_T[rows["utterance"]].tolist(),
        "modality": [run.modalities[index] for index in rows["modality"]],
        "emotion": [run.classes[label] if label >= 0 else None for label in run.actual_T[rows["utterance"]]],
        **embed(levels),
    }


def _describe(corpus: str, runs: Mapping[str, FinishedRun], run: FinishedRun, notes: list[str]) -> dict:
    """Return the head of the document: corpus, split, protocol, classes, runs and notes."""
    single = [name for name, each in runs.items() if len(each.seeds) == 1]
    one_seed = [f"{', '.join(single)}: one seed only, so no standard deviation over seeds"] if single else []
    return {
        "schema": SCHEMA,
        "corpus": corpus,
        "split": run.split,
        "card": run.card["card"],
        "protocol": run.card["protocol"],
        "simulated": list(simulated(runs)),
        "classes": list(run.classes),
        "modalities": list(in_order({name for each in runs.values() for name in each.modalities})),
        "utterances": len(run.actual_T),
        "labelled": int(run.is_labelled.sum()),
        "dialogue_count": int(run.dialogue.max()) + 1,
        "support": dict(zip(run.classes, run.support.tolist(), strict=True)),
        "runs": {
            name: {"folder": str(each.folder), "seeds": list(each.seeds), "files": digest(each.folder / "evaluate")}
            for name, each in runs.items()
        },
        "run": run.folder.name,
        "notes": [*notes, *class_notes(run), *one_seed],
    }
