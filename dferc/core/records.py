"""Comparison of nested records, such as settings and identities."""

from collections.abc import Iterator, Mapping


def differences(one: object, two: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield where two nested mappings differ: the path of keys, and both values (None = absent)."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        for key in {**one, **two}:
            yield from differences(one.get(key), two.get(key), f"{path}.{key}" if path else key)
    elif one != two:
        yield path, one, two
