"""Nothing wrong passes silently: damaged tables are read as the rows that are right, refused, or listed as problems."""

import random
from collections import Counter

import pytest

from dferc.core.errors import InputError
from tests.helpers import perturbed_tables as perturbed
from tests.helpers import perturbed_votes as votes
from tests.helpers.own_files import read_own, write

FEW = 60
BASELINE = {"like a formula of a spreadsheet", "one class in several spellings"}
"""Kinds of problems that a good table may have."""


def by_dialogue(rows):
    groups = {}
    for row in rows:
        groups.setdefault(row["dialogue_id"], []).append(row)
    return [row for name in groups for row in groups[name]]


def check(folder, name, content, table):
    """Return how it ended: `same`, `listed` or `refused`."""
    write(folder, name, content)
    try:
        corpus = read_own(folder, table=name)
    except InputError as error:
        assert str(error).encode()
        return "refused"
    listed = {problem.kind for problem in corpus.problems} - BASELINE
    read = [{column: getattr(row, column) for column in perturbed.NAMES} for row in corpus.utterances]
    assert all(row["emotion"] in ("", *corpus.classes) for row in read)
    assert set(corpus.classes) <= {row["emotion"] for row in read}, "a class without rows"
    if table.lenient:
        count = len(table.right or table.rows)
        assert listed or len(read) == count, f"{len(read)} rows of {count}"
    elif table.right is None:
        assert listed, "silent"
    else:
        right = by_dialogue(table.right)
        assert len(read) == len(right)
        for found, expected in zip(read, right, strict=True):
            spelled = dict(expected, emotion=found["emotion"])  # one class has one spelling, whichever
            assert {column: found[column] for column in expected} == spelled
            assert perturbed_label(found["emotion"]) == perturbed_label(expected["emotion"])
    return "listed" if listed else "same"


def perturbed_label(text):
    return " ".join(perturbed.unicodedata.normalize("NFC", text).casefold().replace("\u200b", "").split())


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_perturbed_votes_are_right_listed_or_refused(tmp_path, suffix):
    ends = Counter()
    for seed in range(max(perturbed.PERTURBATIONS // 6, FEW // 2)):
        chance = random.Random(f"votes {suffix} {seed}")
        table, right = perturbed.good(chance), {}
        ways = chance.sample(votes.CELLS, 2)
        for row in table.rows:
            row["votes"], right[row["utterance_id"]] = chance.choice(ways)(
                chance, votes.counts_for(chance, row["emotion"])
            )
        if chance.random() < 0.5:
            perturbed.shuffle_dialogues(table, chance)
        table.columns.append("votes")
        table.delimiter = "\t" if suffix == "tsv" else ","
        write(
            tmp_path, f"t.{suffix}", perturbed.as_jsonl(table, chance) if suffix == "jsonl" else perturbed.as_csv(table)
        )
        try:
            corpus = read_own(tmp_path, table=f"t.{suffix}")
        except InputError as error:
            assert None in right.values(), (suffix, seed, error)
            assert "votes" in str(error)
            ends["refused"] += 1
            continue
        told = any("votes" in problem.problem for problem in corpus.problems)
        for name, shares in right.items():
            assert shares is not None, (suffix, seed, "silent")
            if shares == votes.NOTHING:
                assert name not in corpus.votes and (told or not corpus.votes), (suffix, seed, name)
            else:
                assert corpus.votes[name] == pytest.approx(shares, abs=1e-9), (suffix, seed, name)
        ends["listed" if told else "same"] += 1
    assert min(ends[end] for end in ("same", "listed", "refused")) > 0, ends


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_damaged_table_is_right_refused_or_listed(tmp_path, suffix):
    ends = Counter()
    for seed in range(max(perturbed.PERTURBATIONS // 3, FEW)):
        chance = random.Random(f"{suffix} {seed}")
        table = perturbed.good(chance)
        ways = perturbed.LOGICAL + (perturbed.OF_TEXT if suffix != "jsonl" else [perturbed.encode])
        applied = chance.sample(ways, chance.choice([1, 1, 2]))
        applied.sort(key=ways.index)
        if suffix == "tsv":
            table.delimiter = "\t"
        for way in applied:
            way(table, chance)
        content = perturbed.as_jsonl(table, chance) if suffix == "jsonl" else perturbed.as_csv(table)
        try:
            ends[check(tmp_path, f"t.{suffix}", content, table)] += 1
        except Exception as error:
            names = ", ".join(way.__name__ for way in applied)
            (tmp_path / "kept").write_bytes(content)
            raise AssertionError(f"{suffix} {seed}: {names}: {error}; {tmp_path / 'kept'}") from error
    assert min(ends[end] for end in ("same", "listed", "refused")) > 0, ends
    print(suffix, dict(ends))
