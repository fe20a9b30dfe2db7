"""Modalities and splits: their order and spelling in tensors, files and tables; splits made by dialogue."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping

from dferc.core.errors import InputError

MODALITIES = ("text", "audio", "visual")  # those of the paper; a corpus may have others
SPLITS = ("train", "validation", "test")
SCORED = ("validation", "test")

SPLIT_NAMES = (
    {"train": "train"}
    | dict.fromkeys(("dev", "val", "valid", "validation"), "validation")
    | {"test": "test", "training": "train", "testing": "test", "eval": "test"}
)
"""Splits as people write them, in lower case, and ours."""


def eval_beside_test(names: Iterable[str]) -> str:
    """Return a fault where `eval`, alone the test split, stands beside another: it may be validation; else empty."""
    both = "eval" in (names := set(names)) and names & {"test", "testing"}
    return "splits eval and test: which is validation? Write validation and test" if both else ""


def in_order(modalities: Iterable[str]) -> tuple[str, ...]:
    """Return modalities in the order of tensors, files and tables: the paper's three, then others by name."""
    return tuple(sorted(modalities, key=lambda name: ([*MODALITIES, name].index(name), name)))


DRAWN = 2
"""Version of `split_dialogues`: a run on drawn splits is scored on those that it was trained on."""

EmotionCounts = Mapping[str, int]
"""Utterances per emotion; "" = unlabelled."""


def split_dialogues(dialogues: Mapping[str, EmotionCounts], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Assign whole dialogues so that each split gets its share of every emotion, as nearly as dialogues allow.

    Scikit-learn's StratifiedGroupKFold makes folds of equal size only, and leaves some empty where dialogues are few.
    Dialogues are assigned in orders that the seed draws, each to the split that lacks its emotions most; what comes
    nearest counts. (With the largest first, small splits had the shortest dialogues alone, the same for every seed.) A
    split without a label takes the labelled dialogue of the fullest split that is missed least. The shares add up to 1;
    a split with share 0 stays empty.
    """
    shares = {split: share for split, share in shares.items() if share > 0}
    labels = {name: sum(counts.values()) - counts.get("", 0) for name, counts in dialogues.items()}
    labelled = [name for name in dialogues if labels[name]]
    if len(labelled) < len(shares):
        raise InputError(
            f"{len(labelled)} dialogue(s) have labels, too few to make {len(shares)} splits ({', '.join(shares)}): a "
            "dialogue stays whole. Give the table a column `split`, or set validation_share or test_share to 0."
        )
    total = Counter()
    for counts in dialogues.values():
        total.update(counts)
    drawn, draws = random.Random(seed), []
    for _ in range(5):  # a long dialogue that comes last has no place
        split_of, filled = {}, {split: Counter() for split in shares}
        for name in drawn.sample(sorted(dialogues), len(dialogues)):
            split_of[name] = min(shares, key=lambda split: _cost(dialogues[name], filled[split], total, shares[split]))
            filled[split_of[name]].update(dialogues[name])
        draws.append((sum(_cost(filled[split], Counter(), total, shares[split]) for split in shares), split_of, filled))
    _, split_of, filled = min(draws, key=lambda draw: draw[0])
    for empty in (split for split in shares if filled[split].total() == filled[split][""]):
        fullest = max(shares, key=lambda split: sum(split_of[name] == split for name in labelled))
        movable = [name for name in split_of if split_of[name] == fullest and labels[name]]
        split_of[min(movable, key=labels.__getitem__)] = empty
    return split_of


def _cost(added: EmotionCounts, filled: EmotionCounts, total: EmotionCounts, share: float) -> float:
    """Return the change in squared distance to the share of each emotion (negative: nearer); rare ones count alike."""
    return sum(
        ((filled[emotion] + count) / total[emotion] - share) ** 2 - (filled[emotion] / total[emotion] - share) ** 2
        for emotion, count in added.items()
        if count
    )
