"""All finished runs of a corpus: read together, aligned to one numbering of classes, and what in them is simulated."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from dferc.core.errors import InputError, did_you_mean
from dferc.model.variants import VARIANTS
from dferc.results.runs import FinishedRun, read_run
from dferc.store.vocabulary import MODALITIES


def read_runs(folder: Path, split: str, reference: str) -> tuple[dict[str, FinishedRun], list[str]]:
    """Read every finished run in runs/<corpus>: variants in the paper's order, then baselines and trials by name.

    Classes are numbered as in the reference.

    Returns:
        The runs by name, and a sentence for each run that is left out because it is not finished.

    Raises:
        InputError: the reference is not there or not finished, or two runs follow different protocols.
    """
    order = {name: place for place, name in enumerate(VARIANTS)}
    names = [path.name for path in folder.glob("*/") if not path.name.startswith(".")]
    names.sort(key=lambda name: (order.get(name, len(order)), name))
    if reference not in names:
        raise InputError(
            f"{folder} has no run {reference!r}.{did_you_mean(reference, names)} "
            f"Choose one of: {', '.join(names) or 'none'}."
        )
    runs, notes = {}, []
    first = read_run(folder / reference, split)
    for name in names:
        try:
            run = first if name == reference else read_run(folder / name, split)
        except InputError as error:
            notes.append(f"{name} is left out: {error}")
        else:
            runs[name] = align(run, first)
    return runs, notes


def align(run: FinishedRun, reference: FinishedRun) -> FinishedRun:
    """Return `run` with its classes numbered as the reference's, since the card's hash leaves their order open.

    Raises:
        InputError: they follow different protocols; the message shows both cards.
    """
    if run.card["card"] != reference.card["card"]:
        cards = "\n".join(f"  - {one.folder}: {_describe(one.card)}" for one in (reference, run))
        raise InputError(
            f"{reference.folder} and {run.folder} follow different protocols; their scores must not be compared:\n"
            f"{cards}\nTrain and score both on the same labels and splits."
        )
    number_C = np.array([reference.classes.index(emotion) for emotion in run.classes])
    return replace(
        run,
        classes=reference.classes,
        actual_T=np.append(number_C, -1)[run.actual_T],  # -1, unlabelled, indexes the last
        predicted_ST=number_C[run.predicted_ST],
        probability_STC=run.probability_STC[..., np.argsort(number_C)],
    )


def _describe(card: Mapping) -> str:
    splits = (f"{name} {split['labelled']} in {split['dialogues']}" for name, split in card["splits"].items())
    return (
        f"card {card['card']}: {card['protocol']}; classes {', '.join(card['classes'])}; "
        f"labelled utterances in dialogues: {', '.join(splits)}"
    )


def simulated(runs: Mapping[str, FinishedRun]) -> Iterator[str]:
    """Yield a sentence for the corpus and for each modality that is declared synthetic or simulated."""
    protocol = next(iter(runs.values())).card["protocol"]
    if _is_simulated(protocol):
        yield f"the corpus is no recording: {protocol}"
    yield from simulated_features(runs)


def simulated_features(runs: Mapping[str, FinishedRun]) -> Iterator[str]:
    """Yield a sentence for each modality that is declared synthetic or simulated."""
    features = {}
    for run in runs.values():
        for path in sorted(run.folder.glob("train/seed-*/settings.json"))[:1]:
            features |= json.loads(path.read_text(encoding="utf-8")).get("features", {})
    for name in MODALITIES:
        if _is_simulated(json.dumps(features.get(name))):
            yield f"{name} features are simulated: {features[name].get('extractor', 'so their identity says')}"


def _is_simulated(declaration: str) -> bool:
    return any(word in declaration.lower() for word in ("synthetic", "simulat"))
