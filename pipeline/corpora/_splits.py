"""Splits made by dialogue: grouped, stratified by emotion, the same for the same seed.

Scikit-learn's StratifiedGroupKFold knows folds of equal size only, and leaves some empty where dialogues are few.
"""

import random
from collections import Counter
from collections.abc import Mapping

from dferc.core.errors import InputError

Counts = Mapping[str, int]
"""Utterances per emotion; "" = unlabelled."""


def split_dialogues(dialogues: Mapping[str, Counts], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Deal whole dialogues out so that each split gets its share of every emotion, as nearly as dialogues allow.

    The largest dialogues are dealt first, each to the split that lacks its emotions most; equal ones in an order drawn
    by the seed. A split that got no label takes one labelled dialogue of the fullest: the one that is missed least.

    Args:
        dialogues: emotions of each dialogue; their order does not matter.
        shares: of each split, together 1; a split with share 0 stays empty.
        seed: of the order among dialogues of one size.

    Raises:
        InputError: fewer labelled dialogues than splits to fill.
    """
    wanted = {split: share for split, share in shares.items() if share > 0}
    labelled = [name for name, counts in dialogues.items() if _labels(counts)]
    if len(labelled) < len(wanted):
        raise InputError(
            f"{len(labelled)} dialogue(s) have labels, too few to make {len(wanted)} splits ({', '.join(wanted)}): a "
            "dialogue stays whole. Give the table a column `split`, or set validation_share or test_share to 0."
        )
    order = sorted(dialogues)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda name: -sum(dialogues[name].values()))
    total = sum(map(Counter, dialogues.values()), Counter())
    have, dealt = {split: Counter() for split in wanted}, {}
    for name in order:
        dealt[name] = min(wanted, key=lambda split: _cost(dialogues[name], have[split], total, wanted[split]))
        have[dealt[name]].update(dialogues[name])
    for split in wanted:
        if not _labels(have[split]):
            fullest = max(wanted, key=lambda each: sum(dealt[name] == each for name in labelled))
            moved = min(
                (n for n in order if dealt[n] == fullest and n in labelled), key=lambda n: _labels(dialogues[n])
            )
            have[fullest].subtract(dialogues[moved])
            have[split].update(dialogues[moved])
            dealt[moved] = split
    return dealt


def _cost(added: Counts, have: Counts, total: Counts, share: float) -> float:
    """By how much a split comes nearer to its share of each emotion (negative: nearer); rare emotions count alike."""
    return sum(
        ((have[emotion] + count) / total[emotion] - share) ** 2 - (have[emotion] / total[emotion] - share) ** 2
        for emotion, count in added.items()
        if count
    )


def _labels(counts: Counts) -> int:
    return sum(count for emotion, count in counts.items() if emotion)
