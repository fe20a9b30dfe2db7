"""Combinations of feature sets: which to train so that sets can be compared, and their training: `dferc encoders`."""

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from dferc.core.console import console
from dferc.core.device import choose_device
from dferc.core.errors import InputError, did_you_mean
from dferc.core.files import write_atomically
from dferc.core.records import Score, StoredRecord, Text, read_record
from dferc.core.sources import code_hash
from dferc.engine import Workers
from dferc.evaluation.ablate import run_ablation
from dferc.evaluation.floor import linear_floor
from dferc.settings.sections import Train
from dferc.store.hdf5 import read_corpus
from dferc.training.checkpoint import describe_corpus
from dferc.training.display import show_settings
from dferc.training.sweep import Sweep

FLOOR = "floor.json"  # beside the runs of a set alone
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
        by_modality = {modality: [name for name in used if _of(name) == modality] for modality in map(_of, used)}
        count = math.prod(map(len, by_modality.values()))
        if count > most:
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
    return Train.model_validate(settings.model_dump() | {"features": combination.features(there)})


def train_runs(runs: Sequence[Combination], there: Sequence[str], sweep: Sweep, workers: Workers) -> None:
    """Train and score combinations that are not finished, one after another, each with all seeds at once.

    Args:
        runs: the combinations.
        there: feature sets of the corpus.
        sweep: of the first sets; each combination has its own label and setting `features`.
        workers: where, and how many at once.

    Raises:
        InputError: some runs failed; the others are finished.
    """
    failures = []
    show_settings(sweep.settings, choose_device("cpu" if workers.cluster else sweep.device, sweep.settings.precision))
    for number, combination in enumerate(runs, start=1):
        console.print(f"{number} of {len(runs)}: {combination}")
        settings = settings_of(sweep.settings, combination, there)
        of_sets = replace(sweep, settings=settings, label=combination.label)
        try:
            run_ablation(of_sets, workers, gpu_share=1.0, score=True, brief=True)
        except InputError as error:
            failures.append(f"{combination}: {error}")
    if failures:
        raise InputError("\n".join([f"{len(failures)} of {len(runs)} combinations failed:", *failures]))


class FloorRecord(StoredRecord):
    """Schema of floor.json: the linear floor of a feature set."""

    key: Text
    validation: Score
    test: Score | None = None


def floor_of(folder: Path, features: Path, combination: Combination, there: Sequence[str]) -> Mapping:
    """Return `validation` and `test` weighted F1 of the linear floor on some sets, kept in `folder` once fitted."""
    corpus = read_corpus(features, features.name, combination.features(there))
    about = json.dumps(describe_corpus(corpus, tuple(corpus.modalities)), sort_keys=True)
    key = hashlib.sha256(f"{about}{code_hash('dferc.evaluation.floor')}".encode()).hexdigest()[:16]
    path = folder / FLOOR
    if path.exists():
        kept = read_record(path, FloorRecord, f"Remove {path}: it is made again.")
        if kept["key"] == key:
            return kept
    floor = linear_floor(corpus)
    record = {"key": key, "validation": floor.validation, "test": floor.test}
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(record) + "\n", encoding="utf-8"))
    return record
