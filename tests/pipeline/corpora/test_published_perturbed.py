"""MELD's CSVs with a slip in them: `prepare` and `dferc import --transcripts` read all rows, or refuse the file."""

import random
from collections import Counter

import pytest

from dferc.core.errors import InputError
from dferc.importing.transcripts import read_transcripts
from pipeline.corpora import meld
from tests.helpers.corpora import prepare_settings
from tests.helpers.meld_files import CSVS, ROWS, csv_text, write_csvs
from tests.helpers.perturbed_tables import PERTURBATIONS

FEW = 60
SPLIT_ROWS = [(dialogue, place, "joy", f"Well, {place}") for dialogue in range(3) for place in range(4)]


def slip(text: str, chance: random.Random) -> bytes:
    """Return the bytes of a file with a slip."""
    where = chance.randrange(text.index("\n") + 1, len(text))
    way = chance.choice(["insert", "lose", "line end", "encoding", "swap", "header", "quotes"])
    if way == "insert":
        return (text[:where] + chance.choice('"\n\r,;\t\0\u2028\x85x') + text[where:]).encode()
    if way == "lose":
        return (text[:where] + text[where + 1 :]).encode()
    if way == "line end":
        return text.replace("\r\n", chance.choice(["\n", "\r", "\n\n", "\r\r\n"])).encode()
    if way == "encoding":
        return text.encode(chance.choice(["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "cp1252"]), "replace")
    if way == "swap":
        lines = text.splitlines(keepends=True)
        chance.shuffle(lines)
        return "".join(lines).encode()
    if way == "header":
        name = chance.choice(["Utterance_ID", "Dialogue_ID", "Emotion", "Utterance,"])
        return text.replace(name, chance.choice(["Speaker", name.lower(), "x"]), 1).encode()
    quotes = [place for place, letter in enumerate(text) if letter == '"']
    gone = chance.choice(quotes)
    return (text[:gone] + text[gone + 1 :]).encode()


def read_prepare(folder):
    return [row for row in meld.read(folder, prepare_settings("meld")).utterances if row.split == "train"]


def read_import(folder):
    source = read_transcripts(folder)
    return [label for name, labels in source.labels.items() if source.splits[name] == "train" for label in labels]


@pytest.mark.parametrize("read", [read_prepare, read_import])
def test_slip_in_a_published_csv_loses_no_row(tmp_path, read):
    write_csvs(tmp_path, ROWS | {"train": SPLIT_ROWS})
    good, ends = csv_text(SPLIT_ROWS), Counter()
    for seed in range(max(PERTURBATIONS // 3, FEW)):
        content = slip(good, random.Random(f"{read.__name__} {seed}"))
        (tmp_path / CSVS["train"]).write_bytes(content)
        try:
            rows = read(tmp_path)
        except InputError as error:
            assert CSVS["train"] in str(error) and str(error).encode()
            ends["refused"] += 1
        else:
            assert len(rows) == len(SPLIT_ROWS), f"{read.__name__} {seed}: {len(rows)} rows"
            ends["read"] += 1
    assert min(ends["read"], ends["refused"]) > 0, ends
