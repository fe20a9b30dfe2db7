"""The one YAML parser of the project: bounded, and each key once."""

import warnings
from typing import Any

from ruamel.yaml import YAML, MappingNode, Node, ScalarNode, YAMLError
from ruamel.yaml.composer import ReusedAnchorWarning
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.scanner import Scanner, ScannerError

from dferc.core.errors import brief

MOST_CHARACTERS = 256_000  # params.yaml has 13,000
MOST_TOKENS = 20_000  # a second's work; params.yaml has some 2,000
MOST_NODES = 20_000  # keys and values once aliases are replaced by what they stand for; params.yaml has some 1,500
MOST_DEPTH = 32


class _BoundedScanner(Scanner):
    """Scanner that gives up after `MOST_TOKENS`: it reads ahead to the end of a line, however long."""

    tokens_left = MOST_TOKENS

    def fetch_more_tokens(self) -> Any:
        self.tokens_left -= 1
        if self.tokens_left < 0:
            raise ScannerError(None, None, f"more than {MOST_TOKENS:,} keys, values and marks", self.reader.get_mark())
        if len(self.flow_context) > MOST_DEPTH:  # each level makes all further tokens slower
            raise ScannerError(None, None, f"nested more than {MOST_DEPTH} levels deep", self.reader.get_mark())
        return super().fetch_more_tokens()


class _CheckedConstructor(SafeConstructor):
    """Constructor that verifies the tree of nodes before it builds anything."""

    def construct_document(self, node: Node) -> Any:
        _verify(node, {}, 1)
        return super().construct_document(node)


def read_yaml(text: str) -> Any:
    """Parse YAML 1.2, the version that DVC reads (in 1.1, PyYAML's, `2e-5` is a string).

    Raises:
        YAMLError: no YAML, a key twice in a mapping, or larger or deeper than any settings are, aliases expanded.
    """
    if len(text) > MOST_CHARACTERS:
        raise YAMLError(f"it has {len(text):,} characters; settings have at most {MOST_CHARACTERS:,}")
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner, yaml.Constructor = _BoundedScanner, _CheckedConstructor
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ReusedAnchorWarning)
            return yaml.load(text)
    except ReusedAnchorWarning:
        raise YAMLError("two anchors (`&name`) have the same name; keep one of them") from None
    except RecursionError:
        raise YAMLError(f"it is nested more than {MOST_DEPTH} levels deep") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # of odd tags and numbers
        raise YAMLError(f"a value cannot be read: {error}") from None


def _verify(node: Node, measured: dict[int, tuple[int, int]], depth: int) -> tuple[int, int]:
    """Return the number of nodes in a tree and its height, aliases expanded; `measured` has those of nodes by id."""
    if id(node) in measured:
        return measured[id(node)]
    if isinstance(node, ScalarNode):
        parts = []
    elif isinstance(node, MappingNode):
        _refuse_duplicates(node)
        parts = [part for pair in node.value for part in pair]
    else:
        parts = node.value
    size, height = 1, 1
    if depth <= MOST_DEPTH:  # a mapping that holds itself has no end
        for part in parts:
            of_part, below = _verify(part, measured, depth + 1)
            size, height = size + of_part, max(height, below + 1)
    if max(height, depth) > MOST_DEPTH:
        raise _fault(node, f"nested more than {MOST_DEPTH} levels deep, aliases (`*name`) included")
    if size > MOST_NODES:
        raise _fault(node, f"more than {MOST_NODES:,} keys and values once aliases (`*name`) are expanded")
    measured[id(node)] = size, height
    return size, height


def _refuse_duplicates(node: MappingNode) -> None:
    """Refuse a key twice in a mapping; ruamel.yaml itself lets it pass beside `<<`."""
    first: dict[str, Node] = {}
    for key, _ in node.value:
        if isinstance(key, ScalarNode) and first.setdefault(key.value, key) is not key:
            line = first[key.value].start_mark.line + 1
            raise _fault(key, f"duplicate key {brief(key.value)}, which is in line {line} too; keep one of them")


def _fault(node: Node, problem: str) -> ConstructorError:
    return ConstructorError(None, None, problem, node.start_mark)
