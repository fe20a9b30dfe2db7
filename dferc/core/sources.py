"""Hash of the code that decides a value, found by following its imports: a part of every cache key.

The hash is of the syntax tree, without comments, docstrings and layout. A module belongs to the code if it lies in the
package of an entry module or in this one; other imports are libraries.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_installed_distributions = functools.cache(importlib.metadata.packages_distributions)
"""Names, as pip knows them, by top-level module; all files of all packages are read for it, 0.3 s."""


@functools.cache
def code_hash(*entries: str) -> str:
    """Hash the modules `entries` and all modules of ours that they import, directly or not.

    Args:
        entries: names of modules, such as `dferc.training.run`.

    Returns:
        16 hex digits; the same for sources that differ only in comments, docstrings and layout.
    """
    digest = hashlib.sha256()
    for module, source in sorted(_follow(entries).items()):
        digest.update(f"{module}\n{source.code}\n".encode())
    return digest.hexdigest()[:16]


def imported_modules(*entries: str) -> set[str]:
    """Return the names of `entries` and of all modules of ours that they import, directly or not."""
    return set(_follow(entries))


def imported_distributions(*entries: str) -> set[str]:
    """Return the names, as pip knows them, of the installed packages from which these modules import, directly or not.

    A library's own imports are not followed.
    """
    sources = _follow(entries)
    names = {name.partition(".")[0] for source in sources.values() for name in source.imports}
    libraries = names - {module.partition(".")[0] for module in sources} - sys.stdlib_module_names
    return {distribution for library in libraries for distribution in _installed_distributions().get(library, ())}


class ModuleCode(NamedTuple):
    """A module as it is hashed."""

    # Modules that it imports anywhere; a package only where something is imported from its `__init__.py` itself.
    imports: tuple[str, ...]
    code: str  # without comments, docstrings and layout


def _follow(entries: tuple[str, ...]) -> dict[str, ModuleCode]:
    """Return the modules `entries` and all of ours that they import, by name."""
    ours = {entry.partition(".")[0] for entry in (*entries, __name__)}
    sources: dict[str, ModuleCode] = {}
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        if module not in sources:
            sources[module] = read_source(module)
            waiting += [name for name in sources[module].imports if name.partition(".")[0] in ours]
    return sources


@functools.cache
def read_source(module: str) -> ModuleCode:
    """Read a module of ours, once: several entry points share most of their code."""
    tree = ast.parse(find_source(module).read_text(encoding="utf-8"))
    imports = tuple(_imports(tree))
    return ModuleCode(imports, ast.unparse(_without_docstrings(tree)))  # the tree's own dump differs between Pythons


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield the names of the modules that a module imports anywhere, except those for type checkers only."""
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            submodules = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            modules = [name for name in submodules.values() if find_source(name)]
            yield from modules
            if len(modules) < len(submodules):
                yield node.module


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree, less the bodies of `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        yield child
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield from _executed(child)


@functools.cache
def find_source(module: str) -> Path | None:
    """Return the file of a module, found without importing it; None where there is none."""
    package, *parts = module.split(".")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], *parts)
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    """Remove every expression that is only a string: docstrings, those of attributes as well."""
    for node in ast.walk(tree):
        for name, body in ast.iter_fields(node):
            if isinstance(body, list) and any(isinstance(item, ast.stmt) for item in body):
                setattr(node, name, [item for item in body if not _is_text(item)] or [ast.Pass()])
    return tree


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
