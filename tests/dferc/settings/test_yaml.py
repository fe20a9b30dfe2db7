"""YAML of strangers: bounded in time, memory and depth, and each key once."""

import resource
import time

import pytest
from ruamel.yaml import YAMLError

from dferc.core.errors import InputError
from dferc.settings.document import MOST_FAULTS, load_params
from dferc.settings.yaml import MOST_CHARACTERS, read_yaml
from tests.helpers.common import REPOSITORY

PARAMS = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")


def laughs(start: str, line: str, of: str) -> str:
    """Nine levels, each of nine aliases of the one below: 9^9 values in 300 characters."""
    aliases = (",".join([f"*l{level}"] * 9) for level in range(9))
    return start + "".join(line.format(level + 1, of.format(names)) for level, names in enumerate(aliases))


ENDLESS = {
    "lists of aliases": laughs("l0: &l0 [x,x]\n", "l{0}: &l{0} {1}\n", "[{}]"),
    "merged aliases": laughs("l0: &l0 {x: 1}\n", "l{0}: &l{0} {1}\n", "{{<<: [{}]}}"),
    "an alias of itself": "a: &a [*a]",
    "a mapping merged into itself": "a: &a {<<: *a}",
    "a chain of aliases": "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}]\n" for i in range(500)),
    "open brackets": "[" * 200_000,
    "open braces": "{" * 200_000,
    "nested lists": "- " * 100_000,
    "nested keys": "? " * 100_000,
    "many values": "[" + "1," * 100_000 + "1]",
    "many keys": "".join(f"k{i}: 1\n" for i in range(20_000)),
    "a long file": "#" * (MOST_CHARACTERS + 1),
    "a number of 200,000 digits": "a: " + "9" * 200_000,
}


@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS)
def test_small_file_that_stands_for_a_huge_one_is_refused_at_once(text):
    began_s, before_kb = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(YAMLError):
        read_yaml(text)
    assert time.process_time() - began_s < 5  # 2 s on a free machine
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 300_000


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2",
        "a: {b: 1, b: 1}",
        "x: &x {c: 1}\na: {<<: *x, b: 1, b: 2}",
        "x: &x {c: 1}\na: {b: 1, <<: *x, b: 2}",
        "x: &x {c: 1}\na: {<<: *x, <<: *x}",
        "a: {<<: &x {b: 1, b: 2}}",
        'a: {b: 1, "b": 2}',
    ],
)
def test_key_twice_in_a_mapping_is_refused_with_its_lines(text):
    with pytest.raises(YAMLError, match=r"duplicate key '(a|b|<<)', which is in line \d too") as caught:
        read_yaml(text)
    assert caught.value.problem_mark.line == text.count("\n")


def test_key_of_a_merged_mapping_may_be_set_again():
    assert read_yaml("x: &x {a: 1, b: 1}\ny: {<<: *x, b: 2}")["y"] == {"a": 1, "b": 2}


def test_setting_twice_beside_a_merge_is_refused(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.replace("    epochs: 25\n", "    epochs: 4\n    epochs: 9\n"), encoding="utf-8")
    with pytest.raises(InputError, match="duplicate key 'epochs'") as caught:
        load_params(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "value",
    ["!!int x", "!!float x", "2001-99-99", "!!binary x", "!!set [1]", "!!bool x", "!foo x", "!!python/name:os.system"],
)
def test_value_of_an_odd_tag_is_a_fault_of_the_file(tmp_path, value):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.replace("  epochs: 20 ", f"  epochs: {value} "), encoding="utf-8")
    with pytest.raises(InputError):
        load_params(path)


def test_most_faults_are_counted_and_their_values_are_cut(tmp_path):
    path = tmp_path / "params.yaml"
    unknown = "".join(f"  unknown{i}: {'x' * 100}\n" for i in range(700))
    path.write_text(PARAMS.replace("train: &train\n", f"train: &train\n{unknown}"), encoding="utf-8")
    with pytest.raises(InputError, match=r"700 fault\(s\)") as caught:
        load_params(path)
    lines = str(caught.value).split("\n")
    assert len(lines) == MOST_FAULTS + 2 and lines[-1].strip() == f"- and {700 - MOST_FAULTS} more"


@pytest.mark.parametrize(
    "value", ["0x" + "f" * 100_000, "[" + "1," * 1000 + "1]", '"' + "x" * 100_000 + '"', "2147483648", "-1"]
)
def test_huge_value_is_refused_in_a_short_message(tmp_path, value):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.replace("  epochs: 20 ", f"  epochs: {value} "), encoding="utf-8")
    with pytest.raises(InputError, match="train.epochs: got") as caught:
        load_params(path)
    assert len(str(caught.value)) < 500
