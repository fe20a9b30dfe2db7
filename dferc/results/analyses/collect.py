"""All analyses of a corpus in one document: reports/<corpus>/analyses.json (schema: `dferc.results.analyses`)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from dferc.core.console import progress_bar
from dferc.core.files import write_atomically
from dferc.results.analyses import SCHEMA
from dferc.results.analyses.calibration import analyse_calibration
from dferc.results.analyses.context import analyse_context, count_votes
from dferc.results.analyses.contributions import analyse_contributions
from dferc.results.analyses.dialogues import analyse_dialogues
from dferc.results.analyses.geometry import analyse_geometry, embed, levels_of, sample_rows, silhouettes
from dferc.results.analyses.inside import Inside, look_into
from dferc.results.analyses.missing import Shown, analyse_missing, draws_per_seed, show_less
from dferc.results.analyses.saved import Saved, read_saved
from dferc.results.compare import class_notes
from dferc.results.runs import Run, read_runs
from dferc.results.simulated import simulated
from dferc.store.hdf5 import read_corpus
from dferc.store.vocabulary import MODALITIES


def analyse(
    runs: Path, features: Path, split: str = "test", run: str = "full", device: torch.device | str = "cpu"
) -> dict:
    """Analyse every finished run of a corpus.

    Args:
        runs: runs/<corpus>.
        features: features/<corpus>; without it, what needs models is left out, and said.
        split: which.
        run: the one whose models are looked into.
        device: for the models.

    Raises:
        InputError: that run is not there or not finished, a table or checkpoint is damaged or of other features, or two
            runs follow different protocols.
    """
    found, notes = read_runs(runs, split, run)
    saved = {name: read_saved(each) for name, each in found.items()}
    seen = _look(found[run], saved[run], features, torch.device(device))
    return describe(runs.name, found, saved, run, [*notes, *seen.notes]) | {
        "contributions": analyse_contributions(saved),
        "context": analyse_context(saved, seen.votes),
        "dialogues": analyse_dialogues(saved),
        "calibration": analyse_calibration(saved),
        "geometry": analyse_geometry(seen.silhouettes, seen.rows, seen.tsne),
        "missing": analyse_missing(saved[run].modalities, seen.shown, int(saved[run].labelled.sum())),
    }


@dataclass
class _Seen:
    """What was seen in the models, per seed."""

    notes: list[str] = field(default_factory=list)
    votes: list[dict] = field(default_factory=list)
    silhouettes: list[dict] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    rows: dict[str, np.ndarray] = field(default_factory=lambda: {"modality": np.zeros(0), "utterance": np.zeros(0)})
    tsne: dict | None = None


def _look(run: Run, saved: Saved, features: Path, device: torch.device) -> _Seen:
    """Look into the models of a run, if it has any and the features are there."""
    seen, needs = _Seen(), "geometry, missing modalities and votes need models and features"
    if not (run.folder / "train").is_dir():
        seen.notes.append(f"{run.folder.name} kept no model (a baseline): {needs}")
        return seen
    if not features.is_dir():
        seen.notes.append(f"{features} is not there: {needs}")
        return seen
    corpus = read_corpus(features, features.name)
    with progress_bar() as bar:
        task = bar.add_task(f"models of {run.folder.name}", total=len(run.seeds))
        for inside in look_into(run.folder, corpus, run.split, run.seeds, device):
            _look_once(inside, saved, draws_per_seed(len(run.seeds)), seen)
            bar.advance(task)
    return seen


def _look_once(inside: Inside, saved: Saved, draws: int, seen: _Seen) -> None:
    votes = count_votes(inside)
    seen.votes += [votes] if votes else []
    seen.shown.append(show_less(inside, draws))
    first = not seen.silhouettes
    if first:
        seen.rows = sample_rows(inside.batch.present_MN.cpu().numpy())
    levels = levels_of(inside, seen.rows)
    seen.silhouettes.append(silhouettes(levels, seen.rows))
    if first and len(seen.rows["utterance"]) > 3:
        emotion_T = [saved.classes[label] if label >= 0 else None for label in saved.actual_T]
        seen.tsne = {
            "seed": inside.seed,
            "utterance_id": saved.utterance_id_T[seen.rows["utterance"]].tolist(),
            "modality": [saved.modalities[at] for at in seen.rows["modality"]],
            "emotion": [emotion_T[at] for at in seen.rows["utterance"]],
            **embed(levels),
        }


def describe(corpus: str, runs: Mapping[str, Run], saved: Mapping[str, Saved], run: str, notes: list[str]) -> dict:
    """What the analyses are of."""
    first, rows = runs[run], saved[run]
    return {
        "schema": SCHEMA,
        "corpus": corpus,
        "split": first.split,
        "card": first.card["card"],
        "protocol": first.card["protocol"],
        "simulated": list(simulated(runs)),
        "classes": list(first.classes),
        "modalities": [name for name in MODALITIES if any(name in each.modalities for each in saved.values())],
        "utterances": len(rows.actual_T),
        "labelled": int(rows.labelled.sum()),
        "dialogue_count": int(rows.dialogue_T.max()) + 1,
        "support": dict(zip(first.classes, first.support.tolist(), strict=True)),
        "runs": {name: {"folder": str(each.folder), "seeds": list(each.seeds)} for name, each in runs.items()},
        "run": run,
        "notes": [*notes, *class_notes(first), *_single_seeds(runs)],
    }


def _single_seeds(runs: Mapping[str, Run]) -> Iterator[str]:
    single = [name for name, run in runs.items() if len(run.seeds) == 1]
    if single:
        yield f"{', '.join(single)}: one seed only, so no standard deviation over seeds"


def write_analyses(folder: Path, found: dict) -> Path:
    """Write analyses.json; returns its path."""
    text = json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
    path = folder / "analyses.json"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return path
