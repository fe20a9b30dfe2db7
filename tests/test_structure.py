"""The house: how large its rooms are, and that imports between them run down, without a circle."""

import ast
import functools
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("dferc", "pipeline")
MOST_FILES = 12
MOST_LINES = 37_000
"""18,500; 5,000 for what files from the world hold (docs/accepted.md), 5,500 for a video in, emotions out, 4,000 for
encoders of today, feature sets and their comparison, 4,000 for peers, tuning, votes and what is beyond the paper."""

LONGEST_PATH = 8
"""Arrows from a room down to the lowest."""


def sources() -> dict[str, Path]:
    """Return every module of the product, by name; packages by the name of the folder."""
    files = (file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")))
    return {name_of(file): file for file in files}


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(file: Path, known: set[str]) -> set[str]:
    """Return the modules of ours that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & known) | ({node.module} if names - known else set())
    return found & known


MODULES = sources()


@functools.cache
def module_arrows() -> dict[str, set[str]]:
    """Return the modules of ours that each module imports."""
    return {name: imports(file, set(MODULES)) - {name} for name, file in MODULES.items()}


def room_of(module: str) -> str:
    """Return the folder of a module, such as `dferc.model`; modules on top of a package are rooms of their own."""
    if MODULES[module].name == "__init__.py" or module.count(".") == 1:
        return module
    return module.rpartition(".")[0]


def between_rooms() -> dict[str, set[str]]:
    arrows = defaultdict(set)
    for module, targets in module_arrows().items():
        arrows[room_of(module)] |= {room_of(target) for target in targets} - {room_of(module)}
    return dict(arrows)


def cycle(arrows: dict[str, set[str]]) -> list[str]:
    """Return a circle of arrows, or nothing."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for target in sorted(arrows.get(name, ())):
                if found := visit(target, [*path, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(arrows) if (found := visit(name, []))), [])


def longest_path(arrows: dict[str, set[str]]) -> list[str]:
    """Return the longest chain of arrows; there must be no circle."""
    longest: dict[str, list[str]] = {}

    def below(name: str) -> list[str]:
        if name not in longest:
            longest[name] = [name, *max((below(target) for target in arrows.get(name, ())), key=len, default=[])]
        return longest[name]

    return max((below(name) for name in arrows), key=len)


@pytest.mark.parametrize("folder", sorted({str(file.parent.relative_to(ROOT)) for file in MODULES.values()}))
def test_a_folder_has_at_most_twelve_files(folder):
    assert len(list((ROOT / folder).glob("*.py"))) <= MOST_FILES


def test_dferc_has_at_most_three_files_on_top():
    assert len(list((ROOT / "dferc").glob("*.py"))) <= 3


def test_imports_form_no_circle_between_modules():
    assert cycle(module_arrows()) == []


def test_imports_form_no_circle_between_rooms():
    # The packages' own `__init__.py` offer names of their rooms; nothing in the rooms imports them.
    rooms = between_rooms()
    assert cycle({room: targets - {"dferc"} for room, targets in rooms.items() if room != "dferc"}) == []


def test_no_room_imports_the_public_api_or_the_commands():
    for module, targets in module_arrows().items():
        assert "dferc" not in targets or module.startswith(("pipeline", "dferc.__main__")), module
        assert not any(target.startswith("dferc.cli") for target in targets) or module.startswith(
            ("dferc.cli", "dferc.__main__")
        ), module


def test_paths_between_rooms_are_short():
    path = longest_path(between_rooms())
    assert len(path) - 1 <= LONGEST_PATH, " -> ".join(path)


def test_the_light_package_never_imports_or_names_the_heavy_one():
    for module, file in MODULES.items():
        if module.startswith("dferc"):
            assert not [target for target in module_arrows()[module] if target.startswith("pipeline")], module
            text = file.read_text(encoding="utf-8")
            assert not any(f"import {name}" in text for name in ("av", "opensmile", "transformers", "torchvision")), (
                module
            )


def test_class_names_are_unique():
    where = defaultdict(list)
    for module, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(module)
    assert {name: modules for name, modules in where.items() if len(modules) > 1} == {}


def test_no_module_keeps_state():
    """Names that functions rebind (`global`), and mutable objects that start empty to be filled later."""
    found = []
    for module, file in MODULES.items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found += [f"{module}: global" for node in ast.walk(tree) if isinstance(node, ast.Global)]
        for node in tree.body:
            value = getattr(node, "value", None) if isinstance(node, ast.Assign | ast.AnnAssign) else None
            empty = isinstance(value, ast.Dict | ast.List | ast.Set) and not ast.unparse(value).strip("[]{}")
            if empty:
                found.append(f"{module}, line {node.lineno}: {ast.unparse(node)}")
    assert found == []


def test_the_product_stays_small():
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in MODULES.values())
    assert lines <= MOST_LINES, f"{lines:,} lines"
