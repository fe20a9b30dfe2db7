"""Differences of nested records, by path."""

import pytest

from dferc.core.records import differences

RECORD = {"extractor": "one", "params": {"margin": 0.1, "size": 64}}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (RECORD, []),
        (RECORD | {"model": None}, []),
        (RECORD | {"model": "abc"}, [("model", None, "abc")]),
        ({"extractor": "two", "params": {"size": 64}}, [("extractor", "one", "two"), ("params.margin", 0.1, None)]),
        (RECORD | {"params": "none"}, [("params", RECORD["params"], "none")]),
    ],
)
def test_differences_are_named_by_path_with_both_values(other, expected):
    assert list(differences(RECORD, other)) == expected


def test_differences_of_plain_values_have_the_path_that_is_given():
    assert list(differences(1, 2, "epochs")) == [("epochs", 1, 2)] and not list(differences([1], [1]))
