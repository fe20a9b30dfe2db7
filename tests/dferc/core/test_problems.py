"""Problems tables: a column each, whatever the words hold; counted by kind."""

import csv

import pytest

from dferc.core.errors import Problem
from dferc.core.tables import write_table


def test_table_of_no_problems_has_its_header(tmp_path):
    write_table(tmp_path / "problems.csv", [], Problem)

    assert (tmp_path / "problems.csv").read_text() == '"where","file","problem","consequence"\n'


def test_problems_are_written_by_column(tmp_path):
    problem = Problem(where="u", file="a,b.mp4", problem="too long: 31.0 s", consequence="cut")
    write_table(tmp_path / "problems.csv", [problem], Problem)

    with open(tmp_path / "problems.csv", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"where": "u", "file": "a,b.mp4", "problem": "too long: 31.0 s", "consequence": "cut"}
        ]


def test_breaks_within_a_problem_do_not_break_its_row(tmp_path):
    problem = Problem("Ses01\rF", "a\nb.pkl", 'says "no"', "left out")
    write_table(tmp_path / "problems.csv", [problem], Problem)
    with open(tmp_path / "problems.csv", newline="", encoding="utf-8") as file:
        assert [tuple(row.values()) for row in csv.DictReader(file)] == [
            ("Ses01\rF", "a\nb.pkl", 'says "no"', "left out")
        ]


@pytest.mark.parametrize(
    ("problem", "kind"),
    [("too long: 31.0 s", "too long"), ("no labels", "no labels"), ("ends at 1:02: cut", "ends at 1:02")],
)
def test_kind_is_what_stands_before_the_detail(problem, kind):
    assert Problem("u", "a.mp4", problem, "none").kind == kind
