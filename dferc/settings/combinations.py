"""Combinations of feature sets that are compared, each a value of the setting `train.features`: `dferc encoders`."""

import hashlib
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dferc.core.errors import InputError, did_you_mean
from dferc.settings.sections import Train

LONGEST_LABEL = 100  # characters of a folder's name


@dataclass(frozen=True, slots=True)
class Combination:
    """Feature sets that a run reads, in the order of `find_sets`; several of one modality are joined."""

    sets: tuple[str, ...]

    def __str__(self) -> str:
        return " + ".join(self.sets)

    @property
    def label(self) -> str:
        """Label of its runs, a file name."""
        label = "--".join(self.sets).replace("/", ".")
        digest = hashlib.sha256(str(self).encode()).hexdigest()[:8]
        return label if len(label) <= LONGEST_LABEL else f"{label[:LONGEST_LABEL]}-{digest}"

    def features(self, there: Iterable[str]) -> dict[str, list[str]]:
        """Return the setting `train.features`: its sets by modality, none of the other modalities that are there."""
        return {modality: [name for name in self.sets if _of(name) == modality] for modality in map(_of, there)}

    def without(self, modality: str) -> tuple[str, ...]:
        """Return its sets of other modalities."""
        return tuple(name for name in self.sets if _of(name) != modality)


class Plan(NamedTuple):
    """Combinations to train.

    Attributes:
        combinations: rows of the table; the first is the reference.
        alone: each set by itself, by name.
        added: name of a set -> the reference with it as its modality's only set, and the reference without this
            modality; sets of a corpus with one modality have none.
    """

    combinations: list[Combination]
    alone: dict[str, Combination]
    added: dict[str, tuple[Combination, Combination]]

    @property
    def runs(self) -> list[Combination]:
        """Every combination once."""
        pairs = itertools.chain.from_iterable(self.added.values())
        return list(dict.fromkeys([*self.combinations, *self.alone.values(), *pairs]))


def plan_runs(there: Sequence[str], use: Sequence[str], wanted: Sequence[str], most: int) -> Plan:
    """Choose the combinations to train.

    Args:
        there: feature sets of the corpus, ordered.
        use: sets to compare; all if empty.
        wanted: combinations such as `text+audio/wavlm`; if empty, one set of each modality in every way.
        most: number of combinations that are allowed.

    Raises:
        InputError: a set is not there, a combination is empty or given twice, or there are too many.
    """
    used = _in_order(use, there) if use else tuple(there)
    if wanted:
        chosen = [Combination(_in_order(text.split("+"), there)) for text in wanted]
        used = _in_order([*use, *(name for combination in chosen for name in combination.sets)], there)
    else:
        by_modality = Combination(used).features(used)
        if (count := math.prod(map(len, by_modality.values()))) > most:
            sizes = " x ".join(f"{len(names)} {modality}" for modality, names in by_modality.items())
            raise InputError(
                f"{count} combinations ({sizes}), more than the limit of {most}. Name the sets to compare (--use), or "
                "the combinations (--combination text+audio), or raise the limit (--most)."
            )
        chosen = [Combination(sets) for sets in itertools.product(*by_modality.values())]
    if twice := [str(one) for one in chosen if chosen.count(one) > 1]:
        raise InputError(f"the combination {twice[0]} is given twice. Give each once.")
    reference, added = chosen[0], {}
    for name in used:
        if rest := reference.without(_of(name)):
            added[name] = (Combination(_in_order((name, *rest), there)), Combination(rest))
    return Plan(chosen, {name: Combination((name,)) for name in used}, added)


def _of(name: str) -> str:
    """Return the modality of a feature set."""
    return name.partition("/")[0]


def _in_order(names: Iterable[str], there: Sequence[str]) -> tuple[str, ...]:
    """Return these sets as they are ordered, each once."""
    wanted = {name.strip() for name in names}
    if unknown := sorted(wanted - set(there)):
        raise InputError(
            f"There is no feature set {unknown[0]!r} with a present training row.{did_you_mean(unknown[0], there)} "
            f"There are {', '.join(there)}; `dferc features` lists them."
        )
    return tuple(name for name in there if name in wanted)


def settings_of(settings: Train, combination: Combination, there: Iterable[str]) -> Train:
    """Return `train` settings that read these sets and no other."""
    return settings.changed({"features": combination.features(there)})
