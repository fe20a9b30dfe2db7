"""The one YAML parser of the project."""

from typing import Any

from ruamel.yaml import YAML


def read_yaml(text: str) -> Any:
    """Parse YAML 1.2, the version that DVC reads (in 1.1, PyYAML's, `2e-5` is a string)."""
    return YAML(typ="safe", pure=True).load(text)
