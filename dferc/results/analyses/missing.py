"""How much does a trained model lose when modalities are missing? Every subset of them, and random absences.

The model is the one that was trained with all modalities; only what it is shown changes. M modalities, N utterances.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from dferc.results.analyses.inside import Inside
from dferc.results.analyses.numbers import named_scores, number, plain, score

RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
DRAWS = 5
"""Random absences per rate, at least, over all seeds together; each seed has its own."""

HOW = (
    "The same trained models, shown less; all labelled utterances are scored each time. Subsets: the modalities not "
    "named are absent everywhere. An utterance that has none of those named keeps its place in the dialogue with "
    "nothing of its own: the model decides from its neighbours. Random: that share of what is present is absent, "
    "drawn over utterances and modalities alike, in context too, but each utterance keeps one of its modalities, "
    "chosen at random, as the field's missing-rate protocol has it (GCNet, arXiv 2203.02177): what nobody observed "
    "cannot be recognised. With M modalities no more than (M - 1) / M can so be absent; `reached` is what is. "
    "Absences of a draw are nested: those at 10 % are absent at 20 % as well. Each seed has its own draws: the "
    "deviation over seeds holds both."
)


class Shown(NamedTuple):
    """Scores of one seed: by subset (in the order of `subsets`), and per rate and draw."""

    subsets: list[tuple[float, float]]
    """Accuracy, weighted F1."""
    nothing: list[int]
    """Labelled utterances that have none of the subset's modalities."""
    random: np.ndarray
    """[rates, draws, 2] accuracy, weighted F1."""
    reached: np.ndarray
    """[rates, draws]."""


def analyse_missing(modalities: Sequence[str], shown: Sequence[Shown], labelled: int) -> dict:
    """The `missing` of the file, from `show_less` of every seed."""
    lines = []
    for at, subset in enumerate(subsets(len(modalities)) if shown else ()):
        numbers = [number(scores_S, labelled) for scores_S in zip(*(each.subsets[at] for each in shown), strict=True)]
        names = [modalities[index] for index in subset]
        lines.append({"modalities": names, "nothing": shown[0].nothing[at]} | named_scores(numbers))
    random = [_at_rate(at, shown, labelled) for at in range(len(RATES))] if shown and len(modalities) > 1 else []
    alone = [f"one modality ({modalities[0]}): nothing but everything can be missing"] if len(modalities) == 1 else []
    draws = shown[0].random.shape[1] if random else 0
    return {"how": HOW, "statements": alone, "subsets": lines, "random": random, "draws": draws}


def _at_rate(at: int, shown: Sequence[Shown], labelled: int) -> dict:
    """Per seed the mean over its draws, then over the seeds; and the spread of a seed's draws, if it has several."""
    scores_SD2 = np.stack([each.random[at] for each in shown])
    spread = scores_SD2.std(axis=1, ddof=1).mean(axis=0) if scores_SD2.shape[1] > 1 else (None, None)
    line = {"rate": RATES[at], "reached": plain(np.mean([each.reached[at] for each in shown]))}
    line |= named_scores([number(scores_S, labelled) for scores_S in scores_SD2.mean(axis=1).T])
    within = named_scores([None if each is None else plain(each) for each in spread])
    return line | {f"{name}_std_draws": each for name, each in within.items()}


def subsets(modalities: int) -> list[tuple[int, ...]]:
    """Every subset but the empty one, the largest first."""
    sizes = range(modalities, 0, -1)
    return [subset for size in sizes for subset in itertools.combinations(range(modalities), size)]


@torch.inference_mode()
def show_less(inside: Inside, draws: int) -> Shown:
    """Score one seed's model on every subset, and `draws` times on every rate."""
    present_MN = inside.batch.present_MN.cpu().numpy()
    labelled_N = inside.batch.labels_N.cpu().numpy() >= 0
    scores, nothing = [], []
    for subset in subsets(len(present_MN)):
        kept_MN = present_MN & np.isin(np.arange(len(present_MN)), subset)[:, None]
        scores.append(_score(inside, kept_MN))
        nothing.append(int((~kept_MN.any(axis=0) & labelled_N).sum()))
    random = np.zeros((len(RATES), draws, 2))
    reached = np.zeros((len(RATES), draws))
    for draw in range(draws if len(present_MN) > 1 else 0):
        for at, kept_MN in enumerate(random_absences(present_MN, np.random.default_rng([inside.seed, draw]))):
            random[at, draw] = _score(inside, kept_MN)
            reached[at, draw] = 1 - kept_MN.sum() / max(present_MN.sum(), 1)
    return Shown(scores, nothing, random, reached)


def random_absences(present_MN: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """What is left present at each of `RATES`, [M, N] each: nested, and of each utterance one modality at least.

    Args:
        present_MN: bool.
        random: draws which modality each utterance keeps, and the order in which the others go.
    """
    keys_MN = np.where(present_MN, random.random(present_MN.shape), -1.0)
    kept_first_MN = present_MN & (keys_MN == keys_MN.max(axis=0))
    others = np.flatnonzero(present_MN & ~kept_first_MN)
    others = others[random.permutation(len(others))]
    left = []
    for rate in RATES:
        kept = present_MN.ravel().copy()
        kept[others[: round(rate * int(present_MN.sum()))]] = False
        left.append(kept.reshape(present_MN.shape))
    return left


def _score(inside: Inside, kept_MN: np.ndarray) -> tuple[float, float]:
    """Accuracy and weighted F1 of the labelled utterances when the model is shown only this."""
    batch, outputs = inside.batch, inside.outputs
    kept = torch.from_numpy(kept_MN).to(batch.present_MN.device)
    if not torch.equal(kept, batch.present_MN):
        outputs = inside.model(batch.features, kept, batch.layout)
    labels_N, chosen_N = (each.cpu().numpy() for each in (batch.labels_N, outputs.logits_NC.argmax(dim=1)))
    return score(labels_N[labels_N >= 0], chosen_N[labels_N >= 0])


def draws_per_seed(seeds: int) -> int:
    """So that there are `DRAWS` at least over all seeds."""
    return -(-DRAWS // seeds)
