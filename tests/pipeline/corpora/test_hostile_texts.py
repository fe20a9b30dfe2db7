"""Texts that are made to take long: read in time that grows with their size, or refused. Anything else takes minutes.

`DFERC_PERTURBATIONS=1 pytest …` tries all shapes with a megabyte each, else those that once took minutes.
"""

import os
import time

import pytest

from dferc.core.errors import InputError
from tests.helpers import hostile_texts
from tests.helpers.own_files import read_own

ALL = [("subtitles", name) for name in hostile_texts.SUBTITLES]
ALL += [("tables", name) for name in hostile_texts.TABLES]
ALL += [("labels", name) for name in hostile_texts.LABELS]
ONCE_SLOW = {
    "blanks beside a highlighted word",
    "attributes without an end",
    "classes without an end",
    "a voice without an end",
    "a drawing without an end",
    "end of a drawing without an end",
    "combining marks",
    "speakers, each once",
    "speakers, each twice",
    "turns",
    "dashes",
    "carriage returns",
    "columns.csv",
    "different columns.csv",
    "keys of each row.jsonl",
    "emotion of combining marks.csv",
    "votes of letters.csv",
    "alike.csv",
}


@pytest.mark.parametrize(
    ("kind", "name"), [each for each in ALL if "DFERC_PERTURBATIONS" in os.environ or each[1] in ONCE_SLOW]
)
def test_small_file_takes_two_seconds_at_most(tmp_path, kind, name):
    options = hostile_texts.write_hostile(tmp_path, kind, name)
    before = time.process_time()
    try:
        assert read_own(tmp_path, **options).utterances
    except InputError as error:
        assert len(str(error)) < 8000
    assert time.process_time() - before < 2


@pytest.mark.parametrize(
    ("kind", "name", "found"),
    [
        ("subtitles", "cues", "cues in"),
        ("subtitles", "turns", "a cue of"),
        ("tables", "short rows.csv", "rows in"),
        ("tables", "keys.jsonl", "columns, such as"),
    ],
)
def test_file_of_more_rows_than_its_size_explains_is_refused_with_counts(tmp_path, kind, name, found):
    options = hostile_texts.write_hostile(tmp_path, kind, name)
    with pytest.raises(InputError, match=rf"\d+ .*{found}.*expected at|{found} \d+.*expected at") as refused:
        read_own(tmp_path, **options)
    assert str(tmp_path) in str(refused.value)
