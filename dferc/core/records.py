"""Comparison of nested records, such as the identity of a features file or the record of a checkpoint."""

from collections.abc import Iterator, Mapping


def differences(one: object, two: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """Yield where two nested mappings differ: the dotted path (below `path`), and both values (None = not there)."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        for key in {**one, **two}:
            yield from differences(one.get(key), two.get(key), f"{path}.{key}" if path else str(key))
    elif one != two:
        yield path, one, two
