"""What became of a corpus's files, on one screen: the end of `prepare` and of `dferc import`."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from rich.text import Text

from dferc.core.console import console, print_table
from dferc.core.errors import NOT_USED, Problem, listed
from dferc.store.rows import UNLABELLED, Utterances
from dferc.store.vocabulary import SPLITS

MOST_CLASSES, MOST_KINDS, MOST_SPEAKERS = 12, 10, 8
"""Lines that one screen has room for; what is left out is counted."""


def show_summary(
    rows: Utterances, problems: Sequence[Problem], *, rows_read: int, signals: Mapping[str, np.ndarray] | None = None
) -> None:
    """Print the rows per split and class, the speakers, the problems by kind, and the files that were not used.

    Args:
        rows: The corpus as it is written.
        problems: All problems of its files.
        rows_read: Rows, cues or turns in the files.
        signals: Further rows to count, by what they have: [N] bool each.
    """
    print_table(["", *SPLITS, "all"], _counts(rows, signals or {}), f"{rows.corpus}: utterances")
    named = Counter(rows.speaker[rows.speaker != ""])
    most = [f"{name} {count}" for name, count in named.most_common(MOST_SPEAKERS)]
    most += [f"{len(named) - MOST_SPEAKERS} more"] if len(named) > MOST_SPEAKERS else []
    unlabelled = int((rows.emotion == UNLABELLED).sum())
    unused = [problem.problem for problem in problems if problem.consequence == NOT_USED]
    for line in (
        f"rows: {rows_read} read, {len(rows)} used, {unlabelled} of them unlabelled",
        "; ".join([f"speakers: {len(named)}, rows without one: {len(rows) - named.total()}", *most]),
        f"files unused: {listed(unused, 3) or 'none'}",
    ):
        console.print(_plain(line))
    _show_problems(problems)


def _counts(rows: Utterances, signals: Mapping[str, np.ndarray]) -> list[list[Text | str]]:
    """Return the counts per split: dialogues, rows, classes, and rows that have a signal."""
    table = []
    positions = defaultdict(list)
    for dialogue, split, position in zip(rows.dialogue_id, rows.split, rows.position.tolist()):
        positions[split, dialogue].append(position)
    gaps = {key: places != list(range(len(places))) for key, places in positions.items()}

    def dialogues(which) -> list[int]:
        return [sum(which(key) for key in positions if key[0] == split) for split in SPLITS]

    def of_rows(mask_N: np.ndarray) -> list[int]:
        return [int((mask_N & (rows.split == split)).sum()) for split in SPLITS]

    def add(name: str, counts: Sequence[int]) -> None:
        table.append([_plain(name), *map(str, (*counts, sum(counts)))])

    add("dialogues", dialogues(lambda key: True))
    add("  of one utterance", dialogues(lambda key: len(positions[key]) == 1))
    add("  with gaps in positions", dialogues(gaps.__getitem__))
    add("utterances", of_rows(np.ones(len(rows), dtype=bool)))
    by_class = np.bincount(rows.emotion[rows.emotion >= 0], minlength=len(rows.classes))
    shown = sorted(np.argsort(-by_class, kind="stable")[:MOST_CLASSES]) if len(by_class) > MOST_CLASSES else None
    for number, name in enumerate(rows.classes):
        if shown is None or number in shown:
            add(f"  {name}", of_rows(rows.emotion == number))
    if shown is not None:
        add(f"  {len(by_class) - len(shown)} other classes", of_rows(~np.isin(rows.emotion, [*shown, UNLABELLED])))
    add("  unlabelled", of_rows(rows.emotion == UNLABELLED))
    for name, present_N in signals.items():
        add(name, of_rows(present_N))
    return table


def _show_problems(problems: Sequence[Problem]) -> None:
    """Print the problems by kind, the most frequent first, each with its first instance."""
    if not problems:
        console.print("problems: none")
        return
    kinds = defaultdict(list)
    for problem in problems:
        kinds[problem.kind].append(problem)
    ordered = sorted(kinds.items(), key=lambda item: -len(item[1]))
    console.print("problems:")
    for kind, of_kind in ordered[:MOST_KINDS]:
        first = of_kind[0]
        detail = first.problem.removeprefix(kind).removeprefix(": ")
        shown = f"{first.where}: {detail + '; ' if detail else ''}{first.consequence}"
        console.print(f"{len(of_kind):7}  ", _plain(kind), "; first: ", _plain(shown), sep="")
    if len(ordered) > MOST_KINDS:
        left = sum(len(of_kind) for _, of_kind in ordered[MOST_KINDS:])
        console.print(f"{left:7}  problems of {len(ordered) - MOST_KINDS} more kinds")


def _plain(text: str) -> Text:
    """Return foreign text for the terminal: no markup, control characters as escapes, no more than a few lines."""
    text = text if len(text) <= 300 else f"{text[:300]}…"
    return Text("".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text))
