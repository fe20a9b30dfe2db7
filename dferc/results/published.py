"""Published test scores of the field (published.csv), as printed, never reproduced here.

Shown only where the test split is the published one by its classes and its number of utterances. Protocols differ all
the same: most of the field keeps the epoch that is best on test.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dferc.core.metrics import SCORES

TABLE = Path(__file__).with_name("published.csv")
TEST_SPLITS = {
    "meld": ({"neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"}, 2610),
    "iemocap_6": ({"happy", "sad", "neutral", "angry", "excited", "frustrated"}, 1623),
}
"""Class names, and labelled utterances of the test split."""
SOURCES = (
    "Published rows are as printed elsewhere: other features, other seeds, often the best epoch on test. The paper: Li "
    "et al., ACM MM 2023; re-run, part: on one platform with RoBERTa features, selected on validation (ECERC's paper); "
    "the others: their authors' tables, or later papers'."
)


class Published(NamedTuple):
    """Line of a paper's table, in percent; None = not printed there."""

    system: str
    weighted_f1: float
    accuracy: float | None
    macro_f1: float | None
    uar: float | None
    source: str  # in a word or two; `SOURCES` has more


def published_scores(card: Mapping) -> tuple[Published, ...]:
    """Return the published rows for a protocol card's test split; none where it is not a published one."""
    own = (set(card["classes"]), card["splits"]["test"]["labelled"])
    with open(TABLE, newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if TEST_SPLITS[line.pop("test_split")] == own]
    return tuple(
        Published(**line | {name: float(line[name]) if line.get(name) else None for name in SCORES}) for line in lines
    )
