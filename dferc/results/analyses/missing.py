"""Scores of trained models when modalities are missing: every subset of them, and random absences.

The models were trained with all modalities; only their input changes. M modalities, N utterances, S seeds, D draws.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from dferc.results.analyses.inside import Inside
from dferc.results.analyses.numbers import plain, score, score_numbers

RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
DRAWS = 5  # random absences per rate, at least, over all seeds together; each seed has its own
MOST_WHOLE = 5  # modalities of which every subset is scored: 31; their number doubles with each
SPREADS = ("accuracy_std_draws", "weighted_f1_std_draws")
"""Mean over the seeds of the spread of a seed's draws; None for one draw."""

HOW = (
    "The same trained models, shown less; all labelled utterances are scored each time. Subsets: the modalities not "
    "named are absent everywhere. An utterance that has none of those named keeps its place in the dialogue with "
    "nothing of its own: the model decides from its neighbours. Random: that share of what is present is absent, "
    "drawn over utterances and modalities alike, in context too, but each utterance keeps one of its modalities, "
    "chosen at random, as the field's missing-rate protocol has it (GCNet, arXiv 2203.02177): what nobody observed "
    "cannot be recognised. With M modalities no more than (M - 1) / M can so be absent; reached is what is. "
    "Absences of a draw are nested: those at 10 % are absent at 20 % as well. Each seed has its own draws: the "
    "deviation over seeds holds both."
)


class Reduced(NamedTuple):
    """Scores of one seed with reduced input: by subset (in the order of `subsets`), and per rate and draw."""

    subsets: list[tuple[float, float]]  # accuracy, weighted F1
    nothing: list[int]  # labelled utterances that have none of the subset's modalities
    random: np.ndarray  # [rates, draws, 2] accuracy, weighted F1
    reached: np.ndarray  # [rates, draws] share that is absent


def analyse_missing(modalities: Sequence[str], reduced: Sequence[Reduced], labelled: int) -> dict:
    """Return the file's `missing`, from `reduce_input` of every seed."""
    lines, random = [], []
    for index, subset in enumerate(subsets(len(modalities)) if reduced else ()):
        line = {"modalities": [modalities[modality] for modality in subset], "nothing": reduced[0].nothing[index]}
        lines.append(line | score_numbers(np.array([seed.subsets[index] for seed in reduced]), labelled))
    for index, rate in enumerate(RATES if reduced and len(modalities) > 1 else ()):
        scores_SD2 = np.stack([seed.random[index] for seed in reduced])
        line = {"rate": rate, "reached": plain(np.mean([seed.reached[index] for seed in reduced]))}
        line |= score_numbers(scores_SD2.mean(axis=1), labelled) | dict.fromkeys(SPREADS)
        if scores_SD2.shape[1] > 1:
            line |= zip(SPREADS, map(plain, scores_SD2.std(axis=1, ddof=1).mean(axis=0)), strict=True)
        random.append(line)
    alone = [f"one modality ({modalities[0]}): nothing but everything can be missing"] if len(modalities) == 1 else []
    draws = reduced[0].random.shape[1] if random else 0
    return {"how": HOW, "statements": alone, "subsets": lines, "random": random, "draws": draws}


def subsets(modalities: int) -> list[tuple[int, ...]]:
    """Return every subset but the empty one, the largest first; of more than `MOST_WHOLE`, all but one and one."""
    sizes = range(modalities, 0, -1) if modalities <= MOST_WHOLE else (modalities, modalities - 1, 1)
    return [subset for size in sizes for subset in itertools.combinations(range(modalities), size)]


@torch.inference_mode()
def reduce_input(inside: Inside, draws: int) -> Reduced:
    """Score one seed's model on every subset, and `draws` times on every rate."""
    present_MN = inside.batch.present_MN.cpu().numpy()
    labelled_N = inside.batch.labels_N.cpu().numpy() >= 0
    kept = [present_MN & np.isin(np.arange(len(present_MN)), subset)[:, None] for subset in subsets(len(present_MN))]
    scores = [_score(inside, kept_MN) for kept_MN in kept]
    nothing = [int((~kept_MN.any(axis=0) & labelled_N).sum()) for kept_MN in kept]
    random, reached = np.zeros((len(RATES), draws, 2)), np.zeros((len(RATES), draws))
    for draw in range(draws if len(present_MN) > 1 else 0):
        for index, kept_MN in enumerate(random_absences(present_MN, np.random.default_rng([inside.seed, draw]))):
            random[index, draw] = _score(inside, kept_MN)
            reached[index, draw] = 1 - kept_MN.sum() / max(present_MN.sum(), 1)
    return Reduced(scores, nothing, random, reached)


def random_absences(present_MN: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return what stays present at each of `RATES`, [rates, M, N]: nested, at least one modality per utterance."""
    keys_MN = np.where(present_MN, random.random(present_MN.shape), -1.0)
    kept_first_MN = present_MN & (keys_MN == keys_MN.max(axis=0))
    others = np.flatnonzero(present_MN & ~kept_first_MN)
    others = others[random.permutation(len(others))]
    masks = np.repeat(present_MN[None], len(RATES), axis=0)
    for mask, rate in zip(masks.reshape(len(RATES), -1), RATES, strict=True):
        mask[others[: round(rate * int(present_MN.sum()))]] = False
    return masks


def _score(inside: Inside, kept_MN: np.ndarray) -> tuple[float, float]:
    """Return accuracy and weighted F1 of the labelled utterances with this input."""
    batch, outputs = inside.batch, inside.outputs
    kept = torch.from_numpy(kept_MN).to(batch.present_MN.device)
    if not torch.equal(kept, batch.present_MN):
        outputs = inside.model(batch.features, kept, batch.layout, batch.speaker_N)
    labels_N, chosen_N = (tensor.cpu().numpy() for tensor in (batch.labels_N, outputs.logits_NC.argmax(dim=1)))
    return score(labels_N[labels_N >= 0], chosen_N[labels_N >= 0])


def draws_per_seed(seeds: int) -> int:
    """Return the draws per seed that give at least `DRAWS` over all seeds."""
    return -(-DRAWS // seeds)
